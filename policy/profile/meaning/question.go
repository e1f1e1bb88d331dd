package meaning

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
)

// A Question is about accesses of one type that are many since their texts may be many.
type Question struct {
	// Like are accesses with everything but the texts. They are of one type, and differ in Want and Owner alone. Accesses
	// that have other texts for another Want, of unix sockets and message buses, have one Want. A ChangeProfileAccess with
	// any Program is about one.
	Like []Access

	// Texts are what the texts may be, in this order:
	//
	//	FileAccess, ExecAccess   Path
	//	LinkAccess               Path, Target
	//	ChangeProfileAccess      Program where it is about one, Label
	//	ChangeHatAccess          Hat
	//	SocketAccess             Family, Type, Protocol
	//	UnixAccess               Type, Protocol; but to create, Address; then to listen Backlog, for an option Option, and to
	//	                         connect, send and receive PeerAddress, Peer
	//	MountAccess              Target, Source, Type, Flags, Data
	//	UmountAccess             Target
	//	PivotRootAccess          New, Old
	//	SignalAccess             Signal, Peer
	//	PtraceAccess             Peer
	//	IOUringAccess            Label, with Override
	//	MqueueAccess             Name, Label
	//	DBusAccess               Bus; but to eavesdrop, Name; then for messages Label, Path, Interface, Member
	//
	// Types that are not here have none. Numbers are texts, too: each has two bytes, the higher one first. A signal has one
	// byte. Flags are a byte for each flag that is set, in order, 1 for MS_RDONLY, and are what the kernel asks about: see
	// MountAccess.
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
	if !known || len(kind.fields) != len(q.Texts) {
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
		parts[i] = automaton.Part{Language: text, Width: kind.fields[i].Size()}
	}
	var all sweeps
	var machines []automaton.Machine
	for _, p := range s {
		if p.Mode != Unconfined {
			one := kind.sweep(p, q.Like)
			all, machines = append(all, one), append(machines, one)
		}
	}
	var which Access
	text, found, err := automaton.ShortestIn(automaton.InTurn(parts...), func(states []automaton.State) bool {
		for _, which = range q.Like {
			if all.allow(states, which) == allowed {
				return true
			}
		}
		return false
	}, func(states []automaton.State) bool { return allowed && all.lost(states, q.Like) }, limit, machines...)
	if err != nil || !found {
		return nil, false, err
	}
	return filled(which, cut(text, kind.fields)), true, nil
}

// Plainly reports whether the stack denies all accesses like these, whatever their texts are, and shows that at first sight.
// They are of one type, and differ in Want and Owner alone. It takes far less time than Example.
func (s Stack) Plainly(like []Access) bool {
	if len(like) == 0 {
		return true
	}
	kind, known := kindOf(like[0])
	if !known || len(kind.fields) == 0 {
		return false
	}
	for _, p := range s {
		if p.Mode == Unconfined {
			continue
		}
		one := kind.sweep(p, like)
		if (sweeps{one}).lost([]automaton.State{one.Start()}, like) {
			return true
		}
	}
	return false
}

// sweeps are those of the parts of a stack.
type sweeps []sweep

// allow reports whether all profiles allow an access.
func (all sweeps) allow(states []automaton.State, like Access) bool {
	for i, one := range all {
		if !one.answer(states[i], like).Allowed {
			return false
		}
	}
	return true
}

// lost reports whether a profile has an answer for all accesses that nothing behind changes, and denies them.
func (all sweeps) lost(states []automaton.State, like []Access) bool {
	for i, one := range all {
		if one.settled(states[i]) && !slices.ContainsFunc(like, func(a Access) bool { return one.answer(states[i], a).Allowed }) {
			return true
		}
	}
	return false
}

// cut parts texts as automaton.InTurn joins them.
func cut(text string, fields []Field) []string {
	texts := make([]string, len(fields))
	for i, field := range fields {
		switch n := field.Size(); {
		case i == len(fields)-1:
			texts[i] = text
		case n > 0:
			texts[i], text = text[:n], text[n:]
		default:
			texts[i], text, _ = strings.Cut(text, "\x00")
		}
	}
	return texts
}
