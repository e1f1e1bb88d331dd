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

// every adds a job for each label that a never or a floor is about, and a failure for each of those under which nobody knows what
// containers may do. about are what the failures are to say.
func (r *run) every(result int, except []string, all []*label, about Failure, do func(*label, given) error) {
	for _, l := range all {
		left := l.without(except)
		if len(left) == 0 {
			continue
		}
		r.report.Results[result].Labels++
		if l.keep {
			failure := r.gets(l, left[0])
			failure.At, failure.Asks, failure.Assertion = about.At, about.Asks, about.Assertion
			failure.Reason, failure.Unknown = r.kept(l, left[0]), true
			r.fail(result, failure)
			continue
		}
		r.jobs = append(r.jobs, job{l.names, result, func() error { return do(l, left[0]) }})
	}
}

// never finds out for each label whether a process under it can do something of the patterns.
func (r *run) never(s *policyfile.Suite, n *policyfile.Never, all []*label, notes []string) {
	at := r.add(Result{Kind: Never, Name: title(s, Never, n.Name, n.At), At: n.At, Notes: notes})
	r.every(at, n.Except, all, Failure{At: n.At, Asks: "never"}, func(l *label, g given) error {
		for _, pattern := range n.Allow {
			if err := r.neverFor(at, l, g, pattern); err != nil {
				return err
			}
		}
		return nil
	})
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

// floor finds out whether each label is at least as strict as a profile.
func (r *run) floor(s *policyfile.Suite, f *policyfile.Floor, all []*label, notes []string) {
	at := r.add(Result{Kind: Floor, Name: title(s, Floor, f.Profile, f.At), At: f.At, Notes: notes})
	r.every(at, f.Except, all, Failure{At: f.At, Asks: "floor", Assertion: f.Profile}, func(l *label, g given) error {
		if slices.Contains(l.names, f.Profile) { // all that a stack allows, each of its parts allows
			return nil
		}
		return r.floorFor(at, l, g, f)
	})
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
	if beyond.Unnamed {
		failure.Reason = fmt.Sprintf("allowed for a file that has this path by the flags of the profile alone, such as attach_disconnected or mediate_deleted, and %s denies it", f.Profile)
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
