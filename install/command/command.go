// Package command holds the commands of oci-apparmor, which is for the operator of a node: of each its flags, its options, the
// function that runs it, and what it prints. What they do stands in the packages beside it.
package command

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Run runs a command line on this machine, and returns its exit code.
//
// Exit codes: 0 done; 1 the policy or a profile is bad, or two that are compared differ; 2 the command line is bad; 3 it
// cannot be done here; 4 the container that is asked about would be refused, or one that runs by a policy that is tried; 5 the
// process that is asked about is not confined as decided. The command status has those of aa-status.
func Run(ctx context.Context, args []string) int { return run(ctx, thisNode(), args) }

func run(ctx context.Context, n *node, args []string) int {
	cmd := rootCommand(n)
	cmd.SetArgs(args)
	cmd.SetOut(n.stdout)
	cmd.SetErr(n.stderr)
	cmd, err := cmd.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	var f *failure
	if !errors.As(err, &f) { // cobra's own
		f = &failure{usage, fmt.Errorf("%w: see %s --help", err, cmd.CommandPath())}
	}
	if f.error != nil {
		for _, line := range errorLines(f.error) {
			fmt.Fprintln(n.stderr, line)
		}
	}
	return f.code
}

func rootCommand(n *node) *cobra.Command {
	root := &cobra.Command{
		Use:   "oci-apparmor",
		Short: "Decide which AppArmor profile confines each container on this node",
		Long: `Decide which AppArmor profile confines each container on this node.

Exit codes:
  0  done
  1  the policy, or a profile, is bad; profile diff: the two differ
  2  the command line is
  3  it cannot be done, or told, here
  4  policy explain: the container would be refused; policy apply --dry-run: a
     running one would be, at its next start
  5  policy explain --pid: the process is not confined as decided
  status has those of aa-status: see its help`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	policy := &cobra.Command{
		Use:   "policy",
		Short: "Check, apply, load and explain the node's policy",
		Args:  cobra.NoArgs,
		RunE:  action(func(cmd *cobra.Command, _ []string) error { return cmd.Help() }),
	}
	policy.AddCommand(applyCommand(n), rollbackCommand(n), loadPolicyCommand(n), checkCommand(n), explainCommand(n), showCommand(n), schemaCommand(n))
	root.SetVersionTemplate("oci-apparmor {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		var bad *pflag.InvalidValueError
		if errors.As(err, &bad) {
			return fmt.Errorf("--%s %s: %w", bad.GetFlag().Name, bad.GetValue(), errors.Unwrap(bad))
		}
		return err
	})
	root.AddCommand(policy, profileCommand(n), statusCommand(n), logCommand(n), versionCommand(n))
	return root
}

func versionCommand(n *node) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: action(func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(n.stdout, "oci-apparmor", version())
			return err
		}),
	}
}

// version is the module's version, or the commit that it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return strings.Trim(info.Main.Version, "()")
}
