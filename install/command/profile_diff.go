package command

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/profiles"
)

func diffCommand(s *session) *cobra.Command {
	var features string
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare two profiles: texts line by line, and what the kernel has by content",
		Long: `Compare two profiles, each of them one of these:

  FILE            the text in a file
  node:NAME       a generated profile, such as docker-default, for this node
  2015:NAME       docker-default as Docker's page on AppArmor had it in 2015
  policy:NAME     the profile of the policy in force
  kernel:NAME     what the kernel has loaded

Texts are compared line by line. Two profiles do the same if they compile to the
same. The kernel keeps no text: its profiles are compared by their hashes, and also
line by line if oci-apparmor knows the text that was loaded.

The exit code is 0 if both have the same content, and 1 if they do not.`,
		Example: `  oci-apparmor profile diff 2015:docker-default node:docker-default
  oci-apparmor profile diff kernel:docker-default node:docker-default`,
		Args: cobra.ExactArgs(2),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			return runDiff(cmd.Context(), s, features, args[0], args[1])
		}),
	}
	cmd.Flags().StringVar(&features, "features", "",
		"compile for a kernel with the features in this `file`, not for the one that runs")
	return cmd
}

func runDiff(ctx context.Context, s *session, features, a, b string) error {
	d, err := profiles.Diff(ctx, s.Node, features, a, b)
	if d == nil {
		return err
	}
	out := s.print()
	for line := range strings.Lines(d.Text) {
		out.Line("%s", strings.TrimSuffix(line, "\n"))
	}
	for _, is := range d.Unknown {
		out.Line("%s: there is no text of it, so that only hashes can be compared", is)
	}
	switch {
	case err != nil:
		return err
	case d.Same:
		out.Line("the same content: %s", d.Why)
		return out.Err
	}
	out.Line("other content: %s", d.Why)
	if out.Err != nil {
		return out.Err
	}
	return exit.Silently(exit.BadPolicy)
}
