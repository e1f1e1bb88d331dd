package command

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// mostUnused is how many names the note about unused ones lists.
const mostUnused = 20

// notes returns sentences about a policy: what is no fault, and may still not be what its author meant.
func notes(p *policy.Config) []string {
	var notes []string
	if !slices.ContainsFunc(p.Assignments, func(a policy.Assignment) bool { return a.ForAll() }) {
		notes = append(notes, "containers that no rule fits keep what their engine chose")
	}
	for _, k := range policy.Keys() {
		reporters := k.Reporters()
		if len(reporters) == len(engine.Names()) || k.PodsOnly() {
			continue
		}
		surprises := func(a policy.Assignment) bool {
			var has, pods bool
			for _, other := range a.Keys() {
				has, pods = has || other.Name == k.Name, pods || other.PodsOnly()
			}
			return has && !pods && len(a.Engine) == 0
		}
		if slices.ContainsFunc(p.Assignments, surprises) {
			note := fmt.Sprintf("a rule with %s and without engine is only for containers of %s", k.Name,
				strings.Join(reporters, ", "))
			if refused := engine.Withholders(engine.Fact(k.Name)); len(refused) > 0 {
				note += "; it refuses containers of " + strings.Join(refused, ", ") + " that no rule before it is for"
			}
			notes = append(notes, note)
		}
	}
	unused := unusedNames(p)
	if n := len(unused) - mostUnused; n > 0 {
		unused = append(unused[:mostUnused], fmt.Sprintf("%d more", n))
	}
	if len(unused) > 0 {
		notes = append(notes, "not used by any rule: "+strings.Join(unused, ", "))
	}
	var kill []string
	for _, pr := range p.Profiles {
		if pr.Mode == profile.Kill {
			kill = append(kill, pr.Name)
		}
	}
	if len(kill) > 0 {
		notes = append(notes, "mode kill ("+strings.Join(kill, ", ")+") kills a process for a denied file, program, capability or "+
			"mount; a denied network, signal, ptrace, user namespace or io_uring is only denied, and the process lives")
	}
	return notes
}

// unusedNames returns the policies that no rule has, and the profiles that no rule leads to.
func unusedNames(p *policy.Config) []string {
	policies, profiles := make(map[string]bool), make(map[string]bool)
	for _, a := range p.Assignments {
		profiles[a.Floor] = true
		for _, name := range a.AcceptChoice {
			profiles[name] = true
		}
		policies[a.Policy] = true
		for _, name := range a.Request {
			policies[name] = true
		}
	}
	var unused []string
	for _, e := range p.Policies {
		if !policies[e.Name] {
			unused = append(unused, "policy "+e.Name)
			continue
		}
		profiles[e.Profile], profiles[e.Floor] = true, true
	}
	for _, pr := range p.Profiles {
		if !profiles[pr.Name] {
			unused = append(unused, "profile "+pr.Name)
		}
	}
	return unused
}

// summary returns the numbers of a policy's parts: "2 profiles and the built-in docker-default, 1 policy, 3 rules".
func summary(p *policy.Config, compiled string) string {
	var profiles, policies builtIns
	for _, pr := range p.Profiles {
		profiles.count(pr.Name, pr.Name == "docker-default" && pr.Template == pr.Name)
	}
	for _, e := range p.Policies {
		policies.count(e.Name, e.Name == policy.Keep ||
			e == policy.Policy{Name: policy.Baseline, Profile: "docker-default"})
	}
	return profiles.String("profile", "profiles") + compiled + ", " + policies.String("policy", "policies") + ", " +
		output.Count(len(p.Assignments), "rule", "rules")
}

// builtIns counts things, and has the names of those that nobody had to define.
type builtIns struct {
	defined int
	names   []string
}

func (b *builtIns) count(name string, builtIn bool) {
	if builtIn {
		b.names = append(b.names, name)
	} else {
		b.defined++
	}
}

func (b *builtIns) String(one, many string) string {
	defined, names := output.Count(b.defined, one, many), "the built-in "+strings.Join(b.names, " and ")
	switch {
	case len(b.names) == 0:
		return defined
	case b.defined == 0:
		return names
	}
	return defined + " and " + names
}
