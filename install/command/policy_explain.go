package command

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/explain"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

type explainOptions struct {
	explain.Question
	pid        processID
	privileged privilege
	json       bool
}

func explainCommand(s *session) *cobra.Command {
	q := explainOptions{Question: explain.Question{Facts: make(map[string]*string)}}
	described := []string{"annotation", "label", "privileged", "sandbox", "engine-choice"}
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Say what is decided for a container, and why",
		Long: `Say what is decided for a container, and why: for the bundle of one, or for one
that the flags describe. Nothing is started, loaded or changed.

The exit code is 4 if the container would be refused: by the policy, because
AppArmor cannot be used here, or because somebody else's profile is in the way. It
is 5 if the process of --pid is not confined as decided, and 3 if that is not
known. Otherwise it is 0. ` + "`oci-apparmor --help`" + ` lists all exit codes.

With --config, explain compiles nothing and does not ask the kernel: then only the
policy can refuse a container.`,
		Example: `  oci-apparmor policy explain --bundle . --root /run/runc
  oci-apparmor policy explain --engine containerd --namespace shop \
      --image docker.io/library/nginx:1 --annotation oci-apparmor/policy=web
  oci-apparmor policy explain --engine docker --engine-choice my-profile
  oci-apparmor policy explain --annotation oci-apparmor/policy=web --pid 4711`,
		Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			if err := exclusive(cmd, "config", "store"); err != nil {
				return err
			}
			for _, name := range []string{"container", "image"} { // a sandbox has neither
				if err := exclusive(cmd, "sandbox", name); err != nil {
					return err
				}
			}
			for _, name := range described {
				if err := exclusive(cmd, "bundle", name); err != nil {
					return err
				}
			}
			q.ChoiceSaid = cmd.Flags().Changed("engine-choice")
			return runExplain(cmd.Context(), s, &q)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&q.Store, "store", s.Store, "`directory` of the applied policy")
	f.StringVar(&q.Config, "config", "", "decide by this `file`, or the policy.yaml in this directory, and not by the applied policy")
	f.BoolVar(&q.json, "json", false, "print JSON")
	f.Var(&q.pid, "pid", "report whether this `process` is confined as decided")

	f.StringVar(&q.Bundle, "bundle", "", "the container's bundle, a `directory` with its config.json")
	f.StringVar(&q.Root, "root", "", "the `directory` given to its runtime as --root, by which the engine is known")
	f.StringVar(&q.Engine, "engine", "", "the `engine`: "+strings.Join(engine.Names(), ", "))
	f.StringVar(&q.ID, "id", "", "the container's `id`")
	f.StringArrayVar(&q.Annotations, "annotation", nil, "an annotation of the container, `KEY=VALUE`; may be repeated")
	for _, k := range policy.Keys() {
		if k.Flag != "" {
			q.Facts[k.Name] = f.String(k.Name, "", k.Flag)
			described = append(described, k.Name)
		}
	}
	f.StringArrayVar(&q.Labels, "label", nil, "a label of it, `KEY=VALUE`; may be repeated")
	f.StringVar(&q.Choice, "engine-choice", "", "the `profile` that the engine was told to use, or uses by default; unconfined; "+
		"or \"\" for none")
	f.Var(&q.privileged, "privileged", "the container is privileged; =partly: it has a part of the powers of privileged ones; =no")
	f.Lookup("privileged").NoOptDefVal = policy.Privileged.String()
	f.BoolVar(&q.Sandbox, "sandbox", false, "the container is a pod's pause container")
	return cmd
}

// processID is the value of the flag pid.
type processID int

// Set parses a process id.
func (p *processID) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n <= 0 {
		return errors.New("must be a process id")
	}
	*p = processID(n)
	return nil
}

// String returns the default for help: there is none.
func (p *processID) String() string { return "" }

// Type returns the name of the value for help.
func (p *processID) Type() string { return "process" }

// privilege is the value of the flag privileged.
type privilege policy.Privilege

