package suite

import (
	"errors"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

// given is a way in which the policy lets a container start: by one rule, with one policy.
type given struct {
	rule      *policy.Assignment // nil if no rule is for the container
	policy    string             // empty if no rule is for the container
	requested bool               // the container asks for the policy
	choice    string             // the profile that the engine chose, which stands in the place of the policy's
}

// A label is what the policy gives to containers: the profiles of a stack, sorted by their names.
type label struct {
	names  []string // profiles of the policy
	byHand string   // one that is loaded by hand, of which nothing is known; empty if there is none
	keep   bool     // whatever the engine chose, so that nothing is known
	givens []given  // in the order of the rules
}

// name returns the label as the kernel shows it, or a phrase for that of the engine.
func (l *label) name() string {
	if l.keep {
		return "what the engine chose"
	}
	return policy.Label(l.all()...)
}

func (l *label) all() []string {
	if l.byHand == "" {
		return l.names
	}
	return append(slices.Clone(l.names), l.byHand)
}

// without returns the ways to a label that are not by one of these policies. Where no rule is for a container, the policy is
// keep.
func (l *label) without(policies []string) (left []given) {
	for _, g := range l.givens {
		name := g.policy
		if name == "" {
			name = policy.Keep
		}
		if !slices.Contains(policies, name) {
			left = append(left, g)
		}
	}
	return left
}

// labels returns every label that the policy can ever give, in the order of profiles' names, so that what is to be read for
// one is mostly what was read for the one before it. paused has the pod sandboxes that keep what their engine chose.
func labels(c *policy.Config, x policy.Index) (all []*label, paused bool, err error) {
	e := enumeration{policies: make(map[string]policy.Policy), profiles: make(map[string]bool), labels: make(map[string]*label)}
	for _, p := range c.Policies {
		e.policies[p.Name] = p
	}
	for _, p := range c.Profiles {
		e.profiles[p.Name] = true
	}
	for i := range c.Assignments {
		e.rule(&c.Assignments[i])
	}
	outside, paused, err := noRule(c, x)
	if err != nil {
		return nil, false, err
	}
	if outside {
		e.add(nil, policy.Policy{Profile: policy.Keep}, given{})
	}
	for _, l := range e.labels {
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b *label) int {
		return slices.Compare(append(a.all(), a.name()), append(b.all(), b.name()))
	})
	return all, paused || e.paused, nil
}

// enumeration collects labels.
type enumeration struct {
	policies map[string]policy.Policy
	profiles map[string]bool
	labels   map[string]*label
	paused   bool
}

// rule adds what a rule can give: its policy, those that may be asked for, and what the engine may choose.
func (e *enumeration) rule(a *policy.Assignment) {
	e.add(a, e.policies[a.Policy], given{rule: a, policy: a.Policy})
	for _, name := range a.Request {
		if name != a.Policy {
			e.add(a, e.policies[name], given{rule: a, policy: name, requested: true})
		}
	}
	for _, choice := range a.AcceptChoice {
		p := e.policies[a.Policy]
		if p.Profile != choice {
			p.Profile = choice
			e.add(a, p, given{rule: a, policy: a.Policy, choice: choice})
		}
	}
}

// add adds the label of a policy's profile and floor, and of its rule's floor.
func (e *enumeration) add(a *policy.Assignment, p policy.Policy, g given) {
	l := &label{keep: p.Profile == policy.Keep}
	if l.keep && a != nil && a.Sandbox {
		e.paused = true // the engine's own program, which nobody else may choose
		return
	}
	names := []string{p.Floor}
	if a != nil {
		names = append(names, a.Floor)
	}
	if !l.keep {
		names = append(names, p.Profile)
	}
	for _, name := range names {
		switch {
		case name == "":
		case e.profiles[name]:
			l.names = append(l.names, name)
		default:
			l.byHand = name
		}
	}
	slices.Sort(l.names)
	l.names = slices.Compact(l.names)
	key := l.name()
	if there := e.labels[key]; there != nil {
		l = there
	}
	l.givens = append(l.givens, g)
	e.labels[key] = l
}

// noRule reports whether the policy leaves containers, and pods' pause containers, without a rule. It looks at containers of
// which no more is known than what every container of its engine has. What else is known can only bring a container to a
// rule.
func noRule(c *policy.Config, x policy.Index) (containers, sandboxes bool, err error) {
	everyone := slices.ContainsFunc(c.Assignments, func(a policy.Assignment) bool { return a.ForAll() })
	sandboxes = !slices.ContainsFunc(c.Assignments, func(a policy.Assignment) bool { return a.Sandbox })
	for f := range bare() {
		if f.Sandbox && sandboxes || !f.Sandbox && (containers || everyone) { // which is known
			continue
		}
		d, err := x.Decide(f)
		if errors.Is(err, policy.ErrIndex) {
			return false, false, err
		}
		if err == nil && d.File == "" {
			containers, sandboxes = containers || !f.Sandbox, sandboxes || f.Sandbox
		}
	}
	return containers, sandboxes, nil
}

// bare iterates over containers of each engine and kind, and of several names.
func bare() func(yield func(policy.Facts) bool) {
	return func(yield func(policy.Facts) bool) {
		for _, name := range preferred(engine.Names()) {
			for _, fill := range fills {
				for _, f := range kinds(name) {
					e := engine.Named(name)
					for _, k := range policy.Keys() {
						if _, told := e.Keys[engine.Fact(k.Name)]; told && k.Name != string(engine.Image) && k.Kind == policy.Patterns {
							*k.FactOf(&f) = fill.any(k.Name)
						}
					}
					if f.Container = fill.any(string(engine.Container)); f.Sandbox {
						f.Container = ""
					}
					if !yield(f) {
						return
					}
				}
			}
		}
	}
}

// kinds returns a container of each kind that an engine has.
func kinds(name string) (list []policy.Facts) {
	for privileged := policy.Unprivileged; privileged <= policy.Privileged; privileged++ {
		list = append(list, policy.Facts{Engine: name, Privileged: privileged})
		if engine.Named(name).Reports(engine.Sandbox) {
			list = append(list, policy.Facts{Engine: name, Privileged: privileged, Sandbox: true})
		}
	}
	return list
}
