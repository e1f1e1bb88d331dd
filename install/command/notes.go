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

// mostUnused are the most names that a note of what nothing uses lists.
const mostUnused = 20

// notes says what in a policy is no fault and might all the same not be meant.
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
			note := fmt.Sprintf("rules with %s and without engine are for containers of %s: ", k.Name, strings.Join(reporters, ", "))
			if refused := engine.Withholders(engine.Fact(k.Name)); len(refused) > 0 {
				note += "those of " + strings.Join(refused, ", ") + " that come to one are refused, and "
			}
			notes = append(notes, note+"all others pass it by")
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
		notes = append(notes, "mode kill ("+strings.Join(kill, ", ")+") kills for files, programs, capabilities and mounts; what is denied of "+
			"networks, signals, ptrace, user namespaces and io_uring is only denied, and the process lives")
	}
	return notes
}

// unusedNames gives the policies that no rule gives or allows, and the profiles that no rule leads to.
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

// summary counts what is in a policy: "2 profiles and the built-in docker-default, 1 policy, 3 rules".
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

// builtIns counts things, and names those among them that nobody had to define.
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
