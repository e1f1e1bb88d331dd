package command

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/hook/notice/reader"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

type logOptions struct {
	follow    bool
	since     string
	container string
	json      bool
}

func logCommand(s *session) *cobra.Command {
	var o logOptions
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Print refusals and warnings",
		Long: `Print the refusals and warnings of this node: those of the wrapper, the shim and
the hook at a container's start or exec, and those of policy load. Other commands
print theirs only for whoever runs them. The lines are in the journal. If no journal
runs, they are in the kernel's log until the next boot, or until newer messages take
their place.

A line has the time, the level (refusal or warning), the engine, the container, the
policy, and the command with its message. "-" stands for what is not known. A
container of Kubernetes is NAMESPACE/POD/NAME. Another one has its name or its id.

With --json, each refusal or warning is an object on a line of its own:
  time       RFC 3339, UTC. From the kernel's log it is some moments off, and more
             on a machine that was suspended since its boot
  level      refusal or warning
  engine     its name in the policy file
  command    create, run, start, exec, restore; a stage of the hook; load
  id         the container's, as the runtime knows it
  container  the container's name
  namespace  of Kubernetes
  pod        of Kubernetes
  policy     the decided one
  reason     of a refusal, in a word; see "Metrics" in install/README.md
  message    one line
All but time, level and message are left out if they are not known.`,
		Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error { return runLog(cmd.Context(), s, &o) }),
	}
	f := cmd.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "wait for new lines and print them")
	f.StringVar(&o.since, "since", "", "only since `TIME`: 10m or 24h ago, 2026-11-29, \"2026-11-29 06:45:00\", or RFC 3339")
	f.StringVar(&o.container, "container", "", "only of `CONTAINER`: its id or the beginning of it, its name, pod, or "+
		"NAMESPACE/POD[/NAME]")
	f.BoolVar(&o.json, "json", false, "print each as a JSON object")
	return cmd
}

func runLog(ctx context.Context, s *session, o *logOptions) error {
	q := reader.Query{Follow: o.follow}
	if o.since != "" {
		var err error
		if q.Since, err = parseSince(o.since, time.Now()); err != nil {
			return exit.With(exit.Usage, err)
		}
	}
	out := s.print()
	var columns logColumns
	found := false
	err := s.notices.Read(ctx, q, func(e notice.Notice) error {
		if o.container != "" && !isOf(e, o.container) {
			return nil
		}
		found = true
		if o.json {
			text, err := output.Encode(e, output.Compact)
			if err == nil {
				_, err = s.stdout.Write(text)
			}
			return err
		}
		out.Line("%s", columns.line(e))
		return out.Err
	}, func(missing string) { s.Warnf("%s", missing) })
	if err != nil {
		return exit.With(exit.Cannot, exit.AsRoot(err))
	}
	switch {
	case found || o.json || o.follow:
	case o.container != "":
		s.Warnf("nothing is noted of a container or pod %q", o.container)
	default:
		s.Warn("no refusal and no warning is noted")
	}
	return nil
}

// logColumns are the widths of the columns engine, container and policy. They grow with what is printed, because the lines
// that come are not known.
type logColumns [3]int

// line returns the line of a notice.
func (c *logColumns) line(e notice.Notice) string {
	text := e.Message
	if e.Command != "" {
		text = e.Command + ": " + text
	}
	cells := [3]string{cmp.Or(e.Engine, "-"), cmp.Or(containerOf(e), "-"), cmp.Or(e.Policy, "-")}
	return c.row(e.Time.Local().Format(time.RFC3339), string(e.Level), cells, text)
}

// row returns a line with these cells, behind a time and a level.
func (c *logColumns) row(at, level string, cells [3]string, text string) string {
	for i, least := range [3]int{10, 12, 12} {
		c[i] = max(c[i], least, utf8.RuneCountInString(cells[i]))
	}
	return fmt.Sprintf("%s  %-7s  %-*s  %-*s  %-*s  %s", at, level, c[0], cells[0], c[1], cells[1], c[2], cells[2], text)
}

// containerOf returns the name by which people know a notice's container.
func containerOf(e notice.Notice) string {
	if e.Pod != "" {
		return strings.TrimSuffix(e.Namespace+"/"+e.Pod+"/"+e.Container, "/") // of a sandbox there is no name
	}
	return cmp.Or(e.Container, e.ID)
}

// isOf reports whether a notice is of the container or the pod that somebody asked for.
func isOf(e notice.Notice, asked string) bool {
	if e.ID == asked || engine.IDBegins(e.ID, asked) || e.Container == asked {
		return true
	}
	return e.Pod != "" && (e.Pod == asked || e.Namespace+"/"+e.Pod == asked || containerOf(e) == asked)
}

// parseSince parses a time, or a duration before now.
func parseSince(s string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(s); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--since %q is no time: say 10m, 24h, 2026-11-29, \"2026-11-29 06:45:00\" or 2026-11-29T06:45:00Z", s)
}

// note writes to the node's log what a command says.
func (s *session) note(level notice.Level, command, text string) {
	s.log.Write(notice.Notice{Level: level, Command: command, Message: text})
}

// warnAndNote warns, and writes the same to the node's log. Where both are the journal, it has the warning once.
func (s *session) warnAndNote(command, text string) {
	if !s.journaled {
		s.Warnf("%s", text)
	}
	s.note(notice.Warning, command, text)
}

// noteErrors writes each of the errors that err joins to the node's log. It returns the error to end with, which prints
// nothing where that would go to the journal once more.
func (s *session) noteErrors(command string, err error) error {
	if err == nil {
		return nil
	}
	code, bare := exit.Split(err)
	if bare == nil {
		return err
	}
	for _, line := range exit.Lines(bare) {
		s.note(notice.Refusal, command, strings.TrimPrefix(line, "oci-apparmor: "))
	}
	if s.journaled {
		return exit.Silently(code)
	}
	return err
}
