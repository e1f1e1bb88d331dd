package command

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/lint"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

type profileCheckOptions struct {
	features     string
	strict, json bool
}

func profileCheckCommand(n *node) *cobra.Command {
	var o profileCheckOptions
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Compile and judge profiles, and load nothing",
		Long: `Compile profiles with apparmor_parser, load nothing, and warn of what compiles
and bites in containers: missing flags, ABI and rules for peers, paths that are
links in today's images, deny rules that match nothing or log nothing.

The warnings come from reading rules of files, signals, ptrace and networks, with
all that a text includes, from apparmor_parser, and from what the text compiles to:
a rule that the compiled profile does not enforce on this kernel is one; of those
that deny or log, policy check --compile and policy apply make an error. A text
without a warning can still be wrong. The exit code is 1 where a text does not compile, and with
--strict where there is a warning.`,
		Args: atLeastOne("file"),
		RunE: action(func(cmd *cobra.Command, args []string) error { return n.profileCheck(cmd.Context(), o, args) }),
	}
	cmd.Flags().StringVar(&o.features, "features", "",
		"compile for a kernel with the features in this `file`, not for the one that runs")
	cmd.Flags().BoolVar(&o.strict, "strict", false, "fail where there is a warning")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

// checkedJSON is the JSON of profile check: one for each file, in the order in which they were named.
type (
	checkedJSON struct {
		File     string        `json:"file"`
		Error    *errorJSON    `json:"error,omitempty"` // where it does not compile
		Profiles []definedJSON `json:"profiles"`        // what it defines: the profile, then its children
		Warnings []warningJSON `json:"warnings"`
		Partial  bool          `json:"partial,omitempty"`   // what it includes could not be read for the warnings
		TextOnly bool          `json:"text_only,omitempty"` // it could not be compiled on this machine
	}
	errorJSON struct {
		Line    int    `json:"line,omitempty"`
		Message string `json:"message"`
	}
	definedJSON struct {
		Name string `json:"name"`
		Mode string `json:"mode"`
	}
	warningJSON struct {
		Check   string `json:"check"`
		File    string `json:"file,omitempty"` // one that the text includes
		Line    int    `json:"line,omitempty"`
		Profile string `json:"profile,omitempty"`
		Message string `json:"message"`
		Fault   bool   `json:"fault,omitempty"` // in a policy it is an error
	}
)

func (n *node) profileCheck(ctx context.Context, o profileCheckOptions, paths []string) error {
	c, _, unable := n.newCompiler(ctx, o.features)
	if unable != nil && o.features != "" {
		return unable
	}
	files := n.readTexts(ctx, c, paths)
	senders := n.sendersFor(o.features)
	warned := false
	out := &printer{w: n.stdout}
	var all []checkedJSON
	for i := range files {
		f := &files[i]
		j := checkedJSON{File: f.path, Profiles: []definedJSON{}, Warnings: []warningJSON{}}
		if f.err != nil {
			j.Error = &errorJSON{Message: unwrapped(f.err).Error()}
			var bad *profile.TextError
			if errors.As(f.err, &bad) {
				j.Error = &errorJSON{bad.Line, bad.Msg}
			}
			all = append(all, j)
			continue
		}
		warnings, partial := f.lint(ctx, c, senders)
		warned = warned || len(warnings) > 0
		for _, p := range f.blob.Profiles {
			j.Profiles = append(j.Profiles, definedJSON{p.Name, p.Mode.String()})
		}
		for _, w := range warnings {
			j.Warnings = append(j.Warnings, warningJSON{w.Check, w.File, w.Line, w.Profile, w.Message, w.Fault})
		}
		j.Partial, j.TextOnly = partial, c == nil
		all = append(all, j)
		if o.json {
			continue
		}
		for _, w := range warnings {
			out.line("%s", warningLine(f.path, w))
		}
		if c == nil {
			out.line("%s: only its text was looked at: %s", f.path, count(len(warnings), "warning", "warnings"))
			continue
		}
		if partial {
			out.line("%s: what it includes could not be put in: rules that may be there were not looked for", f.path)
		}
		out.line("%s: defines %s; %s", f.path, f.defines(), count(len(warnings), "warning", "warnings"))
	}
	if o.json {
		out.err = n.printJSON(all)
	}
	if err := errors.Join(out.err, faultsOf(files), unable); err != nil {
		return err
	}
	if o.strict && warned {
		return &failure{code: badPolicy}
	}
	return nil
}

// lint returns the warnings about a text that compiles, or about any text where there is no compiler. senders are as in lint.Text.
func (f *textFile) lint(ctx context.Context, c compiler, senders []string) (warnings []lint.Warning, partial bool) {
	if c == nil {
		return lint.Text(string(f.text), nil, nil, senders...)
	}
	included, err := c.Preprocess(ctx, f.text)
	if err != nil {
		included = nil
	}
	compiled, err := meaning.Read(f.blob.Data)
	if err != nil {
		compiled = nil // the kernel would not take it either, which is another fault's affair
	}
	warnings, partial = lint.Text(string(f.text), included, compiled, senders...)
	warnings = append(warnings, judge(ctx, c, f.text, f.blob, included)...)
	slices.SortStableFunc(warnings, func(a, b lint.Warning) int {
		if by := strings.Compare(a.File, b.File); by != 0 {
			return by
		}
		return a.Line - b.Line
	})
	return warnings, partial
}
