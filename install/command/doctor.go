package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/hook/programs"
	"github.com/oci-apparmor/oci-apparmor/install/doctor"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/probe"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Exit codes of doctor, besides exit.Usage and exit.Cannot.
const (
	foundError   = 1
	foundWarning = 4
)

type doctorOptions struct {
	json, fix, probe, schema bool
	policy                   string
}

func doctorCommand(s *session) *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is wrong with this node, and what to do about it",
		Long: `Say what is wrong with this node, and what to do about it: with its kernel, its
parser, its policy, the profiles in the kernel, its engines and its containers.
Each finding has a severity, an identifier that stays the same, and a sentence of
what to do. The page oci-apparmor-doctor(8) has a section for each identifier.

It changes nothing, unless by these flags:

  --probe  starts a throw-away container through each engine that is wired, executes
           a process in it, reads the labels of both, and removes it again
  --fix    loads profiles of the policy in force that are missing or have other
           content, as oci-apparmor policy load does, so that what somebody else has
           loaded stays; and writes files for AppArmor's service that are missing or
           changed, where the policy on disk is the one in force. It does nothing
           else: no policy is put in force, and no engine's file is changed

It runs the checks that engines have of their own configuration. As another user
than root it sees little, and says what it could not see.

Exit codes:
  0  nothing is wrong; there may be notes
  1  there is an error: containers are not confined as decided, or do not start
  2  the command line is wrong
  3  nothing was found, and not all could be looked at; or --fix has failed
  4  there is a warning, and no error`,
		Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			if o.schema {
				_, err := s.stdout.Write(doctor.Schema())
				return err
			}
			if o.policy != "" && !o.probe {
				return exit.With(exit.Usage, fmt.Errorf("--probe-policy goes with --probe: see %s --help", cmd.CommandPath()))
			}
			return runDoctor(cmd.Context(), s, &o)
		}),
	}
	f := cmd.Flags()
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.BoolVar(&o.schema, "schema", false, "print the JSON Schema of what --json prints")
	f.BoolVar(&o.fix, "fix", false, "do what is safe about the findings")
	f.BoolVar(&o.probe, "probe", false, "start a throw-away container through each engine that is wired")
	f.StringVar(&o.policy, "probe-policy", "", "`policy` that the throw-away containers ask for")
	return cmd
}

// waiting is the command that runs in the throw-away container of a probe.
const waiting = "wait"

// waitCommand ends after longer than a probe takes, so that what is left of one that was killed does not stay.
func waitCommand() *cobra.Command {
	return &cobra.Command{
		Use: waiting, Hidden: true, Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			select {
			case <-cmd.Context().Done():
			case <-time.After(3 * time.Minute):
			}
			return nil
		}),
	}
}

func runDoctor(ctx context.Context, s *session, o *doctorOptions) error {
	n := s.patient
	var program string
	if n == nil {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		program = self
		n = doctor.This(s.Node, filepath.Dir(programs.Called(self)))
	}
	r := doctor.Examine(ctx, n)
	var failed error
	if o.fix {
		if !s.Root {
			return exit.With(exit.Cannot, errors.New("--fix takes root: run this as root"))
		}
		r, failed = doctor.Fix(ctx, n, r)
	}
	if o.probe {
		r.AddProbes(ctx, n, probe.Options{Program: program, Args: []string{waiting}, Policy: o.policy})
	}
	var err error
	if o.json {
		err = output.JSON(s.stdout, r.JSON())
	} else {
		err = printReport(s.print(), r)
	}
	if err != nil {
		return err
	}
	switch {
	case failed != nil:
		return exit.With(exit.Cannot, fmt.Errorf("--fix: %w", failed))
	case r.Count(doctor.Error) > 0:
		return exit.Silently(foundError)
	case r.Count(doctor.Warning) > 0:
		return exit.Silently(foundWarning)
	case len(r.Unseen) > 0:
		return exit.Silently(exit.Cannot)
	}
	return nil
}

// printReport writes a report. All that is in it is fit for a line.
func printReport(out *output.Printer, r *doctor.Report) error {
	fact := func(name, text string) {
		if text != "" {
			out.Wrapped(fmt.Sprintf("%-12s", name), text)
		}
	}
	fact("kernel", r.Facts.Kernel)
	fact("parser", r.Facts.Parser)
	fact("policy", r.Facts.Policy)
	for _, e := range r.Facts.Engines {
		fact(e.Name, e.Stands)
	}
	fact("containers", r.Facts.Containers)
	for _, p := range r.Probes {
		policy := "nothing was decided"
		if p.Policy != "" {
			policy = "policy " + p.Policy
		}
		executed := "nothing was executed in it"
		if p.Executed != "" {
			executed = "executed in it " + p.Executed
		}
		fact("probe", fmt.Sprintf("%s, %s: %s, and %s", p.Engine, policy, p.Label, executed))
	}
	for _, f := range r.Fixed {
		out.Wrapped("fixed       ", "found before, and gone now: "+f.What+" ["+f.ID+"]")
	}
	for _, f := range r.Findings {
		out.Wrapped(fmt.Sprintf("%-9s", strings.ToUpper(string(f.Severity))), f.What+" ["+f.ID+"]")
		out.Wrapped("         ", f.Do)
	}
	for _, line := range r.Unseen {
		out.Wrapped("NOT SEEN ", line)
	}
	out.Line("%s", reportSummary(r))
	return out.Err
}

// reportSummary returns the last line of a report.
func reportSummary(r *doctor.Report) string {
	var parts []string
	for _, of := range []struct {
		severity  doctor.Severity
		one, many string
	}{{doctor.Error, "error", "errors"}, {doctor.Warning, "warning", "warnings"}, {doctor.Note, "note", "notes"}} {
		if n := r.Count(of.severity); n > 0 {
			parts = append(parts, output.Count(n, of.one, of.many))
		}
	}
	line := "nothing is wrong"
	if len(parts) > 0 {
		line = oneline.And(parts) + ": man oci-apparmor-doctor has a section for each [identifier]"
	} else if len(r.Unseen) > 0 {
		line = "nothing is wrong with what was seen"
	}
	return line
}
