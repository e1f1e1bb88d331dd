package command

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/profiles"
	"github.com/oci-apparmor/oci-apparmor/install/unload"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

type unloadOptions struct {
	whenIdle, foreign, quiet bool
}

func unloadCommand(s *session) *cobra.Command {
	var o unloadOptions
	cmd := &cobra.Command{
		Use:   "unload NAME...",
		Short: "Remove profiles from the kernel that nothing uses",
		Long: `Remove profiles from the kernel that nothing uses.

A process whose profile is removed is unconfined from then on, also when the
profile is loaded again. So a profile is not removed while a process runs under it
or is about to, or while a container is created that waits to be started: these
are listed. Containers that start through oci-apparmor wait while it looks; what
another runtime starts in the very moment of the removal it cannot see.

Of several profiles, none is removed if one cannot be, and with --when-idle none
before all are idle. A child goes with its profile, or alone by its whole name,
PROFILE//CHILD. Profiles that somebody else has loaded are not removed without
--foreign.`,
		Args: atLeastOne("profile"),
		RunE: action(func(cmd *cobra.Command, args []string) error { return runUnload(cmd.Context(), s, &o, args) }),
	}
	cmd.Flags().BoolVar(&o.whenIdle, "when-idle", false, "wait until nothing uses any of them")
	cmd.Flags().BoolVar(&o.foreign, "foreign", false, "remove profiles that somebody else has loaded, too")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "print nothing but errors")
	return cmd
}

func runUnload(ctx context.Context, s *session, o *unloadOptions, names []string) error {
	out := s.print()
	err := profiles.Unload(ctx, s.Node, profiles.UnloadOptions{
		WhenIdle: o.whenIdle,
		Foreign:  o.foreign,
		Waiting: func(busy unload.InUse) {
			for _, b := range busy {
				if !o.quiet {
					s.Warnf("waiting until nothing uses profile %s any more:\n%s", oneline.Whole(b.Profile),
						strings.Join(profiles.UserLines(b.Users), "\n"))
				}
			}
		},
		Removed: func(name string, inForce bool) {
			if o.quiet {
				return
			}
			out.Line("%s: removed", oneline.Whole(name))
			if inForce {
				out.Line("%s is one of the policy in force: the next container that needs it loads it again", name)
			}
		},
	}, names)
	if err != nil {
		return err
	}
	return out.Err
}
