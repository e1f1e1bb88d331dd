package command

import (
	"cmp"
	"context"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/profiles"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

func listCommand(s *session) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the profiles in the kernel, who loaded them, and how many processes they confine",
		Args:  noArgs,
		RunE:  action(func(cmd *cobra.Command, _ []string) error { return runList(cmd.Context(), s, asJSON) }),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func runList(ctx context.Context, s *session, asJSON bool) error {
	all, err := profiles.List(ctx, s.Node)
	if err != nil {
		return err
	}
	if asJSON {
		return output.JSON(s.stdout, all)
	}
	out := s.print()
	if len(all) == 0 {
		out.Line("no profile is loaded")
		return out.Err
	}
	names := len("PROFILE")
	for _, l := range all {
		names = max(names, len(oneline.Whole(l.Whole())))
	}
	names = min(names, 50)
	out.Line("%-*s  %-10s  %-12s  %s", names, "PROFILE", "MODE", "LOADED BY", "PROCESSES")
	for _, l := range all {
		out.Line("%-*s  %-10s  %-12s  %d", names, oneline.Whole(l.Whole()), l.Mode, cmp.Or(l.LoadedBy, "?"), l.Processes)
	}
	return out.Err
}
