package meaning

import (
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
)

// A Combination is what several profiles allow together. Each permission for each key counts by itself: what one profile
// lets a process read and another one lets it write, both together let it read and write.
//
// Some answers of the kernel come from several keys, and so do those of a combination: for a peer under a stack it asks
// about each part, and for a link "subset" it compares what both its names allow.
type Combination struct {
	Profiles []*Profile
	All      bool // what all profiles allow, as a stack of them does; else what one of them allows
}

// A Deviation is something that a profile allows and a combination does not, or the other way round.
type Deviation struct {
	Excess
	More bool // it is the profile that allows it
}

// scope is a kind of keys that are compared. It is of a class, and of keys of one form.
type scope struct {
	kind
	paths bool // one that the kernel has: it begins with a slash, and has none after another
	pairs bool // of two paths, or of a path and a label, with a NUL between them
	some  bool // not empty: what a state has that a class begins with only says that the class is mediated
}

// scopes are all keys of all classes, and the permissions that something asks for.
var scopes = []scope{
	{kind: kind{class: File, perms: ofPaths &^ MayLink}, paths: true}, // of links the pairs decide
	{kind: kind{class: File, perms: ofPaths &^ MayLink, owner: true}, paths: true},
	{kind: kind{class: File, keys: "[^/]**", perms: MayChangeProfile | MayOnExec}},
	{kind: kind{class: File, perms: MayLink | MayOnExec | LinkFree}, pairs: true},
	{kind: kind{class: File, perms: MayLink | MayOnExec | LinkFree, owner: true}, pairs: true},
	{kind: kind{class: Signals, perms: MayRead | MayWrite}, some: true},
	{kind: kind{class: Label, keys: string(rune(PTrace)) + "**", perms: MayRead | MayWrite | MayAppend | MayCreate}},
	{kind: kind{class: Mount, perms: mayMount | mayUmount | mayPivotRoot}, some: true},
	{kind: kind{class: Net, perms: anything &^ (MayLock | contMatch)}, some: true},
	{kind: kind{class: NetV9, perms: anything &^ (MayLock | contMatch)}, some: true},
	{kind: kind{class: PosixMQueue, perms: anything &^ MayLock}, some: true},
	{kind: kind{class: Namespaces, perms: MayAppend}},
	{kind: kind{class: IOUring, perms: MayAppend | MayCreate}},
	{kind: kind{class: DBus, perms: DBusSend | DBusReceive | DBusBind | DBusEavesdrop}, some: true},
}

// LinkFree stands among the permissions of a Deviation about a pair of paths, a link and its target, for a link that may
// have more rights than its target. It has the value of a permission that no pair has.
const LinkFree = linkSubset

// Conflict finds a program that profiles of the combination execute, and that goes on in another way under each of them.
// No single profile does the same. If the combination is of what all allow, one that not all execute counts for none.
func (c Combination) Conflict() (conflict Excess, found bool, err error) {
	for _, sc := range scopes {
		if !sc.paths {
			continue
		}
		key, found, err := sc.shortest(func(states []automaton.State) bool { return c.exec(sc, states).conflict }, nil, c.Profiles...)
		if err != nil || found {
			return Excess{File, key, sc.owner, MayExec}, found, err
		}
	}
	return Excess{}, false, nil
}

// Deviation finds something about which a profile and the combination differ. If none is found, the profile allows for
// each key exactly what the combination does, and each program that it executes goes on as the combination has it.
func (c Combination) Deviation(p *Profile) (d Deviation, found bool, err error) {
	for number := range uint(64) {
		if mine, theirs := (Stack{p}).permits(number), c.permits(number); mine != theirs {
			return Deviation{Excess{Class: Capabilities, Key: string([]byte{byte(number)}), Perms: 1}, mine}, true, nil
		}
	}
	one := Combination{Profiles: []*Profile{p}}
	for _, sc := range scopes {
		key, found, err := sc.shortest(func(states []automaton.State) bool {
			last := len(states) - 1
			mine, theirs := one.grants(sc, states[last:]), c.grants(sc, states[:last])
			d.More = mine&^theirs != 0
			if d.Perms = mine &^ theirs; !d.More {
				d.Perms = theirs &^ mine
			}
			if d.Perms == 0 && mine&MayExec != 0 && sc.class == File && one.exec(sc, states[last:]) != c.exec(sc, states[:last]) {
				d.Perms, d.More = MayExec, true
			}
			return d.Perms != 0
		}, nil, append(slices.Clip(c.Profiles), p)...)
		if err != nil || found {
			d.Class, d.Owner, d.Key = sc.class, sc.owner, key
			return d, found, err
		}
	}
	return Deviation{}, false, nil
}

