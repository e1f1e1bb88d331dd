package meaning

import (
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
)

// A Question is about accesses of one kind that are many since their texts may be many.
type Question struct {
	// Like are accesses with everything but the texts. They are of one type, and differ in Want and Owner alone.
	Like []Access

	// Texts are what the texts may be, in the order of the type's fields that the kernel looks up. Numbers are texts, too:
	// each has two bytes, the higher one first, but a signal has one. See TextsOf.
	Texts []automaton.Language
}

// Example returns an access that the question is about and that the stack allows, or with allowed false one that it does
// not allow. There is none with shorter texts. It reports whether there is one. The error wraps automaton.ErrTooLarge if
// the profiles are too large to decide.
func (s Stack) Example(q Question, allowed bool) (example Access, found bool, err error) {
	if len(q.Like) == 0 {
		return nil, false, nil
	}
	kind, known := kindOf(q.Like[0])
	if !known || len(kind.widths) != len(q.Texts) {
		return nil, false, fmt.Errorf("a question about %T with %d texts", q.Like[0], len(q.Texts))
	}
	if len(q.Texts) == 0 {
		for _, like := range q.Like {
			if s.Decide(like).Allowed == allowed {
				return like, true, nil
			}
		}
		return nil, false, nil
	}
	parts := make([]automaton.Part, len(q.Texts))
	for i, text := range q.Texts {
		parts[i] = automaton.Part{Language: text, Width: kind.widths[i]}
	}
	var sweeps []sweep
	var machines []automaton.Machine
	for _, p := range s {
		if p.Mode == Unconfined {
			continue
		}
		one := kind.sweep(p, q.Like[0])
		sweeps, machines = append(sweeps, one), append(machines, one)
	}
	var which Access
	text, found, err := automaton.ShortestIn(automaton.InTurn(parts...), func(states []automaton.State) bool {
		for _, which = range q.Like {
			if passes(sweeps, states, which) == allowed {
				return true
			}
		}
		return false
	}, limit, machines...)
	if err != nil || !found {
		return nil, false, err
	}
	return kind.filled(which, cut(text, kind.widths)), true, nil
}

// passes reports whether all profiles allow an access.
func passes(sweeps []sweep, states []automaton.State, like Access) bool {
	for i, one := range sweeps {
		if !one.answer(states[i], like).Allowed {
			return false
		}
	}
	return true
}

// cut parts texts as automaton.InTurn joins them.
func cut(text string, widths []int) []string {
	texts := make([]string, len(widths))
	for i, width := range widths {
		switch {
		case i == len(widths)-1:
			texts[i] = text
		case width > 0:
			texts[i], text = text[:width], text[width:]
		default:
			texts[i], text, _ = strings.Cut(text, "\x00")
		}
	}
	return texts
}
