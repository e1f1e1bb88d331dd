// Package command has the commands of oci-apparmor, the program for the operator of a node. Each command has its flags, its
// options, the function that runs it, and its output. The packages beside this one do the work.
//
// A file has the command of its name: policy_apply.go has "oci-apparmor policy apply".
package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oci-apparmor/oci-apparmor/hook/version"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/policy/nearest"
)

// Run runs a command line on this machine, and returns its exit code: one of package exit, or for the command status one of
// aa-status.
func Run(ctx context.Context, args []string) int { return run(ctx, thisSession(), args) }

func run(ctx context.Context, s *session, args []string) int {
	cmd := rootCommand(s)
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		unquoteUsage(cmd)
	}
	cmd.SetArgs(args)
	cmd.SetOut(s.stdout)
	cmd.SetErr(s.stderr)
	cmd, err := cmd.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	var e *exit.Error
	if !errors.As(err, &e) { // cobra's own
		e = &exit.Error{Code: exit.Usage, Err: fmt.Errorf("%w: see %s --help", err, cmd.CommandPath())}
	}
	if e.Err != nil {
		for _, line := range exit.Lines(e.Err) {
			fmt.Fprintln(s.stderr, line)
		}
	}
	return e.Code
}

func rootCommand(s *session) *cobra.Command {
	root := &cobra.Command{
		Use:   "oci-apparmor",
		Short: "Decide which AppArmor profile confines each container on this node",
		Long: `Decide which AppArmor profile confines each container on this node.

Exit codes:
  0  done
  1  the policy, or a profile, is bad; policy test: a test fails; profile diff and
     policy diff: the two differ; profile contains: it does not; doctor: there is
     an error
  2  the command line is wrong; profile diff --meaning, profile contains and
     policy diff: trouble
  3  it cannot be done here, or the answer is not known
  4  policy explain: the container would be refused; policy apply --dry-run: a
     running container would be refused at its next start; policy promote: a
     policy that was named stays in complain mode; doctor: there is a warning
  5  policy explain --pid: the process is not confined as decided
  status has the exit codes of aa-status: see its help`,
		Args:          aCommand,
		RunE:          action(func(cmd *cobra.Command, _ []string) error { return cmd.Help() }),
		Version:       version.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	policy := &cobra.Command{
		Use:   "policy",
		Short: "Check, test, apply, load and explain the node's policy",
		Args:  aCommand,
		RunE:  action(func(cmd *cobra.Command, _ []string) error { return cmd.Help() }),
	}
	policy.AddCommand(applyCommand(s), policyDiffCommand(s), rollbackCommand(s), loadPolicyCommand(s), checkCommand(s), explainCommand(s),
		showCommand(s), schemaCommand(s), testCommand(s), watchCommand(s), promoteCommand(s))
	root.SetVersionTemplate("oci-apparmor {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		var bad *pflag.InvalidValueError
		if errors.As(err, &bad) {
			if bad.GetFlag().Value.Type() == "bool" {
				return fmt.Errorf("--%s=%s: it is true or false", bad.GetFlag().Name, bad.GetValue())
			}
			return fmt.Errorf("--%s %s: %w", bad.GetFlag().Name, bad.GetValue(), errors.Unwrap(bad))
		}
		return err
	})
	root.AddCommand(policy, profileCommand(s), statusCommand(s), logCommand(s), auditCommand(s), installCommand(s), uninstallCommand(s),
		doctorCommand(s), agentCommand(s), kubernetesCommand(s), versionCommand(s), waitCommand(), pruneCommand(), settleCommand(s),
		removableCommand(s), putBackCommand(s))
	root.CompletionOptions.HiddenDefaultCmd = true // make install puts the shells' files where they look
	complete(root, s)
	root.SetHelpCommand(helpCommand(root))
	return root
}

// helpCommand is cobra's, but that an argument that is no command is an error.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]...",
		Short: "Print the help of a command",
		ValidArgsFunction: func(_ *cobra.Command, args []string, start string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
			about, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			for _, c := range about.Commands() {
				if c.IsAvailableCommand() && strings.HasPrefix(c.Name(), start) {
					names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: action(func(_ *cobra.Command, args []string) error {
			about, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 {
				err = aCommand(about, rest)
			}
			if err != nil {
				return exit.With(exit.Usage, err)
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		}),
	}
}

// noArgs returns an error if a command that takes no arguments has one.
func noArgs(cmd *cobra.Command, args []string) error {
	if cmd.HasAvailableSubCommands() {
		return aCommand(cmd, args)
	}
	if len(args) > 0 {
		return fmt.Errorf("%s takes no argument, and %q is one", cmd.CommandPath(), args[0])
	}
	return nil
}

// below returns the commands that are meant two levels below a command, at most one of each group. meant chooses among their
// names.
func below(cmd *cobra.Command, meant func(names []string) string) (list []string) {
	for _, group := range cmd.Commands() {
		if !group.IsAvailableCommand() {
			continue
		}
		var names []string
		for _, c := range group.Commands() {
			if c.IsAvailableCommand() {
				names = append(names, c.Name())
			}
		}
		if name := meant(names); name != "" {
			list = append(list, group.Name()+" "+name)
		}
	}
	return list
}

// aCommand returns an error if a command that only has subcommands gets another argument.
func aCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	cmd.SuggestionsMinimumDistance = 2
	list := cmd.SuggestionsFor(args[0])
	list = append(list, below(cmd, func(names []string) string { // "apply" for "policy apply"
		if slices.Contains(names, args[0]) {
			return args[0]
		}
		return ""
	})...)
	if len(list) == 0 {
		list = below(cmd, func(names []string) string { return nearest.Of(args[0], names) })
	}
	if len(list) > 0 {
		hint = "; did you mean " + strings.Join(list, " or ") + "?"
	}
	return fmt.Errorf("unknown command %q for %q%s", args[0], cmd.CommandPath(), hint)
}

func versionCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: action(func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(s.stdout, "oci-apparmor", version.String())
			return err
		}),
	}
}
