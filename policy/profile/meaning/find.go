package meaning

import "github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"

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
