package command

import (
	"context"
	"fmt"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/install/apply"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/watcher"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/quiet"
)

func watchCommand(s *session) *cobra.Command {
	var only bool
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Watch policies in complain mode, and enforce those that were quiet for their enforceAfter",
		Long: `Watch the policies that have enforceAfter in the policy file, until a signal ends it,
and enforce each once a container of it has run for that time without anything that
would have been denied. Run it as a service. No start of a container depends on it:
without it, those policies stay in complain mode.

A time counts only if all of it is shown. Between two looks, the audit socket is read
without a gap, a denial that this provokes comes back through it at both ends, the
kernel has lost no record, and at both a container runs under the profile as the
policy in force has it. What would have been denied begins the time anew; so do lost
records, a socket that is dead, a profile that is loaded again or changed, another
watcher, and a boot. Other logs do not serve: nobody can tell afterwards that they
were written all the time. The clock is one that nobody can set, and that stands
still while the machine sleeps.

It looks every hundredth of the shortest enforceAfter, once a second at most and once
a minute at least. Each look costs a record of the denial in the node's logs, of about
250 bytes, and a look at the processes. Before Linux 6.13 it also uses a capability
on every processor, under a profile of its own, oci-apparmor.watch, which can be a
record more for each processor: such kernels log a capability of one profile only once
in a row.

To enforce a policy is to apply it anew with its profile in mode enforce, and to load
that. Where the policy file has changes that are not applied, nothing is enforced
before policy apply has decided about them.`,
		Example: `  systemd-run --unit oci-apparmor-watch --property Restart=always oci-apparmor policy watch
  oci-apparmor policy watch --only-watch`,
		Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT)
			defer stop()
			out := s.print()
			w := watcher.New(s.Node, func(sentence string) { out.Line("%s", oneline.Whole(sentence)) })
			if !only {
				w.Enforce = func(ctx context.Context, due []apply.Quiet, still func(context.Context) error) error {
					return s.promote(ctx, out, due, still)
				}
			}
			return w.Run(ctx, func() error {
				out.Line("watching")
				return out.Err
			})
		}),
	}
	cmd.Flags().BoolVar(&only, "only-watch", false, "enforce nothing: policy promote does, when somebody says so")
	return cmd
}

// promote enforces profiles that are due, and says so.
func (s *session) promote(ctx context.Context, out *output.Printer, due []apply.Quiet, still func(context.Context) error) error {
	done, err := apply.Promote(ctx, s.Node, due, still, func(apply.Loaded) {})
	if done != nil {
		printPromoted(out, due, done)
	}
	return err
}

func printPromoted(out *output.Printer, due []apply.Quiet, done *apply.Promoted) {
	for _, q := range due {
		out.Line("profile %s is enforced: generation %d is in force, in place of generation %d", q.Profile, done.Generation.Number, done.Before)
	}
	for _, sentence := range done.Said {
		out.Wrapped("", sentence)
	}
}

func promoteCommand(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "promote [POLICY...]",
		Short: "Enforce policies that were quiet for their enforceAfter",
		Long: `Enforce policies that have enforceAfter in the policy file, if it was shown that they
were quiet for that time: those that are named, or all that were. policy watch shows it,
must run now, and does the same by itself unless it has --only-watch.

Of each policy that is not enforced it says what is missing, and the last denial. The
exit code is 4 if one that was named is not enforced, and if a denial comes while the
profiles are compiled: then nothing changes.

Enforced policies stay so, also over boots, upgrades of AppArmor and of the kernel, and
changes of files that a profile includes. They are in complain mode again if the
profile's own text has changed, after policy rollback to a generation that had them in
complain mode, and if the policy file takes enforceAfter away.`,
		Example: `  oci-apparmor policy promote web`,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			due := []apply.Quiet{}
			done, all, err := watcher.Promote(cmd.Context(), s.Node, args, func(l apply.Loaded) { due = append(due, apply.Quiet{Profile: l.Name}) })
			out := s.print()
			if done != nil {
				printPromoted(out, due, done)
			}
			if err != nil {
				return err
			}
			for i := range all {
				if _, _, is := all[i].Due(); !is && len(args) == 0 {
					printStanding(out, "", &all[i])
				}
			}
			if len(all) == 0 {
				out.Line("no policy in force has enforceAfter")
			}
			return out.Err
		}),
	}
	return cmd
}

// printStanding prints how a profile stands that is to be enforced once it was quiet.
func printStanding(out *output.Printer, indent string, s *quiet.Standing) {
	of := "profile " + s.Profile
	if len(s.Policies) > 0 {
		of += ", of policy " + strings.Join(s.Policies, " and ")
	}
	out.Wrapped(indent, of+": "+s.Line())
	for _, m := range s.Missing {
		out.Wrapped(indent+"  missing: ", oneline.Whole(m))
	}
	if d := s.LastDenial; d != nil && s.Mode == "complain" {
		where := ""
		if d.Container != "" {
			where = ", in " + d.Container
		}
		out.Wrapped(indent+"  last denial: ", oneline.Whole(fmt.Sprintf("%s: %s%s", d.Time.Format(time.DateTime), d.Sentence, where)))
		out.Wrapped(indent+"  its record: ", oneline.Whole(d.Record))
	}
}

// standings returns how the profiles of a policy stand that are to be enforced once they were quiet. here is whether it is this
// node's.
func (s *session) standings(c *policy.Config, here bool) []quiet.Standing {
	if !here {
		return quiet.Standings(c, nil, fmt.Errorf("only the node itself can show it"))
	}
	state, unread := s.State.Quiet.Read()
	return quiet.Standings(c, state, exit.AsRoot(unread))
}

// printStandings prints them below the output of a command that puts a policy in force.
func (s *session) printStandings(out *output.Printer, c *policy.Config, here bool) error {
	all := s.standings(c, here)
	if len(all) > 0 {
		out.Line("")
	}
	for i := range all {
		printStanding(out, "", &all[i])
	}
	return out.Err
}