// A Judgement is how what a rule is about relates to what a combination allows.
type Judgement struct {
	Within bool // the combination allows all of it, and executes in the same way
	Apart  bool // the combination allows none of it
}

// A Rule is a rule that was compiled by itself: it is all that its profile allows.
type Rule struct {
	profile *Profile
	scopes  []scope // in which it allows something
	caps    []uint
}

// NewRule returns the rule that is all that a profile allows. Of files it is about the permissions in want alone.
func NewRule(p *Profile, want uint32) (*Rule, error) {
	r := &Rule{profile: p}
	for number := range uint(64) {
		if (Stack{p}).permits(number) {
			r.caps = append(r.caps, number)
		}
	}
	one := Combination{Profiles: []*Profile{p}}
	for _, sc := range scopes {
		if !sc.of(p) {
			continue
		}
		if sc.class == File {
			sc.perms &= want
		}
		_, found, err := sc.shortest(func(states []automaton.State) bool { return one.grants(sc, states) != 0 },
			func(states []automaton.State) bool { return states[0] == 0 }, p)
		if err != nil {
			return nil, err
		}
		if found {
			r.scopes = append(r.scopes, sc)
		}
	}
	return r, nil
}

// Empty reports whether the rule is about nothing that this kernel would ask about.
func (r *Rule) Empty() bool { return len(r.scopes) == 0 && len(r.caps) == 0 }

// Within reports whether all that the rule is about is within what another one is about, and each program goes on in
// the same way.
func (r *Rule) Within(other *Rule) (bool, error) {
	j, err := Combination{Profiles: []*Profile{other.profile}}.Judge(r)
	return j.Within, err
}

// Judge returns how what a rule is about relates to the combination.
func (c Combination) Judge(r *Rule) (Judgement, error) {
	j := Judgement{Within: true, Apart: true}
	for _, number := range r.caps {
		in := c.permits(number)
		j.Within, j.Apart = j.Within && in, j.Apart && !in
	}
	one := Combination{Profiles: []*Profile{r.profile}}
	last := len(c.Profiles)
	for _, sc := range r.scopes {
		_, _, err := sc.shortest(func(states []automaton.State) bool {
			mine, theirs := one.grants(sc, states[last:]), c.grants(sc, states[:last])
			j.Apart = j.Apart && mine&theirs == 0
			j.Within = j.Within && mine&^theirs == 0 &&
				(sc.class != File || mine&MayExec == 0 || one.exec(sc, states[last:]).within(c.exec(sc, states[:last])))
			return !j.Apart && !j.Within
		}, func(states []automaton.State) bool { return states[last] == 0 }, append(slices.Clip(c.Profiles), r.profile)...)
		if err != nil || !j.Apart && !j.Within {
			return j, err
		}
	}
	return j, nil
}

// Missing returns patterns of the paths that a rule is about and for which the combination does not allow a permission,
// MayRead and the like, to the file's owner or, without owner, to anybody. The error wraps automaton.ErrNoPatterns if no patterns say it, automaton.ErrTooMany, or
// automaton.ErrTooLarge.
func (c Combination) Missing(r *Rule, permission uint32, owner bool) ([]string, error) {
	sc := scope{kind: kind{class: File, perms: permission, owner: owner}}
	one := Combination{Profiles: []*Profile{r.profile}}
	last := len(c.Profiles)
	whose := []bool{true}
	if !owner {
		whose = []bool{true, false}
	}
	const limit = 1 << 17
	profiles := append(slices.Clip(c.Profiles), r.profile)
	all, err := automaton.Patterns(func(states []automaton.State) bool { return states[last] == 0 }, func(states []automaton.State) bool {
		states = slices.Clone(states)
		if permission == MayLink { // which is said of pairs
			for i, p := range profiles {
				states[i] = automaton.State(p.file.walk(state(states[i]), "\x00/a")) | firstLink
			}
		}
		for _, whose := range whose {
			sc.owner = whose
			if one.grants(sc, states[last:])&^c.grants(sc, states[:last]) == 0 {
				return false
			}
		}
		return true
	}, limit, sc.machines(profiles)...)
	// No path has a slash after a slash, and the parser would take one of the two out of a pattern.
	return slices.DeleteFunc(all, func(p string) bool { return strings.Contains(p, "//") }), err
}

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
		machines = append(machines, paths{})
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

