package command

import (
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/profiles"
)

const combineHelp = `

Each of them is a FILE, or one of node:NAME, 2015:NAME, policy:NAME and kernel:NAME, as
profile diff has them. Of a profile in the kernel the text must be known.

The text has no includes and no variables. It is compiled, and compared with the
profiles for every path, label, mount, socket and so on: only a text that allows
exactly what it should is printed. Each permission counts by itself: what one profile
lets a process read and another lets it write, a merged one lets it read and write.
A program that is executed goes on as the profiles have it. Children and hats are
combined by their names. Rules name labels as the profiles do: one about the peer web
is still about processes under web.

Two answers of the kernel come from several rules together, and so do those of the new
profile: for a peer under a stack it asks about each part of the stack, and for a link
it may compare what both its names allow.

What no single profile can say is an error, with an example: two ways for one program
to go on, flags that differ, a denial by one profile of a part of what another allows
that no pattern describes. Profiles with aliases, and those whose rules have a
priority, are not combined; nor are those that attach to programs, be it by extended
attributes (xattrs). The error then names the file and the line.

Logging follows the rules. One with audit keeps it. One that denies, and by that keeps
accesses out of the log, stays where no profile allows what it denies.

The exit code is 0 if a text is printed, and 1 if there is none.`

func mergeCommand(s *session) *cobra.Command {
	return combineCommand(s, &cobra.Command{
		Use:   "merge A B [...]",
		Short: "Write the profile that allows what at least one of several profiles allows",
		Long:  "Write the text of a profile that allows what at least one of several profiles allows." + combineHelp,
		Example: `  oci-apparmor profile merge node:docker-default more-for-shop >shop
  oci-apparmor profile merge --name batch policy:web policy:jobs`,
	}, false)
}

func intersectCommand(s *session) *cobra.Command {
	return combineCommand(s, &cobra.Command{
		Use:   "intersect A B [...]",
		Short: "Write the profile that allows what each of several profiles allows",
		Long: "Write the text of a profile that allows what each of several profiles allows. A process\n" +
			"under a stack of them, A//&B, may do the same; the stack needs no new profile, and can\n" +
			"do what no profile can say." + combineHelp,
		Example: `  oci-apparmor profile intersect node:docker-default web >web-in-docker-default`,
	}, true)
}

// combineCommand completes a command that combines profiles.
func combineCommand(s *session, cmd *cobra.Command, all bool) *cobra.Command {
	what := profiles.Combination{All: all}
	var flags string
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) < 2 {
			return errors.New("name at least two profiles")
		}
		return nil
	}
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		what.Profiles = args
		if cmd.Flags().Changed("flags") {
			what.Flags = strings.FieldsFunc(flags, func(r rune) bool { return r == ',' || r == ' ' })
			if what.Flags == nil || flags == "none" {
				what.Flags = []string{}
			}
		}
		text, err := profiles.Combine(cmd.Context(), s.Node, what)
		if err != nil {
			return err
		}
		_, err = io.WriteString(s.stdout, text)
		return err
	})
	cmd.Flags().StringVar(&what.Name, "name", "", "the new profile's `name`; without it, those of all profiles with - between them")
	cmd.Flags().StringVar(&flags, "flags", "",
		"the new profile's `flags` (attach_disconnected,mediate_deleted and the like, or none) where those of the profiles differ")
	cmd.Flags().StringVar(&what.Features, "features", "",
		"compile for a kernel with the features in this `file`, not for the one that runs")
	return cmd
}
