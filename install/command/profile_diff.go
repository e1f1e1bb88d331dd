package command

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/profiles"
)

func diffCommand(s *session) *cobra.Command {
	var features string
	var means, json bool
	var of func(features string) (*node.Node, error)
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare two profiles: texts line by line, by content, or in what they mean",
		Long: `Compare two profiles, each of them one of these:

  FILE            the text in a file
  node:NAME       a generated profile, such as docker-default, for this node
  2015:NAME       docker-default as Docker's page on AppArmor had it in 2015
  policy:NAME     the profile of the policy in force
  kernel:NAME     what the kernel has loaded

` + unappliedHelp + `

Texts are compared line by line. Two profiles do the same if they compile to the
same. The kernel keeps no text: its profiles are compared by their hashes, and also
line by line if oci-apparmor knows the text that was loaded.

The exit code is 0 if both have the same content, and 1 if they do not.

With --meaning it compares what both mean, whatever their texts say: which accesses
become allowed, denied or logged from A to B, and which programs go on elsewhere.
Differences are patterns as in rules, each with the shortest access that shows it. A
pattern is exactly what differs; "some of" says that it is wider. That nothing
differs is decided for all accesses, by the automata of the compiled profiles. The
children of A and B are compared, and other profiles to which both lead, where they
are known. A and B may also be files of compiled profiles, as apparmor_parser -S
writes them, and stacks of several profiles with //& between them. An access that
asks a stack for several permissions at once may still be logged otherwise. Some
kernels answer otherwise to the same compiled profile: "not with" names those with
which an example does not change. The exit code is then that of diff(1): 0 if the
meaning is the same, 1 if not, 2 for trouble.`,
		Example: `  oci-apparmor profile diff 2015:docker-default node:docker-default
  oci-apparmor profile diff kernel:docker-default node:docker-default
  oci-apparmor profile diff --meaning policy:web profiles/web
  oci-apparmor profile diff --meaning "policy:node-baseline//&policy:web" policy:web`,
		Args: cobra.ExactArgs(2),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if json && !means {
				return exit.With(exit.Usage, errors.New("--json is for differences in meaning: give --meaning with it"))
			}
			n, err := of(features)
			switch {
			case err != nil && means:
				return trouble(err)
			case err != nil:
				return err
			case means:
				return trouble(runDiffMeaning(cmd.Context(), s, n, features, args[0], args[1], json))
			}
			return runDiff(cmd.Context(), s, n, features, args[0], args[1])
		}),
	}
	of = unapplied(cmd, s)
	cmd.Flags().StringVar(&features, "features", "",
		"compile for a kernel with the features in this `file`, not for the one that runs")
	cmd.Flags().BoolVar(&means, "meaning", false, "compare what they allow, deny and log")
	cmd.Flags().BoolVar(&json, "json", false, "print JSON, with --meaning")
	return cmd
}

func runDiff(ctx context.Context, s *session, n *node.Node, features, a, b string) error {
	d, err := profiles.Diff(ctx, n, features, a, b)
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
