package compare

import (
	"slices"
)

// told is what is said of a topic.
type told struct {
	*liner
	lines []Line
}

// The asks of the topics about change_profile without a program, as bits.
const (
	changesNow asks = 1 << iota
	requestsOnExec
)

// mostJoined is how many combinations of states are looked at to join what is said of change_profile.
const mostJoined = 1 << 18

// join makes one line of what a process may change to at once and what it may change to with any program. A request for a
// change with the next program is not said of where that change itself is, or one at once: it is the first half of it.
func join(all []*told) {
	of := func(name string) *told {
		i := slices.IndexFunc(all, func(t *told) bool { return t.pair.topic.Name == name })
		if i < 0 {
			return nil
		}
		return all[i]
	}
	for _, name := range []string{"change_profile", "change_profile &"} {
		now, program := of(name), of(name+" onexec")
		if now == nil {
			continue
		}
		more := make(map[Change]bool) // what more than requests changes in this way
		for _, l := range now.lines {
			more[l.Change] = more[l.Change] || l.of.asks&changesNow != 0
		}
		if program != nil {
			apart := differing(now.liner, program.liner)
			for i, l := range now.lines {
				if !apart[l.Change] && l.of.asks&changesNow != 0 {
					now.lines[i].What = now.rule("", 0, l.of.shown)
				}
			}
			for _, l := range program.lines {
				more[l.Change] = true
			}
			program.lines = slices.DeleteFunc(program.lines, func(l Line) bool { return !apart[l.Change] })
		}
		now.lines = slices.DeleteFunc(now.lines, func(l Line) bool { return l.of.asks == requestsOnExec && more[l.Change] })
	}
}

// differing returns the changes that the labels to which a process may change at once do not have in common with those to
// which it may change with some program.
func differing(now, program *liner) map[Change]bool {
	apart := make(map[Change]bool)
	with, known := changing(now.product, program)
	for node, mark := range now.marks {
		if !now.whole[node] {
			continue
		}
		its := make(map[Change]bool)
		for one, by := range now.items(now.distinct[mark]) {
			its[one.change] = by&changesNow != 0
		}
		for _, c := range Changes() {
			if !known || its[c] != with[int32(node)][c] {
				apart[c] = true
			}
		}
	}
	return apart
}

// changing returns what changes with some program, by the nodes of labels. It reports false if that is too much work.
func changing(labels *product, program *liner) (with map[int32]map[Change]bool, known bool) {
	if labels.next == nil || program.next == nil {
		return nil, false
	}
	type place struct{ program, label int32 } // label is none before the label
	seen := map[place]bool{{0, none}: true}
	with = make(map[int32]map[Change]bool)
	steps := bytesApart(labels, program.product)
	for queue := []place{{0, none}}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at.label != none && labels.whole[at.label] && program.whole[at.program] {
			if with[at.label] == nil {
				with[at.label] = make(map[Change]bool)
			}
			for one := range program.items(program.distinct[program.marks[at.program]]) {
				with[at.label][one.change] = true
			}
		}
		for _, b := range steps {
			to := place{program.stepped(at.program, b), none}
			switch {
			case at.label != none:
				to.label = labels.stepped(at.label, b)
			case b == 0:
				to.label = 0
			}
			if to.program != none && (to.label != none || at.label == none) && !seen[to] {
				seen[to] = true
				queue = append(queue, to)
			}
		}
		if len(seen) > mostJoined {
			return nil, false
		}
	}
	return with, true
}

// stepped returns the node behind a byte.
func (x *product) stepped(at int32, b byte) int32 {
	return x.next[int(at)*len(x.alphabet)+int(x.classOf[b])]
}

// bytesApart returns a byte of each class that one of two products tells from others.
func bytesApart(x, y *product) (list []byte) {
	seen := make(map[[2]uint16]bool)
	for b := range 256 {
		if both := [2]uint16{x.classOf[b], y.classOf[b]}; !seen[both] {
			seen[both] = true
			list = append(list, byte(b))
		}
	}
	return list
}
