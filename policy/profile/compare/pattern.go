package compare

import "slices"

// A token is a part of a pattern: one byte of a set, or with loop any number of them. With rest it is the end of a key, or
// a NUL and anything behind that.
type token struct {
	set        classSet
	loop, rest bool
}

// classSet is a set of a language's classes of bytes.
type classSet [4]uint64

func (s *classSet) add(class uint16)     { s[class/64] |= 1 << (class % 64) }
func (s classSet) has(class uint16) bool { return s[class/64]>>(class%64)&1 != 0 }

// set returns the classes that consist of bytes for which is is true.
func (l *language) set(is func(byte) bool) (s classSet) {
	for class, bytes := range l.bytes {
		if !slices.ContainsFunc(bytes, func(b byte) bool { return !is(b) }) {
			s.add(uint16(class))
		}
	}
	return s
}

// sets of bytes that patterns have.
type sets struct{ any, text, name classSet } // all; all but NUL; all but NUL and slash

func (l *language) sets() sets {
	return sets{l.set(func(byte) bool { return true }), l.set(func(b byte) bool { return b != 0 }),
		l.set(func(b byte) bool { return b != 0 && b != '/' })}
}

func (l *language) one(class uint16) token {
	var t token
	t.set.add(class)
	return t
}

// states is a set of states of a language.
type states struct {
	list []int32
	has  []bool
}

func newStates(n int) *states { return &states{has: make([]bool, n)} }

func (s *states) add(state int32) {
	if !s.has[state] {
		s.has[state] = true
		s.list = append(s.list, state)
	}
}

func (s *states) clear() {
	for _, one := range s.list {
		s.has[one] = false
	}
	s.list = s.list[:0]
}

// checker tells whether patterns are within a language. Its work is bounded.
type checker struct {
	*language
	now, then *states
	work      *int
}

// mostWork bounds the steps that are spent on the patterns of one language, and those on one of links, whose differences
// mostly follow from those of files.
const (
	mostWork  = 1 << 22
	mostLinks = 1 << 18
)

func newChecker(l *language, work *int) *checker {
	return &checker{l, newStates(len(l.values)), newStates(len(l.values)), work}
}

// within reports whether all keys that a pattern matches belong to the language.
func (c *checker) within(pattern []token) bool {
	c.now.clear()
	c.now.add(c.start)
	for _, t := range pattern {
		switch {
		case t.rest:
			if !c.ends() {
				return false
			}
			c.move(c.set(func(b byte) bool { return b == 0 }))
			c.loop(c.set(func(byte) bool { return true }))
		case t.loop:
			c.loop(t.set)
		default:
			c.move(t.set)
		}
		if *c.work > mostWork || len(c.now.list) == 0 {
			return false
		}
	}
	return c.ends()
}

func (c *checker) ends() bool {
	for _, s := range c.now.list {
		if c.values[s] == out {
			return false
		}
	}
	return true
}

func (c *checker) move(set classSet) {
	c.then.clear()
	for _, s := range c.now.list {
		for class := range c.classes() {
			if set.has(uint16(class)) {
				c.then.add(c.step(s, uint16(class)))
			}
		}
	}
	*c.work += len(c.now.list) * c.classes()
	c.now, c.then = c.then, c.now
}

func (c *checker) loop(set classSet) {
	for at := 0; at < len(c.now.list); at++ {
		for class := range c.classes() {
			if set.has(uint16(class)) {
				c.now.add(c.step(c.now.list[at], uint16(class)))
			}
		}
	}
	*c.work += len(c.now.list) * c.classes()
}

// places is a set of places in a pattern, as the automaton of a pattern has it.
type places [5]uint64

// mostTokens is how many parts a pattern may have, so that its places fit.
const mostTokens = 5*64 - 2

func (p places) has(i int) bool { return p[i/64]>>(i%64)&1 != 0 }
func (p *places) add(i int)     { p[i/64] |= 1 << (i % 64) }

// reach adds a place and those that are reached from it without a byte.
func (p *places) reach(pattern []token, i int) {
	p.add(i)
	for ; i < len(pattern) && (pattern[i].loop || pattern[i].rest); i++ {
		p.add(i + 1)
	}
}

// beyondRest is the place in what follows a NUL.
func beyondRest(pattern []token) int { return len(pattern) + 1 }

func (l *language) advance(pattern []token, from places, class uint16, nul classSet) (to places) {
	for i, t := range pattern {
		switch {
		case !from.has(i):
		case t.rest:
			if nul.has(class) {
				to.add(beyondRest(pattern))
			}
		case t.set.has(class) && t.loop:
			to.reach(pattern, i)
		case t.set.has(class):
			to.reach(pattern, i+1)
		}
	}
	if from.has(beyondRest(pattern)) {
		to.add(beyondRest(pattern))
	}
	return to
}

// without returns the language without what a pattern matches. It reports false if that has too many states.
func (l *language) without(pattern []token, work *int) (*language, bool) {
	return l.split(pattern, work, func(v value, matched bool) value {
		if v == in && matched {
			return free
		}
		return v
	})
}

// split returns the language with other values, by whether a pattern matches. It reports false if that has too many states.
func (l *language) split(pattern []token, work *int, becomes func(v value, matched bool) value) (*language, bool) {
	const mostStates = 1 << 15
	type at struct {
		state  int32
		places places
	}
	var first places
	first.reach(pattern, 0)
	nul := l.set(func(b byte) bool { return b == 0 })
	numbers := map[at]int32{{l.start, first}: 0}
	list := []at{{l.start, first}}
	w := &language{bytes: l.bytes, classOf: l.classOf}
	for i := 0; i < len(list); i++ {
		here := list[i]
		matched := here.places.has(len(pattern)) || here.places.has(beyondRest(pattern))
		w.values = append(w.values, becomes(l.values[here.state], matched))
		for class := range l.classes() {
			to := at{l.step(here.state, uint16(class)), l.advance(pattern, here.places, uint16(class), nul)}
			n, ok := numbers[to]
			if !ok {
				n = int32(len(list))
				numbers[to], list = n, append(list, to)
			}
			w.next = append(w.next, n)
		}
		if *work += l.classes(); len(list) > mostStates || *work > mostWork {
			return nil, false
		}
	}
	return w.trimmed().merged(), true
}
