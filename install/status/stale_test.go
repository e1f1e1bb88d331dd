package status

import (
	"context"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// modes compiles as Texts does, in the mode that a policy says.
type modes struct{ kerneltest.Texts }

func (c modes) Compile(ctx context.Context, name string, mode profile.Mode, source string, text []byte) (profile.Blob, error) {
	b, err := c.Texts.Compile(ctx, name, mode, source, text)
	if err != nil {
		return b, err
	}
	return b.WithMode(mode)
}

// applyStack puts a policy in force by which containers are under base//&web, and web is in a mode.
func (m *machine) applyStack(content string, mode profile.Mode) {
	m.t.Helper()
	p := &policy.Config{
		Profiles: []policy.Profile{
			{Name: "web", Source: "web", Text: []byte(content), Mode: mode, OnDrift: profile.ReplaceAny}, {Name: "base", Source: "base", Text: []byte("base")},
		},
		Policies:    []policy.Policy{{Name: "web", Profile: "web", Floor: "base"}},
		Assignments: []policy.Assignment{{File: "policy.yaml", Line: 1, Policy: "web"}},
	}
	m.ApplyBy(modes{}, p)
}

// newStack is a machine on which one container runs, under a stack.
func newStack(t *testing.T) *machine {
	m := newMachine(t)
	m.applyStack("v1", profile.Enforce)
	m.prepare("runc", "one")
	m.State("runc", "one", 20)
	m.process(20, "base//&web (enforce)", "/default/one", "pid:[2]")
	return m
}

func TestContainersUnderStacks(t *testing.T) {
	loosen := func(m *machine) { m.Kernel.Load(m.t, kerneltest.Blob("other", "web")) }
	start := func(m *machine) { m.prepare("runc", "two") }
	for _, test := range []struct {
		name    string
		change  []func(*machine)
		verdict Verdict
		problem string
		level   Level
	}{
		{"as decided", nil, Confined, "", LevelOK},
		{"loosened", []func(*machine){loosen}, Drifted, "profile web is loaded with other content", LevelCritical},
		{"loosened, and put right by a start", []func(*machine){loosen, start}, Stale, "profile web was replaced since", LevelCritical},
		{"updated by a start", []func(*machine){func(m *machine) { m.applyStack("v2", profile.Enforce) }, start}, Confined, "", LevelOK},
		{"updated twice", []func(*machine){func(m *machine) { m.applyStack("v2", profile.Enforce) }, start,
			func(m *machine) { m.applyStack("v3", profile.Enforce) }, func(m *machine) { m.prepare("runc", "three") }},
			Stale, "start the container anew", LevelCritical},
		{"loosened, and put right by somebody else", []func(*machine){loosen, func(m *machine) {
			m.Kernel.Load(m.t, kerneltest.Blob("v1", "web"))
		}}, Unverified, "nobody knows how often", LevelUnknown},
		{"that is not started", []func(*machine){func(m *machine) { m.Write("run/runc/one/exec.fifo", "") }, loosen, start},
			Waiting, "", LevelOK},
		{"stale, with a process under another label", []func(*machine){loosen, start, func(m *machine) {
			m.process(21, "base (enforce)", "/default/one", "pid:[2]")
		}}, Differs, "process 21", LevelCritical},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newStack(t)
			for _, change := range test.change {
				change(m)
			}
			c := m.container("one")
			problems := strings.Join(c.Problems, "\n")
			if c.Verdict != test.verdict || !strings.Contains(problems, test.problem) || (problems == "") != (test.problem == "") {
				t.Errorf("%s, %q, want %s, %q", c.Verdict, problems, test.verdict, test.problem)
			}
			if l := c.level(); l != test.level {
				t.Errorf("%s, want %s", l, test.level)
			}
		})
	}
}

func TestComplainingPolicy(t *testing.T) {
	m := newMachine(t)
	m.applyStack("v1", profile.Complain)
	m.prepare("runc", "one")
	m.State("runc", "one", 20)
	m.process(20, "base//&web (mixed)", "/default/one", "pid:[2]")
	m.process(21, "base//&web//null-/bin/tool (mixed)", "/default/one", "pid:[2]")
	c := m.container("one")
	if c.Verdict != Complaining || len(c.Problems) > 0 || !c.Processes[0].Confined || !c.Processes[1].Confined {
		t.Errorf("%+v", c)
	}
	if level, line := m.gather().Check(); level != LevelOK || line != "1 container: 1 complaining" {
		t.Errorf("%s: %s", level, line)
	}

	m.applyStack("v1", profile.Enforce)
	m.prepare("runc", "two") // which loads it
	m.process(22, "base//&web//null-/bin/tool//null-/bin/more (mixed)", "/default/one", "pid:[2]")
	c = m.container("one")
	problems := strings.Join(c.Problems, "\n")
	if c.Verdict != Differs || !c.Processes[0].Confined || c.Processes[1].Confined || c.Processes[2].Confined ||
		!strings.Contains(problems, "process 21 (/nowhere/bin/server) runs under web//null-/bin/tool, which is left") ||
		!strings.Contains(problems, "process 22 (/nowhere/bin/server) runs under web//null-/bin/tool//null-/bin/more, which is left") {
		t.Errorf("%+v", c)
	}
}

