package compare

import (
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// A cover is a set of patterns that together match exactly the keys of a language, or without exact keys of others, too.
type cover struct {
	patterns []match
	exact    bool
}

// match is a pattern and what it excludes.
type match struct {
	pattern []piece
	except  [][]piece
	of      *language // whose classes the pieces have
	some    bool      // it matches other keys, too
	text    string    // the shortest key that it is about
}

// describer finds patterns for languages of one topic.
type describer struct {
	topic *meaning.Topic
	work  *int
}

// mostPatterns is how many patterns a language is given at most, and mostExcept how many exceptions one of them.
const (
	mostPatterns = 12
	mostExcept   = 8
	mostSimple   = 3   // patterns that are better than any other description
	mostCost     = 100 // of a description for which no better one is looked for
)

// mostDepth and mostBranches bound how a language is parted by how its keys begin.
const (
	mostDepth    = 3
	mostBranches = 8
)

// describe returns patterns for a language that is not empty. others returns the keys that do not belong to it.
func (d *describer) describe(l *language, others func() *language) cover {
	c := d.describeAt(l, others, 0)
	if d.paired() && (!c.exact || c.parts() > mostSimple) {
		if wider, ok := d.pairs(l, others()); ok {
			return wider
		}
	}
	if c.exact && c.parts() == len(c.patterns) {
		c.patterns = l.needed(c.patterns)
	}
	return c
}

// needed returns those of the patterns that together match the whole language which are not within others.
func (l *language) needed(patterns []match) []match {
	work := mostWork - mostLinks
	for i := 0; i < len(patterns) && len(patterns) > 1; i++ {
		others := slices.Delete(slices.Clone(patterns), i, i+1)
		left, ok := l, true
		for _, m := range others {
			list := m.pattern
			if m.of != l {
				if list, ok = m.of.translated(list, l); !ok {
					return patterns
				}
			}
			if left, ok = left.without(tokens(list), &work); !ok {
				return patterns
			}
		}
		if left.empty() {
			patterns = others
			i--
		}
	}
	return patterns
}

func (d *describer) describeAt(l *language, others func() *language, depth int) cover {
	best := d.cover(l, mostSimple)
	if best.exact && d.readable(best) {
		return best
	}
	branches, parted := d.branches(l, others, depth)
	if parted && branches.exact {
		best = d.better(branches, best)
	}
	if !best.exact || len(best.patterns) > 2 || !d.readable(best) {
		if c, ok := d.except(l, others()); ok {
			best = d.better(c, best)
		}
	}
	if best.exact && d.cost(best) < mostCost {
		return best
	}
	direct := d.cover(l, mostPatterns)
	if best = d.better(direct, best); best.exact {
		return best
	}
	best = d.partly(l, direct)
	if parted && d.cost(branches) < d.cost(best) {
		best = branches
	}
	return best
}

// parts returns how many patterns there are, and exceptions.
func (c cover) parts() (n int) {
	for _, m := range c.patterns {
		n += 1 + len(m.except)
	}
	return n
}

// better returns that of two descriptions which is exact or, if both are, which has less to read; of equal ones the second.
func (d *describer) better(a, b cover) cover {
	if a.exact && (!b.exact || d.cost(a) < d.cost(b)) {
		return a
	}
	return b
}

// readable reports whether a description has only patterns that can be read.
func (d *describer) readable(c cover) bool { return !slices.ContainsFunc(c.patterns, d.unreadable) }

// parted reports whether a NUL ends a field. A key without fields has none.
func (d *describer) parted(field int) bool {
	return field < len(d.topic.Fields) && fieldParted(d.topic.Fields[field])
}

// unreadable reports whether a pattern has sets of bytes that stand for no simple thing.
func (d *describer) unreadable(m match) bool {
	all := m.of.sets()
	for i, p := range m.pattern {
		switch {
		case p.rest, m.of.size(p.set) == 1, !d.parted(p.field), p.loop && (p.set == all.name || p.set == all.text || p.set == all.any):
		case p.set == all.name && i+1 < len(m.pattern) && m.pattern[i+1].loop:
		default:
			return true
		}
	}
	return false
}

// mostExact is how many exact patterns are shown of a language that has no exact description.
const mostExact = 3

// partly describes a language by some of the patterns that are within it, and a wider one of what is left.
func (d *describer) partly(l *language, direct cover) (c cover) {
	left := l
	for _, m := range direct.patterns {
		if len(c.patterns) == mostExact || d.unreadable(m) {
			continue
		}
		less, ok := left.without(tokens(m.pattern), new(int))
		if !ok {
			break
		}
		left, c.patterns = less, append(c.patterns, m)
	}
	if left.empty() {
		c.exact = true
		return c
	}
	c.patterns = append(c.patterns, match{pattern: d.widened(left), of: left, some: true, text: left.example()})
	return c
}

// branches describes the parts of a language that differ in the byte behind what all of its texts begin with.
func (d *describer) branches(l *language, others func() *language, depth int) (whole cover, ok bool) {
	text := l.common()
	at := l.walk(l.start, text)
	parts := make(map[int32]classSet)
	var order []int32
	for class := range l.classes() {
		to := l.step(at, uint16(class))
		if l.dead(to) {
			continue
		}
		if _, there := parts[to]; !there {
			order = append(order, to)
		}
		set := parts[to]
		set.add(uint16(class))
		parts[to] = set
	}
	if depth == mostDepth || len(order) < 2 || len(order) > mostBranches || l.values[at] == in || *d.work > mostWork {
		return whole, false
	}
	whole.exact = true
	for _, to := range order {
		part := d.describeAt(l.beginning(text, parts[to]), others, depth+1)
		whole.patterns = append(whole.patterns, part.patterns...)
		whole.exact = whole.exact && part.exact
		if len(whole.patterns) > mostPatterns {
			return whole, false
		}
	}
	return whole, true
}

// beginning returns the texts of the language that begin with a prefix and a byte of one of the classes.
func (l *language) beginning(prefix string, set classSet) *language {
	at := l.walk(l.start, prefix)
	return l.behind(prefix, func(class uint16, sink int32) int32 {
		if set.has(class) {
			return l.step(at, class)
		}
		return sink
	})
}

// cost is how much there is to read.
func (d *describer) cost(c cover) (cost int) {
	for _, f := range c.patterns {
		if f.some {
			cost += 200
		}
		for _, p := range append([][]piece{f.pattern}, f.except...) {
			cost += 10
			for _, t := range p {
				switch {
				case t.loop || t.rest:
					cost += 2
				case f.of.size(t.set) == 1, !d.parted(t.field):
					cost++
				case f.of.size(t.set) > 128:
					cost += 10
				default:
					cost += 6
				}
			}
		}
	}
	return cost
}

// size returns how many bytes a set has.
func (l *language) size(s classSet) (n int) {
	for class, bytes := range l.bytes {
		if s.has(uint16(class)) {
			n += len(bytes)
		}
	}
	return n
}

// cover finds patterns that match nothing but the language, until they match all of it or are more than limit.
func (d *describer) cover(l *language, limit int) (c cover) {
	// It may spend a part of the work, so that something else can still be tried.
	work := max(*d.work, mostWork-mostWork/4)
	defer func(before int) { *d.work += work - before }(work)
	check := newChecker(l, &work)
	left := l
	for len(c.patterns) < limit {
		text, found := left.shortest()
		if !found {
			c.exact = true
			return c
		}
		if len(text) > mostTokens-2 || work > mostWork {
			return c
		}
		pattern := d.generalized(check, text)
		c.patterns = append(c.patterns, match{pattern: pattern, of: l, text: l.textOf(text)})
		var ok bool
		if left, ok = left.without(tokens(pattern), &work); !ok {
			return c
		}
	}
	c.exact = left.empty()
	return c
}

// general is the pattern of every key.
func (l *language) general() []piece { return []piece{{token{set: l.sets().any, loop: true}, 0}} }

// except finds a pattern that the keys of others are taken out of: all keys, or those that begin as all of the language do.
func (d *describer) except(l, others *language) (best cover, ok bool) {
	text := l.common()
	begins := []int{0, strings.LastIndexByte(text, '/') + 1, len(text)}
	slices.Sort(begins)
	for _, begin := range slices.Compact(begins) {
		behind := others.walk(others.start, text[:begin])
		strict := begin > 0 && text[begin-1] == '/' && others.values[behind] == in && d.endsInPath(text[:begin])
		rest := others.behind(text[:begin], func(class uint16, _ int32) int32 { return others.step(behind, class) })
		if !strict {
			rest = others.from(text[:begin])
		}
		pattern := d.beginning(others, text[:begin], strict)
		if c, found := d.excepting(others, rest, pattern, l); found && (!ok || d.cost(c) < d.cost(best)) {
			best, ok = c, true
		}
		// The same without the keys that have one more slash.
		last := len(pattern) - 1
		if !d.endsInPath(text[:begin]) || pattern[last].rest || pattern[last].set != others.sets().text {
			continue
		}
		deeper := append(slices.Clone(tokens(pattern)), others.one(others.classOf['/']), pattern[last].token)
		pattern[last].set = others.sets().name
		flat, fits := rest.without(deeper, d.work)
		if c, found := d.excepting(others, flat, pattern, l); fits && found && (!ok || d.cost(c) < d.cost(best)) && d.flat(l, text[:begin]) {
			best, ok = c, true
		}
	}
	return best, ok
}

// flat reports whether no text of a language has a slash behind a prefix.
func (d *describer) flat(l *language, prefix string) bool {
	all := l.sets()
	seen := map[int32]bool{l.walk(l.start, prefix): true}
	queue := []int32{l.walk(l.start, prefix)}
	for ; len(queue) > 0; queue = queue[1:] {
		for class := range l.classes() {
			to := l.step(queue[0], uint16(class))
			switch {
			case all.name.has(uint16(class)) && !seen[to]:
				seen[to] = true
				queue = append(queue, to)
			case !all.name.has(uint16(class)) && !l.dead(to):
				return false
			}
		}
	}
	return true
}

// excepting describes a language by a pattern and what of rest, the keys that do not belong, the pattern matches.
func (d *describer) excepting(others, rest *language, pattern []piece, l *language) (c cover, ok bool) {
	if rest == nil {
		return c, false
	}
	exceptions := d.cover(rest, mostExcept)
	if !exceptions.exact {
		return c, false
	}
	one := match{of: others, pattern: slices.Clone(pattern), text: l.example()}
	for _, e := range exceptions.patterns {
		one.except = append(one.except, e.pattern)
	}
	return cover{[]match{one}, true}, true
}

// behind returns the language of the texts that begin with a prefix and go on as first says: it returns the state behind
// the next byte, and is given one from which no text belongs. The prefix alone is none of the texts.
func (l *language) behind(prefix string, first func(class uint16, sink int32) int32) *language {
	sink := int32(len(l.values))
	return l.prefixed(prefix, free, func(class uint16) int32 { return first(class, sink) })
}

// from returns the language's texts that begin with a prefix.
func (l *language) from(prefix string) *language {
	at := l.walk(l.start, prefix)
	return l.prefixed(prefix, l.values[at], func(class uint16) int32 { return l.step(at, class) })
}

func (l *language) prefixed(prefix string, whole value, first func(class uint16) int32) *language {
	c := l.classes()
	w := &language{bytes: l.bytes, classOf: l.classOf, values: slices.Clone(l.values), next: slices.Clone(l.next)}
	add := func(v value, to func(class uint16) int32) int32 {
		w.values = append(w.values, v)
		for class := range c {
			w.next = append(w.next, to(uint16(class)))
		}
		return int32(len(w.values) - 1)
	}
	sink := int32(len(w.values))
	add(out, func(uint16) int32 { return sink })
	at := add(whole, first)
	for i := len(prefix) - 1; i >= 0; i-- {
		to := at
		at = add(out, func(class uint16) int32 {
			if class == l.classOf[prefix[i]] {
				return to
			}
			return sink
		})
	}
	w.start = at
	return w.trimmed()
}

// endsInPath reports whether a text ends in a path that ends in a slash.
func (d *describer) endsInPath(text string) bool {
	fields := d.fields(text)
	at := fields[len(text)]
	return at < len(d.topic.Fields) && d.topic.Fields[at] == meaning.PathField
}

// common returns how all texts of the language begin.
func (l *language) common() string {
	var text []byte
	at := l.start
	for len(text) < mostTokens/2 && l.values[at] != in {
		to, by, several := int32(-1), uint16(0), false
		for class := range l.classes() {
			next := l.step(at, uint16(class))
			if next == at || l.dead(next) {
				several = several || next == at && !l.dead(next)
				continue
			}
			several = several || to >= 0 || len(l.bytes[class]) > 1
			to, by = next, uint16(class)
		}
		if to < 0 || several {
			break
		}
		text = append(text, l.bytes[by][0])
		at = to
	}
	return string(text)
}

// dead reports whether a state is one of those that nothing leads from.
func (l *language) dead(s int32) bool {
	if l.values[s] == in {
		return false
	}
	for class := range l.classes() {
		if l.step(s, uint16(class)) != s {
			return false
		}
	}
	return true
}

// beginning returns the pattern of all keys that begin with a text. With strict, it is not about the text alone.
func (d *describer) beginning(l *language, text string, strict bool) (pattern []piece) {
	all, fields := l.sets(), d.fields(text)
	at, last := fields[len(text)], len(d.topic.Fields)-1
	if len(text) == 0 || at > last {
		return l.general()
	}
	for i := range len(text) {
		pattern = append(pattern, piece{l.one(l.classOf[text[i]]), fields[i]})
	}
	if strict {
		pattern = append(pattern, piece{token{set: all.name}, at})
	}
	if !fieldParted(d.topic.Fields[at]) {
		for len(pattern) > 0 && pattern[len(pattern)-1].field == at { // a part of the field says nothing
			pattern = pattern[:len(pattern)-1]
		}
		return append(pattern, piece{token{set: all.any, loop: true}, at})
	}
	pattern = append(pattern, piece{token{set: all.text, loop: true}, at})
	if at < last {
		pattern = append(pattern, piece{token{rest: true}, at + 1})
	}
	return pattern
}

// widened returns the pattern of all keys that begin as those of the language do.
func (d *describer) widened(l *language) []piece {
	return d.beginning(l, l.common(), false)
}

// fields returns for each byte of a text, and for what follows it, to which field of a key it belongs.
func (d *describer) fields(text string) []int {
	shape := d.topic.Shape()
	at := shape.Start()
	list := make([]int, len(text)+1)
	for i := range len(text) {
		list[i] = shape.Field(at)
		at = shape.Step(at, text[i])
	}
	list[len(text)] = shape.Field(at)
	return list
}
