package metrics

import (
	"errors"

	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// The values of the label state of policy_profiles.
const (
	loaded  = "loaded"
	missing = "missing"
	drifted = "drifted"
	unknown = "unknown"
)

// state tells how AppArmor stands, and the containers. Every state is told, also those of no container: a rule of alerts is
// to see 0, and not nothing.
func (s *scrape) state() {
	s.set(ready, oneIf(s.node.Detect() >= kernel.Namespaced))
	if s.node.Lost != nil {
		if lost, known := s.node.Lost(); known {
			s.set(auditLost, float64(lost))
		}
	}
	now, err := s.node.State.Gather(true)
	if err != nil {
		s.problems++
		return
	}
	s.problems += len(now.Problems)
	s.set(recorded, float64(len(now.Recorded)))
	modes := make(map[string]int)
	for _, p := range now.Profiles {
		modes[p.Mode]++
	}
	for _, mode := range status.Modes {
		if mode != "mixed" { // which only processes are
			s.set(kernelLoaded, float64(modes[mode]), mode)
		}
	}
	type at struct{ engine, state string }
	numbers := make(map[at]int)
	engines := map[string]bool{engine.Other: true}
	for i := range now.Containers {
		c := &now.Containers[i]
		name := c.Engine
		if !engine.Known(name) {
			name = engine.Other
		}
		engines[name] = true
		numbers[at{name, string(c.Verdict)}]++
	}
	for _, name := range engine.Names() {
		for _, v := range status.Verdicts {
			if engines[name] {
				s.set(containers, float64(numbers[at{name, string(v)}]), name, string(v))
			}
		}
	}
}

// policy tells the policy in force, and how the kernel has its profiles.
func (s *scrape) policy() {
	gen, err := s.node.State.Host.Store.Current()
	if err != nil {
		if !errors.Is(err, store.ErrNone) || errors.Is(err, store.ErrLost) {
			s.problems++
		}
		s.set(generation, 0)
		return
	}
	s.set(generation, float64(gen.Number))
	if m, err := gen.Manifest(); err != nil {
		s.problems++
	} else {
		s.set(appliedAt, seconds(m.Applied))
		if m.Digest != "" { // earlier versions wrote none
			s.set(policyInfo, 1, "sha256:"+m.Digest)
		}
	}
	numbers, err := s.node.profiles.look(s.node.State.Host.Kernel, gen)
	if err != nil {
		s.problems++
		return
	}
	for _, state := range []string{loaded, missing, drifted, unknown} {
		s.set(profilesBy, float64(numbers[state]), state)
	}
}

// profilesSeen is how the kernel had the profiles of a policy at a revision. To compare all of them takes a while, and what
// is the same is not compared again.
type profilesSeen struct {
	generation uint64
	revision   int64
	numbers    map[string]int
}

func (p *profilesSeen) look(k *kernel.Kernel, gen *store.Generation) (map[string]int, error) {
	revision, err := k.Revision()
	if err != nil {
		return nil, err
	}
	if p.numbers != nil && p.generation == gen.Number && p.revision == revision {
		return p.numbers, nil
	}
	c, err := gen.Index.Config()
	if err != nil {
		return nil, err
	}
	numbers := make(map[string]int)
	for i := range c.Profiles {
		numbers[stateOf(k, &c.Profiles[i])]++
	}
	*p = profilesSeen{gen.Number, revision, numbers}
	return numbers, nil
}

func stateOf(k *kernel.Kernel, p *policy.Profile) string {
	found, err := k.Check(kernel.Profile{Name: p.Name, Compiled: p.Compiled})
	switch {
	case err != nil:
		return unknown
	case found.Status == kernel.Matches:
		return loaded
	case found.Status == kernel.Missing:
		return missing
	}
	return drifted
}
