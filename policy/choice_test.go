package policy

import (
	"errors"
	"strings"
	"testing"
)

// choosing is a policy whose rules let engines choose: web and by-hand, the last rule without floors.
func choosing() *Config {
	return &Config{
		Profiles: []Profile{
			{Name: "app"}, {Name: "web"}, {Name: "node-base"}, {Name: "app-base"}, {Name: "docker-default"},
		},
		Policies: []Policy{
			{Name: "app", Profile: "app", Floor: "app-base"},
			{Name: "bare", Profile: "app"},
			{Name: "web", Profile: "web"},
			{Name: Keep, Profile: Keep},
		},
		Assignments: []Assignment{
			{File: "p", Line: 1, Container: []string{"kept"}, Policy: Keep},
			{File: "p", Line: 2, Container: []string{"strict"}, Policy: "bare", Request: []string{Keep}},
			{File: "p", Line: 3, Container: []string{"floored"}, Policy: "app", Floor: "node-base",
				AcceptChoice: []string{"web", "by-hand", "node-base"}},
			{File: "p", Line: 4, Container: []string{"lenient"}, Policy: "bare", Request: []string{"web"},
				AcceptChoice: []string{"web", "by-hand"}, OnRefused: Assigned},
		},
	}
}

func TestEngineChoice(t *testing.T) {
	x := index(t, choosing())
	for _, test := range []struct {
		name              string
		container, choice string
		request           string
		label             string // empty: kept
		outcome           Choice
		byHand            bool
		reason, warning   string
	}{
		{"none, kept", "kept", "", "", "", NoChoice, false,
			"keep: assigned by the rule for container kept (p line 1); the engine's choice stays as it is (no profile)", ""},
		{"unconfined, kept", "kept", "unconfined", "", "", Stands, false,
			"keep: assigned by the rule for container kept (p line 1); the engine's choice stays as it is (unconfined)", ""},
		{"no rule", "other", "mine", "", "", Stands, false,
			"no rule of the policy is for this container; the engine's choice stays as it is (mine)", ""},
		{"none", "strict", "", "", "app", NoChoice, false, "bare: assigned by the rule for container strict (p line 2)", ""},
		{"Docker's default", "strict", "docker-default", "", "app", NoChoice, false,
			"bare: assigned by the rule for container strict (p line 2)", ""},
		{"containerd's default", "strict", "cri-containerd.apparmor.d", "", "app", NoChoice, false,
			"bare: assigned by the rule for container strict (p line 2)", ""},
		{"CRI-O's default", "strict", "crio-default", "", "app", NoChoice, false,
			"bare: assigned by the rule for container strict (p line 2)", ""},
		{"Podman's default", "strict", "containers-default-0.62.2", "", "app", NoChoice, false,
			"bare: assigned by the rule for container strict (p line 2)", ""},
		{"unconfined", "strict", "unconfined", "", "app", Overruled, false,
			"bare: assigned by the rule for container strict (p line 2); that the engine chose unconfined changes nothing", ""},
		{"a name", "strict", "web", "", "app", Overruled, false,
			"bare: assigned by the rule for container strict (p line 2); the engine's choice (web) does not stand",
			`the engine chose profile web, which the rule for container strict (p line 2) does not list under "acceptChoice": it gets ` +
				"app instead"},
		{"what it gets anyway", "strict", "app", "", "app", Stands, false,
			"bare: assigned by the rule for container strict (p line 2)", ""},
		{"what it gets anyway, on floors", "floored", "app", "", "app//&app-base//&node-base", Stands, false,
			"app: assigned by the rule for container floored (p line 3); stacked on node-base and app-base", ""},
		{"keep, asked for", "strict", "unconfined", Keep, "", Stands, false,
			"keep: asked for by annotation oci-apparmor/policy, allowed by the rule for container strict (p line 2); " +
				"the engine's choice stays as it is (unconfined)", ""},
		{"listed", "lenient", "web", "", "web", Stands, false,
			"bare: assigned by the rule for container lenient (p line 4), which lists the engine's choice web: it stands in the profile's place", ""},
		{"listed, by hand", "lenient", "by-hand", "", "by-hand", Stands, true,
			"bare: assigned by the rule for container lenient (p line 4), which lists the engine's choice by-hand: it stands in the profile's place; " +
				"by-hand is not the policy's, so what it allows is not proven", ""},
		{"listed, on all floors", "floored", "by-hand", "", "app-base//&by-hand//&node-base", Stands, true,
			"app: assigned by the rule for container floored (p line 3), which lists the engine's choice by-hand: it stands in the profile's place; " +
				"stacked on node-base and app-base; by-hand is not the policy's, so what it allows is not proven", ""},
		{"listed, and a floor itself", "floored", "node-base", "", "app-base//&node-base", Stands, false,
			"app: assigned by the rule for container floored (p line 3), which lists the engine's choice node-base: it stands in the profile's place", ""},
		{"what an earlier start left in config.json", "floored", "app-base//&by-hand//&node-base", "",
			"app-base//&by-hand//&node-base", Stands, true,
			"app: assigned by the rule for container floored (p line 3), which lists the engine's choice by-hand: it stands in the profile's place; " +
				"stacked on node-base and app-base; by-hand is not the policy's, so what it allows is not proven", ""},
		{"what an earlier start left there of the policy", "floored", "app//&app-base//&node-base", "",
			"app//&app-base//&node-base", Stands, false,
			"app: assigned by the rule for container floored (p line 3); stacked on node-base and app-base", ""},
		{"a request goes before it", "lenient", "by-hand", "web", "web", Overruled, false,
			"web: asked for by annotation oci-apparmor/policy, allowed by the rule for container lenient (p line 4); " +
				"this goes before the engine's choice (by-hand)", ""},
		{"a request that is refused does not", "lenient", "by-hand", "app", "by-hand", Stands, true,
			"bare: assigned by the rule for container lenient (p line 4), its request being refused, which lists the engine's " +
				"choice by-hand: it stands in the profile's place; by-hand is not the policy's, so what it allows is not proven",
			`policy "app", asked for by annotation oci-apparmor/policy, is not allowed here: the rule for container lenient ` +
				`(p line 4) allows bare and web; ask for one of these, remove the annotation, or have app added to the rule's ` +
				`"request" list; it gets the assigned policy bare instead`},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := Facts{Container: test.container, EngineChoice: test.choice}
			if test.request != "" {
				f.Request, f.RequestKey = &test.request, Annotation
			}
			d, err := x.Decide(f)
			if err != nil {
				t.Fatal(err)
			}
			byHand := len(d.Profiles) > 0 && d.Profiles[len(d.Profiles)-1].ByHand
			if d.Label != test.label || d.Choice != test.outcome || byHand != test.byHand || d.Keep != (test.label == "") {
				t.Errorf("label %q, choice %s, by hand %v, keep %v", d.Label, d.Choice, byHand, d.Keep)
			}
			if d.Reason != test.reason {
				t.Errorf("reason\n%s\nwant\n%s", d.Reason, test.reason)
			}
			if d.Warning != test.warning {
				t.Errorf("warning\n%s\nwant\n%s", d.Warning, test.warning)
			}
		})
	}
}

