package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/offers"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// quietFlag is the value of the flag enforce-after.
type quietFlag time.Duration

// Set parses a time as enforceAfter has it in the policy file, or never.
func (q *quietFlag) Set(s string) error {
	if s == "never" {
		*q = 0
		return nil
	}
	d, err := policyfile.ParseQuiet(s)
	if err == nil {
		*q = quietFlag(d)
	}
	return err
}

// String returns the time, or never.
func (q *quietFlag) String() string { return policyfile.FormatQuiet(time.Duration(*q)) }

// Type returns the word for it in the help.
func (q *quietFlag) Type() string { return "time" }

// usualQuiet is the time that is offered.
const usualQuiet = 24 * time.Hour

func offerCommand(s *session) *cobra.Command {
	o := offers.Options{}
	after := quietFlag(usualQuiet)
	var features string
	cmd := &cobra.Command{
		Use:   "offer FILE",
		Short: "Put a profile into the policy file, in complain mode at first",
		Long: `Put a profile into the node's policy, in complain mode until it was quiet for a time
(enforceAfter in the policy file; see policy watch). FILE is its text, as profile new,
profile learn and profile tighten make them, or - for the standard input.

The text is compiled, and checked against the never assertions beside the policy file
(tests.yaml): if it allows what no container may do, nothing is written, and the
assertion is named with the rule that breaks it. It is judged as enforced, on the
floors of those policies that use a profile of its name already.

It goes to profiles/NAME of the policy's directory, or to where the policy file has the
text of that profile. The policy file gets the profile, and a policy of its name; all
else in it stays as it is, comments too. A policy that has the profile already gets the
mode and the time, or loses the time by --enforce-after never. It takes --force if the
profile is enforced, which complain mode ends. No rule is written: which containers get
a policy, only people know.

Nothing is applied: policy apply does that.`,
		Example: `  oci-apparmor profile learn finish web >web.learned
  oci-apparmor profile offer web.learned --force
  oci-apparmor profile offer shop --policy shop-front --enforce-after 7d`,
		Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			o.EnforceAfter = time.Duration(after)
			text, err := readText(cmd.InOrStdin(), args[0])
			if err != nil {
				return exit.With(exit.Cannot, exit.AsRoot(err))
			}
			c, _, err := s.NewCompiler(cmd.Context(), features)
			if err != nil {
				return err
			}
			blob, err := c.CompileText(cmd.Context(), args[0], text)
			if err != nil {
				return exit.With(exit.BadPolicy, err)
			}
			name := blob.Profiles[0].Name
			done, err := offers.Into(cmd.Context(), s.Node, offers.Profile{Name: name, Source: args[0], Text: text, Features: features}, o)
			if err != nil {
				return err
			}
			out := s.print()
			printNevers(out, done.Assertions)
			out.Line("%s: the text of profile %s", oneline.Name(done.Text), name)
			what := "has now"
			if done.Same {
				what = "has already"
			}
			out.Line("%s %s:", oneline.Name(done.File), what)
			printEntry(out, done.Entry)
			for _, note := range done.Notes {
				out.Wrapped("", note)
			}
			out.Wrapped("", fmt.Sprintf("oci-apparmor policy apply puts it in force, for containers that a rule gives policy %s, or that ask for it", done.Entry.Policy))
			return out.Err
		}),
	}
	cmd.Flags().StringVar(&o.Policy, "policy", "", "the policy's `name`; without it, the profile's")
	cmd.Flags().Var(&after, "enforce-after", "for how `long` it is to be quiet before it is enforced; never: it stays in complain mode")
	cmd.Flags().BoolVar(&o.Force, "force", false, "replace another text of the profile, and have one that is enforced only log")
	cmd.Flags().StringVar(&features, "features", "",
		"compile for a kernel with the features in this `file`, not for the one that runs")
	return cmd
}

// readText reads the text of a profile.
func readText(stdin io.Reader, name string) ([]byte, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, profile.MaxText+1))
	if err == nil && len(text) > profile.MaxText {
		err = errors.New("it is longer than a profile's text may be")
	}
	return text, err
}

func printEntry(out *output.Printer, e policyfile.Entry) {
	for _, line := range e.Lines() {
		out.Line("  %s", line)
	}
}

func printNevers(out *output.Printer, assertions int) {
	if assertions > 0 {
		out.Line("it breaks none of %s of the policy's tests", output.Count(assertions, "never assertion", "never assertions"))
	}
}

// offered checks a profile that was made, before it is printed, and returns what is to be said of that below it: how it is put
// into the policy.
func (s *session) offered(ctx context.Context, p offers.Profile) (say func(out *output.Printer, file string), err error) {
	assertions, err := offers.Check(ctx, s.Node, p)
	if err != nil {
		return nil, err
	}
	return func(out *output.Printer, file string) {
		printNevers(out, assertions)
		out.Wrapped("", fmt.Sprintf("To try it in complain mode first, and have it enforced once it was quiet for %s (see policy watch), run oci-apparmor "+
			"profile offer %s, which puts this into the policy file:", policyfile.FormatQuiet(usualQuiet), oneline.Word(file)))
		printEntry(out, policyfile.Entry{Policy: p.Name, Profile: p.Name, File: "profiles/" + p.Name, EnforceAfter: usualQuiet})
	}, nil
}
