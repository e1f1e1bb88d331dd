package apply

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/impact"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/compare"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Differences are how one policy differs from another one.
type Differences struct {
	Profiles   []ProfileDifference
	Policies   []string // lines about policies, with their floors
	Rules      []string // lines about rules
	Tests      string   // a line about whether the tests of the policy are required; empty if that is the same
	Labels     []LabelDifference
	Containers []string // lines about containers by rules that keep their label, and whose rule or profile is another one
	Running    []impact.Container
	Ran        bool  // Running is known
	Failed     error // why the tests that the policy requires do not let it come into force; nil if they do
}

// A ProfileDifference is what becomes of one profile.
type ProfileDifference struct {
	Name    string
	Kind    string              // "new", "gone", "changed" or "same": compiled to something else that means the same
	Meaning *compare.Difference // of one that is changed
}

// Same reports whether nothing differs that means anything.
func (d *Differences) Same() bool {
	return len(d.Policies) == 0 && len(d.Rules) == 0 && d.Tests == "" && len(d.Labels) == 0 && !slices.ContainsFunc(d.Profiles, func(p ProfileDifference) bool {
		return p.Kind != "same"
	})
}

// DiffDirs compares the policies in two configuration directories, compiled for the same kernel. o.Config does not matter.
func DiffDirs(ctx context.Context, n *node.Node, o Options, a, b string, detail compare.Options) (*Differences, error) {
	before, err := sideOfDir(ctx, n, o, a)
	if err != nil {
		return nil, err
	}
	after, err := sideOfDir(ctx, n, o, b)
	if err != nil {
		return nil, err
	}
	return differences(before, after, detail)
}

// DiffInForce compares the policy in force with the one that an apply would put in force, or would if its tests passed.
func DiffInForce(ctx context.Context, n *node.Node, o Options, detail compare.Options) (*Differences, error) {
	p, err := preview(ctx, n, o)
	if err != nil {
		return nil, err
	}
	on, _, err := n.NewCompiler(ctx, o.Features)
	if err != nil {
		return nil, err
	}
	was := sidePolicy{config: new(policy.Config), on: on}
	if p.Before != nil {
		if was.config, err = p.Before.Config(); err != nil {
			return nil, err
		}
		was.blob = func(i int) ([]byte, error) { return p.Before.Blob(was.config.Profiles[i]) }
	}
	d, err := differences(was, sideOfCompilation(p.candidate.compiled, on), detail)
	if err != nil {
		return nil, err
	}
	if d.Failed = p.failed(); !p.here {
		return d, nil
	}
	d.Running, err = p.Impact(ctx)
	d.Ran = true
	return d, err
}

// sidePolicy is one of two policies that are compared.
type sidePolicy struct {
	config *policy.Config
	on     meaning.Kernel              // for which its profiles were compiled
	blob   func(i int) ([]byte, error) // of a profile
}

func sideOfCompilation(c *store.Compilation, on meaning.Kernel) sidePolicy {
	return sidePolicy{c.Policy, on, func(i int) ([]byte, error) {
		b, err := c.Blob(i)
		return b.Data, err
	}}
}

// sideOfDir reads and compiles the policy in a directory.
func sideOfDir(ctx context.Context, n *node.Node, o Options, dir string) (side sidePolicy, err error) {
	p, err := readFor(n, dir, o.Features)
	if err != nil {
		return side, err
	}
	c, err := compileFor(ctx, n, dir, o.Features, p, o.Progress)
	if err != nil {
		return side, err
	}
	return sideOfCompilation(c.Compilation, c.kernel), nil
}

// index returns the place of a profile, or -1.
func (s sidePolicy) index(name string) int {
	return slices.IndexFunc(s.config.Profiles, func(p policy.Profile) bool { return p.Name == name })
}