// What means a listed profile to the kernel, and is not its name, does not stand, and what the kernel takes for
// unconfined gets the assigned policy.
func TestOnlyTheListedNameStands(t *testing.T) {
	x := index(t, choosing())
	for _, choice := range []string{
		"::by-hand", ":by-hand", " by-hand", "by-hand ", "by-hand\n", "BY-HAND", "by-han", "by-hand2", "&by-hand",
		"by-hand//&by-hand", "by-hand//&unconfined", "by-hand//&web", ":ns:by-hand", ":ns:x", "by-hand\x00", "localhost/by-hand",
		"u", "unconfine", ":", "::", "web//&u", strings.Repeat("x", 100000), "\x1b[2J",
		"app-base//&by-hand", "node-base//&by-hand//&app-base", "app-base//&by-hand//&node-base//&unconfined",
	} {
		for container, label := range map[string]string{"lenient": "app", "floored": "app//&app-base//&node-base"} {
			d, err := x.Decide(Facts{Container: container, EngineChoice: choice})
			if err != nil || d.Label != label || d.Choice != Overruled || d.Warning == "" {
				t.Errorf("%.40q: decided %+v, %v; want label %s and a warning", choice, d, err, label)
			}
			wantLine(t, d.Reason)
			wantLine(t, d.Warning)
		}
	}
}

func TestIndexLists(t *testing.T) {
	x := index(t, choosing())
	for name, want := range map[string]bool{"by-hand": true, "web": true, "app": false, "": false, "by-han": false} {
		if got, err := x.Lists(name); got != want || err != nil {
			t.Errorf("%q: %v, %v", name, got, err)
		}
	}
}

func TestEncodeRefusesChoices(t *testing.T) {
	for _, list := range [][]string{
		{"unconfined"}, {"u"}, {""}, {"a//&b"}, {":ns:a"}, {"good", "&x"}, {Keep}, {"docker-default"}, {"containers-default-1"},
		{strings.Repeat("a", 201)},
	} {
		p := choosing()
		p.Assignments[3].AcceptChoice = list
		if _, err := p.Encode(); err == nil || !strings.Contains(err.Error(), "p line 4 lists ") {
			t.Errorf("%q: %v", list, err)
		}
	}
	p := choosing()
	p.Assignments[0].AcceptChoice = []string{"web"}
	if _, err := p.Encode(); err == nil || !strings.Contains(err.Error(), "keeps whatever they choose") {
		t.Errorf("with a kept choice: %v", err)
	}
}

func FuzzEngineChoice(f *testing.F) {
	x := index(f, choosing())
	f.Add("by-hand", "floored")
	f.Add("app-base//&by-hand//&node-base", "floored")
	f.Add("u//&web", "lenient")
	f.Fuzz(func(t *testing.T, choice, container string) {
		d, err := x.Decide(Facts{Container: container, EngineChoice: choice})
		var refusal *Refusal
		if errors.As(err, &refusal) || err != nil {
			t.Fatal(err)
		}
		wantLine(t, d.Reason)
		for _, p := range d.Profiles {
			if _, ok := x.Profile(p.Name); !ok && p.Name != "by-hand" {
				t.Errorf("%q is no profile of the policy or its lists", p.Name)
			}
		}
	})
}
