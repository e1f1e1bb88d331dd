package policyfile

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// The names that need no definition.
const (
	builtInProfile = "docker-default" // generated from the template of its name
	builtInPolicy  = policy.Baseline  // uses it
)

// checker makes a policy.Config of a document.
type checker struct {
	errs     *Errors
	profiles map[string]*profileDef
	policies map[string]*policyDef
	uses     map[string]use // profiles by their names
}

// use is the first use of a profile, which determines its mode.
type use struct {
	mode  profile.Mode
	after time.Duration // see policy.Profile.EnforceAfter
	place place
	by    string
}

// check resolves the names of a document. Its result is valid only if it added no error.
func (d *document) check(errs *Errors, text func(p *policy.Profile, path string) error) *policy.Config {
	c := checker{
		errs:     errs,
		profiles: make(map[string]*profileDef),
		policies: make(map[string]*policyDef),
		uses:     make(map[string]use),
	}
	c.define(d)
	for i := range d.policies {
		c.policy(&d.policies[i])
	}
	for i := range d.rules {
		c.rule(&d.rules[i])
	}
	c.reach(d.rules)
	return c.result(d, text)
}

// define collects the definitions. It adds the built-in ones that the files do not define.
func (c *checker) define(d *document) {
	for i := range d.profiles {
		def := &d.profiles[i]
		if first, twice := c.profiles[def.name.value]; twice {
			c.errs.add(def.name.place, "profile %.64q is defined twice, first at %s", def.name.value, first.name.place)
			continue
		}
		c.profiles[def.name.value] = def
	}
	for i := range d.policies {
		def := &d.policies[i]
		if first, twice := c.policies[def.name.value]; twice {
			c.errs.add(def.name.place, "policy %.64q is defined twice, first at %s", def.name.value, first.name.place)
			continue
		}
		c.policies[def.name.value] = def
	}
	if c.profiles[builtInProfile] == nil {
		c.profiles[builtInProfile] = &profileDef{name: name{value: builtInProfile}, template: name{value: builtInProfile}}
	}
	if c.policies[builtInPolicy] == nil {
		c.policies[builtInPolicy] = &policyDef{name: name{value: builtInPolicy}, profile: name{value: builtInProfile}}
	}
	c.policies[policy.Keep] = &policyDef{name: name{value: policy.Keep}, profile: name{value: policy.Keep}}
}

// use resolves a profile's name and determines its mode.
func (c *checker) use(at name, by use) {
	if at.value == "" {
		return // it is missing, which is already said
	}
	if c.profiles[at.value] == nil {
		c.errs.add(at.place, "profile %.64q is not defined%s", at.value, didYouMean(at.value, sortedKeys(c.profiles)))
		return
	}
	first, used := c.uses[at.value]
	if !used {
		c.uses[at.value] = by
		return
	}
	switch {
	case first.mode != by.mode:
		c.errs.add(by.place, "profile %.64q is in mode %s for %s, and in mode %s for %s (%s): the kernel has one mode "+
			"for a profile, so use two profiles", at.value, by.mode, by.by, first.mode, first.by, first.place)
	case first.after != by.after:
		c.errs.add(by.place, "profile %.64q is to be enforced %s for %s, and %s for %s (%s): the kernel has one mode for a profile, so "+
			"say the same for both, or use two profiles", at.value, after(by.after), by.by, after(first.after), first.by, first.place)
	}
}

// floor resolves the name of a floor, which is always in mode enforce.
func (c *checker) floor(at name, of string) {
	if at.value == policy.Keep {
		c.errs.add(at.place, "a floor is a profile, and keep is none")
		return
	}
	if c.profiles[at.value] == nil && c.policies[at.value] != nil {
		c.errs.add(at.place, "a floor is a profile, and %.64q is a policy: name a profile, as the one that the policy gives", at.value)
		return
	}
	c.use(at, use{mode: profile.Enforce, place: at.place, by: "the floor of " + of})
}

func (c *checker) policy(def *policyDef) {
	by := "policy " + def.name.value
	if def.profile.value != policy.Keep {
		at := def.profile.place
		if def.modePlace.line > 0 {
			at = def.modePlace
		}
		if def.afterPlace.line > 0 {
			at = def.afterPlace
		}
		c.use(def.profile, use{def.mode, def.enforceAfter, at, by})
	} else if def.floor.given() {
		return // said by the parser
	}
	c.floor(def.floor, by)
}

