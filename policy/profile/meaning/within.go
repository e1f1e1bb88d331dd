package meaning

import (
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
)

// An Excess is something that one stack allows and another one does not: permissions for a key of a class, as
// Stack.Query has them. There is no shorter key of this kind.
type Excess struct {
	Class Class
	Key   string // for Capabilities, one byte with the number of the capability
	Owner bool   // of files: by a process that owns the file
	Perms uint32 // MayExec, if both may execute the program and it goes on under another label
}

// limit bounds how many combinations of states a question about all keys looks at.
const limit = 1 << 21

// Within reports whether all that a process under s may do, it may do under other as well, and if not, an example of what
// it may not. Answers are of each profile's mode, so that a profile in complain mode allows what it does not deny.
//
// It compares permissions for all keys that the kernel looks up: paths, pairs of paths of links, labels, mounts, sockets
// and so on. It takes an exec for the same if the program goes on in the same way; whether the profiles to which it goes
// allow more is not looked at. The error wraps automaton.ErrTooLarge if the profiles are too large to decide.
func (s Stack) Within(other Stack) (Excess, bool, error) {
	for number := range uint(64) {
		if s.permits(number) && !other.permits(number) {
			return Excess{Class: Capabilities, Key: string([]byte{byte(number)}), Perms: 1}, false, nil
		}
	}
	for _, kind := range kinds {
		excess, found, err := s.beyond(other, kind)
		if err != nil || found {
			return excess, false, err
		}
	}
	return Excess{}, true, nil
}

// permits reports whether a stack allows a capability.
func (s Stack) permits(capability uint) bool { return s.Decide(CapabilityAccess(capability)).Allowed }

// A kind is a kind of keys of a class, and the permissions that they are about.
type kind struct {
	class Class
	owner bool
	keys  string // a glob; empty for any key
	perms uint32
}

const (
	ofPaths = MayExec | MayWrite | MayRead | MayAppend | MayCreate | MayDelete | MayRename | MaySetAttr | MayChmod |
		MayChown | MayLock | MayMmapExec | MayLink
	anything = ^uint32(0)
)

// kinds are what Within compares. Labels of change_profile are in the rules about files, and pairs of paths, too: keys
// of which one part is behind a NUL, which no glob matches.
var kinds = []kind{
	{File, false, "/**", ofPaths},
	{File, true, "/**", ofPaths},
	{File, false, "[^/]**", MayChangeProfile | MayOnExec},
	{File, false, "", MayLink | MayOnExec},
	{File, true, "", MayLink | MayOnExec},
	{Signals, false, "", MayRead | MayWrite},
	{Label, false, string(rune(PTrace)) + "**", MayRead | MayWrite | MayAppend | MayCreate},
	{Mount, false, "", mayMount | mayUmount | mayPivotRoot},
	{Net, false, "", anything &^ (MayLock | contMatch)},
	{NetV9, false, "", anything &^ (MayLock | contMatch)},
	{PosixMQueue, false, "", anything &^ MayLock},
	{Namespaces, false, "", MayAppend},
	{IOUring, false, "", MayAppend | MayCreate},
	{DBus, false, "", DBusSend | DBusReceive | DBusBind | DBusEavesdrop},
}

// beyond finds the shortest key of a kind for which s allows more than other.
func (s Stack) beyond(other Stack, k kind) (excess Excess, found bool, err error) {
	mine, theirs := s.deciding(k.class), other.deciding(k.class)
	if len(theirs) == 0 { // which allow all
		return Excess{}, false, nil
	}
	machines := make([]automaton.Machine, 0, len(mine)+len(theirs)+1)
	for _, p := range slices.Concat(mine, theirs) {
		machines = append(machines, p.machine(k.class))
	}
	var keys *automaton.Glob
	if k.keys != "" {
		if keys, err = automaton.NewGlob(k.keys); err != nil {
			return Excess{}, false, err
		}
		machines = append(machines, keys)
	}
	excess = Excess{Class: k.class, Owner: k.owner}
	excess.Key, found, err = automaton.Shortest(func(states []automaton.State) bool {
		if keys != nil && !keys.Accepts(states[len(states)-1]) {
			return false
		}
		more := mine.passing(k, states) &^ theirs.passing(k, states[len(mine):])
		if more == 0 && k.class == File && mine.passing(k, states)&k.perms&MayExec != 0 && !mine.goesOn(k, states, theirs) {
			more = MayExec
		}
		excess.Perms = more & k.perms
		return excess.Perms != 0
	}, limit, machines...)
	return excess, found, err
}

