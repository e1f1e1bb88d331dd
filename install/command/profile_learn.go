package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/offers"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/recorder"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/learn"
)

// printLearned writes the text of a profile, and what is to be said of it.
func (s *session) printLearned(ctx context.Context, made *learn.Learned, name, features string) error {
	say, err := s.offered(ctx, offers.Profile{Name: name, Source: name, Text: made.Text, Features: features})
	if err != nil {
		return err
	}
	if _, err := s.stdout.Write(made.Text); err != nil {
		return err
	}
	out := &output.Printer{W: s.stderr}
	out.Wrapped("", fmt.Sprintf("%s learned: the text allows each access that was seen", output.Count(made.Rules, "rule", "rules")))
	for _, note := range made.Notes {
		out.Wrapped("note: ", oneline.Whole(note))
	}
	say(out, name)
	return out.Err
}

func learnCommand(s *session) *cobra.Command {
	var what recorder.Request
	cmd := &cobra.Command{
		Use:   "learn",
		Short: "Write a profile of what containers did in complain mode",
		Long: `Record what the containers of a policy do, by the commands start, status and finish,
and make a profile of it. Or, with --from, make one of records that are there already:
write the text of a profile that allows what processes under another profile did
while that was in complain mode: what its own rules did not allow, and what the kernel
logged, therefore. Give it a profile without rules to see all. Rules with deny, but for
audit deny, keep accesses out of the log, and are enforced in complain mode, too.

FILE holds the kernel's records: auditd's log, or what dmesg or journalctl printed. The
words audit.log, journal, kmsg, multicast and auto are the node's own sources, as for
oci-apparmor audit --source; a file of such a name is written ./audit.log. The kernel
prints no more than ten in five seconds, and auditd writes all. In other files than
auditd's, a container may have written lines that look like records: they are believed
only with --vouched. If records are missing, and that is known, nothing is printed.
Several files add up: what two recordings saw is allowed.

What programs did that were executed is the container's own, and so is what they did
under the profiles that the kernel makes in complain mode (NAME//null-...): they go on
under the profile. What runc does before the container's program runs, denials, and
changes of the profile are left out. The text is compiled, and each access that was
seen is asked of it, before it is printed.

Rules are about the names that were seen. Numbers of processes, ids, and the random
part of temporary names are left open, and so are the names of files where ten or more
of a directory were used in the same way: a comment says so. A rule says owner in
/proc/PID, below /tmp, /var/tmp, /dev/shm and /home, if only owners were seen. Where
AppArmor's abstractions base, openssl, ssl_certs, python or perl stand for three rules
or more, they are included, and allow more than was seen. --exactly leaves them out.

The text goes to standard output, and what is to be said of it to standard error.`,
		Example: `  oci-apparmor profile learn --from /var/log/audit/audit.log --profile shop >shop
  oci-apparmor profile learn --from monday --from tuesday --vouched --profile record --name shop`,
		Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			if len(what.From) == 0 || what.Recorded == "" {
				return exit.With(exit.Usage, errors.New("name the files with --from, and the profile that the containers had with --profile"))
			}
			s.warnOfNamesakes(what.From...)
			made, err := recorder.Learn(cmd.Context(), s.Node, what)
			if err != nil {
				return err
			}
			return s.printLearned(cmd.Context(), made, cmp.Or(what.Name, what.Recorded), what.Features)
		}),
	}
	cmd.AddCommand(learnStartCommand(s), learnStatusCommand(s), learnFinishCommand(s), learnRecordCommand(s))
	f := cmd.Flags()
	f.StringArrayVar(&what.From, "from", nil, "read records from `FILE`, a source of audit --source, or - for standard input; may be given several times")
	f.StringVar(&what.Recorded, "profile", "", "`NAME` of the profile that the containers had, in complain mode")
	f.StringVar(&what.Name, "name", "", "the new profile's `name`; without it, that of --profile")
	f.BoolVar(&what.Vouched, "vouched", false, "nobody but the kernel has written what looks like its records in the files")
	f.BoolVar(&what.Exactly, "exactly", false, "include no abstractions")
	f.StringVar(&what.Features, "features", "",
		"compile for a kernel with the features in this `file`, not for the one that runs")
	return cmd
}
