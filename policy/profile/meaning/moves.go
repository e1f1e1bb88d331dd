package meaning

import (
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
)

// A Move is a program that a process under a stack may execute and that goes on under another label.
type Move struct {
	Exec ExecAccess   // the shortest path of such a program
	To   []Transition // how it goes on, for each part of the stack
}

// Moves returns the ways in which programs that a process under the stack may execute go on, other than under the same
// label, each way once. The error wraps automaton.ErrTooLarge if the profiles are too large to decide.
func (s Stack) Moves() ([]Move, error) {
	if !slices.ContainsFunc(s, (*Profile).moves) {
		return nil, nil
	}
	var moves []Move
	for _, owner := range []bool{false, true} {
		more, err := s.movesOf(owner, moves)
		if err != nil {
			return nil, err
		}
		moves = append(moves, more...)
	}
	return moves, nil
}

// moves reports whether a program may go on under another profile than this one.
func (p *Profile) moves() bool {
	switch {
	case p.Mode == Unconfined, p.Mode == Complain: // what it does not allow goes on under a profile that learns
		return true
	case p.file.dfa == nil:
		return false
	}
	for s := range p.file.accept {
		for _, perms := range [...]Perms{p.file.owner(state(s)), p.file.other(state(s))} {
			if perms.Allow&MayExec != 0 && p.transition(perms.XIndex).To != TargetSame {
				return true
			}
		}
	}
	return false
}

// movesOf returns the moves by programs that the process owns, or does not own, and that are not among known.
func (s Stack) movesOf(owner bool, known []Move) ([]Move, error) {
	k := kind{class: File, owner: owner}
	keys, err := automaton.NewGlob("/**")
	if err != nil {
		return nil, err
	}
	machines := make([]automaton.Machine, 0, len(s)+1)
	for _, p := range s {
		machines = append(machines, p.machine(File))
	}
	machines = append(machines, keys)
	var more []Move
	for {
		var to []Transition
		path, found, err := automaton.Shortest(func(states []automaton.State) bool {
			if !keys.Accepts(states[len(s)]) {
				return false
			}
			var leads bool
			if to, leads = s.transitions(k, states); !leads {
				return false
			}
			is := func(m Move) bool { return slices.Equal(m.To, to) }
			return !slices.ContainsFunc(known, is) && !slices.ContainsFunc(more, is)
		}, limit, machines...)
		if err != nil || !found {
			return more, err
		}
		more = append(more, Move{ExecAccess{Path: path, Owner: owner}, to})
	}
}

// transitions returns how a program goes on for each part, and reports whether it may be executed and leads elsewhere.
func (s Stack) transitions(k kind, states []automaton.State) (to []Transition, leads bool) {
	for i, p := range s {
		t := Transition{To: TargetAttached, Else: TargetSame}
		if p.Mode != Unconfined {
			perms := p.in(k, state(states[i]))
			switch {
			case perms.Allow&^perms.Deny&MayExec != 0:
				t = p.transition(perms.XIndex)
			case p.Mode == Complain && perms.Quiet&MayExec == 0:
				t = Transition{To: TargetLearning}
			default:
				return nil, false
			}
		}
		leads = leads || t.To != TargetSame
		to = append(to, t)
	}
	return to, leads
}

// Changes returns the labels among names to which a process under the stack may change, now or with the next program that
// it executes, and the shortest other one, or an empty string if there is none. The names are profiles' names or
// "unconfined". The error wraps automaton.ErrTooLarge if the profiles are too large to decide.
func (s Stack) Changes(names []string) (known []string, other string, err error) {
	if slices.ContainsFunc(s, func(p *Profile) bool { return !p.changes() }) {
		return nil, "", nil
	}
	for _, name := range names {
		if s.Decide(ChangeProfileAccess{Label: name}).Allowed || s.Decide(ChangeProfileAccess{Label: name, OnExec: true}).Allowed {
			known = append(known, name)
		}
	}
	for _, labels := range []struct {
		pattern string
		wants   uint32
	}{
		{"[^/&]**", MayChangeProfile | MayOnExec},
		{"/{,**}", MayChangeProfile}, // what has only the other permission is a program that a rule names
	} {
		if other, err = s.changesTo(labels.pattern, labels.wants, names); other != "" || err != nil {
			return known, other, err
		}
	}
	return known, "", nil
}

// changesTo returns the shortest label like a pattern, and none of names, for which the stack has one of the permissions.
func (s Stack) changesTo(pattern string, wants uint32, names []string) (label string, err error) {
	labels, err := automaton.NewGlob(pattern)
	if err != nil {
		return "", err
	}
	named, err := automaton.NewGlob("{" + strings.Join(names, ",") + "}")
	if err != nil {
		return "", err
	}
	parts := s.deciding(File)
	machines := []automaton.Machine{labels, named}
	for _, p := range parts {
		machines = append(machines, p.machine(File))
	}
	label, _, err = automaton.Shortest(func(states []automaton.State) bool {
		return labels.Accepts(states[0]) && !named.Accepts(states[1]) &&
			parts.passing(kind{class: File}, states[2:])&wants != 0
	}, limit, machines...)
	return label, err
}

// changes reports whether a process under the profile may change to any label.
func (p *Profile) changes() bool {
	if p.Mode == Unconfined || p.Mode == Complain {
		return true
	}
	if p.file.dfa == nil {
		return false
	}
	for s := range p.file.accept {
		if perms := p.file.other(state(s)); perms.Allow&^perms.Deny&(MayChangeProfile|MayOnExec) != 0 {
			return true
		}
	}
	return false
}
