package apply

import (
	"path"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy"
)

// The rule of a container is the first one that is for it. So one that has rule x in one policy and rule y in another one is
// for both, and for no rule before either. What is decided here from the patterns of rules may err on one side: it may take
// rules for ones that share containers though no text matches both of their patterns.
//
// A container that is partly privileged may pass rules by. It is not told apart from those that have its next rule.

// A rule is an assignment, with what is asked of it often.
type rule struct {
	*policy.Assignment
	conditions []policy.Condition
	whom       string
}

func ruleOf(a *policy.Assignment) rule { return rule{a, a.Conditions(), a.Whom()} }

// condition returns the condition on the same fact as c.
func (r *rule) condition(c policy.Condition) (policy.Condition, bool) {
	for _, d := range r.conditions {
		if d.Key == c.Key && d.Label == c.Label {
			return d, true
		}
	}
	return policy.Condition{}, false
}

// overlap compares rules. It stops looking at patterns after a number of steps, and spent says so.
type overlap struct{ steps int }

const mostSteps = 1 << 22

func (o *overlap) spent() bool { return o.steps > mostSteps }

// disjoint reports whether no container is one that both rules are for.
func (o *overlap) disjoint(x, y *rule) bool {
	if x.Sandbox != y.Sandbox || x.Privileged != nil && y.Privileged != nil && *x.Privileged != *y.Privileged {
		return true
	}
	for _, c := range x.conditions {
		if d, ok := y.condition(c); ok && !o.meet(c.Patterns, d.Patterns) {
			return true
		}
	}
	return false
}

// meet reports whether a text may match a pattern of both lists.
func (o *overlap) meet(x, y []string) bool {
	o.steps += len(x) * len(y)
	return !o.spent() && slices.ContainsFunc(x, func(p string) bool {
		return slices.ContainsFunc(y, func(q string) bool { return mayMeet(p, q) })
	})
}

// within reports whether z is known to be for every container that all of these rules are for.
func (o *overlap) within(z *rule, rules ...*rule) bool {
	o.steps++
	any := func(holds func(r *rule) bool) bool { return slices.ContainsFunc(rules, holds) }
	if !any(func(r *rule) bool { return r.Sandbox == z.Sandbox }) || z.Privileged != nil &&
		!any(func(r *rule) bool { return r.Privileged != nil && *r.Privileged == *z.Privileged }) {
		return false
	}
	for _, c := range z.conditions {
		if !any(func(r *rule) bool { d, ok := r.condition(c); return ok && o.covers(c.Patterns, d.Patterns) }) {
			return false
		}
	}
	return true
}

// covers reports whether the patterns of x are known to match all that those of y match.
func (o *overlap) covers(x, y []string) bool {
	o.steps += len(x) * len(y)
	return !o.spent() && !slices.ContainsFunc(y, func(p string) bool {
		return !slices.ContainsFunc(x, func(q string) bool { return contains(q, p) })
	})
}

// fixed returns the part of a pattern of path.Match before the first character that is special in it.
func fixed(pattern string) (text string, whole bool) {
	i := strings.IndexAny(pattern, `*?[\`)
	if i < 0 {
		return pattern, true
	}
	return pattern[:i], false
}

// mayMeet reports whether two patterns may match the same text.
func mayMeet(p, q string) bool {
	x, pWhole := fixed(p)
	y, qWhole := fixed(q)
	switch {
	case pWhole:
		ok, _ := path.Match(q, p)
		return ok
	case qWhole:
		ok, _ := path.Match(p, q)
		return ok
	}
	return strings.HasPrefix(x, y) || strings.HasPrefix(y, x)
}

// contains reports whether pattern q is known to match all that pattern p matches.
func contains(q, p string) bool {
	if _, whole := fixed(p); whole {
		ok, _ := path.Match(q, p)
		return ok
	}
	start, _ := fixed(q)
	rest, begins := strings.CutPrefix(p, start)
	return q == p || q == start+"*" && begins && !strings.ContainsAny(rest, "/[")
}

// A move is a container's rule in one policy, and its rule in another one.
type move struct{ from, to rule }

// moves returns which rules containers may have in two policies, in the order of the later one. The last rules of both stand
// for the containers that have none. whole is false if there are too many rules and patterns to look at all of them.
func moves(before, after []policy.Assignment) (all []move, whole bool) {
	x, y := withNoRule(before), withNoRule(after)
	inX, inY := placesOf(x), placesOf(y)
	var o overlap
	taken := func(rules []rule, m *move) bool {
		return slices.ContainsFunc(rules, func(r rule) bool { return o.within(&r, &m.from, &m.to) })
	}
	for j := range y {
		last := len(x) - 1
		same, there := inX[y[j].whom] // a rule for the same containers
		if there {
			last = same
		}
		for i := range x[:last+1] {
			if at, there := inY[x[i].whom]; there && at < j {
				continue
			}
			m := move{x[i], y[j]}
			both := there && i == same && inY[y[j].whom] == j // a policy has no rule to which no container gets
			if both || !o.disjoint(&m.from, &m.to) && !taken(x[:i], &m) && !taken(y[:j], &m) {
				all = append(all, m)
			}
			if o.steps++; o.spent() {
				return all, false
			}
		}
	}
	return all, true
}

// withNoRule returns rules, and what becomes of containers, and of pods' pause containers, that have none.
func withNoRule(assignments []policy.Assignment) []rule {
	list := make([]rule, 0, len(assignments)+2)
	for i := range assignments {
		list = append(list, ruleOf(&assignments[i]))
	}
	return append(list, ruleOf(&policy.Assignment{Policy: policy.Keep}), ruleOf(&policy.Assignment{Policy: policy.Keep, Sandbox: true}))
}

// placesOf returns the place of the first rule for the same containers, by words for these.
func placesOf(rules []rule) map[string]int {
	at := make(map[string]int)
	for i, r := range rules {
		if _, there := at[r.whom]; !there {
			at[r.whom] = i
		}
	}
	return at
}
