package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/apply"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/impact"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/revision"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

type policyDiffOptions struct {
	apply.Options
	json, markdown bool
}

func policyDiffCommand(s *session) *cobra.Command {
	var o policyDiffOptions
	cmd := &cobra.Command{
		Use:   "diff [REV | REV..REV | DIR DIR]",
		Short: "Say what a change of the policy allows and denies, and for which containers",
		Long: `Say what a change of the policy means: which profiles, policies and rules are new,
gone or changed, what each changed profile newly allows, denies and logs, as profile
diff --meaning has it, and for which containers the rules choose such a profile.

Without an argument it compares the policy in force with the one that policy apply
would put in force, and says what that means for the containers that run, as policy
apply --dry-run does. That is for root.

With one revision it compares the policy in the directory of --config as it was then
with the one that is there now; with REV1..REV2, both as they were. The directory
must be in a git repository, and git must be installed. Nothing that the repository
configures is run. With two directories it compares the policies in these. For all
that it needs neither root nor, with --features, AppArmor in the kernel: only
apparmor_parser.

--markdown prints what can be a comment on a pull request.

The exit code is that of diff(1): 0 if both policies mean the same, 1 if not, 2 for
trouble.`,
		Example: `  oci-apparmor policy diff
  oci-apparmor policy diff --config policy --features /etc/apparmor.d/abi/3.0 main..HEAD
  oci-apparmor policy diff --markdown --features features before after`,
		Args: cobra.MaximumNArgs(2),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if err := exclusive(cmd, "json", "markdown"); err != nil {
				return err
			}
			o.Progress = &progress{session: s, quiet: true}
			return trouble(runPolicyDiff(cmd.Context(), s, &o, args))
		}),
	}
	cmd.Flags().StringVar(&o.Config, "config", s.Config, "`directory` of policy.yaml")
	cmd.Flags().StringVar(&o.Store, "store", s.Store, "`directory` of the applied policy")
	cmd.Flags().StringVar(&o.Features, "features", "",
		"compile for a kernel with the features in this `file`, not for the one that runs")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	cmd.Flags().BoolVar(&o.markdown, "markdown", false, "print Markdown")
	return cmd
}

func runPolicyDiff(ctx context.Context, s *session, o *policyDiffOptions, args []string) error {
	d, err := diffPolicies(ctx, s, o, args)
	if err != nil {
		return err
	}
	out := s.print()
	switch {
	case o.json:
		out.Err = output.JSON(s.stdout, policyDiffOf(d))
	case o.markdown:
		printMarkdown(out, d)
	default:
		printPolicyDiff(out, d)
	}
	if out.Err == nil && !d.Same() {
		return exit.Silently(exit.BadPolicy)
	}
	return out.Err
}

// diffPolicies compares what the arguments name.
func diffPolicies(ctx context.Context, s *session, o *policyDiffOptions, args []string) (*apply.Differences, error) {
	switch len(args) {
	case 0:
		return apply.DiffInForce(ctx, s.Node, o.Options)
	case 2:
		return apply.DiffDirs(ctx, s.Node, o.Options, args[0], args[1])
	}
	if info, err := os.Stat(args[0]); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s is a directory: name another one with it, or a revision alone", oneline.Name(args[0]))
	}
	if info, err := os.Stat(o.Config); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%s is no directory: --config names the one whose revisions are compared", oneline.Name(o.Config))
	}
	from, to, both := strings.Cut(args[0], "..")
	if strings.HasPrefix(to, ".") {
		return nil, errors.New("REV1...REV2 is not known here: write REV1..REV2")
	}
	temporary, err := os.MkdirTemp("", "oci-apparmor-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temporary)
	dirs := []string{filepath.Join(temporary, "before"), o.Config}
	if both {
		dirs[1] = filepath.Join(temporary, "after")
	}
	for i, rev := range []string{from, to}[:map[bool]int{false: 1, true: 2}[both]] {
		if err := os.Mkdir(dirs[i], 0o700); err != nil {
			return nil, err
		}
		if err := revision.Extract(ctx, o.Config, rev, dirs[i]); err != nil {
			return nil, err
		}
	}
	return apply.DiffDirs(ctx, s.Node, o.Options, dirs[0], dirs[1])
}

