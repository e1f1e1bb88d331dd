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

// An Excess is something that one side allows and another one does not: permissions for a key of a class, as Profile.Query
// has them. There is no shorter key of this kind.
type Excess struct {
	Class Class
	Key   string // for Capabilities, one byte with the number of the capability
	Owner bool   // of files: by a process that owns the file
	Perms uint32 // MayExec, if both may execute the program and it goes on under another label
}

// A Deviation is something that a profile allows and a combination does not, or the other way round.
type Deviation struct {
	Excess
	More      bool // it is the profile that allows it
	Otherwise bool // both allow to execute the program, and it goes on in another way
}

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
			return Deviation{Excess{Class: Capabilities, Key: string([]byte{byte(number)}), Perms: 1}, mine, false}, true, nil
		}
	}
	one := Combination{Profiles: []*Profile{p}}
	for _, sc := range scopes {
		key, found, err := sc.shortest(func(states []automaton.State) bool {
			last := len(states) - 1
			mine, theirs := sc.grants(p, states[last]), c.grants(sc, states[:last])
			d.More = mine&^theirs != 0
			if d.Perms = mine &^ theirs; !d.More {
				d.Perms = theirs &^ mine
			}
			d.Otherwise = d.Perms == 0 && mine&MayExec != 0 && sc.class == File && one.exec(sc, states[last:]) != c.exec(sc, states[:last])
			if d.Otherwise {
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
	for _, sc := range scopes {
		if !sc.of(p) {
			continue
		}
		if sc.class == File {
			sc.perms &= want
		}
		_, found, err := sc.shortest(func(states []automaton.State) bool { return sc.grants(p, states[0]) != 0 },
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
			mine, theirs := sc.grants(r.profile, states[last]), c.grants(sc, states[:last])
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
	sc := scope{kind: kind{File, owner}, perms: permission}
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
			if sc.grants(r.profile, states[last])&^c.grants(sc, states[:last]) == 0 {
				return false
			}
		}
		return true
	}, limit, sc.machines(profiles)...)
	// No path has a slash after a slash, and the parser would take one of the two out of a pattern.
	return slices.DeleteFunc(all, func(p string) bool { return strings.Contains(p, "//") }), err
}

// permits reports whether a stack allows a capability.
func (s Stack) permits(capability uint) bool { return s.Decide(CapabilityAccess(capability)).Allowed }

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
		one := sc.grants(p, states[i])
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
		t := p.transition(perms.XIndex).Own(p)
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
