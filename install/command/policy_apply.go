package command

import (
	"context"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/apply"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

type applyOptions struct {
	apply.Options
	quiet, dry bool
}

func applyCommand(s *session) *cobra.Command {
	var o applyOptions
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Check the policy, compile its profiles, and put it in force",
		Long: `Check the policy, compile its profiles, and put it in force for containers that
start from now on. Run it after every change to the policy file or to a profile,
and after an upgrade of AppArmor or of the kernel.

Nothing is loaded into the kernel by this. A changed profile is loaded at the next
start or exec of any container that needs it, or by policy load; the kernel
replaces it in place, so it then holds for all running containers whose label is
this one profile. What runs under a stack, as with a floor, takes over the first
replacement of a profile, and no later one: whoever replaces says which containers
stay behind, status calls them stale, and they must be started anew. Which profiles
a running container has does not change until it is started again.

Each profile is also written to a file in /etc/apparmor.d, where AppArmor's own
service finds it at boot and when it is reloaded, and aa-remove-unknown sees that
it is known. With --store or --features, which are for another node, no file is
written. A policy for which a file cannot be written, or whose file would not mean
the same as the profile, is not applied.

Only what changed is compiled: a profile is kept as it was compiled before as long
as its text with all that it includes, its mode, apparmor_parser, its configuration
and the kernel's features are the same.

A policy with an error in it is not applied: the last good one stays in force. With
require: tests in the policy file, neither is one without tests, or with a test that
fails: see policy test.

With --dry-run all is checked and compiled, tests that are required are run, and
nothing is written: it says what would change of profiles, policies and rules, and
whether tests are required, which then pass. Of the running containers that
oci-apparmor has decided about it says what their next start would get, by what
their bundles say now: the same, another label, or a refusal, as of a request that
no rule allows any more. It also says which run under a profile whose content would
change, and whether what runs in them would follow that, or is to be started anew.
The exit code is 4 if a running container would be refused at its next start.`,
		Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			o.Progress = &progress{session: s, quiet: o.quiet}
			if o.dry {
				return runDryRun(cmd.Context(), s, &o)
			}
			return runApply(cmd.Context(), s, &o)
		}),
	}
	cmd.Flags().StringVar(&o.Config, "config", s.Config, "`directory` of policy.yaml")
	cmd.Flags().StringVar(&o.Store, "store", s.Store, "`directory` of the applied policy")
	cmd.Flags().StringVar(&o.Features, "features", "",
		"compile for a kernel with the features in this `file`, not for the one that runs")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "print nothing but errors")
	cmd.Flags().BoolVar(&o.dry, "dry-run", false, "write nothing, and say what would change")
	return cmd
}

func runApply(ctx context.Context, s *session, o *applyOptions) error {
	debug.SetGCPercent(500) // the command needs all that it reads until its end, which is soon
	a, err := apply.Apply(ctx, s.Node, o.Options)
	if err != nil || o.quiet {
		return err
	}
	s.warnAll(a.Warnings, a.Refused())
	if o.Features != "" && o.Store == store.Dir {
		s.Warnf("the profiles are compiled for a kernel with the features in %s, and in force on this node: --store names a directory "+
			"for another node's", o.Features)
	}
	c, err := a.Generation.Config()
	if err != nil {
		return err
	}
	if o.Features == "" {
		s.warnOfEngines(ctx, c)
	}
	out := s.print()
	switch g := a.Generation; {
	case !a.Changed:
		out.Line("generation %d stays in force: nothing has changed", g.Number)
	case a.Before != nil:
		out.Line("generation %d is in force, in place of generation %d", g.Number, a.Before.Number)
	case g.Number > 1:
		out.Line("generation %d is in force; the one before it could not be read", g.Number)
	default:
		out.Line("generation %d is in force, the first on this node", g.Number)
	}
	printPolicy(out, c, 20)
	printNotes(out, c)
	if a.Notice != "" {
		out.Line("%s", a.Notice)
	}
	if anew := a.BegunAnew(); anew != "" {
		out.Wrapped("", anew)
	}
	if err := s.printStandings(out, c, o.Store == s.Store && o.Features == ""); err != nil {
		return err
	}
	return out.Err
}

// warnOfEngines warns of profiles with the name of an engine's default profile, if the engine has loaded its own one. A
// start of a container would be refused then. The policy baseline has such a profile, docker-default.
func (s *session) warnOfEngines(ctx context.Context, c *policy.Config) {
	for _, p := range c.Profiles {
		title, is := engine.ByDefault(p.Name)
		if !is {
			continue
		}
		if state, refusal := s.InKernel(ctx, p); state != nil && state.State == "drifted" && refusal != "" {
			s.Warnf("containers that get profile %s will not start: %s loads a profile of this name itself. Generate one of "+
				"another name, as \"profiles: {node-baseline: {template: docker-default}}\" does, or give this one onDrift: replace",
				p.Name, title)
		}
	}
}
