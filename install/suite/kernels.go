package suite

import (
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// hangs adds notes to a result of an assertion that holds: with which kernels it does not. Of an assertion about several labels
// it does so for the first one of which there is something to note.
func (r *run) hangs(result int, names []string, pattern policyfile.Pattern, allow bool) error {
	one := &r.report.Results[result]
	if slices.ContainsFunc(one.Notes, func(note string) bool { return strings.HasPrefix(note, pattern.Value+": ") }) {
		return nil
	}
	stack, err := r.stacks.of(names)
	if err != nil {
		return err
	}
	disputes, err := pattern.Disputes(stack, allow)
	if err != nil {
		return nil // it was decided without them
	}
	for _, d := range disputes {
		note := pattern.Value + ": " + access.Format(d.Access) + " is " + d.Some.String()
		one.Notes = append(one.Notes[:len(one.Notes):len(one.Notes)], note) // which results may share
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
