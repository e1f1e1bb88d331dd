package meaning

import "github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"

// Lacks reports whether there is something that full allows, and that neither less nor p does. If less is full with a rule
// that denies something, it reports whether p denies some of that, too. It compares what Within compares, and of programs
// only whether they may be executed. The error wraps automaton.ErrTooLarge if the profiles are too large to decide.
func (p *Profile) Lacks(full, less *Profile) (bool, error) {
	for number := range uint(64) {
		if full.Decide(CapabilityAccess(number)).Allowed && !less.Decide(CapabilityAccess(number)).Allowed &&
			!p.Decide(CapabilityAccess(number)).Allowed {
			return true, nil
		}
	}
	for _, k := range kinds {
		if found, err := p.lacks(full, less, k); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

func (p *Profile) lacks(full, less *Profile, k kind) (bool, error) {
	stack := Stack{full, less, p}
	if len(stack.deciding(k.class)) < len(stack) { // one that does not decide allows all
		return false, nil
	}
	machines := []automaton.Machine{full.machine(k.class), less.machine(k.class), p.machine(k.class)}
	var keys *automaton.Glob
	if k.keys != "" {
		var err error
		if keys, err = automaton.NewGlob(k.keys); err != nil {
			return false, err
		}
		machines = append(machines, keys)
	}
	_, found, err := automaton.Shortest(func(states []automaton.State) bool {
		if keys != nil && !keys.Accepts(states[len(stack)]) {
			return false
		}
		passing := func(i int) uint32 { return stack[i].passing(stack[i].in(k, state(states[i]))) }
		return k.perms&passing(0)&^passing(1)&^passing(2) != 0
	}, limit, machines...)
	return found, err
}
