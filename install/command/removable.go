package command

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/engines"
	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/kubernetes"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// removableCommand says by its exit code whether the programs may be taken off this node, and prints why not. The code is
// kubernetes.Needed where containers of ours are in the way, and nothing that only people can undo. With --uninstall it takes ours
// out of engines first, where nothing is lost by that and nothing else is in the way. It is for the scripts of packages and for make
// uninstall.
func removableCommand(s *session) *cobra.Command {
	o := wiringOptions{root: "/"}
	var uninstall bool
	cmd := &cobra.Command{
		Use: "removable", Hidden: true, Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			h, err := hostOf(&o)
			if err != nil {
				return err
			}
			b, err := wire.Look(h.Tree)
			if err == nil {
				ties := engines.FindTies(cmd.Context(), b, h)
				if !uninstall || len(ties.Wired) == 0 || len(ties.Containers) > 0 {
					return s.tied(ties)
				}
			} else if !uninstall {
				return exit.AsRoot(err)
			}
			return s.makeRemovable(cmd.Context(), h)
		}),
	}
	cmd.Flags().StringVar(&o.bin, "bin", "", "`directory` of the programs (default: that of this program)")
	cmd.Flags().BoolVar(&uninstall, "uninstall", false, "take ours out of engines first, where nothing is lost by that")
	return cmd
}

// tied returns an error if there are ties, and warns of what is not known.
func (s *session) tied(ties *engines.Ties) error {
	for _, why := range ties.Unknown {
		s.Warn("whether the programs are needed is not known for certain: " + oneline.Printable(why))
	}
	var errs []error
	for _, why := range ties.All() {
		errs = append(errs, errors.New("the programs must stay: "+oneline.Printable(why)))
	}
	if len(ties.Containers) > 0 && len(ties.ByHand) == 0 { // they end some time
		return exit.With(kubernetes.Needed, errors.Join(errs...))
	}
	return errors.Join(errs...)
}

// makeRemovable takes ours out of engines, unless something is in the way of removing the programs.
func (s *session) makeRemovable(ctx context.Context, h *host.Host) error {
	b, err := openBook(ctx, s, h, true)
	if err != nil {
		return exit.AsRoot(err)
	}
	defer b.Close()
	plans, ties := engines.PlanRemoval(ctx, b, h)
	if err := s.tied(ties); err != nil || len(plans) == 0 {
		return err
	}
	out := s.print()
	if err := showPlans(out, plans); err != nil {
		return err
	}
	if err := guard(ctx, h, plans); err != nil {
		return err
	}
	done, err := engines.Try(ctx, b, h, plans, prober(s, h))
	if err := showDone(out, done, h.Live()); err != nil {
		return err
	}
	if err != nil {
		return exit.AsRoot(engines.Halfway(done, err))
	}
	return s.tied(engines.FindTies(ctx, b, h))
}
