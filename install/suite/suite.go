// Package suite runs the tests of a policy, that package policyfile has read: what is decided for a container, what it may
// do, and what no container may ever do that the policy can let start. It asks neither the kernel nor the parser: the
// decisions are those of the policy's index, and what a profile allows is read from what it was compiled to.
package suite

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/describe"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// A Policy is a policy whose profiles are compiled.
type Policy struct {
	Config *policy.Config
	Blob   func(name string) ([]byte, error) // what a profile of the policy was compiled to
	Kernel meaning.Kernel                    // for which it was compiled; nil if that is not known
	Source func(file string) string          // the path of a policy file, for places in reasons
}

// A Result is the outcome of one test.
type Result struct {
	Kind   Kind
	Name   string // "test/web", "never/tests.yaml:12"
	At     policyfile.Place
	Took   time.Duration
	Failed []Failure // empty if it passed

	// For a test, what was decided for its container.
	Container string
	Policy    string
	Label     string
	Refused   string
	Warnings  []string // about the description of its container

	Labels int      // for the other kinds, how many labels were judged
	Notes  []string // what was not judged, and why that does not matter
}

// A Kind is the kind of a test: a key of the file of tests.
type Kind string

// The kinds.
const (
	Test  Kind = "test"
	Never Kind = "never"
	Floor Kind = "floor"
)

// A Failure is why a test fails. Fields that do not apply are empty.
type Failure struct {
	At      policyfile.Place // of the assertion
	Reason  string           // a sentence
	Unknown bool             // it cannot be judged, because something is not known that the policy does not say

	Asks      string // what asks for it: "allow", "deny", "never" or "floor"; empty if it is the decision that differs
	Assertion string // as the file has it: "w /etc/**"
	Witness   string // the shortest access that shows it
	After     string // what a process does first, if the access is not possible under the container's own label
	Container string // an example of a container, by its facts
	Rule      string // FILE:LINE of the rule by which the container gets the label
	Policy    string
	Label     string
	Profiles  []string // the profiles of the label that allow the access, or the one that denies it, with their sources
	Kernels   []string // which kernels decide the access otherwise: "denied by Linux before …"
}

// A Report is the outcome of all tests that were chosen.
type Report struct {
	Results []Result
	Took    time.Duration
	Left    int // how many tests were not chosen
}

// Passed reports whether no test failed.
func (r *Report) Passed() bool {
	return !slices.ContainsFunc(r.Results, func(one Result) bool { return len(one.Failed) > 0 })
}

// Execute runs the tests whose names match chosen, or all if it is nil. The error is for a policy or a blob that cannot be
// read, not for a test that fails.
func Execute(ctx context.Context, p Policy, s *policyfile.Suite, chosen *regexp.Regexp) (*Report, error) {
	start := time.Now()
	data, err := p.Config.Encode()
	if err != nil {
		return nil, err
	}
	index, err := policy.OpenIndex(data)
	if err != nil {
		return nil, err
	}
	r := run{policy: p, index: index, stacks: newStacks(p), report: new(Report)}
	if err := r.plan(s, chosen); err != nil {
		return nil, err
	}
	slices.SortStableFunc(r.jobs, func(a, b job) int { return slices.Compare(a.names, b.names) })
	for _, j := range r.jobs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		begun := time.Now()
		if err := j.do(); err != nil {
			return nil, err
		}
		r.report.Results[j.result].Took += time.Since(begun)
	}
	for _, one := range r.report.Results { // by assertion, and those of one assertion by label
		slices.SortStableFunc(one.Failed, func(a, b Failure) int {
			return cmp.Or(cmp.Compare(a.At.Line, b.At.Line), cmp.Compare(a.At.Column, b.At.Column))
		})
	}
	r.report.Took = time.Since(start)
	return r.report, nil
}

// run is one call of Execute.
type run struct {
	policy Policy
	index  policy.Index
	stacks *stacks
	report *Report
	jobs   []job
}

// A job is a part of a test that needs the profiles of one label. Jobs for the same profiles are done one after the other,
// so that each profile is read once, and few at a time are in memory.
type job struct {
	names  []string // profiles, sorted
	result int      // its place in the report
	do     func() error
}