// read returns the profiles that the text of a profile defines, that one first.
func (s sidePolicy) read(i int) ([]*meaning.Profile, error) {
	data, err := s.blob(i)
	if err != nil {
		return nil, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	all, err := meaning.ReadFor(data, s.on)
	if err != nil {
		return nil, exit.With(exit.Cannot, fmt.Errorf("profile %s: %w", s.config.Profiles[i].Name, err))
	}
	return all, nil
}

// side returns a stack of the policy's profiles with those to which their rules lead, as far as the policy has them.
func (s sidePolicy) side(names ...string) (side compare.Side, err error) {
	for _, name := range names {
		all, err := s.read(s.index(name))
		if err != nil {
			return side, err
		}
		side.Stack = append(side.Stack, all[0])
	}
	return side, side.Reach(func(name string) ([]*meaning.Profile, error) {
		if i := s.index(name); i >= 0 {
			return s.read(i)
		}
		return nil, nil
	})
}

func differences(a, b sidePolicy, o compare.Options) (*Differences, error) {
	d := new(Differences)
	changed := make(map[string]bool)
	names := make(map[string]bool)
	for _, p := range slices.Concat(a.config.Profiles, b.config.Profiles) {
		names[p.Name] = true
	}
	order := make([]string, 0, len(names))
	for name := range names {
		order = append(order, name)
	}
	slices.Sort(order)
	for _, name := range order {
		one, err := differenceOf(a, b, name, o)
		if err != nil {
			return nil, err
		}
		if one.Kind != "" {
			d.Profiles = append(d.Profiles, one)
		}
		changed[name] = one.Kind == "changed"
	}
	d.Policies = goingOn.policies(a.config, b.config)
	d.Rules = goingOn.rules(a.config.Assignments, b.config.Assignments)
	d.Tests = requirement(a.config.RequireTests, b.config.RequireTests)
	var err error
	if d.Labels, d.Containers, err = labelsOf(a, b, o); err != nil {
		return nil, err
	}
	d.Containers = append(containersOf(b.config, changed), d.Containers...)
	return d, nil
}

// differenceOf compares a profile. Its Kind is empty if both policies have the same.
func differenceOf(a, b sidePolicy, name string, o compare.Options) (d ProfileDifference, err error) {
	d.Name = name
	x, y := a.index(name), b.index(name)
	switch {
	case x < 0:
		d.Kind = "new"
		return d, nil
	case y < 0:
		d.Kind = "gone"
		return d, nil
	case a.config.Profiles[x].Blob == b.config.Profiles[y].Blob:
		return d, nil
	}
	before, err := a.side(name)
	if err != nil {
		return d, err
	}
	after, err := b.side(name)
	if err != nil {
		return d, err
	}
	if d.Meaning, err = compare.Compare(before, after, o); err != nil {
		return d, exit.With(exit.Cannot, fmt.Errorf("profile %s: %w", name, err))
	}
	if d.Kind = "changed"; d.Meaning.Same() {
		d.Kind = "same"
	}
	return d, nil
}

// requirement says whether the tests of a policy are required that were not, or the other way round.
func requirement(before, after bool) string {
	switch {
	case after && !before:
		return "tests: required now: policy apply refuses a policy whose tests fail, and one without tests"
	case before && !after:
		return "tests: not required any more: policy apply takes a policy whose tests fail, and one without tests"
	}
	return ""
}

// containersOf says for which containers rules choose a profile that is changed, or allow one to be asked for, or chosen by
// the engine.
func containersOf(c *policy.Config, changed map[string]bool) (lines []string) {
	policies := make(map[string]policy.Policy)
	for _, p := range c.Policies {
		policies[p.Name] = p
	}
	of := func(name, floor string) (list []string) {
		p := policies[name]
		for _, one := range []string{p.Floor, floor, p.Profile} {
			if changed[one] && !slices.Contains(list, one) {
				list = append(list, one)
			}
		}
		return list
	}
	for _, a := range c.Assignments {
		if list := of(a.Policy, a.Floor); len(list) > 0 {
			lines = append(lines, fmt.Sprintf("containers of %s: policy %s: profile %s", a.Whom(), a.Policy, strings.Join(list, " and ")))
		}
		for _, name := range a.Request {
			if list := of(name, a.Floor); len(list) > 0 && name != a.Policy {
				lines = append(lines, fmt.Sprintf("containers of %s that ask for policy %s: profile %s", a.Whom(), name,
					strings.Join(list, " and ")))
			}
		}
		for _, name := range a.AcceptChoice {
			if changed[name] && name != policies[a.Policy].Profile {
				lines = append(lines, fmt.Sprintf("containers of %s for which the engine chooses %s: profile %s", a.Whom(), name, name))
			}
		}
	}
	return lines
}