// deciding returns the parts of a stack that decide about a class. The others allow all.
func (s Stack) deciding(c Class) (parts Stack) {
	for _, p := range s {
		if p.Mediates(c) || c == Label && p.Mediates(PTrace) { // which is asked about by rules about labels
			parts = append(parts, p)
		}
	}
	return parts
}

// passing returns the permissions that all parts of a stack let pass in their states.
func (s Stack) passing(k kind, states []automaton.State) uint32 {
	perms := ^uint32(0)
	for i, p := range s {
		perms &= p.passing(p.in(k, state(states[i])))
	}
	return perms
}

// passing returns the permissions that pass in the profile's mode if each is asked for alone.
func (p *Profile) passing(perms Perms) uint32 {
	allowed := perms.Allow &^ perms.Deny
	if p.Mode == Complain {
		allowed |= ^perms.Quiet
	}
	return allowed
}

// in returns the permissions of a state.
func (p *Profile) in(k kind, s state) Perms {
	if k.class == File {
		return p.flagged(p.file.whose(s, k.owner))
	}
	return p.flagged(p.policy.at(s))
}

// goesOn reports whether programs that a stack executes go on, for each part of another stack, as that one has it.
func (s Stack) goesOn(k kind, states []automaton.State, other Stack) bool {
	for i, p := range other {
		perms := p.in(k, state(states[len(s)+i]))
		if perms.Allow&MayExec == 0 { // which complain mode lets pass
			continue
		}
		theirs := p.transition(perms.XIndex)
		if !slices.ContainsFunc(s, func(mine *Profile) bool {
			perms := mine.in(k, state(states[slices.Index(s, mine)]))
			return perms.Allow&MayExec != 0 && theirs.holds(mine.transition(perms.XIndex), mine, p)
		}) {
			return false
		}
	}
	return true
}

// holds reports whether a program that goes on as one profile has it confines itself at least as t, another one's, has it.
// The children of two profiles are taken for the same if their own names are.
func (t Transition) holds(mine Transition, p, other *Profile) bool {
	mine, t = mine.own(p), t.own(other)
	mine.Scrub = mine.Scrub && t.Scrub
	return mine == t
}

// own returns the transition of a profile with each of its children as such.
func (t Transition) own(p *Profile) Transition {
	if name, child := strings.CutPrefix(t.Label, p.Name+"//"); child {
		t.Label, t.Child = name, true
	}
	return t
}

// Find returns the shortest key of a class that matches one of the patterns, and for which the stack allows all of want.
// It reports whether there is such a key. Patterns are globs as rules have them. With owner, the process owns the file.
func (s Stack) Find(c Class, want uint32, owner bool, patterns ...string) (key string, found bool, err error) {
	parts := s.deciding(c)
	machines := make([]automaton.Machine, len(parts), len(parts)+1)
	for i, p := range parts {
		machines[i] = p.machine(c)
	}
	k := kind{class: c, owner: owner}
	for _, pattern := range patterns {
		keys, err := automaton.NewGlob(pattern)
		if err != nil {
			return "", false, err
		}
		one, ok, err := automaton.Shortest(func(states []automaton.State) bool {
			return keys.Accepts(states[len(parts)]) && parts.passing(k, states)&want == want
		}, limit, append(machines, keys)...)
		if err != nil {
			return "", false, err
		}
		if ok && (!found || len(one) < len(key)) {
			key, found = one, true
		}
	}
	return key, found, nil
}

// machine returns the automaton of the keys of a class.
func (p *Profile) machine(c Class) automaton.Machine {
	r := &p.policy
	if c == File {
		r = &p.file
	}
	return machine{r.dfa, r.begin(c)}
}

// machine is a dfa that begins in a state. Without a dfa it is one of a single state.
type machine struct {
	*dfa
	begin state
}

// Start returns the state in which a match begins.
func (m machine) Start() automaton.State { return automaton.State(m.begin) }

// Step returns the state after one byte.
func (m machine) Step(s automaton.State, b byte) automaton.State {
	if s == 0 || m.dfa == nil {
		return 0
	}
	return automaton.State(m.step(state(s), b))
}

// Classes returns the equivalence classes of bytes.
func (m machine) Classes() *[256]uint32 {
	if m.dfa == nil {
		return new([256]uint32)
	}
	return m.dfa.alike()
}