// Set parses no, partly or yes.
func (p *privilege) Set(s string) error {
	for _, one := range []policy.Privilege{policy.Unprivileged, policy.PartlyPrivileged, policy.Privileged} {
		if s == one.String() {
			*p = privilege(one)
			return nil
		}
	}
	return errors.New("must be no, partly or yes")
}

// String returns the default for help: there is none.
func (p *privilege) String() string { return "" }

// Type returns the name of the value for help: none, as for a switch.
func (p *privilege) Type() string { return "" }

func runExplain(ctx context.Context, s *session, o *explainOptions) error {
	q := o.Question
	q.PID, q.Privileged, q.Label = int(o.pid), policy.Privilege(o.privileged), s.label
	a, err := explain.Explain(ctx, s.Node, q)
	if err != nil {
		return err
	}
	if o.json {
		err = output.JSON(s.stdout, a)
	} else {
		err = printAnswer(s.print(), a)
	}
	if err != nil {
		return err
	}
	return a.Err()
}

func printAnswer(out *output.Printer, a *explain.Answer) error {
	switch {
	case a.Policy == "" && a.Refused != "": // nothing is decided
	case a.Unsaid:
		out.Wrapped("decision  ", a.Reason)
		out.Wrapped("label     ", "what the engine chose, or none if it chose none: name it by --engine-choice")
	case a.Keep && a.Label == "":
		out.Wrapped("decision  ", a.Reason)
		out.Line("label     none: the engine chose no profile")
	default:
		out.Wrapped("decision  ", a.Reason)
		out.Line("label     %s", oneline.Whole(a.Label))
	}
	if c := a.Choice; c != nil && c.Default != "" {
		out.Line("chosen    by nobody: %s is %s's default", oneline.Whole(c.Profile), c.Default)
	} else if c != nil {
		out.Line("chosen    by the engine: %s: %s", oneline.Whole(c.Profile), c.Outcome)
	}
	if len(a.PrivilegedBy) > 0 {
		out.Wrapped("has       ", "a part of what privileged containers have: "+strings.Join(a.PrivilegedBy, ", "))
	}
	if a.Refused != "" {
		out.Wrapped("refused   ", a.Refused)
	}
	for _, warning := range a.Warnings {
		out.Wrapped("warning   ", warning)
	}
	said := a.Refused
	for _, p := range a.Profiles {
		if p.ByHand {
			out.Line("profile   %s, %s", p.Name, p.Source)
		} else {
			out.Line("profile   %s, mode %s, from %s", p.Name, p.Mode, p.Source)
		}
		if len(p.Compiled) > 0 {
			out.Line("  sha256  %s", p.Compiled[0].SHA256)
		}
		if p.Kernel != nil {
			detail := p.Kernel.Detail
			if why, ok := strings.CutPrefix(detail, "not known: "); ok && strings.Contains(said, why) {
				detail = "not known, for the reason above"
			}
			said += "\n" + detail
			out.Wrapped("  kernel  ", detail)
		}
	}
	for i := range a.Quiet {
		printStanding(out, "", &a.Quiet[i])
	}
	if p := a.Process; p != nil {
		out.Wrapped("process   ", fmt.Sprintf("%d: %s%s", p.PID, oneline.Whole(p.Label), verdict(a)))
	}
	return out.Err
}

// verdict returns how a process is confined, as it follows the process's label in the output.
func verdict(a *explain.Answer) string {
	switch p := a.Process; {
	case a.Unsaid:
		return ": whether that is what the engine chose is not known"
	case len(a.Profiles) == 0:
		return "" // nothing is decided that it could be compared with
	case p.Confined:
		return ": confined as decided"
	case len(p.Lacks) > 0:
		return ": not confined as decided: its label lacks " + strings.Join(p.Lacks, " and ")
	case p.Older != "":
		return ": it has the decided label, and may be under older content: " + oneline.Whole(p.Older)
	case a.ContentUnknown():
		return ": it has the decided label; whether it has the content that was applied is not known"
	}
	return ": it has the decided label, and not the content that was applied"
}
