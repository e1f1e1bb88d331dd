package meaning

import "github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"

// A kind is a class or, of files, what it has for the owner of a file or for others.
type kind struct {
	class Class
	owner bool
}

// A scope is keys of one form in a class, and what profiles can allow for these.
type scope struct {
	kind
	perms uint32
	keys  string // a glob that matches them; empty for any key
	paths bool   // one that the kernel has: it begins with a slash, and has none after another
	pairs bool   // of two paths, with a NUL between them
	label bool   // of pairs: the second is no path, but a label, which may have children ("a//b") and parts ("a//&b")
	some  bool   // not empty: what a state has that a class begins with only says that the class is mediated
}

const (
	ofPaths = MayExec | MayWrite | MayRead | MayAppend | MayCreate | MayDelete | MayRename | MaySetAttr | MayChmod |
		MayChown | MayLock | MayMmapExec
	anything = ^uint32(0)
)

// scopes are all keys of all classes, and the permissions that something asks for.
var scopes = []scope{
	{kind: kind{File, false}, perms: ofPaths, paths: true}, // of links the pairs decide
	{kind: kind{File, true}, perms: ofPaths, paths: true},
	{kind: kind{File, false}, perms: MayChangeProfile, keys: "{[^/],/}**"},
	// MayOnExec of a path is about a program, too, and each rule without one has it for all of them. Of labels that are like
	// paths the pairs decide.
	{kind: kind{File, false}, perms: MayOnExec, keys: "[^/]**"},
	{kind: kind{File, false}, perms: MayLink | LinkFree, pairs: true},
	{kind: kind{File, true}, perms: MayLink | LinkFree, pairs: true},
	{kind: kind{File, false}, perms: MayOnExec | EnvironmentKept, pairs: true, label: true},
	{kind: kind{File, true}, perms: MayOnExec | EnvironmentKept, pairs: true, label: true},
	{kind: kind{Signals, false}, perms: MayRead | MayWrite, some: true},
	{kind: kind{Label, false}, perms: MayRead | MayWrite | MayAppend | MayCreate, keys: string(rune(PTrace)) + "**"},
	{kind: kind{Mount, false}, perms: mayMount | mayUmount | mayPivotRoot, some: true},
	{kind: kind{Net, false}, perms: anything &^ (MayLock | contMatch), some: true},
	{kind: kind{NetV9, false}, perms: anything &^ (MayLock | contMatch), some: true},
	{kind: kind{PosixMQueue, false}, perms: anything &^ MayLock, some: true},
	{kind: kind{Namespaces, false}, perms: MayAppend},
	{kind: kind{IOUring, false}, perms: MayAppend | MayCreate},
	{kind: kind{DBus, false}, perms: DBusSend | DBusReceive | DBusBind | DBusEavesdrop, some: true},
}

// LinkFree stands among the permissions of a Deviation about a pair of paths, a link and its target, for a link that may
// have more rights than its target. It has the value of a permission that no pair has.
const LinkFree = linkSubset

// EnvironmentKept stands among the permissions of a Deviation about a program and a label, for a change with which the kernel does
// not scrub the environment: a rule says "unsafe". It has the value of a permission that no pair has.
const EnvironmentKept = XUnsafe

// limit bounds how many combinations of states a question about all keys looks at.
const limit = 1 << 21

// of reports whether a profile has rules of the scope's class.
func (sc scope) of(p *Profile) bool { return (Stack{p}).deciding(sc.class) != nil }

// machines returns the automata of profiles that the scope is about.
func (sc scope) machines(profiles []*Profile) (all []automaton.Machine) {
	for _, p := range profiles {
		switch m := p.machine(sc.class); {
		case !sc.of(p):
			all = append(all, machine{}) // it allows all, whatever the key
		case sc.pairs:
			all = append(all, paired{m, p, sc.owner})
		default:
			all = append(all, m)
		}
	}
	return all
}

// paired is a Machine for pairs, of which the kernel asks about the path alone first. What that does not allow is not
// allowed for a pair: its bits in the state are of firstLink and firstExec.
type paired struct {
	automaton.Machine
	profile *Profile
	owner   bool
}

const (
	firstLink automaton.State = 1 << 31
	firstExec automaton.State = 1 << 30
	firstBits                 = firstLink | firstExec
)

// Step returns the state after one byte.
func (m paired) Step(s automaton.State, b byte) automaton.State {
	first := s & firstBits
	s &^= firstBits
	if b == 0 && first == 0 {
		perms := m.profile.passing(m.profile.in(kind{class: File, owner: m.owner}, state(s)))
		if perms&MayLink != 0 {
			first |= firstLink
		}
		if perms&MayOnExec != 0 {
			first |= firstExec
		}
		if first == 0 {
			return 0
		}
	}
	if s = m.Machine.Step(s, b); s == 0 {
		return 0
	}
	return s | first
}

// shortest finds the shortest key of the scope after which accept takes the states of profiles. dead may be nil.
func (sc scope) shortest(accept, dead func([]automaton.State) bool, profiles ...*Profile) (string, bool, error) {
	machines := sc.machines(profiles)
	n := len(machines)
	form := func(automaton.State) (in, never bool) { return true, false }
	switch {
	case sc.paths:
		machines = append(machines, paths{})
		form = func(s automaton.State) (in, never bool) { return s == pathByte || s == pathSlash, s == pathNever }
	case sc.pairs:
		machines = append(machines, paths{label: sc.label})
		form = func(s automaton.State) (in, never bool) { return s >= pathSecond, s == pathNever }
	case sc.keys != "":
		keys, err := automaton.NewGlob(sc.keys)
		if err != nil {
			return "", false, err
		}
		machines = append(machines, keys)
		form = func(s automaton.State) (in, never bool) { return keys.Accepts(s), false }
	case sc.some:
		machines = append(machines, begun{})
		form = func(s automaton.State) (in, never bool) { return s != 0, false }
	default:
		machines = append(machines, machine{})
	}
	return automaton.ShortestBut(func(states []automaton.State) bool {
		_, never := form(states[n])
		return never || dead != nil && dead(states[:n])
	}, func(states []automaton.State) bool {
		in, _ := form(states[n])
		return in && accept(states[:n])
	}, limit, machines...)
}

// grants returns the permissions that a profile allows in a state of its machine.
func (sc scope) grants(p *Profile, s automaton.State) uint32 {
	if !sc.of(p) {
		return sc.perms
	}
	perms := p.in(sc.kind, state(s&^firstBits))
	granted := p.passing(perms)
	if sc.pairs {
		if granted &^= LinkFree | EnvironmentKept; s&firstLink == 0 {
			granted &^= MayLink
		}
		if s&firstExec == 0 {
			granted &^= MayOnExec
		}
		if granted&MayLink != 0 && perms.Allow&linkSubset == 0 {
			granted |= LinkFree
		}
		if granted&perms.Allow&^perms.Deny&MayOnExec != 0 && perms.XIndex&XUnsafe != 0 {
			granted |= EnvironmentKept
		}
	}
	return granted & sc.perms
}
