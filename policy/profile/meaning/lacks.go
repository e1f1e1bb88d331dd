package meaning

import "github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"

// Lacks reports whether there is something that full allows, and that neither less nor p does. If less is full with a rule
// that denies something, it reports whether p denies some of that, too. Of programs it compares only whether they may be
// executed. The error wraps automaton.ErrTooLarge if the profiles are too large to decide.
func (p *Profile) Lacks(full, less *Profile) (bool, error) {
	for number := range uint(64) {
		if (Stack{full}).permits(number) && !(Stack{less}).permits(number) && !(Stack{p}).permits(number) {
			return true, nil
		}
	}
	for _, sc := range scopes {
		if !sc.of(full) {
			continue
		}
		if sc.pairs {
			sc.perms &^= LinkFree | EnvironmentKept // a rule denies links and changes, and not how they are done
		}
		_, found, err := sc.shortest(func(states []automaton.State) bool {
			return sc.grants(full, states[0])&^sc.grants(less, states[1])&^sc.grants(p, states[2]) != 0
		}, func(states []automaton.State) bool { return states[0] == 0 }, full, less, p)
		if found || err != nil {
			return found, err
		}
	}
	return false, nil
}
