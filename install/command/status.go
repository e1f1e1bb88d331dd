package command

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// The exit codes of status are aa-status's.
const (
	appArmorOff = 1
	noPolicy    = 2
	noFiles     = 3
	noRight     = 4
	untellable  = 42
	statusHelp  = `Print what AppArmor confines on this node: the profiles in the kernel, the processes
under them, and for every container, whichever engine or runtime started it, whether
it is confined as decided.

The options and their output are those of aa-status, so that a script can call this
in place of aa-status. Filters are basic regular expressions of POSIX (grep's). A
container passes a filter if one of its processes does.

The verdicts on a container:
  confined    every process in it, also those executed in it later, is under its
              label, and the kernel's content of the label is the policy's, if the
              policy has it
  differs     a process is not under the label
  drifted     all are, and the kernel has other content under the label's name
  stale       all are, and some run under older content than the kernel's: start the
              container anew. A process under a stack of profiles, a//&b, takes over
              one replacement of them, and no later one
  unverified  all are, and whether their content is the policy's is not known
  complaining all are, and a profile of the label only logs what it would deny
  unconfined  no label was decided, and the engine chose none that confines
  waiting     it is created, and not started
  ended       it has no process

For monitoring, --check prints one line, and its exit codes are those of Nagios:
  0   OK: every container is as decided. That includes a container that a policy
      leaves alone or lets complain, and one without a decision that its engine
      confines
  1   WARNING: nothing was decided about a container, and nothing confines it
  2   CRITICAL: a container differs, is drifted or stale; or AppArmor is off, or
      only logs
  3   UNKNOWN: the state of a container, or of all, is not known

With --prometheus, the state and the counters of what was decided, refused, executed
and loaded since the boot are printed as metrics. install/README.md lists them.

Exit codes without --check, as aa-status's:
  0   AppArmor is enabled and profiles are loaded
  1   AppArmor is not enabled
  2   no profile is loaded
  3   AppArmor's files are not there
  4   this needs root
  42  the state is not known, or the command line is wrong`
)

type statusOptions struct {
	show                     string
	count, json, pretty      bool
	bare                     bool // nothing but a number
	quiet, watch, check      bool
	mode, profiles, pid, exe string
}

// countOptions are aa-status's short ways to ask for one number.
var countOptions = []struct{ name, show, mode, help string }{
	{"profiled", "profiles", "", "print the number of profiles"},
	{"enforced", "profiles", "enforce", "print the number of profiles that enforce"},
	{"complaining", "profiles", "complain", "print the number of profiles that only complain"},
	{"prompt", "profiles", "prompt", "print the number of profiles that ask a program"},
	{"kill", "profiles", "kill", "print the number of profiles that kill"},
	{"special-unconfined", "profiles", "unconfined", "print the number of profiles that do not confine"},
	{"process-mixed", "processes", "mixed", "print the number of processes under profiles in different modes"},
}

func statusCommand(s *session) *cobra.Command {
	var o statusOptions
	var enabled, schema, prometheus bool
	var file string
	counts := make([]bool, len(countOptions))
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Print what AppArmor confines on this node, and whether as decided",
		Long:  statusHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := noArgs(cmd, args); err != nil {
				return exit.With(untellable, fmt.Errorf("%w: see %s --help", err, cmd.CommandPath()))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if schema {
				_, err := s.stdout.Write(status.Schema())
				return err
			}
			if enabled {
				return s.statusEnabled()
			}
			if o.check {
				return s.checkStatus(cmd)
			}
			if prometheus {
				return statusFailure(s.prometheus(cmd, file), o.quiet)
			}
			if file != "" {
				return statusFailure(errors.New("--output is for --prometheus"), o.quiet)
			}
			for i, c := range countOptions {
				if counts[i] {
					o.show, o.mode, o.count, o.bare = c.show, c.mode, true, true
				}
			}
			return statusFailure(runStatus(cmd.Context(), s, &o), o.quiet)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&enabled, "enabled", false, "print nothing: the exit code is 0 if AppArmor is enabled, else 1")
	f.StringVar(&o.show, "show", "", "show only `PARTS`: some of profiles, processes and containers with commas between them, "+
		"or all")
	f.BoolVar(&o.count, "count", false, "print only numbers: of profiles and of processes, or of the parts of --show")
	f.StringVar(&o.mode, "filter.mode", "", "only what is in a mode that matches this `expression`")
	f.StringVar(&o.profiles, "filter.profiles", "", "only profiles and processes under profiles whose names match this `expression`")
	f.StringVar(&o.pid, "filter.pid", "", "only processes whose id matches this `expression`")
	f.StringVar(&o.exe, "filter.exe", "", "only processes the path of whose program matches this `expression`")
	f.BoolVar(&o.json, "json", false, "print JSON, on one line")
	f.BoolVar(&o.pretty, "pretty-json", false, "print JSON, indented")
	f.BoolVar(&schema, "schema", false, "print the JSON Schema of what --json prints")
	f.BoolVar(&o.watch, "watch", false, "go on: print the containers again whenever something has changed")
	f.BoolVar(&o.check, "check", false, "print one line for monitoring, and report by the exit code whether all is as decided")
	f.BoolVar(&prometheus, "prometheus", false, "print metrics for Prometheus, in its text format")
	f.StringVar(&file, "output", "", "with --prometheus: write them into `FILE`, in place of what it has, for node_exporter's textfile collector")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print no errors")
	f.BoolP("verbose", "v", false, "the default; for scripts that call aa-status")
	for i, c := range countOptions {
		f.BoolVar(&counts[i], c.name, false, c.help)
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return exit.With(untellable, fmt.Errorf("%w: see %s --help", err, cmd.CommandPath()))
	})
	return cmd
}

