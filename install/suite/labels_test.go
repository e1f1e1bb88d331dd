package suite

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

// random makes configurations and containers of few names, so that they often meet.
type random struct{ *rand.Rand }

func (r random) of(list ...string) string { return list[r.IntN(len(list))] }

func (r random) some(most int, of ...string) (list []string) {
	for range r.IntN(most + 1) {
		if one := r.of(of...); !slices.Contains(list, one) {
			list = append(list, one)
		}
	}
	return list
}

var (
	profiles   = []string{"a", "b", "c", "base"}
	namespaces = []string{"shop", "shop-*", "*", "lab", "[a-l]*", "?b", "[^s]*"}
	images     = []string{"docker.io/library/nginx:*", "docker.io/library/*", "*/*/*:1"}
)

// config returns a configuration, and its index if it makes sense.
func (r random) config() (*policy.Config, policy.Index, bool) {
	c := &policy.Config{Policies: []policy.Policy{{Name: policy.Keep, Profile: policy.Keep}}}
	for _, name := range profiles {
		c.Profiles = append(c.Profiles, policy.Profile{Name: name})
		c.Policies = append(c.Policies, policy.Policy{Name: "p-" + name, Profile: name, Floor: r.of("", "", "base")})
	}
	names := []string{policy.Keep, "p-a", "p-b", "p-c", "p-base"}
	for i := range 1 + r.IntN(5) {
		a := policy.Assignment{File: "policy.yaml", Line: i + 1, Policy: r.of(names...), Request: r.some(2, names...),
			Floor: r.of("", "", "base"), AcceptChoice: r.some(2, "a", "b", "hand"), OnRefused: policy.Refused(r.IntN(2)),
			Engine: r.some(1, engine.Names()...), Namespace: r.some(2, namespaces...), Image: r.some(1, images...), Container: r.some(1, "*", "web")}
		if r.IntN(4) == 0 {
			a.Privileged = new(bool)
			*a.Privileged = r.IntN(2) == 0
		}
		if r.IntN(6) == 0 {
			a.Sandbox, a.Request, a.Container, a.Image = true, nil, nil, nil
		}
		c.Assignments = append(c.Assignments, a)
	}
	data, err := c.Encode()
	if err != nil { // keep with a floor, for instance
		return nil, policy.Index{}, false
	}
	x, err := policy.OpenIndex(data)
	return c, x, err == nil
}

func (r random) facts() policy.Facts {
	f := policy.Facts{Engine: r.of(engine.Names()...), Privileged: policy.Privilege(r.IntN(3)), Sandbox: r.IntN(6) == 0,
		Container: r.of("web", "x"), EngineChoice: r.of("", "", "unconfined", "a", "hand", "docker-default")}
	if e := engine.Named(f.Engine); e.Reports(engine.Namespace) {
		f.Namespace = r.of("shop", "shop-1", "lab", "b", "ab", "zz")
	} else {
		f.Sandbox = false
	}
	if f.Sandbox {
		f.Container = ""
	} else {
		f.Image = r.of("nginx", "nginx:1", "quay.io/x/y:1", "")
	}
	if r.IntN(2) == 0 {
		asked := r.of("p-a", "p-b", "p-base", policy.Keep, "nobody")
		f.Request, f.RequestKey = &asked, policy.Annotation
	}
	return f
}

// Whatever is decided for a container is among the labels, under its policy, and nothing else than it is an example.
func TestLabelsAreAllThatAreDecided(t *testing.T) {
	r := random{rand.New(rand.NewPCG(11, 4))}
	decided, shown, unshown := 0, 0, 0
	for range 150 {
		c, x, ok := r.config()
		if !ok {
			continue
		}
		all, paused, err := labels(c, x)
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			f := r.facts()
			d, err := x.Decide(f)
			if err != nil {
				continue
			}
			decided++
			if d.Keep && f.Sandbox {
				if !paused {
					t.Fatalf("%+v keeps a pause container, and that is not said", c)
				}
				continue
			}
			l := labelOf(d, policy.Facts{ChoiceUnsaid: true}, c)
			i := slices.IndexFunc(all, func(one *label) bool { return one.name() == l.name() })
			if i < 0 {
				t.Fatalf("%+v\ngives %+v the label %q, which is none of %v", c, f, l.name(), all)
			}
			if !slices.ContainsFunc(all[i].givens, func(g given) bool { return g.policy == d.Policy && isOf(g, d) }) {
				t.Fatalf("%+v\ngives %+v policy %q by line %d, and the label has %+v", c, f, d.Policy, d.Line, all[i].givens)
			}
		}
		for _, l := range all {
			for _, g := range l.givens {
				f, found := example(x, g)
				if !found {
					unshown++
					continue
				}
				shown++
				d, err := x.Decide(f)
				if got := labelOf(d, policy.Facts{ChoiceUnsaid: true}, c); err != nil || got.name() != l.name() || d.Policy != g.policy {
					t.Fatalf("%+v\nof %q the example %s gets %q, %v", c, l.name(), describeFacts(f), got.name(), err)
				}
			}
		}
	}
	t.Logf("%d decisions, %d examples, none for %d", decided, shown, unshown)
	if decided < 3000 || shown < 300 || unshown > shown {
		t.Errorf("%d decisions, %d examples, none for %d", decided, shown, unshown)
	}
}

func isOf(g given, d policy.Decision) bool {
	return g.rule == nil && d.File == "" || g.rule != nil && g.rule.Line == d.Line
}

// Where no example is found, none of many random containers is one.
func TestExamplesAreFound(t *testing.T) {
	r := random{rand.New(rand.NewPCG(5, 9))}
	missed := make(map[string]int)
	for range 200 {
		c, x, ok := r.config()
		if !ok {
			continue
		}
		all, _, err := labels(c, x)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range all {
			for _, g := range l.givens {
				if _, found := example(x, g); found {
					continue
				}
				for range 300 {
					f := r.facts()
					d, err := x.Decide(f)
					if err != nil || d.Policy != g.policy || !isOf(g, d) || f.Sandbox && g.rule == nil {
						continue
					}
					if got := labelOf(d, policy.Facts{ChoiceUnsaid: true}, c); got.name() == l.name() && len(missed) < 5 {
						missed[fmt.Sprintf("%s: %s of\n%+v", l.name(), describeFacts(f), c.Assignments)]++
					}
				}
			}
		}
	}
	for what := range missed {
		t.Errorf("no example is found of %s", what)
	}
}

func TestFillMatches(t *testing.T) {
	for _, pattern := range []string{"*", "shop-*", "?", "[a-c]x", "[^a]", `\*x`, "[]", "a[^a-z]*", "docker.io/library/nginx@*"} {
		n := 0
		for _, f := range fills {
			if _, ok := f.match(pattern); ok {
				n++
			}
		}
		if (n == 0) != (pattern == "[]") {
			t.Errorf("%d texts match %q", n, pattern)
		}
	}
}
