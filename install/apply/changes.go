package apply

import (
	"fmt"
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
	lines = append(lines, words.differing("policy", policiesOf(before), policiesOf(after))...)
	return append(lines, words.rules(before.Assignments, after.Assignments)...)
}

// policiesOf returns what each policy is.
func policiesOf(p *policy.Config) map[string]string {
	all := make(map[string]string)
	for _, e := range p.Policies {
		if e.Name != policy.Keep { // built in, and listed where a rule names it
			all[e.Name] = e.Profile + " " + e.Floor
		}
	}
	return all
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

// differing returns lines about the things of one kind that are new, gone or different. The maps have them by name.
func (w changeWords) differing(kind string, before, after map[string]string) (lines []string) {
	names := make([]string, 0, len(before)+len(after))
	for name := range before {
		names = append(names, name)
	}
	for name := range after {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
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
