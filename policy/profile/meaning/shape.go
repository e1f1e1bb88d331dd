package meaning

import (
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
)

// A Shape is the automaton of the keys that a topic has. A kernel asks about no others.
type Shape struct {
	fields  []Field
	once    bool // no label has two parts that are unconfined
	run     bool // paths are of programs, of which the root directory is none
	classes [256]uint32
	numbers map[shapeState]automaton.State
	states  []shapeState
	memo
}

// shapeState is where a key is.
type shapeState struct {
	none  bool  // it can be none any more
	field uint8 // in which field
	sub   uint8 // where in the field, which each kind of field counts in its own way
	last  uint8 // the last flag of a mount
	full  uint8 // text fields that are not empty, a bit each
	stack bool  // a label has several parts
	name  uint8 // with once: how much of "unconfined" a part of a label is, and other if it is none
	free  bool  // with once: an earlier part of the label is unconfined
	flags uint32
}

// other is the name of a part of a label that is not unconfined.
const other = 255

// Shape returns the automaton of a topic's keys. A label has no part twice, which no automaton tells. Where an answer depends on
// what is unconfined, it tells that this is so for unconfined.
func (q *Topic) Shape() *Shape {
	s := &Shape{fields: q.Fields, once: q.Name == "ptrace", run: strings.HasSuffix(q.Name, " onexec"), numbers: make(map[shapeState]automaton.State)}
	s.number(shapeState{})
	kinds := make(map[[NumberField + 1]int]uint32)
	for b := range 256 {
		var kind [NumberField + 1]int
		for _, f := range q.Fields {
			kind[f] = f.sort(byte(b))
		}
		if b == 0 || b == '/' || b == '&' || s.once && strings.IndexByte(unconfined, byte(b)) >= 0 {
			kind[NumberField] = b + 1
		}
		n, ok := kinds[kind]
		if !ok {
			n = uint32(len(kinds))
			kinds[kind] = n
		}
		s.classes[b] = n
	}
	s.memo = newMemo(&s.classes)
	return s
}

// The first numbers that no socket's family and type have (AF_MAX and SOCK_MAX).
const (
	families = 46
	types    = 11
)

// sort returns a number for bytes that a field tells from others.
func (f Field) sort(b byte) int {
	switch f {
	case FlagsField:
		if b <= 32 {
			return int(b) + 1
		}
	case SignalField:
		if Signal(b).sent() {
			return 1
		}
	case FamilyField, TypeField:
		switch {
		case b < types:
			return 2
		case b < families:
			return 1
		}
	case AddressField:
		if b < 2 {
			return int(b) + 1
		}
	}
	return 0
}

func (s *Shape) number(at shapeState) automaton.State {
	n, ok := s.numbers[at]
	if !ok {
		n = automaton.State(len(s.states))
		s.numbers[at], s.states = n, append(s.states, at)
	}
	return n
}

// Start returns the state before the first byte.
func (s *Shape) Start() automaton.State { return 0 }

// Classes returns the sets of bytes that keys do not tell apart.
func (s *Shape) Classes() *[256]uint32 { return &s.classes }

// Step returns the state after one byte.
func (s *Shape) Step(at automaton.State, b byte) automaton.State {
	if to := *s.memo.at(at, b); to > 0 {
		return to - 1
	}
	now := s.states[at]
	if !now.none {
		now = s.step(now, b)
	}
	if now.none {
		now = shapeState{none: true}
	}
	n := s.number(now)
	*s.memo.at(at, b) = n + 1
	return n
}

// None reports whether no key begins as one that leads to a state.
func (s *Shape) None(at automaton.State) bool { return s.states[at].none }

// Whole reports whether a text that leads to a state is a key.
func (s *Shape) Whole(at automaton.State) bool {
	now := s.states[at]
	switch {
	case now.none:
		return false
	case len(s.fields) == 0:
		return now == shapeState{}
	case int(now.field) == len(s.fields)-1:
		return s.fields[now.field].ends(now)
	}
	return s.fields[now.field] == FlagsField && validFlags(now.flags, now.full&2 != 0, now.full&4 != 0, false)
}

// Stacked reports whether a text that leads to a state has a label of several parts.
func (s *Shape) Stacked(at automaton.State) bool { return s.states[at].stack }

// Field returns the field that the next byte belongs to, and the count of fields if there is none.
func (s *Shape) Field(at automaton.State) int {
	now := s.states[at]
	return int(now.field)
}

func (s *Shape) step(now shapeState, b byte) shapeState {
	if int(now.field) >= len(s.fields) {
		return shapeState{none: true}
	}
	f := s.fields[now.field]
	if size := f.Size(); size > 0 {
		if now.sub++; int(now.sub) > size || !f.Takes(now.sub, b) {
			return shapeState{none: true}
		}
		if int(now.sub) == size && int(now.field) < len(s.fields)-1 {
			now.field, now.sub = now.field+1, 0
		}
		return now
	}
	if b == 0 && (f != AddressField || now.sub > 0) {
		if int(now.field) == len(s.fields)-1 || !f.ends(now) || f == PathField && now.sub == rootPath {
			return shapeState{none: true}
		}
		now.field, now.sub = now.field+1, 0
		now.last, now.name, now.free = 0, 0, false
		if s.fields[now.field] == DataField && !validFlags(now.flags, now.full&2 != 0, now.full&4 != 0, true) {
			return shapeState{none: true}
		}
		if f == FlagsField {
			now.flags, now.full = 0, 0
		}
		return now
	}
	return s.text(f, now, b)
}