func (c *checker) rule(r *rule) {
	c.named(r)
	c.fits(r)
	c.floor(r.floor, "a rule")
	if def := c.policies[r.policy.value]; len(r.acceptChoice) > 0 && def != nil && def.profile.value == policy.Keep {
		c.errs.add(r.acceptChoice[0].place, "policy %.64q, which this rule gives, keeps whatever the engine chooses: leave "+
			"acceptChoice out, or give a policy with a profile", r.policy.value)
	}

	for _, at := range append([]name{r.policy}, r.request...) {
		if def := c.policies[at.value]; def != nil && def.profile.value != policy.Keep &&
			(def.mode != profile.Complain || def.floor.given() || r.floor.given()) {
			r.mayConfine = true
		} else {
			r.mayFree = true
		}
	}

	r.Policy, r.Floor = r.policy.value, r.floor.value
	for _, at := range r.request {
		r.Request = append(r.Request, at.value)
	}
	for _, at := range r.acceptChoice {
		r.AcceptChoice = append(r.AcceptChoice, at.value)
	}
}

// named checks the policies that a rule names.
func (c *checker) named(r *rule) {
	for _, at := range append([]name{r.policy}, r.request...) {
		if at.value == "" {
			continue
		}
		def := c.policies[at.value]
		if def == nil {
			hint := didYouMean(at.value, sortedKeys(c.policies))
			if c.profiles[at.value] != nil && profile.CheckName(at.value) == nil {
				hint = fmt.Sprintf("; %[1]s is a profile: say policies: {%[1]s: {profile: %[1]s}}", at.value)
			}
			c.errs.add(at.place, "policy %.64q is not defined%s", at.value, hint)
			continue
		}
		if def.name.value == builtInPolicy && !def.name.given() {
			c.use(name{def.profile.value, at.place}, use{mode: profile.Enforce, place: at.place, by: "the built-in policy baseline"})
		}
		if r.floor.given() && def.profile.value == policy.Keep {
			c.errs.add(r.floor.place, "policy %.64q, which this rule gives, keeps the engine's choice, on which nothing can "+
				"be stacked: leave the floor out, or give that policy by a rule of its own", at.value)
		}
	}
}

// fits reports a rule that is for no container.
func (c *checker) fits(r *rule) {
	for _, k := range r.Keys() {
		silent := slices.DeleteFunc(slices.Clone(r.Engine), k.ReportedBy)
		if len(silent) > 0 {
			r.faulty = true
			reporters, report := k.Reporters(), "report"
			if len(reporters) == 1 {
				report = "reports"
			}
			c.errs.add(r.place, "this rule never fits containers of %s: only %s %s the %s of its containers so "+
				"that it can be trusted; leave %[1]s out of engine", oneline.And(silent), oneline.And(reporters), report, k.Name)
			break
		}
	}
	if !r.faulty && len(r.Engine) == 0 && len(r.Engines()) == 0 {
		r.faulty = true
		var names []string
		for _, k := range r.Keys() {
			names = append(names, k.Name)
		}
		c.errs.add(r.place, "this rule never fits: no engine reports both %s so that it can be trusted", strings.Join(names, " and "))
	}
}

// result returns all definitions, and the built-in ones that are used.
func (c *checker) result(d *document, text func(p *policy.Profile, path string) error) *policy.Config {
	p := &policy.Config{RequireTests: d.requireTests}
	wanted := make(map[string]bool)
	for _, r := range d.rules {
		p.Assignments = append(p.Assignments, r.Assignment)
		for _, name := range append([]string{r.Policy}, r.Request...) {
			wanted[name] = true
		}
	}
	for _, name := range sortedKeys(c.policies) {
		if def := c.policies[name]; def.name.given() || wanted[name] {
			p.Policies = append(p.Policies, policy.Policy{Name: name, Profile: def.profile.value, Floor: def.floor.value})
		}
	}
	for _, name := range sortedKeys(c.profiles) {
		def := c.profiles[name]
		first, used := c.uses[name]
		if !def.name.given() && !used {
			continue
		}
		one := policy.Profile{Name: name, Mode: first.mode, EnforceAfter: first.after, OnDrift: def.onDrift}
		if def.file.given() {
			one.Source = def.file.value
		} else {
			one.Template = def.template.value
			one.Source = "template " + def.template.value
		}
		p.Profiles = append(p.Profiles, one)
	}
	c.texts(p.Profiles, text)
	return p
}

