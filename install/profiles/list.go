package profiles

import (
	"context"
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/bootfiles"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/recording"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// A Listed is a profile in the kernel, in the form of profile list --json.
type Listed struct {
	Name      string   `json:"name"`
	Namespace string   `json:"namespace,omitempty"`
	Mode      string   `json:"mode"`
	LoadedBy  LoadedBy `json:"loadedBy"`
	Processes int      `json:"processes"`
}

// Whole returns the profile's name with its namespace as in labels, ":NAMESPACE:NAME". Without a namespace it is the
// name.
func (l Listed) Whole() string {
	if l.Namespace == "" {
		return l.Name
	}
	return fmt.Sprintf(":%s:%s", l.Namespace, l.Name)
}

// LoadedBy is who loaded a profile. It is empty if that is not known.
type LoadedBy string

// Who loaded a profile.
const (
	byUs     LoadedBy = "oci-apparmor" // for a container, by the policy
	earlier  LoadedBy = "earlier"      // so, by an earlier policy: the one in force has another content
	dropped  LoadedBy = "dropped"      // so, by an earlier policy: the one in force does not have the profile
	recorded LoadedBy = "recording"    // so, for a container that was started while its policy was recorded
	hand     LoadedBy = "hand"         // oci-apparmor profile load
	changed  LoadedBy = "changed"      // one of these, and the content is neither that of a policy nor what was loaded by hand
	byOthers LoadedBy = "others"
)

var sentences = map[LoadedBy]string{
	byUs:     ", by oci-apparmor for a container",
	earlier:  ", by oci-apparmor by an earlier policy; the next start or exec that needs it, or policy load, loads the present content",
	dropped:  ", by oci-apparmor by an earlier policy; it is not in the policy any more",
	recorded: ", by oci-apparmor for a container that was started while its policy was recorded",
	hand:     ", by oci-apparmor profile load",
	changed:  ", first by oci-apparmor; its content is neither the policy's nor what was loaded by hand",
	byOthers: ", not by oci-apparmor",
}

// Sentence returns the end of a sentence about a loaded profile, such as ", not by oci-apparmor". It is empty if b is
// empty.
func (b LoadedBy) Sentence() string { return sentences[b] }

// List returns the profiles in the kernel.
func List(ctx context.Context, n *node.Node) ([]Listed, error) {
	bootfiles.Claim(ctx, n) // what AppArmor's service has loaded from our files is ours
	listed, err := n.Kernel.List()
	if err != nil {
		return nil, exit.AsRoot(err)
	}
	tasks, err := n.Kernel.Tasks()
	if err != nil {
		return nil, exit.AsRoot(err)
	}
	using := map[string]int{}
	for _, t := range tasks {
		for _, c := range t.Label.Components {
			using[c]++
		}
	}
	all := make([]Listed, len(listed))
	by := map[string]LoadedBy{}
	for i, l := range listed {
		j := Listed{Name: l.Name, Namespace: l.Namespace, Mode: l.Mode}
		if l.Namespace == "" {
			main, _, _ := strings.Cut(l.Name, "//")
			if _, known := by[main]; !known {
				by[main] = loadedBy(n, main)
			}
			j.LoadedBy = by[main]
		}
		j.Processes = using[j.Whole()]
		all[i] = j
	}
	return all, nil
}

// loadedBy returns who loaded a profile.
func loadedBy(n *node.Node, name string) LoadedBy {
	owned, err := n.Kernel.Owned(name)
	switch {
	case err != nil || !n.Root:
		return ""
	case !owned:
		return byOthers
	}
	if _, same := byHand(n, name); same {
		return hand
	}
	if _, of := recording.PolicyOf(name); of {
		return recorded
	}
	g, err := n.Current(n.Store)
	if err != nil {
		return changed
	}
	p, inForce := g.Index.Profile(name)
	if inForce && holds(n, name, p.Compiled) {
		return byUs
	}
	known := false // an earlier policy that is kept has it
	for _, g := range (store.Store{Dir: n.Store}).Earlier() {
		p, ok := g.Index.Profile(name)
		known = known || ok
		switch {
		case !ok || !holds(n, name, p.Compiled):
		case inForce:
			return earlier
		default:
			return dropped
		}
	}
	if _, err := n.Texts().Get(name); err != nil && !inForce && !known {
		return dropped // so long ago that the policy which had it is not kept
	}
	return changed
}

// holds reports whether the kernel has a profile with this content.
func holds(n *node.Node, name string, content []profile.Compiled) bool {
	found, err := n.Kernel.Check(kernel.Profile{Name: name, Compiled: content})
	return err == nil && found.Status == kernel.Matches
}
