package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/recording"
)

var recordingChecks = []Check{
	{
		ID: "policy-recorded", Severity: Warning,
		Looks: "Which policies are recorded: to their containers that start now nothing is denied but by floors.",
		Do:    "Run oci-apparmor profile learn finish NAME when the containers have done what they do.",
		find: func(x *exam) ([]found, error) {
			s, err := x.status()
			if err != nil || s == nil {
				return nil, err
			}
			var all []found
			for _, policy := range s.Recorded {
				all = append(all, found{what: status.Recorded(policy), name: policy})
			}
			return all, nil
		},
	},
	{
		ID: "recording-left", Severity: Warning,
		Looks: "Whether profiles of recordings that have ended are in the kernel: what runs under one is denied nothing.",
		Do:    "Start anew what runs under them, and run oci-apparmor profile learn finish NAME once more, which removes what nothing uses.",
		find:  findLeftRecordings,
	},
}

func findLeftRecordings(x *exam) ([]found, error) {
	s, err := x.status()
	if err != nil || s == nil {
		return nil, err
	}
	left := map[string]int{}
	var order []string
	for _, p := range s.Profiles {
		policy, ok := recording.PolicyOf(p.Name)
		if !ok || slices.Contains(s.Recorded, policy) {
			continue
		}
		if left[policy]++; left[policy] == 1 {
			order = append(order, policy)
		}
	}
	var all []found
	for _, policy := range order {
		used := 0
		for _, p := range s.Processes {
			if runsUnderRecording(p.Profile, policy) {
				used++
			}
		}
		all = append(all, found{name: policy, what: fmt.Sprintf("of a recording of policy %s that has ended, %d of the profiles in the kernel are "+
			"left, and %d processes run under them, to which nothing is denied", oneline.Name(policy), left[policy], used)})
	}
	return all, nil
}

// runsUnderRecording reports whether a label has a profile of a policy's recordings.
func runsUnderRecording(label, policy string) bool {
	for part := range strings.SplitSeq(label, "//&") {
		main, _, _ := strings.Cut(part, "//")
		if recording.IsFor(policy, main) {
			return true
		}
	}
	return false
}
