package command

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/apply"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/profiles"
)

type loadOptions struct {
	names                  []string
	replace, dryRun, quiet bool
}

func loadCommand(s *session) *cobra.Command {
	var o loadOptions
	cmd := &cobra.Command{
		Use:   "load FILE...",
		Short: "Load profiles into the kernel, or replace those that were loaded so",
		Long: `Load profiles into the kernel, or replace those that oci-apparmor had loaded.
All texts are read and compiled, and what they define is listed, before the first
is loaded. One that does not compile, that defines more than one profile (children
aside), or a name that is not safe, stops all of them.

Running containers keep their label; a profile that is replaced holds for them at
once, where the label is this one profile. Under a stack of profiles, what runs may
stay under the older content; those that do are listed. A container gets a profile
by the policy (oci-apparmor policy) or by its engine's option, such as docker run
--security-opt apparmor=NAME.

Profiles that somebody else has loaded, and those of the policy in force, are not
replaced without --replace.

What is loaded is also written to a file in /etc/apparmor.d, unless it was read
from one there, so that AppArmor's service loads it at boot and aa-remove-unknown
leaves it alone, until it is unloaded. A profile that containers depend on belongs
in the policy.`,
		Args: atLeastOne("file"),
		RunE: action(func(cmd *cobra.Command, args []string) error { return runLoadFiles(cmd.Context(), s, &o, args) }),
	}
	cmd.Flags().StringSliceVar(&o.names, "name", nil, "the `names` that the files must define, no more and no fewer")
	cmd.Flags().BoolVar(&o.replace, "replace", false, "replace profiles that somebody else has loaded, and the policy's, too")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "list what would be loaded, and load nothing")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "print nothing but errors")
	return cmd
}

func runLoadFiles(ctx context.Context, s *session, o *loadOptions, paths []string) error {
	if err := s.Ready(); err != nil && !o.dryRun {
		return err
	}
	set, err := profiles.Prepare(ctx, s.Node, paths)
	if err != nil {
		return err
	}
	out := s.print()
	if !o.quiet {
		for i := range set.Files {
			s.printDefined(ctx, out, set, &set.Files[i])
		}
	}
	if err := set.Check(ctx, o.names, o.replace); err != nil {
		return err
	}
	if o.dryRun {
		return out.Err
	}
	err = set.Load(ctx, o.replace, func(l profiles.Loaded) {
		if o.quiet {
			return
		}
		if l.Warning != "" {
			out.Line("%s: %s", l.Name, l.Warning)
		}
		printDone(out, l.Name, l.Done)
	})
	if err != nil {
		return err
	}
	return out.Err
}

// printDefined prints what a file defines, and warns of rules in it that are not enforced.
func (s *session) printDefined(ctx context.Context, out *output.Printer, set *profiles.Set, f *profiles.File) {
	from := ""
	if f.Target != "" {
		from = " (a link to " + f.Target + ")"
	}
	warnings := set.Lint(ctx, f)
	for _, w := range warnings {
		if w.Check == "not-enforced" || w.Check == "parser" { // it holds less than it says
			fmt.Fprintln(s.stderr, apply.WarningLine(f.Path, w))
		}
	}
	out.Line("%s%s: defines %s%s", f.Path, from, f.Defines(), hint(len(warnings)))
}

func hint(warnings int) string {
	if warnings == 0 {
		return ""
	}
	return "; " + output.Count(warnings, "warning", "warnings") + ", see oci-apparmor profile check"
}