// permits reports whether the combination allows a capability.
func (c Combination) permits(capability uint) bool {
	return c.holds(func(p *Profile) bool { return (Stack{p}).permits(capability) })
}

// holds reports whether something holds for all profiles, or for one.
func (c Combination) holds(f func(*Profile) bool) bool {
	if c.All {
		return !slices.ContainsFunc(c.Profiles, func(p *Profile) bool { return !f(p) })
	}
	return slices.ContainsFunc(c.Profiles, f)
}

// grants returns the permissions that the combination allows in states of its profiles.
func (c Combination) grants(sc scope, states []automaton.State) uint32 {
	granted := uint32(0)
	if c.All {
		granted = ^granted
	}
	for i, p := range c.Profiles {
		one := ^uint32(0)
		if sc.of(p) {
			perms := p.in(sc.kind, state(states[i]&^firstBits))
			one = p.passing(perms)
			if sc.pairs {
				if one &^= LinkFree; states[i]&firstLink == 0 {
					one &^= MayLink
				}
				if states[i]&firstExec == 0 {
					one &^= MayOnExec
				}
				if one&MayLink != 0 && perms.Allow&linkSubset == 0 {
					one |= LinkFree
				}
			}
		}
		if c.All {
			granted &= one
		} else {
			granted |= one
		}
	}
	return granted & sc.perms
}

// execution is how a program goes on under a combination. Without a transition, no rule allows to execute it.
type execution struct {
	Transition
	allowed, conflict bool
}

// within reports whether a program goes on under another combination as under one, or with less scrubbed.
func (e execution) within(other execution) bool {
	e.Scrub = e.Scrub && other.Scrub
	return e == other
}

// exec returns how an exec goes on.
func (c Combination) exec(sc scope, states []automaton.State) (e execution) {
	count := 0
	for i, p := range c.Profiles {
		perms := p.in(sc.kind, state(states[i]))
		if !sc.of(p) || perms.Allow&^perms.Deny&MayExec == 0 {
			continue
		}
		t := p.transition(perms.XIndex).own(p)
		if count++; count == 1 {
			e = execution{t, true, false}
			continue
		}
		scrub := e.Scrub && t.Scrub
		if c.All {
			scrub = e.Scrub || t.Scrub
		}
		t.Scrub, e.Scrub = scrub, scrub
		e.conflict = e.conflict || e.Transition != t
	}
	if c.All && count < len(c.Profiles) {
		return execution{}
	}
	return e
}

// paths is a Machine whose state says whether a key is a path, or a path and another text with a NUL between them.
type paths struct{}

const (
	pathNever automaton.State = iota
	pathBegin
	pathSlash // the last byte of the path is a slash
	pathByte  // it is another one
	pathSecond
	pathSecondSlash
)

// Start returns the state in which a match begins.
func (paths) Start() automaton.State { return pathBegin }

// Step returns the state after one byte.
func (paths) Step(s automaton.State, b byte) automaton.State {
	second := s >= pathSecond
	switch {
	case s == pathNever, s == pathBegin && b != '/', second && b == 0, b == '/' && (s == pathSlash || s == pathSecondSlash):
		return pathNever
	case b == 0:
		return pathSecond
	case b == '/' && second:
		return pathSecondSlash
	case b == '/':
		return pathSlash
	case second:
		return pathSecond
	}
	return pathByte
}

// Classes returns the equivalence classes of bytes.
func (paths) Classes() *[256]uint32 { return &[256]uint32{0: 1, '/': 2} }

// begun is a Machine whose state says whether there was a byte.
type begun struct{}

// Start returns the state in which a match begins.
func (begun) Start() automaton.State { return 0 }

// Step returns the state after one byte.
func (begun) Step(automaton.State, byte) automaton.State { return 1 }

// Classes returns the equivalence classes of bytes.
func (begun) Classes() *[256]uint32 { return new([256]uint32) }
