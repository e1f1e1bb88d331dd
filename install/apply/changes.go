package apply

import (
	"fmt"
	"maps"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// changeWords are the words for a thing that is only in the later policy, only in the earlier one, and different in
// both.
type changeWords struct{ added, gone, other string }

// Those of a rollback, and of a new policy.
var (
	goingBack = changeWords{"back", "gone", "as it was"}
	goingOn   = changeWords{"new", "gone", "changed"}
)

// changes returns lines that say how two policies differ.
func changes(before, after *policy.Config, words changeWords) (lines []string) {
	profiles := func(p *policy.Config) map[string]string {
		all := make(map[string]string)
		for _, pr := range p.Profiles {
			all[pr.Name] = fmt.Sprintf("%x %d", pr.Blob, pr.OnDrift)
		}
		return all
	}
	lines = words.differing("profile", profiles(before), profiles(after))
	modes := make(map[string]profile.Mode)
	for _, pr := range before.Profiles {
		modes[pr.Name] = pr.Mode
	}
	for _, pr := range after.Profiles {
		if was, ok := modes[pr.Name]; ok && was != pr.Mode {
			lines = append(lines, fmt.Sprintf("profile %s: mode %s, before %s", pr.Name, pr.Mode, was))
		}
	}
	lines = append(lines, words.policies(before, after)...)
	return append(lines, words.rules(before.Assignments, after.Assignments)...)
}

// policiesOf returns what each policy is, in words.
func policiesOf(p *policy.Config) map[string]string {
	all := make(map[string]string)
	for _, e := range p.Policies {
		if e.Name != policy.Keep { // built in, and listed where a rule names it
			all[e.Name] = outcomeOf(e)
		}
	}
	return all
}

// outcomeOf returns words for what a policy gives to a container.
func outcomeOf(p policy.Policy) string {
	switch {
	case p.Profile == policy.Keep:
		return "what the engine chose"
	case p.Floor != "":
		return "profile " + p.Profile + ", stacked on " + p.Floor
	}
	return "profile " + p.Profile
}

// policies returns lines about policies that are new, gone or different, with what they were and are.
func (w changeWords) policies(before, after *policy.Config) (lines []string) {
	x, y := policiesOf(before), policiesOf(after)
	for _, name := range namesOf(x, y) {
		was, there := x[name]
		is, stays := y[name]
		switch {
		case !there:
			lines = append(lines, fmt.Sprintf("policy %s: %s: %s", name, w.added, is))
		case !stays:
			lines = append(lines, fmt.Sprintf("policy %s: %s: %s", name, w.gone, was))
		case was != is:
			lines = append(lines, fmt.Sprintf("policy %s: %s: %s (before: %s)", name, w.other, is, was))
		}
	}
	return lines
}

// rules returns lines about rules that are new, gone or different. It names a rule by the containers that it is for. A
// last line says whether the rules that stay are tried in another order.
func (w changeWords) rules(before, after []policy.Assignment) (lines []string) {
	was, is := make(map[string]string), make(map[string]string)
	list := func(rules []policy.Assignment, into map[string]string) (all []string) {
		for _, a := range rules {
			whom := a.Whom()
			for _, twice := into[whom]; twice; _, twice = into[whom] { // of two about privileges, a container may pass the first by
				whom += ", further down"
			}
			into[whom] = a.Outcome()
			all = append(all, whom)
		}
		return all
	}
	x, y := list(before, was), list(after, is)
	for _, whom := range y {
		switch then, there := was[whom]; {
		case !there:
			lines = append(lines, fmt.Sprintf("rule for %s: %s: %s", whom, w.added, is[whom]))
		case then != is[whom]:
			lines = append(lines, fmt.Sprintf("rule for %s: %s: %s (before: %s)", whom, w.other, is[whom], then))
		}
	}
	for _, whom := range x {
		if _, there := is[whom]; !there {
			lines = append(lines, fmt.Sprintf("rule for %s: %s: %s", whom, w.gone, was[whom]))
		}
	}
	stay := func(whom []string, in map[string]string) []string {
		return slices.DeleteFunc(slices.Clone(whom), func(one string) bool { _, there := in[one]; return !there })
	}
	if !slices.Equal(stay(x, is), stay(y, was)) {
		lines = append(lines, "rules: tried in another order, which policy show has")
	}
	return lines
}

// namesOf returns the keys of two maps, sorted, each once.
func namesOf(x, y map[string]string) []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(x)), maps.Keys(y))
	slices.Sort(names)
	return slices.Compact(names)
}

// differing returns lines about the things of one kind that are new, gone or different. The maps have them by name.
func (w changeWords) differing(kind string, before, after map[string]string) (lines []string) {
	for _, name := range namesOf(before, after) {
		x, was := before[name]
		y, is := after[name]
		switch {
		case !was:
			lines = append(lines, fmt.Sprintf("%s %s: %s", kind, name, w.added))
		case !is:
			lines = append(lines, fmt.Sprintf("%s %s: %s", kind, name, w.gone))
		case x != y:
			lines = append(lines, fmt.Sprintf("%s %s: %s", kind, name, w.other))
		}
	}
	return lines
}
