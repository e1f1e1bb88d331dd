package command

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/apply"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
)

func checkCommand(s *session) *cobra.Command {
	var o apply.CheckOptions
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the policy file, and change nothing",
		Long: `Check the policy file, or the one that --config names: a file, or the directory of
policy.yaml; and the tests beside it, which policy test runs. Paths in it are
relative to its directory. This needs neither root nor AppArmor, unless the
profiles are to be compiled. If root runs it, it refuses files that others could
have written, as policy apply does. With --features, which is for another node, it
only warns of them.`,
		Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error { return runCheck(cmd.Context(), s, o) }),
	}
	cmd.Flags().StringVar(&o.Path, "config", s.Config, "check this `file`, or the policy.yaml in this directory")
	cmd.Flags().BoolVar(&o.Compile, "compile", false, "compile the profiles, too")
	cmd.Flags().StringVar(&o.Features, "features", "",
		"compile for a kernel with the features in this `file`, not for the one that runs")
	return cmd
}

func runCheck(ctx context.Context, s *session, o apply.CheckOptions) error {
	if o.Features != "" && !o.Compile {
		return exit.With(exit.Usage, errors.New("--features is for compiling: give --compile with it"))
	}
	o.Progress = &progress{session: s}
	checked, err := apply.Check(ctx, s.Node, o)
	if err != nil {
		return err
	}
	s.warnAll(checked.Warnings, checked.Refused)
	compiled := ""
	if checked.Compiled {
		compiled = ", all of them compiled"
	}
	out := s.print()
	out.Line("ok: %s", summary(checked.Policy, compiled))
	printNotes(out, checked.Policy)
	if t := checked.Tests; len(t.Files) > 0 {
		out.Line("%s not run: policy test runs them", testsOf(t))
	}
	if !o.Compile && len(checked.Policy.Profiles) > 0 {
		out.Line("profiles not compiled: check --compile does that")
	}
	return out.Err
}

// testsOf returns the numbers of a policy's tests: "2 tests, 1 never".
func testsOf(t *policyfile.Suite) string {
	var parts []string
	for _, n := range []struct {
		n         int
		one, many string
	}{{len(t.Tests), "test", "tests"}, {len(t.Nevers), "never", "nevers"}, {len(t.Floors), "floor", "floors"}} {
		if n.n > 0 {
			parts = append(parts, output.Count(n.n, n.one, n.many))
		}
	}
	if len(parts) == 0 {
		return "no tests"
	}
	return strings.Join(parts, ", ")
}
