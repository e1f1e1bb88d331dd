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
		Short: "Put the previous policy in force again",
		Long: `Put the policy in force again that was in force before the present one, with the
profiles as they were compiled then, and print what changes. It gets a new number. A
second rollback undoes the first. The policy file stays as it is, and the next
policy apply puts the file in force. So do the next boot and systemctl reload
oci-apparmor: correct the file before. If the kernel had other features then, the
command warns of that, because it compiles nothing. It runs no tests, either: those
of a policy with require: tests passed when it was applied.

The command loads nothing into the kernel; see policy apply. It puts back the
profiles' files for AppArmor's service, so that the service loads the same.`,
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
	if r.Tests != "" {
		out.Line("%s", r.Tests)
	}
	return out.Err
}
