package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

type loadPolicyOptions struct {
	store string
	quiet bool
}

func loadPolicyCommand(n *node) *cobra.Command {
	var o loadPolicyOptions
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Load the profiles of the policy in force into the kernel",
		Long: `Load the profiles of the policy in force into the kernel, as they were compiled by
the last policy apply that succeeded: no compiler is run. One that the kernel has
with that content is left alone; one with other content is replaced or not as the
policy says (onDrift).

A container that needs a profile loads it by itself when it starts. This is for
what looks for a profile in the kernel before: engines that are told to use one
by its name. The unit oci-apparmor.service does it at boot.

A profile that cannot be loaded does not keep the others from it; the exit code is
3 then. What cannot be loaded and what is warned of is in the node's log, too, but
for a load before the first apply: see oci-apparmor log.`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			err := n.loadPolicy(cmd.Context(), o)
			// On a first boot the unit has a load before the first apply: nothing is refused where nothing was ever applied.
			if !errors.Is(err, store.ErrNone) || errors.Is(err, store.ErrLost) {
				n.noteErrors("load", err)
			}
			return err
		}),
	}
	cmd.Flags().StringVar(&o.store, "store", n.store, "`directory` of the applied policy")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "print nothing but errors")
	return cmd
}

func (n *node) loadPolicy(ctx context.Context, o loadPolicyOptions) error {
	g, err := n.current(o.store)
	if err != nil {
		return err
	}
	p, err := g.Index.Policy()
	if err != nil {
		return err
	}
	out := &printer{w: n.stdout}
	if len(p.Profiles) == 0 { // it needs no AppArmor either
		if !o.quiet {
			out.line("the policy in force (generation %d) has no profiles", g.Number)
		}
		return out.err
	}
	if err := n.ready(); err != nil {
		return err
	}
	n.claim(ctx)
	var errs []error
	var replaced []string
	for _, pr := range p.Profiles {
		loaded, err := n.kernel.Ensure(ctx, []kernel.Profile{{
			Name:     pr.Name,
			Compiled: pr.Compiled,
			OnDrift:  pr.OnDrift,
			Blob:     func() ([]byte, error) { return g.Blob(pr) },
		}})
		if err != nil {
			errs = append(errs, asRoot(err))
			continue
		}
		if loaded[0].Warning != "" {
			n.warnAndNote("load", fmt.Sprintf("profile %s: %s", pr.Name, loaded[0].Warning))
		}
		if loaded[0].Done == kernel.Replaced {
			replaced = append(replaced, pr.Name)
			n.note(notice.Warning, "load", fmt.Sprintf("profile %s was loaded with other content than the policy's, and has been replaced",
				pr.Name))
		}
		switch {
		case o.quiet:
		case loaded[0].Done == kernel.Verified:
			out.line("%s: is loaded already, with this content", pr.Name)
		default:
			out.line("%s: %s", pr.Name, loaded[0].Done)
		}
	}
	if said := n.behind(replaced...); said != "" {
		n.warnAndNote("load", said)
	}
	for _, said := range n.refusedOf(p) {
		n.warnAndNote("load", said)
	}
	if len(errs) > 0 {
		errs = append(errs, fmt.Errorf("%d of the %d profiles of the policy in force (generation %d) are not loaded as it says",
			len(errs), len(p.Profiles), g.Number))
		return &failure{cannot, errors.Join(errs...)}
	}
	return out.err
}

// behind says which containers have processes that do not follow when profiles are replaced; empty where there is none.
func (n *node) behind(replaced ...string) string {
	if len(replaced) == 0 {
		return ""
	}
	return n.state.Host.Behind(nil, replaced...)
}