// rootPath is behind the slash that the path of a program begins with.
const rootPath = 3

// text goes on in a field whose length is not fixed.
func (s *Shape) text(f Field, now shapeState, b byte) shapeState {
	const (
		first = 1
		more  = 2
	)
	switch f {
	case PathField:
		switch {
		case b == '/' && now.sub == 0 && s.run:
			now.sub = rootPath
		case b == '/' && now.sub != first && now.sub != rootPath:
			now.sub = first
		case b != '/' && now.sub != 0:
			now.sub = more
		default:
			now.none = true
		}
	case LabelField:
		return s.label(now, b)
	case DataField:
		now.sub = more
	case TextField:
		if s.flagged() {
			now.full |= 1 << now.field
		}
	case AddressField:
		switch {
		case now.sub == 0 && b == anonymousAddress:
			now.sub = first
		case now.sub == 0 && b == abstractAddress, now.sub == more:
			now.sub = more
		default:
			now.none = true
		}
	case FlagsField:
		return now.flag(b)
	}
	return now
}

// Where a part of a label is. No part is empty, and none begins or ends with two slashes.
const (
	begin      = iota
	within     // behind something else than a slash
	slash      // behind one slash
	slashes    // behind two of them, which may end the part
	moreSlash  // behind three
	manySlash  // behind more
	firstSlash // which the part begins with
	noPart     // behind two slashes that a part begins with
	rootPart   // behind three of them, so that the part is a slash
)

// label reads a label.
func (s *Shape) label(now shapeState, b byte) shapeState {
	switch {
	case b == '&' && (now.sub == slashes || now.sub == moreSlash || now.sub == rootPart):
		is := s.once && int(now.name) == len(unconfined)
		now.none, now.free = is && now.free, is || now.free
		now.sub, now.name, now.stack = begin, 0, true
		return now
	case b == '/':
		now.sub = [...]uint8{begin: firstSlash, within: slash, slash: slashes, slashes: moreSlash, moreSlash: manySlash,
			manySlash: manySlash, firstSlash: noPart, noPart: rootPart, rootPart: other}[now.sub]
		if int(now.name) != len(unconfined) || now.sub != slash && now.sub != slashes { // which may end it
			now.name = s.named(now, b)
		}
	case now.sub == noPart, now.sub == rootPart, b == '&' && now.sub == manySlash:
		now.sub = other
	default:
		now.sub, now.name = within, s.named(now, b)
	}
	now.none = now.sub == other
	return now
}

// named returns how much of "unconfined" a part of a label is behind one more byte.
func (s *Shape) named(now shapeState, b byte) uint8 {
	n := int(now.name)
	switch {
	case !s.once:
		return 0
	case n < len(unconfined) && unconfined[n] == b:
		return now.name + 1
	}
	return other
}

// flagged reports whether the keys have flags of a mount, which not all texts before them go with.
func (s *Shape) flagged() bool {
	return len(s.fields) > mountFlags && s.fields[mountFlags] == FlagsField
}

// flag reads a flag of a mount. Of flags that are the same to validFlags one is kept.
func (now shapeState) flag(b byte) shapeState {
	const (
		apart = kernelname.Remount | kernelname.Bind | kernelname.Move | kernelname.Propagation | kernelname.Rec | kernelname.Silent
		any   = 1
	)
	bit := uint32(1) << (b - 1)
	if b == 0 || b > 32 || b <= now.last || bit&kernelname.Ignored != 0 {
		return shapeState{none: true}
	}
	now.last = b
	if bit&apart == 0 {
		bit = any
	}
	if now.flags |= bit; now.flags&kernelname.Remount != 0 {
		now.flags = kernelname.Remount
	}
	now.none = !validFlags(now.flags, now.full&2 != 0, now.full&4 != 0, false)
	return now
}

// Takes reports whether a byte can be the n-th of a field whose length is fixed.
func (f Field) Takes(n uint8, b byte) bool {
	switch f {
	case SignalField:
		return Signal(b).sent()
	case FamilyField:
		return n == 1 && b == 0 || n == 2 && b < families
	case TypeField:
		return n == 1 && b == 0 || n == 2 && b > 0 && b < types
	}
	return true
}

// ends reports whether a field can end.
func (f Field) ends(now shapeState) bool {
	switch f {
	case PathField, DataField, AddressField:
		return now.sub != 0
	case LabelField:
		return now.sub == within && !(now.free && int(now.name) == len(unconfined)) || now.sub == slash || now.sub == firstSlash
	case TextField, FlagsField:
		return true
	}
	return int(now.sub) == f.Size()
}
