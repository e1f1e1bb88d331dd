package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/profiles"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

type profileShowOptions struct {
	variant    string
	text, json bool
}

func profileShowCommand(s *session) *cobra.Command {
	var o profileShowOptions
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Print a profile's text, and its state in the kernel",
		Long: `Print the text of a profile. Comments before it say whether the kernel has it, who
loaded it, what runs under it, and where the text comes from. The kernel keeps no
text. oci-apparmor has the text of a profile that oci-apparmor profile load loaded,
that the policy in force has, or that is generated: docker-default.

--variant 2015 prints docker-default as Docker's page on AppArmor had it in 2015, and
which parts of it no longer protect.`,
		Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if err := exclusive(cmd, "text", "json"); err != nil {
				return err
			}
			return runProfileShow(cmd.Context(), s, &o, args[0])
		}),
	}
	cmd.Flags().StringVar(&o.variant, "variant", "", "print this `edition` of a generated profile: 2015")
	cmd.Flags().BoolVar(&o.text, "text", false, "print only the text")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

func runProfileShow(ctx context.Context, s *session, o *profileShowOptions, name string) error {
	j, err := profiles.Show(ctx, s.Node, name, o.variant)
	switch {
	case err != nil:
		return err
	case o.json:
		return output.JSON(s.stdout, j)
	case o.text && j.Text == "":
		return fmt.Errorf("there is no text of profile %s, and the kernel keeps none", oneline.Name(name))
	case o.text:
		_, err := io.WriteString(s.stdout, j.Text)
		return err
	}
	return s.printShown(s.print(), j)
}

// printShown writes a profile so that the whole output is the text of a profile.
func (s *session) printShown(out *output.Printer, j *profiles.Shown) error {
	out.Line("# profile %s", oneline.Whole(j.Name))
	comments := func(what string, format string, args ...any) {
		// Every line of it must be a comment: wrapped indents by blanks.
		b := &strings.Builder{}
		p := &output.Printer{W: b}
		p.Wrapped(fmt.Sprintf("%-8s ", what), fmt.Sprintf(format, args...))
		for line := range strings.Lines(b.String()) {
			out.Line("# %s", strings.TrimSuffix(line, "\n"))
		}
	}
	switch {
	case j.Loaded != nil:
		comments("kernel", "loaded in %s mode since %s%s", j.Loaded.Mode, j.Loaded.Since.Format("2006-01-02 15:04 MST"),
			j.Loaded.By.Sentence())
		if j.Loaded.Hash != "" {
			comments("hash", "%s", j.Loaded.Hash)
		}
		if j.Loaded.Attach != "" {
			comments("attach", "%s", oneline.Whole(j.Loaded.Attach))
		}
		for _, c := range j.Loaded.Children {
			comments("child", "%s", oneline.Whole(c))
		}
		const most = 10
		for i, t := range j.Processes {
			if i == most {
				comments("process", "and %d more", len(j.Processes)-most)
				break
			}
			comments("process", "%d (%s) under %s", t.PID, oneline.Whole(t.Command), oneline.Whole(t.Label))
		}
		if len(j.Processes) == 0 {
			comments("process", "none")
		}
	case errors.Is(j.Unloaded, kernel.ErrNotLoaded):
		comments("kernel", "not loaded")
	default:
		comments("kernel", "not known: %v", exit.AsRoot(j.Unloaded))
	}
	switch main, _, child := strings.Cut(j.Name, "//"); {
	case j.Source != "":
		out.Line("# %-8s %s", "text", oneline.Whole(j.Source)) // with a path in it that no blank breaks
	case child:
		comments("text", "it is part of that of profile %s", oneline.Whole(main))
	case !s.Root:
		comments("text", "not known: only root may read the texts that were loaded")
	default:
		comments("text", "there is none: the kernel keeps none, and what it has was not loaded from one that is known")
	}
	if j.Loaded != nil && j.Text != "" {
		comments("content", "%s", map[string]string{
			node.Same:    "the kernel has what this text compiles to",
			"more":       "the kernel has what this text compiles to, and a child that is left of an earlier one",
			"other":      "the kernel has other content than this text",
			node.Unknown: "whether the kernel has what this text compiles to is not known",
		}[j.Content])
	}
	for _, note := range j.Notes {
		comments("note", "%s", note)
	}
	if out.Err == nil && j.Text != "" {
		_, out.Err = fmt.Fprintf(s.stdout, "\n%s", j.Text)
	}
	return out.Err
}
