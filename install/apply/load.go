package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/install/bootfiles"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Loaded is what Load did with one profile of the policy in force.
type Loaded struct {
	Name    string
	Done    kernel.Done
	Planned bool // as in kernel.Loaded
	Warning string
}

// Load loads the profiles of the policy in force into the kernel. dir is the directory of the applied policy. Load
// calls report for each profile as soon as it is loaded. said has sentences about all of them: which containers still
// run under earlier content, and which programs cannot stop the containers under a profile.
//
// If one profile cannot be loaded, Load goes on with the next one. The error joins the errors of all.
func Load(ctx context.Context, n *node.Node, dir string, report func(Loaded)) (g *store.Generation, said []string, err error) {
	if g, err = n.Current(dir); err != nil {
		return nil, nil, err
	}
	said, err = load(ctx, n, dir, g, func(string) bool { return true }, report)
	return g, said, err
}

// load is Load for those profiles of a generation whose names are wanted.
func load(ctx context.Context, n *node.Node, dir string, g *store.Generation, wanted func(name string) bool, report func(Loaded)) (
	said []string, err error) {
	p, err := g.Index.Config()
	if err != nil || len(p.Profiles) == 0 { // it needs no AppArmor either
		return nil, err
	}
	p.Profiles = slices.DeleteFunc(p.Profiles, func(pr policy.Profile) bool { return !wanted(pr.Name) })
	if err := n.Ready(); err != nil {
		return nil, err
	}
	bootfiles.Claim(ctx, n)
	var errs []error
	var replaced []string
	for _, pr := range p.Profiles {
		loaded, err := n.Kernel.Ensure(ctx, []kernel.Profile{{
			Name:     pr.Name,
			Compiled: pr.Compiled,
			OnDrift:  pr.OnDrift,
			Blob:     func() ([]byte, error) { return g.Blob(pr) },
			Earlier:  func() [][]profile.Compiled { return store.Store{Dir: dir}.EarlierOf(pr.Name) },
		}})
		if err != nil {
			errs = append(errs, exit.AsRoot(err))
			continue
		}
		if loaded[0].Done == kernel.Replaced {
			replaced = append(replaced, pr.Name)
		}
		report(Loaded{pr.Name, loaded[0].Done, loaded[0].Planned, loaded[0].Warning})
	}
	if len(replaced) > 0 {
		if stale := n.State.Host.StaleAfter(nil, replaced...); stale != "" {
			said = append(said, stale)
		}
	}
	said = append(said, n.RefusedBy(p)...)
	if len(errs) > 0 {
		errs = append(errs, fmt.Errorf("%d of the %d profiles of the policy in force (generation %d) are not loaded as it says",
			len(errs), len(p.Profiles), g.Number))
		return said, exit.With(exit.Cannot, errors.Join(errs...))
	}
	return said, nil
}
