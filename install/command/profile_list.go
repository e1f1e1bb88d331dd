package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

func listCommand(n *node) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the profiles in the kernel, who loaded them, and how many processes they confine",
		Args:  cobra.NoArgs,
		RunE:  action(func(cmd *cobra.Command, _ []string) error { return n.list(cmd.Context(), asJSON) }),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// listedJSON is the JSON of profile list: one for each profile.
type listedJSON struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
	Mode      string `json:"mode"`
	LoadedBy  string `json:"loadedBy"` // byUs, earlier, dropped, byHand, changed, byOthers; empty where it cannot be told
	Processes int    `json:"processes"`
}

// Who loaded a profile.
const (
	byUs     = "oci-apparmor" // for a container, by the policy
	earlier  = "earlier"      // so, by an earlier policy: the one in force has another content
	dropped  = "dropped"      // so, by an earlier policy: the one in force does not have the profile
	byHand   = "hand"         // oci-apparmor profile load
	changed  = "changed"      // one of these, and the content is neither that of a policy nor what was loaded by hand
	byOthers = "others"
)

var loadedBys = map[string]string{
	byUs:     ", by oci-apparmor for a container",
	earlier:  ", by oci-apparmor by an earlier policy; the next start or exec that needs it, or policy load, loads the present content",
	dropped:  ", by oci-apparmor by an earlier policy; it is not in the policy any more",
	byHand:   ", by oci-apparmor profile load",
	changed:  ", first by oci-apparmor; its content is neither the policy's nor what was loaded by hand",
	byOthers: ", not by oci-apparmor",
}

func (n *node) list(ctx context.Context, asJSON bool) error {
	n.claim(ctx) // what AppArmor's service has loaded from our files is ours
	listed, err := n.kernel.List()
	if err != nil {
		return asRoot(err)
	}
	tasks, err := n.kernel.Tasks()
	if err != nil {
		return asRoot(err)
	}
	using := map[string]int{}
	for _, t := range tasks {
		for _, c := range t.Label.Components {
			using[c]++
		}
	}
	all := make([]listedJSON, len(listed))
	names := 0
	by := map[string]string{}
	for i, l := range listed {
		j := listedJSON{Name: l.Name, Namespace: l.Namespace, Mode: l.Mode, Processes: using[l.Name]}
		if l.Namespace == "" {
			main, _, _ := strings.Cut(l.Name, "//")
			if _, known := by[main]; !known {
				by[main] = n.loadedBy(main)
			}
			j.LoadedBy = by[main]
		} else {
			j.Processes = using[whole(l)]
		}
		all[i] = j
		names = max(names, len(oneline.Whole(whole(l))))
	}
	if asJSON {
		return n.printJSON(all)
	}
	out := &printer{w: n.stdout}
	names = min(max(names, len("PROFILE")), 50)
	if len(all) > 0 {
		out.line("%-*s  %-10s  %-12s  %s", names, "PROFILE", "MODE", "LOADED BY", "PROCESSES")
	}
	for i, j := range all {
		loadedBy := j.LoadedBy
		if loadedBy == "" {
			loadedBy = "?"
		}
		out.line("%-*s  %-10s  %-12s  %d", names, oneline.Whole(whole(listed[i])), j.Mode, loadedBy, j.Processes)
	}
	if len(all) == 0 {
		out.line("no profile is loaded")
	}
	return out.err
}

// whole gives a profile's name with its namespace, as labels have it.
func whole(l kernel.Listed) string {
	if l.Namespace == "" {
		return l.Name
	}
	return fmt.Sprintf(":%s:%s", l.Namespace, l.Name)
}

// loadedBy tells who loaded a profile.
func (n *node) loadedBy(name string) string {
	owned, err := n.kernel.Owned(name)
	switch {
	case err != nil || !n.root:
		return ""
	case !owned:
		return byOthers
	}
	if _, same := n.byHand(name); same {
		return byHand
	}
	g, err := n.current(n.store)
	if err != nil {
		return changed
	}
	p, inForce := g.Index.Profile(name)
	if inForce && n.holds(name, p.Compiled) {
		return byUs
	}
	known := false // an earlier policy that is kept has it
	for _, g := range (store.Store{Dir: n.store}).Earlier() {
		p, ok := g.Index.Profile(name)
		known = known || ok
		switch {
		case !ok || !n.holds(name, p.Compiled):
		case inForce:
			return earlier
		default:
			return dropped
		}
	}
	if _, err := n.texts().Get(name); err != nil && !inForce && !known {
		return dropped // so long ago that the policy which had it is not kept
	}
	return changed
}

// holds reports whether the kernel has a profile with this content.
func (n *node) holds(name string, content []profile.Compiled) bool {
	found, err := n.kernel.Check(kernel.Profile{Name: name, Compiled: content})
	return err == nil && found.Status == kernel.Matches
}
