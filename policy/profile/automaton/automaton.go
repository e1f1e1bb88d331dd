// Package automaton decides questions about all texts that automata accept: whether there is one that some accept and
// others do not, and which is the shortest. From that follow emptiness, inclusion and equality.
//
// It knows nothing of profiles. Package meaning has the automata of compiled profiles, and Glob makes one of a pattern.
package automaton

import (
	"errors"
	"fmt"
	"slices"
)

// A State is a state of a Machine.
type State uint32

// A Machine is a deterministic automaton that reads bytes. It has finitely many states.
type Machine interface {
	// Start returns the state before the first byte.
	Start() State

	// Step returns the state after one byte.
	Step(State, byte) State

	// Classes returns a number for each byte. Two bytes that have the same number lead to the same state from every
	// state.
	Classes() *[256]uint32
}

// most is how many machines Shortest takes.
const most = 8

// ErrTooLarge says that a question was given up, since the machines together have too many states.
var ErrTooLarge = errors.New("too many states")

// Shortest returns the shortest text after which accept takes the states of all machines. Of texts of the same length
// it prefers letters and digits to other bytes. It reports whether there is such a text.
//
// accept must depend on nothing but the states. limit bounds how many combinations of states are looked at; behind it,
// the error wraps ErrTooLarge.
func Shortest(accept func(states []State) bool, limit int, machines ...Machine) (text string, found bool, err error) {
	return shortest(accept, func([]State) bool { return false }, limit, machines)
}

// ShortestIn is Shortest for the texts of a language. It looks at no text with which none of the language begins, and at
// none behind states of which hopeless says that none is accepted behind them. Neither function is given the language's
// state.
func ShortestIn(l Language, accept, hopeless func(states []State) bool, limit int, machines ...Machine) (string, bool, error) {
	last := len(machines)
	return shortest(func(states []State) bool { return l.Accepts(states[last]) && accept(states[:last]) },
		func(states []State) bool { return l.Dead(states[last]) || hopeless(states[:last]) }, limit, append(machines[:last:last], l))
}

// Some returns the shortest text of a language, and whether there is one, as Shortest does.
func Some(l Language, limit int) (string, bool, error) {
	return ShortestIn(l, func([]State) bool { return true }, func([]State) bool { return false }, limit)
}

// ShortestBut is Shortest that looks at no text which begins with one that leads to states for which dead returns true.
func ShortestBut(dead, accept func(states []State) bool, limit int, machines ...Machine) (string, bool, error) {
	return shortest(accept, dead, limit, machines)
}

func shortest(accept, dead func([]State) bool, limit int, machines []Machine) (text string, found bool, err error) {
	if len(machines) > most {
		return "", false, fmt.Errorf("%d automata at once, and %d are possible", len(machines), most)
	}
	s := newSearch(machines)
	next := make([]State, len(machines))
	for i, m := range machines {
		next[i] = m.Start()
	}
	s.add(next, -1, 0)
	alphabet := alphabet(machines)
	here := make([]State, len(machines))
	for at := 0; at < s.tuples.Len(); at++ {
		copy(here, s.tuples.At(at)) // which moves when others are added
		if accept(here) {
			return s.text(at), true, nil
		}
		for _, b := range alphabet {
			for i, m := range machines {
				next[i] = m.Step(here[i], b)
			}
			if !dead(next) {
				s.add(next, at, b)
			}
		}
		if s.tuples.Len() > limit {
			return "", false, fmt.Errorf("more than %d combinations of states: %w", limit, ErrTooLarge)
		}
	}
	return "", false, nil
}

// search goes through the combinations of states, those first that the shortest texts lead to.
type search struct {
	tuples *Tuples
	from   []int32 // of each combination: from which one it was reached first, -1 for the first one
	by     []byte  // and by which byte
}

func newSearch(machines []Machine) search { return search{tuples: NewTuples(len(machines))} }

func (s *search) add(states []State, from int, by byte) {
	if _, added := s.tuples.Number(states); added {
		s.from, s.by = append(s.from, int32(from)), append(s.by, by)
	}
}

// text returns the text that leads to a combination.
func (s *search) text(at int) string {
	var reversed []byte
	for ; s.from[at] >= 0; at = int(s.from[at]) {
		reversed = append(reversed, s.by[at])
	}
	slices.Reverse(reversed)
	return string(reversed)
}

// alphabet returns one byte of each set of bytes that no machine tells apart, the most readable of the set, and those
// that are more readable first.
func alphabet(machines []Machine) (bytes []byte) {
	seen := make(map[[most]uint32]bool)
	var classes [most]*[256]uint32
	for i, m := range machines {
		classes[i] = m.Classes()
	}
	for _, b := range readable {
		var key [most]uint32
		for i := range machines {
			key[i] = classes[i][b]
		}
		if !seen[key] {
			seen[key] = true
			bytes = append(bytes, b)
		}
	}
	return bytes
}

// Readable returns all bytes, the more readable ones first: those that Shortest prefers.
func Readable() []byte { return slices.Clone(readable) }

// readable are all bytes, the more readable ones first.
var readable = func() (all []byte) {
	const first = "abcdefghijklmnopqrstuvwxyz0123456789/.-_ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	all = append(all, first...)
	var in [256]bool
	for i := range len(first) {
		in[first[i]] = true
	}
	for _, printable := range []bool{true, false} {
		for b := range 256 {
			if !in[b] && (b > ' ' && b < 0x7f) == printable {
				all = append(all, byte(b))
			}
		}
	}
	return all
}()
