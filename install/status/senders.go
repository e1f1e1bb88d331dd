package status

import (
	"errors"
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/install/senders"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// refused says which loaded profiles of the policy in force leave what runs under them to programs of this node that cannot
// end it, because AppArmor gives these a label that the profile does not know: it may have come after the policy.
func (n *Node) refused(gen *store.Generation) (problems []string) {
	if gen == nil {
		return nil
	}
	p, err := gen.Index.Config()
	if err != nil {
		return nil // which whoever decides by it says
	}
	var names []string
	sources := make(map[string]string)
	for _, pr := range p.Profiles {
		if pr.Mode != profile.Complain {
			names = append(names, pr.Name)
			sources[pr.Name] = pr.Source
		}
	}
	refused, err := senders.Host{Kernel: n.Host.Kernel, Root: n.Programs}.Refused(names)
	var notReady *kernel.NotReadyError
	if err != nil && !errors.As(err, &notReady) {
		problems = append(problems, fmt.Sprintf("whether engines' programs can end what runs under the policy's profiles cannot "+
			"be told: %v", err))
	}
	for _, r := range refused {
		problems = append(problems, r.Sentence(sources[r.Profile]))
	}
	return problems
}