// plan adds the results, and the jobs that find them out.
func (r *run) plan(s *policyfile.Suite, chosen *regexp.Regexp) error {
	is := func(name string) bool {
		if chosen == nil || chosen.MatchString(name) {
			return true
		}
		r.report.Left++
		return false
	}
	for i := range s.Tests {
		if t := &s.Tests[i]; is(title(s, Test, t.Name, t.At)) {
			r.test(s, t)
		}
	}
	if len(s.Nevers) == 0 && len(s.Floors) == 0 {
		return nil
	}
	all, paused, err := labels(r.policy.Config, r.index)
	if err != nil {
		return err
	}
	var notes []string
	if paused {
		notes = append(notes, "pause containers of pods keep what their engine chose: they run its program and nobody else's, and are "+
			"not judged")
	}
	for i := range s.Nevers {
		if n := &s.Nevers[i]; is(title(s, Never, n.Name, n.At)) {
			r.never(s, n, all, notes)
		}
	}
	for i := range s.Floors {
		if f := &s.Floors[i]; is(title(s, Floor, f.Profile, f.At)) {
			r.floor(s, f, all, notes)
		}
	}
	return nil
}

// title returns the name of a test: what the file calls it, or its place.
func title(s *policyfile.Suite, kind Kind, name string, at policyfile.Place) string {
	return string(kind) + "/" + cmp.Or(name, s.Where(at))
}

// add adds a result and returns its place.
func (r *run) add(one Result) int {
	r.report.Results = append(r.report.Results, one)
	return len(r.report.Results) - 1
}

// fail adds a failure to a result.
func (r *run) fail(result int, f Failure) {
	one := &r.report.Results[result]
	one.Failed = append(one.Failed, f)
}

// test decides about the container of a test, and adds what is to be found out of its label.
func (r *run) test(s *policyfile.Suite, t *policyfile.Test) {
	begun := time.Now()
	facts, warnings, bad := known(&t.Container)
	d, err := r.index.Decide(facts)
	one := Result{Kind: Test, Name: title(s, Test, t.Name, t.At), At: t.At, Container: describeFacts(facts), Warnings: warnings}
	if err != nil {
		one.Refused = err.Error()
	} else {
		one.Policy, one.Label = cmp.Or(d.Policy, policy.Keep), d.Label
		if d.Keep {
			one.Label = facts.EngineChoice
		}
	}
	if bad != nil {
		one.Policy, one.Label, one.Refused = "", "", ""
		one.Failed = []Failure{{At: t.Container.At, Reason: bad.Error()}}
	} else {
		one.Failed = expected(t, d, facts, one.Refused)
	}
	one.Took = time.Since(begun)
	at := r.add(one)
	if one.Refused != "" || bad != nil {
		return
	}
	l := labelOf(d, facts, r.policy.Config)
	from := Failure{Rule: r.place(d.File, d.Line), Policy: one.Policy, Label: one.Label}
	for _, kind := range []struct {
		allow    bool
		patterns []policyfile.Pattern
	}{{true, t.Allow}, {false, t.Deny}} {
		for _, pattern := range kind.patterns {
			r.jobs = append(r.jobs, job{l.names, at, func() error { return r.ask(at, l, pattern, kind.allow, from) }})
		}
	}
}

// known returns what a start of the container that a test describes would know. The error says what in the description
// makes no sense.
func known(c *policyfile.Container) (f policy.Facts, warnings []string, err error) {
	described := describe.Container{Engine: c.Engine, ID: c.ID, Annotations: c.Annotations, Labels: c.Labels, Facts: c.Facts,
		Privileged: c.Privileged, Sandbox: c.Sandbox, Choice: c.Choice, ChoiceSaid: c.ChoiceSaid}
	word := func(of string) string {
		switch of {
		case "choice":
			return "engineChoice"
		case "container":
			return "name"
		}
		return of
	}
	if err := described.CheckChoice(word); err != nil {
		return f, nil, err
	}
	by, err := described.Caller(word)
	if err != nil {
		return f, nil, err
	}
	if f, err = described.Known(by); err != nil {
		return f, nil, err
	}
	return f, append(described.Untold(f, word), described.ForOthers(f, word)...), nil
}

// expected returns in what a decision differs from what a test expects.
func expected(t *policyfile.Test, d policy.Decision, f policy.Facts, refused string) (failed []Failure) {
	fail := func(at policyfile.Place, format string, args ...any) {
		failed = append(failed, Failure{At: at, Reason: fmt.Sprintf(format, args...)})
	}
	switch wants := t.Refused.At.Line > 0; {
	case refused != "" && !wants:
		fail(t.Container.At, "the container is refused: %s", refused)
		return failed
	case refused != "" && !strings.Contains(refused, t.Refused.Value):
		fail(t.Refused.At, "the container is refused for another reason: %s", refused)
		return failed
	case refused == "" && wants:
		fail(t.Refused.At, "the container is not refused: %s", d.Reason)
		return failed
	case refused != "":
		return nil
	}
	if want := t.Policy.Value; want != "" && want != cmp.Or(d.Policy, policy.Keep) && (want != policy.Keep || !d.Keep) {
		fail(t.Policy.At, "the policy is %s, not %s: %s", cmp.Or(d.Policy, policy.Keep), want, d.Reason)
	}
	if want := t.Label.Value; want != "" {
		switch {
		case d.Keep && f.ChoiceUnsaid:
			failed = append(failed, Failure{At: t.Label.At, Unknown: true, Reason: "the label is what the engine chose, which the test does " +
				"not say: add engineChoice to the container: " + d.Reason})
		case d.Keep && f.EngineChoice != want:
			fail(t.Label.At, "the label is %s, not %s: %s", oneline.Whole(cmp.Or(f.EngineChoice, "none")), oneline.Whole(want), d.Reason)
		case !d.Keep && !policy.SameLabel(want, d.Label):
			fail(t.Label.At, "the label is %s, not %s: %s", d.Label, oneline.Whole(want), d.Reason)
		}
	}
	return failed
}