// statusFailure adds an exit code to an error that has none. If quiet is set, it removes the message.
func statusFailure(err error, quiet bool) error {
	if err == nil {
		return nil
	}
	e := &exit.Error{Code: untellable, Err: err}
	errors.As(err, &e)
	if quiet {
		return exit.Silently(e.Code)
	}
	return e
}

func (s *session) statusEnabled() error {
	if r := s.Detect(); r == kernel.NoAppArmor || r == kernel.NoSecurityfs {
		return exit.Silently(appArmorOff)
	}
	return nil
}

// checkStatus is --check. It always prints one line and has one of four exit codes.
func (s *session) checkStatus(cmd *cobra.Command) error {
	level, line := status.LevelUnknown, ""
	others := false
	cmd.Flags().Visit(func(f *pflag.Flag) { others = others || f.Name != "check" && f.Name != "quiet" })
	switch r := s.Detect(); {
	case others:
		line = "--check takes no other option"
	case r == kernel.NoAppArmor || r == kernel.NotEnforcing:
		level, line = status.LevelCritical, r.String()
	case r == kernel.NoSecurityfs:
		line = r.String()
	case !s.Root:
		line = "only root may see which profiles are loaded: run this as root"
	default:
		found, err := s.State.Gather(true)
		if err != nil {
			line = err.Error()
		} else {
			level, line = found.Check()
		}
	}
	out := s.print()
	out.Line("%s: %s", level, oneline.Whole(line))
	if out.Err != nil {
		return exit.With(int(status.LevelUnknown), out.Err)
	}
	if level != status.LevelOK {
		return exit.Silently(int(level))
	}
	return nil
}

// parts returns the meaning of --show.
func (o *statusOptions) parts() (status.Show, error) {
	switch o.show {
	case "":
		// The numbers of --count are read by scripts that know of two.
		return status.Show{Profiles: !o.watch, Processes: !o.watch, Containers: o.watch || !o.count}, nil
	case "all":
		return status.Show{Profiles: true, Processes: true, Containers: !o.count}, nil
	}
	var show status.Show
	for part := range strings.SplitSeq(o.show, ",") {
		switch part {
		case "profiles":
			show.Profiles = true
		case "processes":
			show.Processes = true
		case "containers":
			show.Containers = true
		default:
			return show, exit.With(untellable, fmt.Errorf("--show %q: it is all, or some of profiles, processes and containers with "+
				"commas between them", o.show))
		}
	}
	return show, nil
}

func (o *statusOptions) filter() (status.Filter, error) {
	var f status.Filter
	for _, part := range []struct {
		name, expr string
		to         **regexp.Regexp
	}{
		{"mode", o.mode, &f.Mode}, {"profiles", o.profiles, &f.Profile}, {"pid", o.pid, &f.PID}, {"exe", o.exe, &f.Exe},
	} {
		if part.expr == "" {
			continue
		}
		re, err := status.CompileBasic(part.expr)
		if err != nil {
			return f, exit.With(untellable, fmt.Errorf("--filter.%s: %w", part.name, err))
		}
		*part.to = re
	}
	return f, nil
}

func runStatus(ctx context.Context, s *session, o *statusOptions) error {
	show, err := o.parts()
	if err != nil {
		return err
	}
	filter, err := o.filter()
	if err != nil {
		return err
	}
	if o.watch {
		return s.watchStatus(ctx, !o.json && !o.pretty, func() ([]byte, error) { return s.statusText(o, show, filter) })
	}
	// All that is found is needed until it is printed, and then the program ends. So there is no garbage to collect.
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	text, err := s.statusText(o, show, filter)
	if _, werr := s.stdout.Write(text); werr != nil {
		return werr
	}
	return err
}

// statusText returns the output. There may be output and an error.
func (s *session) statusText(o *statusOptions, show status.Show, filter status.Filter) ([]byte, error) {
	switch r := s.Detect(); {
	case r == kernel.NoAppArmor:
		return nil, exit.With(appArmorOff, errors.New(r.String()))
	case r == kernel.NoSecurityfs:
		return nil, exit.With(noFiles, errors.New(r.String()))
	case !s.Root:
		return nil, exit.With(noRight, errors.New("only root may see which profiles are loaded: run this as root"))
	}
	all, err := s.State.Gather(show.Containers)
	if err != nil {
		return nil, err
	}
	var none error
	if len(all.Profiles) == 0 {
		none = exit.With(noPolicy, errors.New("no profile is loaded"))
	}
	loaded, defined := len(all.Profiles), len(all.Processes)
	all.Containers = filter.Containers(all.Containers, all.Processes)
	all.Profiles, all.Processes = filter.Profiles(all.Profiles), filter.Processes(all.Processes)
	if o.json || o.pretty {
		text, err := all.JSON(show, o.count, o.pretty)
		if err != nil {
			return nil, err
		}
		return text, none
	}

	var b strings.Builder
	p := &statusPrinter{Printer: output.Printer{W: &b}, screen: s.screen()}
	if (show.Profiles || show.Processes) && !o.bare {
		p.Line("apparmor module is loaded.") // so says aa-status, also before the numbers of --count
	}
	if o.count {
		p.counts(all, show)
	} else {
		p.status(all, show, filter, loaded, defined)
	}
	if p.Err != nil {
		return nil, p.Err
	}
	return []byte(b.String()), none
}
