package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/profiles"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

type whyOptions struct {
	features, child string
	json            bool
}

func whyCommand(s *session) *cobra.Command {
	var o whyOptions
	var of func(features string) (*node.Node, error)
	cmd := &cobra.Command{
		Use:   "why PROFILE ACCESS...",
		Short: "Name the rules by which a profile allows or denies something",
		Long: `Name the rules that decide an access, by file and line, also in the files that a
text includes; or say that no rule allows it, and which ones nearly do.

PROFILE is one of these, or several with //& between them, as in a stacked label:

  FILE            the text in a file
  NAME            the profile of this name whose text is known: loaded by hand, of
                  the policy in force, or generated
  policy:NAME, node:NAME, 2015:NAME, kernel:NAME
                  as in profile diff

` + unappliedHelp + `

ACCESS is written as in rules: "r /etc/passwd", "owner w /home/u/x", "x /usr/bin/id",
"l /a -> /b", "capability net_raw", "signal receive set=kill peer=crun", "ptrace
trace peer=web", "tcp connect", "mount fstype=proc -> /proc/". It may hold globs, and
stands for all that it can mean; if some of that is allowed and some is not, there is
an answer for an example of each.

Each rule is compiled by itself and evaluated, and the answers of all rules are
compared with that of the whole profile. The answer says so if they do not explain
it. In complain mode it is that of enforce mode. It also says which kernels answer
otherwise to the same compiled profile.

The exit code is 0 if all of it is allowed, 1 if something is denied, and 3 if the
rules do not explain an answer.`,
		Example: `  oci-apparmor profile why docker-default "w /proc/sysrq-trigger"
  oci-apparmor profile why policy:web "r /etc/nginx/**" "capability net_bind_service"
  oci-apparmor profile why "policy:node-baseline//&policy:web" "x /usr/bin/dash"
  oci-apparmor profile why --config policy --features features policy:web "w /etc/passwd"`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return errors.New("name a profile and at least one access, such as \"r /etc/passwd\"")
			}
			return nil
		},
		RunE: action(func(cmd *cobra.Command, args []string) error {
			n, err := of(o.features)
			if err != nil {
				return err
			}
			return runWhy(cmd.Context(), s, n, &o, args[0], args[1:])
		}),
	}
	of = unapplied(cmd, s)
	cmd.Flags().StringVar(&o.features, "features", "",
		"compile for a kernel with the features in this `file`, not for the one that runs")
	cmd.Flags().StringVar(&o.child, "child", "", "ask about this child or hat of the text, `MAIN//CHILD`")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

func runWhy(ctx context.Context, s *session, n *node.Node, o *whyOptions, name string, accesses []string) error {
	reasons, err := profiles.Why(ctx, n, profiles.Question{Profile: name, Child: o.child, Accesses: accesses, Features: o.features})
	if err != nil {
		return err
	}
	if o.json {
		err = output.JSON(s.stdout, reasons)
	} else {
		out := s.print()
		for _, r := range reasons {
			printReason(out, r)
			for _, kernels := range r.Kernels {
				out.Wrapped("  but ", kernels)
			}
		}
		err = out.Err
	}
	switch denied, doubted := profiles.Denied(reasons); {
	case err != nil:
		return err
	case doubted:
		return exit.Silently(exit.Cannot)
	case denied:
		return exit.Silently(exit.BadPolicy)
	}
	return nil
}

func printReason(out *output.Printer, r profiles.Reason) {
	asked, of := r.Access, ""
	if r.Pattern != "" {
		asked, of = r.Pattern, " (as \""+r.Access+"\")"
	}
	if len(r.Parts) == 1 {
		out.Line("%s: %s%s", asked, saysPart(r.Parts[0]), of)
		printPart(out, r.Parts[0])
		return
	}
	verdict := "allowed by each part of the stack"
	if !r.Allowed {
		verdict = "denied"
	}
	out.Line("%s: %s%s", asked, verdict, of)
	for _, p := range r.Parts {
		out.Line("%s: %s", oneline.Whole(p.Profile), saysPart(p))
		printPart(out, p)
	}
}

// saysPart says what a profile does with an access.
func saysPart(p profiles.PartReason) string {
	var says string
	switch {
	case p.Mode == "unconfined":
		return "allowed: the profile is in unconfined mode"
	case p.Verdict == "allowed":
		says = "allowed"
		if p.Together {
			says += " by these rules together"
		}
		if p.Runs != "" {
			says += ", " + p.Runs
		}
	case p.Verdict == "unmediated":
		return "allowed: it takes no rule"
	case p.NoChild:
		says = "denied: it is to go on " + p.Runs + ", and there is none"
	case p.Verdict == "denied" && p.Together:
		says = "denied, because of these rules beside those that allow it"
	case p.Verdict == "denied":
		says = "denied"
	case p.Missing != "":
		says = "denied: no rule allows " + p.Missing
	default:
		says = "denied: no rule allows it"
	}
	switch denied := p.Verdict != "allowed"; {
	case p.Passes && p.Logged:
		says += "; but the profile is in complain mode, which logs it and lets it pass"
	case p.Passes:
		says += "; but the profile is in complain mode, which lets it pass and logs nothing"
	case denied && !p.Logged:
		says += ", and nothing is logged"
	case !denied && p.Logged:
		says += ", and logged"
	}
	return says
}

func printPart(out *output.Printer, p profiles.PartReason) {
	rules := func(list []profiles.UsedRule, note func(profiles.UsedRule) string) {
		for _, r := range list {
			out.Line("  %s: %s%s", placed(r), oneline.Whole(r.Rule), note(r))
			for _, v := range r.Variables {
				if len(p.Near) > 0 { // whose access says what they are
					break
				}
				var at []string
				for _, place := range v.Places {
					at = append(at, placeLine(place))
				}
				out.Line("    @{%s} = %s (%s)", oneline.Whole(v.Name), oneline.Whole(strings.Join(v.Values, " ")), strings.Join(at, ", "))
			}
		}
	}
	rules(p.Rules, func(r profiles.UsedRule) string {
		if r.Access == "" {
			return ""
		}
		return " (" + r.Access + ")"
	})
	rules(p.Overruled, func(r profiles.UsedRule) string {
		return " (allows " + cmp.Or(r.Access, "it") + ", and is overruled)"
	})
	rules(p.Near, func(r profiles.UsedRule) string { return " (allows " + cmp.Or(r.Access, "it") + ")" })
	if p.Doubt != "" {
		out.Wrapped("  not sure: ", oneline.Whole(p.Doubt))
	}
}

// placed says where a rule stands, and by what its file is included.
func placed(r profiles.UsedRule) string {
	s := placeLine(r.Place)
	for i := range r.Included {
		s += ", included at " + placeLine(r.Included[len(r.Included)-1-i])
	}
	return s
}

func placeLine(p profiles.Place) string {
	if p.Line == 0 {
		return oneline.Whole(p.File)
	}
	return fmt.Sprintf("%s:%d", oneline.Whole(p.File), p.Line)
}