// texts sets the texts of the profiles that have a file.
func (c *checker) texts(profiles []policy.Profile, text func(p *policy.Profile, path string) error) {
	failed := eachProfile(profiles, func(p *policy.Profile) error {
		if !c.profiles[p.Name].file.given() {
			return nil
		}
		return text(p, p.Source)
	})
	for i, err := range failed {
		if err != nil {
			name := profiles[i].Name
			c.errs.add(c.profiles[name].file.place, "the text of profile %.64q cannot be read: %v", name, err)
		}
	}
}

// eachProfile calls f for each profile, several at a time, and returns its errors, by profile.
func eachProfile(profiles []policy.Profile, f func(p *policy.Profile) error) []error {
	failed := make([]error, len(profiles))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(profiles)) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(profiles)); i = next.Add(1) - 1 {
				failed[i] = f(&profiles[i])
			}
		})
	}
	workers.Wait()
	return failed
}

// reach reports rules that no container gets to, because an earlier rule is for all their containers. It does not see what
// several earlier rules cover together. It leaves out rules with a fault.
//
// Ten thousand rules have fifty million pairs. But a pattern covers only patterns that begin with its plain part. So reach
// files every rule by the plain parts of its patterns of one condition. A later rule looks for it among the beginnings of
// its own patterns.
func (c *checker) reach(rules []rule) {
	type anchor struct{ key, label, plain string }
	var unconditional anchor
	filed := make(map[anchor][]*rule)
	for i := range rules {
		later := &rules[i]
		if later.faulty {
			continue
		}
		var first *rule
		try := func(at anchor) {
			for _, earlier := range filed[at] {
				if (first == nil || earlier.order < first.order) && earlier.covers(later) {
					first = earlier
				}
			}
		}
		later.order = i
		try(unconditional)
		conditions := later.Conditions()
		for _, c := range conditions {
			for n := range len(c.Patterns[0]) + 1 {
				try(anchor{c.Key.Name, c.Label, c.Patterns[0][:n]})
			}
		}
		if first != nil {
			c.errs.add(later.place, "no container gets to this rule: the one at %s comes before it and is for all that this "+
				"one is for%s", first.place, order(first, later))
			continue
		}

		best, patterns := unconditional, []string(nil)
		for _, c := range conditions {
			at := anchor{c.Key.Name, c.Label, c.Patterns[0][:plain(c.Patterns[0])]}
			if best == unconditional || len(filed[at]) < len(filed[best]) {
				best, patterns = at, c.Patterns
			}
		}
		if best == unconditional {
			filed[best] = append(filed[best], later)
			continue
		}
		for _, pattern := range patterns {
			at := anchor{best.key, best.label, pattern[:plain(pattern)]}
			if n := len(filed[at]); n == 0 || filed[at][n-1] != later {
				filed[at] = append(filed[at], later)
			}
		}
	}
}

// order returns a reminder of the order of files, if that order makes a rule unreachable.
func order(first, later *rule) string {
	if first.place.file == later.place.file {
		return ""
	}
	return " (the rules of " + dropIns + " come before those of " + mainFile + ", in the order of the files' names)"
}

// covers reports whether a rule is for every container that the other rule is for. A rule that asks for privileges is not
// for a partly privileged container that it would not confine: see policy.Privilege.
func (r *rule) covers(other *rule) bool {
	for _, k := range policy.Keys() {
		if k.Kind != policy.Switch {
			continue
		}
		if asked := k.Asked(&r.Assignment); asked != policy.Either && asked != k.Asked(&other.Assignment) {
			return false
		}
	}
	if r.Privileged != nil && r.mayFree && other.mayConfine {
		return false
	}
	theirs := other.Conditions()
	for _, c := range r.Conditions() {
		i := slices.IndexFunc(theirs, func(t policy.Condition) bool { return t.Key == c.Key && t.Label == c.Label })
		if i < 0 {
			return false
		}
		for _, pattern := range theirs[i].Patterns {
			if !slices.ContainsFunc(c.Patterns, func(p string) bool { return covers(p, pattern) }) {
				return false
			}
		}
	}
	return true
}
