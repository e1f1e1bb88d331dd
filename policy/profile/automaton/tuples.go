package automaton

import "slices"

// Tuples are combinations of states of several machines, numbered from 0 in the order in which they come. They take 5 to 11
// bytes each beside the states themselves.
type Tuples struct {
	width  int     // how many states a combination has
	count  int     // how many combinations there are
	states []State // of all combinations, one after the other
	slots  []int32 // a hash table: numbers of combinations, and -1 where there is none
}

// NewTuples returns no combinations of so many states.
func NewTuples(width int) *Tuples {
	t := &Tuples{width: width}
	t.grow(64)
	return t
}

// Len returns how many combinations there are.
func (t *Tuples) Len() int { return t.count }

// At returns a combination. The caller must not change it.
func (t *Tuples) At(number int) []State {
	at := number * t.width
	return t.states[at : at+t.width : at+t.width]
}

// Number returns the number of a combination, and reports whether it is new.
func (t *Tuples) Number(states []State) (number int, added bool) {
	if 4*t.count >= 3*len(t.slots) {
		t.grow(2 * len(t.slots))
	}
	slot := t.slot(states)
	if n := t.slots[slot]; n >= 0 {
		return int(n), false
	}
	number = t.count
	t.count++
	t.slots[slot] = int32(number)
	t.states = append(t.states, states...)
	return number, true
}

// slot returns where a combination is in the table, or is to be.
func (t *Tuples) slot(states []State) int {
	hash := uint64(len(states))
	for _, s := range states {
		hash = (hash ^ uint64(s)) * 0x9e3779b97f4a7c15 // 2⁶⁴ by the golden ratio, whose high bits are well mixed
		hash ^= hash >> 32
	}
	mask := len(t.slots) - 1
	for at := int(hash) & mask; ; at = (at + 1) & mask {
		n := t.slots[at]
		if n < 0 || slices.Equal(t.At(int(n)), states) {
			return at
		}
	}
}

// grow makes the table larger. size is a power of 2.
func (t *Tuples) grow(size int) {
	t.slots = slices.Repeat([]int32{-1}, size)
	for n := range t.count {
		t.slots[t.slot(t.At(n))] = int32(n)
	}
}
