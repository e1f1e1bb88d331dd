package command

import (
	"errors"

	"github.com/spf13/cobra"
)

func profileCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "profile",
		Short: "Make, check, load, unload and show AppArmor profiles by hand",
		Args:  aCommand,
		RunE:  action(func(cmd *cobra.Command, _ []string) error { return cmd.Help() }),
	}
	cmd.AddCommand(newCommand(s), learnCommand(s), tightenCommand(s), offerCommand(s), profileCheckCommand(s), loadCommand(s), unloadCommand(s),
		listCommand(s), profileShowCommand(s), diffCommand(s), containsCommand(s), whyCommand(s), mergeCommand(s), intersectCommand(s),
		daemonCommand(s))
	return cmd
}

// atLeastOne returns the check of a command that needs one argument or more. what is an argument's name.
func atLeastOne(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return errors.New("name at least one " + what)
		}
		return nil
	}
}
