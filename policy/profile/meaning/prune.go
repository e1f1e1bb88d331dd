package meaning

import (
	"sync"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
)

// pruned are rules of which only some permissions matter. States from which nothing is reached that differs in these from
// state 0 are taken for state 0, so that there are few states to look at.
type pruned struct {
	*rules
	keep []bool // nil for all
}

// prunings are the states to keep, by the permissions that matter.
type prunings struct {
	sync.Mutex
	keep map[uint32][]bool
}

// only returns rules of which these permissions matter.
func (r *rules) only(perms uint32) pruned {
	if r.dfa == nil {
		return pruned{r, nil}
	}
	r.prunings.Lock()
	defer r.prunings.Unlock()
	keep, ok := r.prunings.keep[perms]
	if !ok {
		if r.prunings.keep == nil {
			r.prunings.keep = make(map[uint32][]bool)
		}
		keep = r.kept(perms)
		r.prunings.keep[perms] = keep
	}
	return pruned{r, keep}
}

// maxPasses bounds how often kept goes through all states. The parser numbers states so that a few times will do.
const maxPasses = 64

// kept returns which states are to be kept, and nil for all.
func (r *rules) kept(mask uint32) []bool {
	nothing := r.masked(0, mask)
	keep := make([]bool, len(r.base))
	for s := range keep {
		keep[s] = s != 0 && r.masked(state(s), mask) != nothing
	}
	bytes := r.representatives()
	for range maxPasses {
		changed := false
		for s := len(keep) - 1; s > 0; s-- {
			for i := 0; i < len(bytes) && !keep[s]; i++ {
				keep[s] = keep[r.step(state(s), bytes[i])]
				changed = changed || keep[s]
			}
		}
		if !changed {
			return keep
		}
	}
	return nil
}

// representatives returns one of the bytes of each set that the rules do not tell apart.
func (r *rules) representatives() (bytes []byte) {
	seen := make(map[uint32]bool)
	for b, class := range r.alike() {
		if !seen[class] {
			seen[class] = true
			bytes = append(bytes, byte(b))
		}
	}
	return bytes
}

// masked returns the permissions of a state that matter, of the owner and of others.
func (r *rules) masked(s state, mask uint32) [2]Perms {
	of := func(p Perms) Perms {
		only := p.only(mask)
		if only.Allow&MayExec != 0 {
			only.XIndex = p.XIndex
		}
		return only
	}
	if !r.files {
		return [2]Perms{of(r.at(s))}
	}
	return [2]Perms{of(r.owner(s)), of(r.other(s))}
}

// next is step from a state that may be 0.
func (r *rules) next(s state, b byte) state {
	if s == 0 {
		return 0
	}
	return r.step(s, b)
}

// first returns a state where a walk begins.
func (r pruned) first(s state) state {
	if s == 0 || r.keep != nil && !r.keep[s] {
		return 0
	}
	return s
}

// next returns the state after one byte.
func (r pruned) next(s state, b byte) state {
	return r.first(r.rules.next(s, b))
}

// zero returns the state after a NUL, which parts the fields of a key.
func (r pruned) zero(s state) state { return r.next(s, 0) }

// number returns the state after a number of 2 bytes in network order.
func (r pruned) number(s state, n uint16) state { return r.next(r.next(s, byte(n>>8)), byte(n)) }

// bytes returns what bytes rules tell apart, and these as well.
func (r pruned) bytes(also string) *[256]uint32 {
	return automaton.Together(machine{r.dfa, 0}.Classes(), automaton.Apart(also))
}

// A prunedMachine is a machine for keys.
type prunedMachine struct {
	pruned
	begin state
}

// Start returns the state in which a match begins.
func (m prunedMachine) Start() automaton.State { return automaton.State(m.first(m.begin)) }

// Step returns the state after one byte.
func (m prunedMachine) Step(s automaton.State, b byte) automaton.State {
	return automaton.State(m.next(state(s), b))
}

// Classes returns the equivalence classes of bytes.
func (m prunedMachine) Classes() *[256]uint32 { return machine{m.dfa, 0}.Classes() }
