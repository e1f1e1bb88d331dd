package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/apply"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/impact"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/revision"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/compare"
)

type policyDiffOptions struct {
	apply.Options
	json, markdown, all bool
}

func policyDiffCommand(s *session) *cobra.Command {
	var o policyDiffOptions
	cmd := &cobra.Command{
		Use:   "diff [REV | REV..REV | DIR DIR]",
		Short: "Say what a change of the policy allows and denies, and for which containers",
		Long: `Say what a change of the policy means: which profiles, policies and rules are new,
gone or changed, what each changed profile newly allows, denies and logs, as profile
diff --meaning has it, and for which containers the rules choose such a profile. For
containers that get another label, by whatever change, it says the same of the label
that they get and the one that they had, with floors. A policy that may newly be asked
for is compared with what those who ask for it had before.

Of each comparison it prints the weightiest lines, and how many there are beside them.
--all prints all; --json always has them.

Without an argument it compares the policy in force with the one that policy apply
would put in force, and says what that means for the containers that run, as policy
apply --dry-run does. That is for root. Where the new one fails the tests that it
requires, they are named behind the differences, and the exit code is 2.

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
	cmd.Flags().BoolVar(&o.all, "all", false, "print all accesses, and all containers of each label")
	cmd.Flags().BoolVar(&o.markdown, "markdown", false, "print Markdown")
	return cmd
}

func runPolicyDiff(ctx context.Context, s *session, o *policyDiffOptions, args []string) error {
	d, err := diffPolicies(ctx, s, o, args)
	if err != nil {
		return err
	}
	out := s.print()
	if !o.json && !o.all {
		shorten(d)
	}
	switch {
	case o.json:
		out.Err = output.JSON(s.stdout, policyDiffOf(d))
	case o.markdown:
		printMarkdown(out, d)
	default:
		printPolicyDiff(out, d)
	}
	switch {
	case out.Err != nil:
		return out.Err
	case d.Failed != nil:
		return d.Failed
	case !d.Same():
		return exit.Silently(exit.BadPolicy)
	}
	return nil
}

// missing reports that there is no such file.
func missing(name string) bool {
	_, err := os.Lstat(name)
	return errors.Is(err, fs.ErrNotExist)
}

// diffPolicies compares what the arguments name.
func diffPolicies(ctx context.Context, s *session, o *policyDiffOptions, args []string) (*apply.Differences, error) {
	switch len(args) {
	case 0:
		return apply.DiffInForce(ctx, s.Node, o.Options, detail)
	case 2:
		if missing(args[0]) && missing(args[1]) {
			return nil, fmt.Errorf("there is no directory %s and no directory %s: did you mean the revisions %[1]s..%[2]s?",
				oneline.Whole(args[0]), oneline.Whole(args[1]))
		}
		return apply.DiffDirs(ctx, s.Node, o.Options, args[0], args[1], detail)
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
	return apply.DiffDirs(ctx, s.Node, o.Options, dirs[0], dirs[1], detail)
}

// detail is how many lines a comparison has, of which few are shown without --all.
var detail = compare.Options{Lines: 10000}

// How many lines of a comparison, containers of a label, labels, and lines about other containers are shown without --all.
const (
	fewLines      = 12
	fewContainers = 6
	fewLabels     = 16
	fewOthers     = 20
)

// shorten leaves the weightiest lines of each comparison, and the first containers of each label.
func shorten(d *apply.Differences) {
	for _, p := range d.Profiles {
		shortenMeaning(p.Meaning)
	}
	d.Containers = shortenList(d.Containers, fewOthers)
	if n := len(d.Labels) - fewLabels; n > 0 {
		slices.SortStableFunc(d.Labels, func(a, b apply.LabelDifference) int { return cmp.Compare(weight(b), weight(a)) })
		d.Labels = d.Labels[:fewLabels]
		d.Containers = append(d.Containers, fmt.Sprintf("%d more labels differ: policy diff --all has them", n))
	}
	for i := range d.Labels {
		shortenMeaning(d.Labels[i].Meaning)
		d.Labels[i].Containers = shortenList(d.Labels[i].Containers, fewContainers)
	}
}

// weight is more for a label that may allow something new.
func weight(l apply.LabelDifference) int {
	if l.Meaning == nil || slices.ContainsFunc(l.Meaning.Lines, func(l compare.Line) bool { return l.Change == compare.Allowed }) {
		return 1
	}
	return 0
}

// shortenList leaves so many lines, and one that says how many there are beside them.
func shortenList(lines []string, few int) []string {
	n := len(lines) - few
	if n <= 0 {
		return lines
	}
	return append(slices.Clone(lines[:few]), fmt.Sprintf("and %d more: policy diff --all has them", n))
}

// shortenMeaning leaves a comparison's weightiest lines, in their order.
func shortenMeaning(m *compare.Difference) {
	if m == nil || len(m.Lines) <= fewLines {
		return
	}
	m.LeftOut += len(m.Lines) - fewLines
	var left []compare.Line
	weightiest := make(map[int]bool)
	for _, change := range compare.Changes() {
		for _, capability := range []bool{true, false} { // which are few, and each weighs much
			for i, l := range m.Lines {
				if l.Change == change && strings.HasPrefix(l.What, "capability") == capability && len(weightiest) < fewLines {
					weightiest[i] = true
				}
			}
		}
	}
	for i, l := range m.Lines {
		if weightiest[i] {
			left = append(left, l)
		}
	}
	m.Lines = left
}

// printLabels prints for which containers the label changes, and what that means.
func printLabels(out *output.Printer, labels []apply.LabelDifference) {
	for _, l := range labels {
		out.Wrapped("", oneline.Whole(fmt.Sprintf("label %s (before: %s)", l.To, l.From)))
		for _, line := range l.Containers {
			out.Wrapped("  ", oneline.Whole(line))
		}
		switch {
		case l.Meaning == nil:
			out.Wrapped("  ", oneline.Whole(l.Unknown))
		case l.Meaning.Same():
			out.Line("  the same meaning: each access is decided alike")
		default:
			printMeaning(out, l.Meaning, "  ")
		}
		if l.Meaning != nil && l.Meaning.LeftOut > 0 {
			out.Line("  %s", seeAll)
		}
	}
}

// seeAll says how to see what is left out.
const seeAll = "(policy diff --all has them)"

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
			if p.Meaning.LeftOut > 0 {
				out.Line("  %s", seeAll)
			}
		}
	}
	for _, line := range slices.Concat(d.Policies, d.Rules, tests(d)) {
		out.Wrapped("", oneline.Whole(line))
	}
	printLabels(out, d.Labels)
	for _, line := range d.Containers {
		out.Wrapped("", oneline.Whole(line))
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
		markdownMeaning(out, p.Meaning)
	}
	for _, l := range d.Labels {
		out.Line("### Label %s (before: %s)\n", code(l.To.String()), code(l.From.String()))
		for _, line := range l.Containers {
			out.Line("- %s", code(line))
		}
		out.Line("")
		switch {
		case l.Meaning == nil:
			out.Line("%s\n", code(l.Unknown))
		case l.Meaning.Same():
			out.Line("The same meaning: each access is decided alike.\n")
		default:
			markdownMeaning(out, l.Meaning)
		}
	}
	for _, part := range []struct {
		title string
		lines []string
	}{{"Policies", d.Policies}, {"Rules", d.Rules}, {"Tests", tests(d)}, {"Containers", d.Containers}} {
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

// markdownMeaning prints one comparison.
func markdownMeaning(out *output.Printer, m *compare.Difference) {
	out.Line("| | accesses | for example |\n| --- | --- | --- |")
	for _, l := range m.Lines {
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
	if m.LeftOut > 0 {
		out.Line("\nand %d more (`policy diff --all` has them)", m.LeftOut)
	}
	for _, sentence := range m.Unknown {
		out.Line("\nNote: %s", code(sentence))
	}
	out.Line("")
}

// tests returns the line about tests, if there is one.
func tests(d *apply.Differences) []string {
	if d.Tests == "" {
		return nil
	}
	return []string{d.Tests}
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
	Policies   []string          `json:"policies"` // lines
	Rules      []string          `json:"rules"`    // lines
	Tests      string            `json:"tests,omitempty"`
	Labels     []labelDiffJSON   `json:"labels"`
	Containers []string          `json:"containers"` // lines about containers by rules
	Running    []runningDiff     `json:"running,omitempty"`
}

type profileDiffJSON struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"` // see apply.ProfileDifference
	Meaning *meant `json:"meaning,omitempty"`
}

type labelDiffJSON struct {
	From       []string `json:"from"` // names of profiles; none for what the engine chose
	To         []string `json:"to"`
	Containers []string `json:"containers"`        // in words
	Meaning    *meant   `json:"meaning,omitempty"` // missing if it is not known
	Unknown    string   `json:"unknown,omitempty"` // why
}

type runningDiff struct {
	Name  string   `json:"name"`
	ID    string   `json:"id"`
	Means []string `json:"means"` // sentences; none if nothing changes
}

func policyDiffOf(d *apply.Differences) policyDiff {
	list := func(lines []string) []string { return append([]string{}, lines...) }
	j := policyDiff{Same: d.Same(), Profiles: []profileDiffJSON{}, Policies: list(d.Policies), Rules: list(d.Rules),
		Tests: d.Tests, Labels: []labelDiffJSON{}, Containers: list(d.Containers)}
	for _, l := range d.Labels {
		one := labelDiffJSON{From: list(l.From), To: list(l.To), Containers: list(l.Containers), Unknown: l.Unknown}
		if l.Meaning != nil {
			m := meantOf(l.Meaning)
			one.Meaning = &m
		}
		j.Labels = append(j.Labels, one)
	}
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
