package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/recorder"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// recordsNow is what the recorder prints when it has begun.
const recordsNow = "recording\n"

func learnStartCommand(s *session) *cobra.Command {
	var anew bool
	cmd := &cobra.Command{
		Use:   "start POLICY",
		Short: "Begin to record what the containers of a policy do",
		Long: `Begin to record what the containers of a policy do. Each container of the policy that
starts from now on, until "profile learn finish POLICY", runs under a profile of its
own, in complain mode, in the place of the policy's: NOTHING IS DENIED TO IT but by
the policy's floors. Containers that run already are not recorded: start them anew.

A process stays behind that reads the kernel's audit socket. Recording begins when a
denial that was made on purpose has come back through it, and another has to come back
at its end. Should the recorder end by itself, containers get the policy's profile
again, and nothing is made of the recording.

What earlier recordings of the policy saw is kept, and counts, too, unless --anew says
to forget it. That must be said if something is missing from the last one.`,
		Example: `  oci-apparmor profile learn start web
  oci-apparmor profile learn finish web >web.learned`,
		Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if err := startRecorder(cmd.Context(), args[0], anew); err != nil {
				return err
			}
			out := s.print()
			out.Wrapped("", fmt.Sprintf("policy %s is recorded: its containers that start now run without confinement but by floors, "+
				"until oci-apparmor profile learn finish %[1]s", oneline.Name(args[0])))
			return out.Err
		}),
	}
	cmd.Flags().BoolVar(&anew, "anew", false, "forget what earlier recordings of the policy saw")
	return cmd
}

// startRecorder starts a process that records, and returns when that has begun. If ctx ends before, so does the process.
func startRecorder(ctx context.Context, policy string, anew bool) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"profile", "learn", "record"}
	if anew {
		args = append(args, "--anew")
	}
	recorder := exec.Command(self, append(args, "--", policy)...)
	recorder.Dir = "/"
	recorder.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives the terminal
	return begin(ctx, recorder)
}

// begin starts a recorder, and leaves it alone when it has said that it records.
func begin(ctx context.Context, recorder *exec.Cmd) error {
	var said strings.Builder
	recorder.Stderr = &said
	stdout, err := recorder.StdoutPipe()
	if err != nil {
		return err
	}
	if err := recorder.Start(); err != nil {
		return err
	}
	stays := context.AfterFunc(ctx, func() { _ = recorder.Process.Signal(unix.SIGTERM) })
	begun, err := io.ReadAll(io.LimitReader(stdout, int64(len(recordsNow))))
	if !stays() {
		_ = recorder.Wait()
		return fmt.Errorf("%w: nothing is recorded", context.Cause(ctx))
	}
	if err == nil && string(begun) == recordsNow {
		return recorder.Process.Release()
	}
	err = recorder.Wait()
	var ended *exec.ExitError
	if !errors.As(err, &ended) {
		return errors.Join(err, errors.New("the recorder has ended"))
	}
	return exit.With(ended.ExitCode(), errors.New(strings.TrimPrefix(strings.TrimSpace(said.String()), "oci-apparmor: ")))
}

// learnRecordCommand is the process that profile learn start leaves behind.
func learnRecordCommand(s *session) *cobra.Command {
	var anew bool
	cmd := &cobra.Command{
		Use:   "record POLICY",
		Short: "Record what the containers of a policy do until a signal ends it",
		Long: `Record what the containers of a policy do, as the process does that "profile learn
start" leaves behind, and print a line when it has begun. SIGTERM and SIGINT end it, and
so does an output that nobody reads any more.`,
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT)
			defer stop()
			signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
			r := recorder.New(s.Node)
			r.Anew = anew
			return r.Record(ctx, args[0], func() error {
				_, err := io.WriteString(s.stdout, recordsNow)
				return err
			})
		}),
	}
	cmd.Flags().BoolVar(&anew, "anew", false, "forget what earlier recordings of the policy saw")
	return cmd
}

func learnStatusCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "List the recordings of policies",
		Long: `List the last recording of each policy that was recorded: whether it goes on, since
when, of how many containers and how many of the kernel's records it has, and what is
missing from it.`,
		Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			all, on, err := recorder.Sessions(cmd.Context(), s.Node.Store)
			if err != nil {
				return exit.AsRoot(err)
			}
			out := s.print()
			if len(all) == 0 {
				out.Line("nothing was recorded")
			}
			for _, r := range all {
				state := "is recorded"
				switch {
				case on[r.Policy]:
				case r.Ended.IsZero():
					state = "was recorded, and cut off"
				default:
					state = "was recorded until " + r.Ended.Format(time.RFC3339)
				}
				out.Line("%s: %s, since %s; %s, %s", oneline.Name(r.Policy), state, r.Started.Format(time.RFC3339),
					output.Count(len(r.Profiles), "container", "containers"), output.Count(int(r.Seen), "record", "records"))
				for _, lost := range r.Lost {
					out.Wrapped("  lost: ", oneline.Whole(lost))
				}
			}
			return out.Err
		}),
	}
}

func learnFinishCommand(s *session) *cobra.Command {
	var what recorder.Request
	cmd := &cobra.Command{
		Use:   "finish POLICY",
		Short: "End the recording of a policy, and write a profile of what its containers did",
		Long: `End the recording of a policy, if it goes on, and write the text of a profile that
allows what its containers did: see profile learn --help for what it is like. What all
recordings of the policy saw counts, since the last "profile learn start --anew".

If something is missing from the last recording, or the profile would break a never
assertion beside the policy file (tests.yaml), nothing is written: the kernel counts
what it loses. Containers need no restart for this. But those that were recorded run on
in complain mode until they are started anew, and are named. The profile of each leaves
the kernel when its engine deletes it; what is left the next finish or start removes.

The text goes to standard output, and what is to be said of it to standard error.`,
		Example: `  oci-apparmor profile learn finish web --name web-learned >web-learned`,
		Args:    cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			done, err := recorder.Finish(cmd.Context(), s.Node, args[0], what)
			if err != nil {
				return err
			}
			if err := s.printLearned(cmd.Context(), done.Learned, cmp.Or(what.Name, args[0]), ""); err != nil {
				return err
			}
			out := &output.Printer{W: s.stderr}
			if !s.Node.LogsCapabilities() {
				out.Wrapped("note: ", "this kernel, "+oneline.Word(s.Node.Uname)+", keeps back uses of a capability that are like some it has logged, as all before Linux 6.13: "+
					"a capability may be missing. Try the profile in complain mode under oci-apparmor policy watch, which has such a kernel log it")
			}
			if n := len(done.Still); n > 0 {
				out.Wrapped("note: ", fmt.Sprintf("%s of the recording stay in the kernel while something uses them: each goes when the "+
					"container is deleted; run this again to remove what is left then", output.Count(n, "profile", "profiles")))
			}
			for _, use := range done.Still {
				for _, user := range use.Users {
					who := user.Container
					if who == "" {
						who = fmt.Sprintf("process %d (%s)", user.PID, oneline.Whole(user.Command))
					}
					out.Wrapped("note: ", fmt.Sprintf("%s runs under %s, which denies nothing: start it anew", oneline.Whole(who), use.Profile))
				}
			}
			return out.Err
		}),
	}
	cmd.Flags().StringVar(&what.Name, "name", "", "the new profile's `name`; without it, that of the policy")
	cmd.Flags().BoolVar(&what.Exactly, "exactly", false, "include no abstractions")
	return cmd
}
