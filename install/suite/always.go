package suite

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/compare"
)

// never adds the jobs of one never: for each label, whether a process under it can do something of the patterns.
func (r *run) never(s *policyfile.Suite, n *policyfile.Never, all []*label, notes []string) {
	at := r.add(Result{Kind: Never, Name: title(s, Never, n.Name, n.At), At: n.At, Notes: notes})
	for _, l := range all {
		left := l.without(n.Except)
		if len(left) == 0 {
			continue
		}
		r.report.Results[at].Labels++
		if l.keep {
			failure := r.gets(l, left[0])
			failure.At, failure.Asks, failure.Reason = n.At, "never", r.kept(l, left[0])
			failure.Unknown = true
			r.fail(at, failure)
			continue
		}
		r.jobs = append(r.jobs, job{l.names, at, func() error {
			for _, pattern := range n.Allow {
				if err := r.neverFor(at, l, left[0], pattern); err != nil {
					return err
				}
			}
			return nil
		}})
	}
}

// neverFor finds out whether a process under a label can do something of a pattern.
func (r *run) neverFor(result int, l *label, g given, pattern policyfile.Pattern) error {
	f, err := r.reach(l, pattern.Pattern)
	if err != nil {
		return err
	}
	if f == nil {
		return r.hangs(result, l.names, pattern, false)
	}
	failure := r.gets(l, g)
	failure.At, failure.Asks, failure.Assertion = pattern.At, "never", pattern.Value
	failure.Witness, failure.After, failure.Kernels = f.witness, f.after, f.kernels
	failure.Profiles = r.sources(f.allowing)
	if failure.Reason = "allowed"; l.byHand != "" || f.unknown != "" {
		failure.Unknown, failure.Reason = true, "whether this is denied cannot be judged: "+l.unknown(f)
	}
	r.fail(result, failure)
	return nil
}

// kept says that what containers may do that keep their engine's choice cannot be judged, and what to do.
func (r *run) kept(l *label, g given) string {
	whose := "a container for which there is no rule"
	if g.rule != nil {
		whose = "the container"
	}
	return fmt.Sprintf("cannot be judged: %s; give it a policy with a profile, or leave it out by \"except: {policy: %s}\"",
		strings.Replace(l.unknown(nil), "the container", whose, 1), cmp.Or(g.policy, policy.Keep))
}

// gets returns a failure with who gets a label, and how.
func (r *run) gets(l *label, g given) Failure {
	f := Failure{Policy: g.policy, Label: l.name()}
	if g.rule != nil {
		f.Rule = r.place(g.rule.File, g.rule.Line)
	}
	f.Container = "none was found for the rule, and earlier rules may be for all of its containers"
	if facts, ok := example(r.index, g); ok {
		f.Container = describeFacts(facts)
	}
	return f
}

// floor adds the jobs of one floor: for each label, whether it is at least as strict as a profile.
func (r *run) floor(s *policyfile.Suite, f *policyfile.Floor, all []*label, notes []string) {
	at := r.add(Result{Kind: Floor, Name: title(s, Floor, f.Profile, f.At), At: f.At, Notes: notes})
	for _, l := range all {
		left := l.without(f.Except)
		if len(left) == 0 {
			continue
		}
		r.report.Results[at].Labels++
		if l.keep {
			failure := r.gets(l, left[0])
			failure.At, failure.Asks, failure.Assertion, failure.Reason = f.At, "floor", f.Profile, r.kept(l, left[0])
			failure.Unknown = true
			r.fail(at, failure)
			continue
		}
		if slices.Contains(l.names, f.Profile) { // all that a stack allows, each of its parts allows
			continue
		}
		r.jobs = append(r.jobs, job{l.names, at, func() error { return r.floorFor(at, l, left[0], f) }})
	}
}

// floorFor finds out whether a label is at least as strict as a profile.
func (r *run) floorFor(result int, l *label, g given, f *policyfile.Floor) error {
	stack, err := r.stacks.of(l.names)
	if err != nil {
		return err
	}
	base, err := r.stacks.of([]string{f.Profile})
	if err != nil {
		return err
	}
	others, err := r.stacks.reached(slices.Concat(stack, base))
	if err != nil {
		return err
	}
	beyond, within, err := compare.Within(compare.Side{Stack: stack, Others: others}, compare.Side{Stack: base, Others: others})
	if err == nil && within {
		return nil
	}
	failure := r.gets(l, g)
	failure.At, failure.Asks, failure.Assertion = f.At, "floor", f.Profile
	switch {
	case errors.Is(err, automaton.ErrTooLarge):
		r.undecided(result, failure, err)
		return nil
	case err != nil:
		return err
	}
	failure.Witness, failure.Profiles = access.Format(beyond.Access), r.sources(l.names)
	if failure.Reason = fmt.Sprintf("allowed, and %s denies it", f.Profile); beyond.Exec != [2]string{} {
		failure.Reason = fmt.Sprintf("allowed, and the program goes on %s, and under %s it goes on %s", cmp.Or(beyond.Exec[0], "as it is"), f.Profile, cmp.Or(beyond.Exec[1], "as it is"))
	}
	if beyond.Profile != "" {
		failure.After = "coming under " + beyond.Profile
		failure.Profiles = r.sources(strings.Split(beyond.Profile, "//&"))
	}
	if l.byHand != "" {
		failure.Unknown = true
		failure.Reason = fmt.Sprintf("whether this is denied, as %s denies it, cannot be judged: %s", f.Profile, l.unknown(nil))
	}
	r.fail(result, failure)
	return nil
}