// profileWord says what becomes of a profile.
func profileWord(p apply.ProfileDifference) string {
	if p.Kind == "same" {
		return "written otherwise, and means the same"
	}
	return p.Kind
}

// printPolicyDiff prints differences for a terminal.
func printPolicyDiff(out *output.Printer, d *apply.Differences) {
	for _, p := range d.Profiles {
		out.Line("profile %s: %s", p.Name, profileWord(p))
		if p.Kind == "changed" {
			printMeaning(out, p.Meaning, "  ")
		}
	}
	for _, lines := range [][]string{d.Policies, d.Rules, d.Containers} {
		for _, line := range lines {
			out.Wrapped("", oneline.Whole(line))
		}
	}
	if d.Ran {
		printRunning(out, d.Running)
	}
	if d.Same() {
		out.Line("both policies mean the same")
	}
}

func printRunning(out *output.Printer, containers []impact.Container) {
	if err := printImpact(out, containers, false); out.Err == nil {
		out.Err = err
	}
}

// printMarkdown prints differences as a comment on a change. Texts that others wrote stand in code, where nothing is read
// as markup.
func printMarkdown(out *output.Printer, d *apply.Differences) {
	if d.Same() {
		out.Line("Both policies mean the same.")
		return
	}
	for _, p := range d.Profiles {
		out.Line("### Profile %s: %s\n", code(p.Name), profileWord(p))
		if p.Kind != "changed" {
			continue
		}
		out.Line("| | accesses | for example |\n| --- | --- | --- |")
		for _, l := range p.Meaning.Lines {
			title := l.Change.Title()
			if l.Profile != "" {
				title = "under profile " + code(l.Profile) + ", " + title
			}
			example := ""
			if text := l.Example(); text != "" && !l.Plain() {
				example = code(text)
			}
			out.Line("| %s | %s | %s |", title, code(l.String()), example)
		}
		if p.Meaning.LeftOut > 0 {
			out.Line("\nand %d more", p.Meaning.LeftOut)
		}
		for _, sentence := range p.Meaning.Unknown {
			out.Line("\nNote: %s", code(sentence))
		}
		out.Line("")
	}
	for _, part := range []struct {
		title string
		lines []string
	}{{"Policies", d.Policies}, {"Rules", d.Rules}, {"Containers", d.Containers}} {
		if len(part.lines) == 0 {
			continue
		}
		out.Line("### %s\n", part.title)
		for _, line := range part.lines {
			out.Line("- %s", code(line))
		}
		out.Line("")
	}
}

// code writes a text so that Markdown shows it as it is, in a table as well.
func code(text string) string {
	text = strings.ReplaceAll(oneline.Printable(text), "|", "\\|")
	fence := "`"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	if len(fence) > 1 {
		return fence + " " + text + " " + fence
	}
	return fence + text + fence
}

// policyDiff is the JSON of differences.
type policyDiff struct {
	Same       bool              `json:"same"`
	Profiles   []profileDiffJSON `json:"profiles"`
	Policies   []string          `json:"policies"`   // lines
	Rules      []string          `json:"rules"`      // lines
	Containers []string          `json:"containers"` // lines about containers by rules
	Running    []runningDiff     `json:"running,omitempty"`
}

type profileDiffJSON struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"` // see apply.ProfileDifference
	Meaning *meant `json:"meaning,omitempty"`
}

type runningDiff struct {
	Name  string   `json:"name"`
	ID    string   `json:"id"`
	Means []string `json:"means"` // sentences; none if nothing changes
}

func policyDiffOf(d *apply.Differences) policyDiff {
	list := func(lines []string) []string { return append([]string{}, lines...) }
	j := policyDiff{Same: d.Same(), Profiles: []profileDiffJSON{}, Policies: list(d.Policies), Rules: list(d.Rules),
		Containers: list(d.Containers)}
	for _, p := range d.Profiles {
		one := profileDiffJSON{Name: p.Name, Kind: p.Kind}
		if p.Meaning != nil {
			m := meantOf(p.Meaning)
			one.Meaning = &m
		}
		j.Profiles = append(j.Profiles, one)
	}
	for _, c := range d.Running {
		j.Running = append(j.Running, runningDiff{c.Name, c.ID, list(means(&c))})
	}
	return j
}