// What was loaded by hand is compared with what it was, not with a policy.
func TestContentOfWhatThePolicyHasNotIsThatOfCreate(t *testing.T) {
	m := newStack(t)
	m.apply("v1") // a policy without base
	m.Kernel.Load(t, kerneltest.Blob("other", "base"))
	c := m.container("one")
	if problems := strings.Join(c.Problems, "\n"); c.Verdict != Drifted ||
		!strings.Contains(problems, "profile base is loaded with other content than when the container was created") {
		t.Errorf("%s, %q", c.Verdict, problems)
	}
	for _, p := range c.Profiles {
		if p.Name == "base" && (!strings.Contains(p.Detail, "it was") || strings.Contains(p.Detail, "ours")) {
			t.Errorf("%+v", p)
		}
	}
}

func TestCheck(t *testing.T) {
	many := make([]Container, maxChecked+2)
	for i := range many {
		many[i] = Container{ID: strings.Repeat("a", i+1), Verdict: Unconfined}
	}
	pod := Container{ID: strings.Repeat("0", 64), Name: "web", Namespace: "shop", Pod: "front", Verdict: Stale, Decided: true}
	for name, test := range map[string]struct {
		status Status
		level  Level
		line   string
	}{
		"none": {Status{}, LevelOK, "0 containers"},
		"all as decided": {Status{Containers: []Container{{Verdict: Confined, Decided: true}, {Verdict: Confined}, {Verdict: Waiting, Decided: true},
			{Verdict: Ended}, {Verdict: Unconfined, Decided: true}, {Verdict: Complaining, Decided: true}}}, LevelOK,
			"6 containers: 2 confined, 1 unconfined, 1 complaining, 1 waiting, 1 ended"},
		"of an engine that asks nobody": {Status{Containers: []Container{{ID: "c1", Verdict: Unconfined}}}, LevelWarning,
			"1 container: 1 unconfined; c1: unconfined"},
		"the worst first": {Status{Containers: []Container{{ID: "c1", Verdict: Unconfined}, {ID: "c2", Verdict: Unverified}, pod}}, LevelCritical,
			"3 containers: 1 stale, 1 unverified, 1 unconfined; shop/front/web: stale, c2: unverified, c1: unconfined"},
		"what is not known counts for more than a warning": {Status{Containers: []Container{{ID: "c1", Verdict: Unconfined}},
			Problems: []string{"x.json: unexpected EOF"}}, LevelUnknown, "1 container: 1 unconfined; c1: unconfined, x.json: unexpected EOF"},
		"odd names": {Status{Containers: []Container{{ID: "c1", Name: "a|\n\x1b[31m", Verdict: Drifted}}}, LevelCritical,
			`1 container: 1 drifted; "a/\n\x1b[31m": drifted`},
		"many": {Status{Containers: many}, LevelWarning, "10 containers: 10 unconfined; a: unconfined, aa: unconfined, aaa: unconfined, " +
			"aaaa: unconfined, aaaaa: unconfined, aaaaaa: unconfined, aaaaaaa: unconfined, aaaaaaaa: unconfined, and 2 more"},
	} {
		t.Run(name, func(t *testing.T) {
			if level, line := test.status.Check(); level != test.level || line != test.line {
				t.Errorf("%s: %s\nwant %s: %s", level, line, test.level, test.line)
			}
		})
	}
}

// Every verdict is ranked, counted, coloured and in the schema: forgetting one part fails here.
func TestEachVerdictIsInTheSchema(t *testing.T) {
	for _, v := range []Verdict{Confined, Complaining, Unverified, Differs, Drifted, Stale, Unconfined, Waiting, Ended} {
		if !strings.Contains(string(Schema()), `"`+string(v)+`"`) || !strings.Contains(Summary([]Container{{Verdict: v}}), string(v)) {
			t.Errorf("%s is missing", v)
		}
	}
}
