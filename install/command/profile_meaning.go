package command

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/profiles"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/compare"
)

// trouble gives every error the exit code that diff(1) has for trouble, but for the one that says that there is a
// difference, which has no message.
func trouble(err error) error {
	var e *exit.Error
	if err == nil || errors.As(err, &e) && e.Err == nil {
		return err
	}
	_, bare := exit.Split(err)
	return exit.With(exit.Usage, bare)
}

// meantLine is the JSON of a difference.
type meantLine struct {
	Profile string   `json:"profile,omitempty"` // whose it is, if not the two's own: a child's or another profile's
	Change  string   `json:"change"`            // see compare.Change
	What    string   `json:"what"`              // accesses as rules have them, or another property
	Except  []string `json:"except,omitempty"`
	Some    bool     `json:"some,omitempty"` // not all of these accesses changed
	From    string   `json:"from,omitempty"`
	To      string   `json:"to,omitempty"`
	Example string   `json:"example,omitempty"` // an access that changed
	Not     []string `json:"not,omitempty"`     // with which kernels it does not change
}

// meant is the JSON of all differences.
type meant struct {
	Same    bool        `json:"same"`
	Changes []meantLine `json:"changes"`
	LeftOut int         `json:"leftOut,omitempty"` // differences that there are beside these
	Unknown []string    `json:"unknown,omitempty"` // sentences about what was not compared
}

func meantOf(d *compare.Difference) meant {
	m := meant{Same: d.Same(), Changes: []meantLine{}, LeftOut: d.LeftOut, Unknown: d.Unknown}
	for _, l := range d.Lines {
		m.Changes = append(m.Changes, meantLine{l.Profile, string(l.Change), l.What, l.Except, l.Some, l.From, l.To, l.Example(), l.Not})
	}
	return m
}

func runDiffMeaning(ctx context.Context, s *session, n *node.Node, features, a, b string, json bool) error {
	d, err := profiles.DiffMeaning(ctx, n, features, a, b)
	if err != nil {
		return err
	}
	if json {
		err = output.JSON(s.stdout, meantOf(d))
	} else {
		out := s.print()
		printMeaning(out, d, "")
		if d.Same() {
			out.Line("the same meaning: each access is decided alike")
		}
		err = out.Err
	}
	if err == nil && !d.Same() {
		err = exit.Silently(exit.BadPolicy)
	}
	return err
}

// printMeaning prints differences, each line indented by indent: a heading for each kind of change, and below it the
// accesses.
func printMeaning(out *output.Printer, d *compare.Difference, indent string) {
	type heading struct {
		profile string
		change  compare.Change
	}
	var last heading
	for _, l := range d.Lines {
		if h := (heading{l.Profile, l.Change}); h != last {
			last = h
			whose := ""
			if l.Profile != "" {
				whose = "under profile " + oneline.Name(l.Profile) + ", "
			}
			out.Line("%s%s%s:", indent, whose, l.Change.Title())
		}
		out.Wrapped(indent+"  ", l.String())
		if example := l.Example(); example != "" && !l.Plain() {
			out.Line("%s      as in: %s", indent, example)
		}
		for _, kernels := range l.Not {
			out.Wrapped(indent+"      not with ", kernels)
		}
	}
	if d.LeftOut > 0 {
		out.Line("%sand %d more", indent, d.LeftOut)
	}
	for _, sentence := range d.Unknown {
		out.Wrapped(indent+"note: ", oneline.Whole(sentence))
	}
}

func containsCommand(s *session) *cobra.Command {
	var features string
	var quiet bool
	var of func(features string) (*node.Node, error)
	cmd := &cobra.Command{
		Use:   "contains A B",
		Short: "Tell whether a profile allows no more than another one",
		Long: `Tell whether all that a process may do under A, it may do under B as well. A and B
are named as in profile diff --meaning, with --config as there. That is decided for
all accesses, by the automata of the compiled profiles, and also for the programs
that a process under A executes, as far as the profiles are known under which these
run. A profile in complain mode allows what none of its rules denies.

The exit code is 0 if it is so. It is 1 if not, and an access is printed that A
allows and B does not. It is 2 for trouble.`,
		Example: `  oci-apparmor profile contains profiles/web policy:node-baseline
  oci-apparmor profile contains --quiet kernel:web node:docker-default && echo strict`,
		Args: cobra.ExactArgs(2),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			n, err := of(features)
			if err != nil {
				return trouble(err)
			}
			return trouble(runContains(cmd.Context(), s, n, features, args[0], args[1], quiet))
		}),
	}
	of = unapplied(cmd, s)
	cmd.Flags().StringVar(&features, "features", "",
		"compile for a kernel with the features in this `file`, not for the one that runs")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print nothing but errors")
	return cmd
}

func runContains(ctx context.Context, s *session, n *node.Node, features, a, b string, quiet bool) error {
	beyond, within, err := profiles.Contains(ctx, n, features, a, b)
	if err != nil {
		return err
	}
	out := s.print()
	switch {
	case quiet:
	case within:
		out.Line("%s allows no more than %s", oneline.Whole(a), oneline.Whole(b))
	default:
		out.Wrapped("", oneline.Whole(a)+" allows more than "+oneline.Whole(b)+", as in: "+beyond.String())
	}
	if out.Err == nil && !within {
		return exit.Silently(exit.BadPolicy)
	}
	return out.Err
}
