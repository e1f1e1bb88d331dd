package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/offers"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/profiles"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/tighten"
)

// putBack is the hidden command of the process that puts a profile back, see profiles.PutBack.
const putBack = "put-profile-back"

// backlog is how many records the kernel is to keep while a workload runs of which it records everything.
const backlog = 8192

func tightenCommand(s *session) *cobra.Command {
	var o profiles.Tightening
	cmd := &cobra.Command{
		Use:   "tighten FILE",
		Short: "Find the rules of a profile that a workload does without",
		Long: `Find the rules of a profile that a workload does without, and print the text without
them as a patch. FILE is the text of a profile that oci-apparmor has loaded, and that
is enforced. COMMAND is a shell's; it makes the workload work under the profile, from
its start to its stop where that matters, and exits 0 if all went well.

Rules are taken away in the kernel, several at once while COMMAND still succeeds, and
else fewer, until for each rule that is left COMMAND has failed without it. It takes a
run for each rule that COMMAND uses, and two where the kernel's audit records, from
which that is known, cannot be read. Nothing is taken away that denies. A rule without
which profile check would warn that processes cannot be stopped stays in the text; that
COMMAND fails without it is tried in the end: have COMMAND stop what it has started by
the engine.

COMMAND may try things that it does without. These are denied then, and a record of
each is in the log. With --deny rules are added that deny them without a record, so
that there are no records of a workload that does what it did here. A server whose
processes work in the background may do without something for a while, and say so
nowhere: with --no-denials COMMAND has failed as well if anything was denied with a
record. It is sent SIGTERM then, at once, and as for its time being over has ten
seconds to take away what it has started. Where records were lost, or come no more, this
command says so and ends: a denial may be among them.

Meanwhile whatever else runs under the profile has fewer rights, too, and never more:
each text is proven to allow nothing that the whole one does not. So use it on a
machine for tests. In any end, also when this command is killed, the profile is put
back as it was. Where containers get the profile by the policy, their start puts it
back as well, so COMMAND must not start them; load the profile by hand for that, and
start them by their engine's own option.

What a workload never does, its rules are not kept for. The patch is as good as
COMMAND.`,
		Example: `  oci-apparmor profile load web
  oci-apparmor profile tighten web --deny --run ./serve-and-ask >web.patch
  patch -p0 <web.patch`,
		Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if o.Run == "" {
				return exit.With(exit.Usage, errors.New("name the command that makes the workload work, with --run"))
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			o.File, o.Guard = args[0], []string{self, putBack}
			runs := 0
			o.Tried = func(string, tighten.Outcome) {
				if runs++; s.live {
					fmt.Fprintf(s.stderr, "\r\x1b[Krun %d", runs)
				}
			}
			denials, quiet := source.Open(cmd.Context(), source.Auto, source.Options{Follow: true, Since: time.Now(), Backlog: backlog})
			if quiet == nil {
				defer denials.Close()
				o.Denials, o.Alive = denials, s.alive
			}
			made, err := profiles.Tighten(cmd.Context(), s.Node, o)
			if s.live {
				fmt.Fprint(s.stderr, "\r\x1b[K")
			}
			if err != nil {
				return err
			}
			say, err := s.offered(cmd.Context(), offers.Profile{Name: made.Name, Source: o.File, Text: []byte(made.Text)})
			if err != nil {
				return err
			}
			if _, err := io.WriteString(s.stdout, made.Patch); err != nil {
				return err
			}
			out := &output.Printer{W: s.stderr}
			printTightened(out, o.File, made)
			if quiet != nil {
				out.Line("what was denied is not known: %s", oneline.Printable(quiet.Error()))
			}
			say(out, o.File)
			return out.Err
		}),
	}
	cmd.Flags().StringVar(&o.Run, "run", "", "the `command` that exits 0 if the workload works")
	cmd.Flags().BoolVar(&o.Deny, "deny", false, "deny, without a record, what the command tries and does without")
	cmd.Flags().BoolVar(&o.Wholly, "no-denials", false, "take each denial for a failure of the command")
	cmd.MarkFlagsMutuallyExclusive("deny", "no-denials")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", time.Minute, "how `long` the command may take each time")
	return cmd
}

// printTightened prints which rules are left, and for what.
func printTightened(out *output.Printer, file string, made *profiles.Tightened) {
	needed := 0
	var includes []string
	count := func(r syntax.Rule) {
		if r.IsInclude() {
			includes = append(includes, oneline.Printable(r.Text))
		}
	}
	for _, r := range made.Dropped {
		count(r)
	}
	for _, k := range made.Kept {
		count(k.Rule)
		why := "stays: " + k.Why
		if k.Needed {
			needed++
			why = "needed: " + k.Why
		}
		out.Line("%s:%d: %s: %s", file, k.Line, oneline.Printable(k.Text), oneline.Printable(why))
	}
	for _, rule := range made.Denied {
		out.Line("%s: added: %s: the command tries this, and does without", made.Name, oneline.Printable(rule))
	}
	for _, what := range made.Vain {
		out.Line("%s: denied, with a record each time: %s: the command does without", made.Name, oneline.Printable(what))
	}
	if made.Missed != nil {
		out.Line("%s: more may have been denied: %s", made.Name, oneline.Printable(made.Missed.Error()))
	}
	out.Line("%s: of %s that allow something, the command does without %d, as %s showed. It fails without each of %d, and %d stay for "+
		"other reasons.", made.Name, output.Count(len(made.Kept)+len(made.Dropped), "rule", "rules"), len(made.Dropped),
		output.Count(made.Runs, "run", "runs"), needed, len(made.Kept)-needed)
	if len(includes) > 0 {
		out.Line("%s: an included file counts as one rule, and goes or stays with all that it allows: %s", made.Name, oneline.And(includes))
	}
}

func putBackCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use: putBack, Hidden: true, Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			if err := profiles.PutBack(s.Node, cmd.InOrStdin(), s.stdout); err != nil {
				return exit.With(exit.Cannot, fmt.Errorf("%s: %w", putBack, err))
			}
			return nil
		}),
	}
}
