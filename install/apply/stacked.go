package apply

import (
	"context"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/lint"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// unreached returns a warning for each profile of a file that the policy stacks on another one, and by which the processes of
// a container cannot reach each other under the label of the stack. sources are the files, by the profiles' names.
func unreached(ctx context.Context, c *store.Compilation, sources map[string]string) (warnings []string) {
	for i, p := range c.Policy.Profiles {
		if p.Template != "" || !stacked(c.Policy, p.Name) {
			continue
		}
		blob, err := c.Blob(i)
		if err != nil {
			continue // whoever uses it says so
		}
		var known lint.Options
		if known.Compiled, err = meaning.Read(blob.Data); err != nil {
			continue
		}
		found, _, err := lint.Text(ctx, string(p.Text), known)
		if err != nil {
			continue
		}
		for _, w := range found {
			if w.Check == lint.Peers {
				warnings = append(warnings, WarningLine(sources[p.Name], w))
			}
		}
	}
	return warnings
}

// stacked reports whether a container can get a profile together with another one, by a floor of its policy or of a rule.
func stacked(c *policy.Config, name string) bool {
	floors := make(map[string][]string) // of rules, by the policies that containers can get by them
	for _, a := range c.Assignments {
		for _, given := range append(a.Request[:len(a.Request):len(a.Request)], a.Policy) {
			floors[given] = append(floors[given], a.Floor)
		}
	}
	return slices.ContainsFunc(c.Policies, func(p policy.Policy) bool {
		all := slices.DeleteFunc(append(slices.Clone(floors[p.Name]), p.Floor), func(floor string) bool { return floor == "" || floor == p.Profile })
		return len(all) > 0 && (p.Profile == name || slices.Contains(all, name))
	})
}
