package command

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/apply"
)

type rollbackOptions struct {
	store string
	quiet bool
}

func rollbackCommand(s *session) *cobra.Command {
	var o rollbackOptions
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Put the policy in force again that was before the present one",
		Long: `Put the policy in force again that was in force before the present one, with the
profiles as they were compiled then, and say what changes by that. It gets a number
of its own; a second rollback takes the first back. The policy file stays as it is,
and the next policy apply puts that in force. So do the next boot and systemctl
reload oci-apparmor: mend the file before. Where the kernel had other features then,
a warning says so: nothing is compiled again.

Nothing is loaded into the kernel by this; see policy apply. The profiles' files
for AppArmor's service become those of then, so that this service loads the same.`,
		Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error { return runRollback(cmd.Context(), s, &o) }),
	}
	cmd.Flags().StringVar(&o.store, "store", s.Store, "`directory` of the applied policy")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "print nothing but errors")
	return cmd
}

func runRollback(ctx context.Context, s *session, o *rollbackOptions) error {
	r, err := apply.Rollback(ctx, s.Node, o.store)
	if err != nil || o.quiet {
		return err
	}
	out := s.print()
	if !r.Changed {
		out.Line("generation %d stays in force: generation %d had the same", r.Now.Number, r.Back.Number)
		return out.Err
	}
	out.Line("generation %d is in force, with what generation %d had, in place of generation %d", r.Generation.Number, r.Back.Number,
		r.Now.Number)
	for _, line := range r.Changes {
		out.Wrapped("  ", line)
	}
	return out.Err
}
