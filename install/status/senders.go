package status

import (
	"errors"
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/install/senders"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// refused returns a sentence for each loaded profile of the policy in force that refuses signals of some programs on this
// node, so that these cannot end a container. AppArmor gives such a program a label that the profile does not know. The
// label may be newer than the policy.
func (n *Node) refused(gen *store.Generation) (problems []string) {
	if gen == nil {
		return nil
	}
	p, err := gen.Index.Config()
	if err != nil {
		return nil // whoever decides by the index reports it
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
		problems = append(problems, fmt.Sprintf("whether engines' programs can end containers under the policy's profiles is not "+
			"known: %v", err))
	}
	for _, r := range refused {
		problems = append(problems, r.Sentence(sources[r.Profile]))
	}
	return problems
}
