package compare

import (
	"encoding/binary"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// Limits of the work on the fields of pairs.
const (
	mostProjected = 1 << 20 // steps by which one field is found
	mostPaired    = 1 << 20 // of mostWork
)

// paired reports whether keys are pairs of texts.
func (d *describer) paired() bool {
	fields := d.topic.Fields
	return len(fields) == 2 && fieldParted(fields[0]) && fieldParted(fields[1])
}

// pairs describes a language of pairs by what each of both fields may be: by one pattern and its exceptions or, if that is not
// exact, by patterns that are wider.
func (d *describer) pairs(l, others *language) (c cover, ok bool) {
	work := mostWork - mostPaired
	of := &describer{topic: d.topic, work: &work}
	first, last := of.field(l.first, 0), of.field(l.second, 1)
	if first == nil || last == nil {
		return c, false
	}
	if len(first)*len(last) > mostSimple {
		first = [][]piece{l.anything(0)}
	}
	nul := piece{l.one(l.classOf[0]), 0}
	for _, x := range first {
		for _, y := range last {
			pattern := slices.Concat(x, []piece{nul}, y)
			if len(pattern) > mostTokens {
				return c, false
			}
			its, within := l.only(tokens(pattern), of.work)
			if !within {
				return c, false
			}
			if its.empty() {
				continue
			}
			if one, found := of.exceptions(others, pattern, its); found {
				c.patterns = append(c.patterns, one)
				continue
			}
			c.patterns = append(c.patterns, match{pattern: pattern, of: l, some: true, text: its.example()})
		}
	}
	c.exact = !slices.ContainsFunc(c.patterns, func(m match) bool { return m.some })
	return c, len(c.patterns) > 0
}

// exceptions describes the language of what a pattern matches by a few keys of others that it matches, too.
func (d *describer) exceptions(others *language, pattern []piece, l *language) (m match, ok bool) {
	theirs, ok := l.translated(pattern, others)
	if !ok {
		return m, false
	}
	rest, ok := others.only(tokens(theirs), d.work)
	if !ok {
		return m, false
	}
	c, ok := d.excepting(others, rest, theirs, l)
	if !ok || len(c.patterns[0].except) > mostSimple {
		return m, false
	}
	return c.patterns[0], true
}

// translated returns a pattern of the language with the classes of another one. It reports false if these are too wide.
func (l *language) translated(pattern []piece, to *language) ([]piece, bool) {
	list := slices.Clone(pattern)
	for i, p := range list {
		list[i].set = classSet{}
		for class, bytes := range to.bytes {
			has := p.set.has(l.classOf[bytes[0]])
			if slices.ContainsFunc(bytes, func(b byte) bool { return p.set.has(l.classOf[b]) != has }) {
				return nil, false
			}
			if has {
				list[i].set.add(uint16(class))
			}
		}
	}
	return list, true
}

// anything is the pattern of all that a field may be.
func (l *language) anything(field int) []piece {
	return []piece{{token{set: l.sets().text, loop: true}, field}}
}

// field returns patterns of what a field may be: a few that are exact, or one that is wider. It returns none if that is too much work.
func (d *describer) field(of func(*meaning.Shape) (*language, bool), number int) (patterns [][]piece) {
	its := &describer{topic: &meaning.Topic{Fields: d.topic.Fields[number : number+1]}, work: d.work}
	l, ok := of(its.topic.Shape())
	if !ok {
		return nil
	}
	c := its.cover(l, mostSimple)
	if !c.exact || len(c.patterns) > 1 && !its.readable(c) {
		c.patterns = []match{{pattern: its.widened(l), of: l}}
	}
	for _, m := range c.patterns {
		p := m.pattern
		if its.topic.Fields[0] == meaning.PathField && len(p) == 2 && p[1].loop && p[1].set == l.sets().text { // all paths begin with a slash
			p = p[1:]
		}
		for i := range p {
			if p[i].loop && p[i].set == l.sets().any {
				p[i].set = l.sets().text
			}
			p[i].field = number
		}
		patterns = append(patterns, p)
	}
	return patterns
}

// first returns what stands before the NUL of the language's pairs. It reports false if that has too many states.
func (l *language) first(shape *meaning.Shape) (*language, bool) {
	leads := make([]bool, len(l.values)) // to a pair of the language
	for i, v := range l.values {
		leads[i] = v == in
	}
	c := l.classes()
	for changed := true; changed; {
		changed = false
		for i := len(leads) - 1; i >= 0; i-- {
			if !leads[i] && slices.ContainsFunc(l.next[i*c:(i+1)*c], func(to int32) bool { return leads[to] }) {
				leads[i], changed = true, true
			}
		}
	}
	return l.projected(shape, []int32{l.start}, func(s int32) bool { return leads[l.step(s, l.classOf[0])] })
}

// second returns what stands behind the NUL of the language's pairs. It reports false if that has too many states.
func (l *language) second(shape *meaning.Shape) (*language, bool) {
	begin, seen := newStates(len(l.values)), newStates(len(l.values))
	seen.add(l.start)
	for i := 0; i < len(seen.list); i++ {
		for class := range l.classes() {
			if to := l.step(seen.list[i], uint16(class)); class == int(l.classOf[0]) {
				begin.add(to)
			} else {
				seen.add(to)
			}
		}
	}
	return l.projected(shape, begin.list, func(s int32) bool { return l.values[s] == in })
}

// projected returns the texts of a field that lead from one of some states to one for which belongs is true.
func (l *language) projected(shape *meaning.Shape, begin []int32, belongs func(int32) bool) (*language, bool) {
	type place struct {
		set   []int32
		shape automaton.State
	}
	w := &language{bytes: l.bytes, classOf: l.classOf}
	numbers := make(map[string]int32)
	var list []place
	number := func(set []int32, at automaton.State) int32 {
		slices.Sort(set)
		key := binary.NativeEndian.AppendUint32(nil, uint32(at))
		for _, s := range set {
			key = binary.NativeEndian.AppendUint32(key, uint32(s))
		}
		n, ok := numbers[string(key)]
		if !ok {
			n = int32(len(list))
			numbers[string(key)], list = n, append(list, place{set, at})
			v := out
			if !shape.Whole(at) {
				v = free
			} else if slices.ContainsFunc(set, belongs) {
				v = in
			}
			w.values = append(w.values, v)
		}
		return n
	}
	number(slices.Clone(begin), shape.Start())
	next := newStates(len(l.values))
	for i, work := 0, 0; i < len(list); i++ {
		if work += len(list[i].set) * l.classes(); work > mostProjected {
			return nil, false
		}
		for class, bytes := range l.bytes {
			next.clear()
			to := shape.Step(list[i].shape, bytes[0])
			if !shape.None(to) { // else it does not matter what follows
				for _, s := range list[i].set {
					next.add(l.step(s, uint16(class)))
				}
			}
			w.next = append(w.next, number(slices.Clone(next.list), to))
		}
	}
	return w.trimmed().merged(), true
}

// only returns the language's texts that a pattern matches. What it does not match does not matter. It reports false if
// that has too many states.
func (l *language) only(pattern []token, work *int) (*language, bool) {
	return l.split(pattern, work, func(v value, matched bool) value {
		if !matched {
			return free
		}
		return v
	})
}
