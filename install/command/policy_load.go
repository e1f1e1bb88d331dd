package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/install/apply"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

type loadPolicyOptions struct {
	store string
	quiet bool
}

func loadPolicyCommand(s *session) *cobra.Command {
	var o loadPolicyOptions
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Load the profiles of the policy in force into the kernel",
		Long: `Load the profiles of the policy in force into the kernel, as they were compiled by
the last policy apply that succeeded. No compiler runs. A profile that the kernel has
with that content stays. One with other content is replaced or not, as the policy
says (onDrift).

A container's start loads the profiles that it needs. This command is for engines
that look for a profile in the kernel before: those that are told to use one by its
name. The unit oci-apparmor.service runs it at boot.

If a profile cannot be loaded, the others are loaded nevertheless, and the exit code
is 3. Errors and warnings are also in the node's log, except for a load before the
first apply: see oci-apparmor log.`,
		Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			err := runLoadPolicy(cmd.Context(), s, &o)
			// On a first boot, the unit loads before the first apply. Nothing was ever applied then, so nothing is refused.
			if !errors.Is(err, store.ErrNone) || errors.Is(err, store.ErrLost) {
				return s.noteErrors("load", err)
			}
			return err
		}),
	}
	cmd.Flags().StringVar(&o.store, "store", s.Store, "`directory` of the applied policy")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "print nothing but errors")
	return cmd
}

func runLoadPolicy(ctx context.Context, s *session, o *loadPolicyOptions) error {
	out := s.print()
	g, said, err := apply.Load(ctx, s.Node, o.store, func(l apply.Loaded) {
		if l.Warning != "" {
			s.warnAndNote("load", fmt.Sprintf("profile %s: %s", l.Name, l.Warning))
		}
		if l.Done == kernel.Replaced && !l.Planned {
			s.note(notice.Warning, "load", fmt.Sprintf("profile %s was loaded with other content than the policy's, and has been replaced",
				l.Name))
		}
		if !o.quiet {
			printDone(out, l.Name, l.Done)
		}
	})
	for _, sentence := range said {
		s.warnAndNote("load", sentence)
	}
	if err != nil || o.quiet {
		return err
	}
	p, err := g.Index.Config()
	if err == nil && len(p.Profiles) == 0 {
		out.Line("the policy in force (generation %d) has no profiles", g.Number)
	}
	return errors.Join(err, out.Err)
}

// printDone prints what Ensure did to a profile.
func printDone(out *output.Printer, name string, done kernel.Done) {
	if done == kernel.Verified {
		out.Line("%s: is loaded already, with this content", name)
	} else {
		out.Line("%s: %s", name, done)
	}
}
