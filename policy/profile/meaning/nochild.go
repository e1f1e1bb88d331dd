package meaning

import "github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"

// NoChildAs reports whether programs are to be executed under a child by rule, a profile that has one rule of p, and p has no
// child for any of them. Programs for which p has another rule, which goes before this one, do not count. The error wraps
// automaton.ErrTooLarge if the profiles are too large to decide.
func (p *Profile) NoChildAs(rule *Profile) (bool, error) {
	if p.Mode == Unconfined || rule.Mode == Unconfined || !rule.toChildren() {
		return false, nil
	}
	kids := p.taken()
	some := func(nowhere bool) (bool, error) {
		for _, owner := range []bool{true, false} {
			_, found, err := automaton.Shortest(func(states []automaton.State) bool {
				alone, allowed := rule.toldExec(rule.file.whose(state(states[0]), owner))
				whole, still := p.toldExec(p.file.whose(state(states[1]), owner))
				return allowed && still && alone.Own(rule).Child && alone.Own(rule) == whole.Own(p) &&
					p.LeadsNowhere(whole, kids.Accepts(states[2])) == nowhere
			}, limit, rule.machine(File), p.machine(File), kids)
			if found || err != nil {
				return found, err
			}
		}
		return false, nil
	}
	if without, err := some(true); !without || err != nil {
		return false, err
	}
	with, err := some(false)
	return !with && err == nil, err
}

// toldExec returns how a program goes on by what rules say, and whether they allow that it is executed.
func (p *Profile) toldExec(perms Perms) (Transition, bool) {
	if perms.Allow&^perms.Deny&MayExec == 0 {
		return Transition{}, false
	}
	return p.transition(perms.XIndex), true
}

// toChildren reports whether some rule says that a program goes on under a child. It looks at each state once.
func (p *Profile) toChildren() bool {
	if p.file.dfa == nil {
		return false
	}
	for s := range p.file.accept {
		for _, owner := range []bool{true, false} {
			if t, told := p.toldExec(p.file.whose(state(s), owner)); told && t.Own(p).Child {
				return true
			}
		}
	}
	return false
}
