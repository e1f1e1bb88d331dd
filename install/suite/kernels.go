package suite

import (
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// hangs adds notes to a result of an assertion that holds: with which kernels it does not.
func (r *run) hangs(result int, names []string, pattern policyfile.Pattern, allow bool) error {
	stack, err := r.stacks.of(names)
	if err != nil {
		return err
	}
	disputes, err := pattern.Disputes(stack, allow)
	if err != nil {
		return nil // it was decided without them
	}
	one := &r.report.Results[result]
	for _, d := range disputes {
		note := pattern.Value + ": " + access.Format(d.Access) + " is " + d.Some.String()
		if !slices.Contains(one.Notes, note) {
			one.Notes = append(one.Notes[:len(one.Notes):len(one.Notes)], note) // which results may share
		}
	}
	return nil
}

// otherwise returns which kernels decide an access the other way round.
func otherwise(s meaning.Stack, a meaning.Access) (kernels []string) {
	decided := s.Decide(a).Allowed
	for _, k := range s.Kernels(a) {
		if k.Answer.Allowed != decided {
			kernels = append(kernels, k.String())
		}
	}
	return kernels
}