// place returns where a rule stands.
func (r *run) place(file string, line int) string {
	switch {
	case file == "":
		return ""
	case line == 0:
		return r.policy.Source(file)
	}
	return fmt.Sprintf("%s:%d", r.policy.Source(file), line)
}

// labelOf returns what is known of the profiles of a decision.
func labelOf(d policy.Decision, f policy.Facts, c *policy.Config) *label {
	l := &label{keep: d.Keep}
	known := func(name string) bool {
		return slices.ContainsFunc(c.Profiles, func(p policy.Profile) bool { return p.Name == name })
	}
	for _, p := range d.Profiles {
		if p.ByHand {
			l.byHand = p.Name
		} else {
			l.names = append(l.names, p.Name)
		}
	}
	if d.Keep && !f.ChoiceUnsaid {
		switch {
		case f.EngineChoice == "unconfined", f.EngineChoice == "":
			l.keep = false // and there is no profile
		case known(f.EngineChoice):
			l.keep, l.names = false, []string{f.EngineChoice}
		}
	}
	slices.Sort(l.names)
	l.names = slices.Compact(l.names)
	return l
}

// ask finds out whether a container under a label may do all of a pattern, with allow, or nothing of it.
func (r *run) ask(result int, l *label, pattern policyfile.Pattern, allow bool, from Failure) error {
	from.At, from.Asks, from.Assertion = pattern.At, "deny", pattern.Value
	if allow {
		from.Asks = "allow"
		return r.askAllowed(result, l, pattern, from)
	}
	found, err := r.reach(l, pattern.Pattern)
	if err != nil {
		return err
	}
	switch {
	case found == nil:
		return r.hangs(result, l.names, pattern, false)
	case l.keep || l.byHand != "" || found.unknown != "":
		from.Unknown, from.Reason = true, "whether this is denied cannot be judged: "+l.unknown(found)
	default:
		from.Reason = "allowed"
	}
	from.Witness, from.After, from.Profiles, from.Kernels = found.witness, found.after, r.sources(found.allowing), found.kernels
	r.fail(result, from)
	return nil
}

func (r *run) askAllowed(result int, l *label, pattern policyfile.Pattern, from Failure) error {
	stack, err := r.stacks.of(l.names)
	if err != nil {
		return err
	}
	stack = stack.Whole()
	denied, found, err := pattern.Denied(stack)
	switch {
	case err != nil:
		r.undecided(result, from, err)
		return nil
	case found:
		from.Reason, from.Witness, from.Kernels = "denied", access.Format(denied), otherwise(stack, denied)
		if part := stack.Decide(denied).Part; part != nil {
			if exec, ok := denied.(meaning.ExecAccess); ok && part.NoChild(exec) {
				from.Reason = "denied: it leads to a child that profile " + part.Name + " does not have"
			}
			from.Profiles = r.sources([]string{part.Name})
		}
	case l.keep || l.byHand != "":
		from.Unknown, from.Reason = true, "whether this is allowed cannot be judged: "+l.unknown(nil)
	default:
		return r.hangs(result, l.names, pattern, true)
	}
	r.fail(result, from)
	return nil
}

// undecided makes a failure of a question that was too large.
func (r *run) undecided(result int, f Failure, err error) {
	f.Unknown, f.Reason = true, "this cannot be decided: "+err.Error()
	r.fail(result, f)
}

// sources returns profiles with what they are made from: "web (profiles/web)".
func (r *run) sources(names []string) (list []string) {
	for _, name := range names {
		for _, p := range r.policy.Config.Profiles {
			if p.Name == name || strings.HasPrefix(name, p.Name+"//") {
				mode := ""
				if p.Mode != 0 {
					mode = ", mode " + p.Mode.String()
				}
				list = append(list, name+" ("+p.Source+mode+")")
			}
		}
	}
	return list
}
