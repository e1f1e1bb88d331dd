package policy

import (
	"errors"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// node is the policy that most tests decide by.
func node() *Config {
	return &Config{
		Profiles: []Profile{
			{Name: "docker-nginx", Source: "profiles/docker-nginx"},
			{Name: "node-baseline", Source: "profiles/node-baseline"},
			{Name: "docker-default", Source: "template docker-default"},
			{Name: "batch", Mode: profile.Complain, Source: "template docker-default"},
		},
		Policies: []Policy{
			{Name: "web", Profile: "docker-nginx"},
			{Name: "batch", Profile: "batch"},
			{Name: "baseline", Profile: "docker-default"},
			{Name: "hands-off", Profile: Keep},
			{Name: "strict", Profile: "docker-nginx", Floor: "docker-default"},
			{Name: "floored", Profile: "docker-nginx", Floor: "node-baseline"},
		},
		Assignments: []Assignment{
			{File: "policy.yaml", Line: 3, Namespace: []string{"kube-system", "kube-node-*"}, Policy: "hands-off"},
			{File: "policy.yaml", Line: 5, Image: []string{"docker.io/library/nginx:*"}, Policy: "web"},
			{File: "policy.yaml", Line: 7, Sandbox: true, Namespace: []string{"locked"}, Policy: "baseline"},
			{File: "policy.yaml", Line: 9, Engine: []string{"other"}, Pod: []string{"*"}, Policy: "strict"},
			{File: "policy.yaml", Line: 11, Privileged: new(true), Policy: "strict", Request: []string{"hands-off"}},
			{File: "policy.yaml", Line: 13, Privileged: new(false), Container: []string{"once"}, Policy: "baseline",
				Request: []string{"web"}, OnRefused: Assigned},
			{File: "policy.yaml", Line: 15, Engine: []string{"containerd"}, Policy: "baseline",
				Request: []string{"web", "batch", "strict", "floored"}, Floor: "node-baseline"},
		},
	}
}

func index(t testing.TB, p *Config) Index {
	t.Helper()
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	x, err := OpenIndex(b)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestDecide(t *testing.T) {
	x := index(t, node())
	for _, test := range []struct {
		name    string
		facts   Facts
		policy  string // empty and no refusal: no rule
		label   string // empty: kept
		floors  string // all profiles, in the order of Decision
		reason  string
		warning string
		refused string
	}{
		{
			name:   "assigned",
			facts:  Facts{Engine: "containerd", Image: "docker.io/library/nginx:1.29"},
			policy: "web", label: "docker-nginx", floors: "docker-nginx",
			reason: "web: assigned by the rule for image docker.io/library/nginx:* (policy.yaml line 5)",
		},
		{
			name:   "a star does not cross a slash",
			facts:  Facts{Engine: "containerd", Image: "docker.io/library/nginx:1/x"},
			policy: "baseline", label: "docker-default//&node-baseline", floors: "node-baseline docker-default",
			reason: "baseline: assigned by the rule for engine containerd (policy.yaml line 15); stacked on node-baseline",
		},
		{
			name:   "first match wins",
			facts:  Facts{Engine: "containerd", Namespace: "kube-system", Image: "docker.io/library/nginx:1"},
			policy: "hands-off",
			reason: "hands-off: assigned by the rule for namespace kube-system or kube-node-* (policy.yaml line 3); " +
				"the engine's choice stays as it is (no profile)",
		},
		{
			name:   "any pattern of a key will do",
			facts:  Facts{Engine: "containerd", Namespace: "kube-node-lease", EngineChoice: "cri-containerd.apparmor.d"},
			policy: "hands-off",
			reason: "hands-off: assigned by the rule for namespace kube-system or kube-node-* (policy.yaml line 3); " +
				"the engine's choice stays as it is (cri-containerd.apparmor.d)",
		},
		{
			name:   "no pattern matches what is not known",
			facts:  Facts{Engine: "other", EngineChoice: "docker default\n"},
			reason: `no rule of the policy is for this container; the engine's choice stays as it is ("docker default\n")`,
		},
		{
			name:   "every condition must hold",
			facts:  Facts{Engine: "docker", Pod: "p"},
			reason: "no rule of the policy is for this container; the engine's choice stays as it is (no profile)",
		},
		{
			name:   "the engine that proves nothing is called other",
			facts:  Facts{Pod: "p"},
			policy: "strict", label: "docker-default//&docker-nginx", floors: "docker-default docker-nginx",
			reason: "strict: assigned by the rule for engine other, pod * (policy.yaml line 9); stacked on docker-default",
		},
		{
			name:   "asked for and allowed",
			facts:  Facts{Engine: "containerd", Request: new("web"), RequestKey: Annotation},
			policy: "web", label: "docker-nginx//&node-baseline", floors: "node-baseline docker-nginx",
			reason: "web: asked for by annotation oci-apparmor/policy, allowed by the rule for engine containerd " +
				"(policy.yaml line 15); stacked on node-baseline",
		},
		{
			name:   "asked for what is assigned anyway",
			facts:  Facts{Engine: "containerd", Request: new("baseline"), RequestKey: Annotation + ".app"},
			policy: "baseline", label: "docker-default//&node-baseline", floors: "node-baseline docker-default",
			reason: "baseline: asked for by annotation oci-apparmor/policy.app, allowed by the rule for engine containerd " +
				"(policy.yaml line 15); stacked on node-baseline",
		},
		{
			name:   "the floor of the rule and of the policy are stacked",
			facts:  Facts{Engine: "containerd", Request: new("strict"), RequestKey: Annotation},
			policy: "strict", label: "docker-default//&docker-nginx//&node-baseline",
			floors: "node-baseline docker-default docker-nginx",
			reason: "strict: asked for by annotation oci-apparmor/policy, allowed by the rule for engine containerd " +
				"(policy.yaml line 15); stacked on node-baseline and docker-default",
		},
		{
			name:   "the same floor twice is one",
			facts:  Facts{Engine: "containerd", Request: new("floored"), RequestKey: Annotation},
			policy: "floored", label: "docker-nginx//&node-baseline", floors: "node-baseline docker-nginx",
			reason: "floored: asked for by annotation oci-apparmor/policy, allowed by the rule for engine containerd " +
				"(policy.yaml line 15); stacked on node-baseline",
		},
		{
			name:   "a mode that does not deny is said",
			facts:  Facts{Engine: "containerd", Request: new("batch"), RequestKey: Annotation},
			policy: "batch", label: "batch//&node-baseline", floors: "node-baseline batch",
			reason: "batch: asked for by annotation oci-apparmor/policy, allowed by the rule for engine containerd " +
				"(policy.yaml line 15); stacked on node-baseline; in mode complain",
		},
		{
			name:  "asked for and not allowed",
			facts: Facts{Engine: "containerd", Request: new("hands-off"), RequestKey: Annotation},
			refused: `policy "hands-off", asked for by annotation oci-apparmor/policy, is not allowed here: the rule for ` +
				`engine containerd (policy.yaml line 15) allows baseline, web, batch, strict and 1 more; ` +
				`ask for one of these, remove the annotation, or have hands-off added to the rule's "request" list`,
		},
		{
			name:  "asked for something that is no policy",
			facts: Facts{Engine: "containerd", Privileged: Privileged, Request: new("u"), RequestKey: Annotation},
			refused: `policy "u", asked for by annotation oci-apparmor/policy, does not exist: the rule for ` +
				`privileged containers (policy.yaml line 11) allows strict and hands-off; ` +
				`ask for one of these, remove the annotation, ` +
				`or have the policy defined and added to the rule's "request" list`,
		},
		{
			name:  "a profile's name is no policy's",
			facts: Facts{Engine: "containerd", Privileged: Privileged, Request: new("docker-nginx"), RequestKey: Annotation},
			refused: `policy "docker-nginx", asked for by annotation oci-apparmor/policy, does not exist: the rule for ` +
				`privileged containers (policy.yaml line 11) allows strict and hands-off; ` +
				`ask for one of these, remove the annotation, ` +
				`or have the policy defined and added to the rule's "request" list`,
		},
		{
			name:  "a built-in policy that the index has no need of",
			facts: Facts{Engine: "containerd", Privileged: Privileged, Request: new("keep"), RequestKey: Annotation},
			refused: `policy "keep", asked for by annotation oci-apparmor/policy, is not allowed here: the rule for ` +
				`privileged containers (policy.yaml line 11) allows strict and hands-off; ` +
				`ask for one of these, remove the annotation, or have keep added to the rule's "request" list`,
		},
		{
			name:  "an empty request is a request",
			facts: Facts{Engine: "containerd", Namespace: "kube-system", Request: new(""), RequestKey: Annotation},
			refused: `policy "", asked for by annotation oci-apparmor/policy, does not exist: the rule for ` +
				`namespace kube-system or kube-node-* (policy.yaml line 3) allows hands-off; ` +
				`ask for one of these, remove the annotation, ` +
				`or have the policy defined and added to the rule's "request" list`,
		},
		{
			name:  "asked for where no rule is",
			facts: Facts{Engine: "docker", Request: new("web"), RequestKey: Annotation},
			refused: `policy "web", asked for by annotation oci-apparmor/policy, is not allowed here: no rule of the node's ` +
				`policy is for this container, so it may not ask for any; ` +
				`remove the annotation, or have an assignment with a "request" list added to the policy file`,
		},
		{
			name:   "privileged containers may be let off",
			facts:  Facts{Engine: "docker", Privileged: Privileged, Request: new("hands-off"), RequestKey: Annotation},
			policy: "hands-off",
			reason: "hands-off: asked for by annotation oci-apparmor/policy, allowed by the rule for privileged containers " +
				"(policy.yaml line 11); the engine's choice stays as it is (no profile)",
		},
		{
			name:   "a refused request falls back where the rule says so",
			facts:  Facts{Engine: "docker", Container: "once", Request: new("batch"), RequestKey: Annotation},
			policy: "baseline", label: "docker-default", floors: "docker-default",
			reason: "baseline: assigned by the rule for unprivileged containers, container once (policy.yaml line 13), " +
				"its request being refused",
			warning: `policy "batch", asked for by annotation oci-apparmor/policy, is not allowed here: the rule for ` +
				`unprivileged containers, container once (policy.yaml line 13) allows baseline and web; ` +
				`ask for one of these, remove the annotation, or have batch added to the rule's "request" list; ` +
				`it gets the assigned policy baseline instead`,
		},
		{
			name:   "a pause container is left alone",
			facts:  Facts{Engine: "containerd", Sandbox: true, Namespace: "kube-system"},
			reason: "no rule of the policy is for this container; the engine's choice stays as it is (no profile)",
		},
		{
			name: "a pause container does not ask",
			facts: Facts{Engine: "containerd", Sandbox: true, Namespace: "default", Request: new("nonsense"),
				RequestKey: Annotation},
			reason: "no rule of the policy is for this container; the engine's choice stays as it is (no profile)",
		},
		{
			name: "a pause container gets what a rule for sandboxes says",
			facts: Facts{Engine: "containerd", Sandbox: true, Namespace: "locked", Request: new("web"),
				RequestKey: Annotation},
			policy: "baseline", label: "docker-default", floors: "docker-default",
			reason: "baseline: assigned by the rule for pod sandboxes, namespace locked (policy.yaml line 7)",
		},
		{
			name:   "a rule for sandboxes is for nothing else",
			facts:  Facts{Engine: "docker", Namespace: "locked"},
			reason: "no rule of the policy is for this container; the engine's choice stays as it is (no profile)",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, err := x.Decide(test.facts)
			if test.refused != "" {
				var refusal *Refusal
				if !errors.As(err, &refusal) {
					t.Fatalf("decided %+v, error %v; want a refusal", d, err)
				}
				if refusal.Error() != test.refused {
					t.Errorf("refused with\n%s\nwant\n%s", refusal, test.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, p := range d.Profiles {
				names = append(names, p.Name)
			}
			if got := strings.Join(names, " "); d.Policy != test.policy || d.Label != test.label || got != test.floors ||
				d.Keep != (test.label == "") {
				t.Errorf("policy %q, label %q, profiles %q, keep %v; want policy %q, label %q, profiles %q",
					d.Policy, d.Label, got, d.Keep, test.policy, test.label, test.floors)
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

// What a workload writes never selects a policy that it may not have, and cannot make a message that is long, has a
// second line or is not ASCII.
func TestHostileRequests(t *testing.T) {
	x := index(t, node())
	for _, request := range []string{
		"unconfined", "u", ":", "::docker-default", "&x", "x//&unconfined", "web\n", " web", "web ", "WEB", "we", "webb",
		"web\x00", "\xff\xfe", "\u202eweb", "docker-nginx", "*", "web,batch", strings.Repeat("a", 300),
		strings.Repeat("\U0001f600", 100000), "x\nlevel=info msg=\"all is well\"", "\x1b[2J",
	} {
		facts := Facts{Engine: "containerd", Request: &request, RequestKey: Annotation + "." + request,
			EngineChoice: request, Namespace: request, ID: request}
		d, err := x.Decide(facts)
		var refusal *Refusal
		if !errors.As(err, &refusal) {
			t.Errorf("%.40q: decided %+v, error %v; want a refusal", request, d, err)
			continue
		}
		if refusal.Known {
			t.Errorf("%.40q: passes for a policy's name", request)
		}
		wantLine(t, refusal.Error())

		facts.Container, facts.Engine = "once", "docker"
		d, err = x.Decide(facts)
		if err != nil || d.Policy != "baseline" || d.Label != "docker-default" {
			t.Errorf("%.40q: decided %+v, error %v; want the assigned policy", request, d, err)
		}
		wantLine(t, d.Warning)
		wantLine(t, d.Reason)

		facts.Container, facts.Request = "", nil
		d, err = x.Decide(facts)
		if err != nil || !d.Keep {
			t.Errorf("%.40q: decided %+v, error %v; want what the engine chose", request, d, err)
		}
		wantLine(t, d.Reason)
	}
}

func wantLine(t *testing.T, s string) {
	t.Helper()
	if s == "" || len(s) > 2048 {
		t.Errorf("a message of %d bytes", len(s))
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			t.Errorf("byte %#x in message %.200q", s[i], s)
			return
		}
	}
}

func TestRequested(t *testing.T) {
	pod := map[string]string{
		"oci-apparmor/policy": "all", "oci-apparmor/policy.app": "one", "oci-apparmor/policy.": "none",
	}
	for _, test := range []struct {
		name        string
		annotations map[string]string
		container   string
		value, key  string // key empty: no request
	}{
		{"the container's own wins", pod, "app", "one", "oci-apparmor/policy.app"},
		{"the pod's speaks for the others", pod, "db", "all", "oci-apparmor/policy"},
		{"a container without a name", pod, "", "all", "oci-apparmor/policy"},
		{"only another container's", map[string]string{"oci-apparmor/policy.app": "one"}, "db", "", ""},
		{"an empty one", map[string]string{"oci-apparmor/policy": ""}, "db", "", "oci-apparmor/policy"},
		{"none", nil, "app", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := Facts{Container: test.container}
			f.Requested(test.annotations)
			value, key := f.Request, f.RequestKey
			if key != test.key || (value == nil) != (test.key == "") || value != nil && *value != test.value {
				t.Errorf("got %v under %q, want %q under %q", value, key, test.value, test.key)
			}
		})
	}
}

func TestLabel(t *testing.T) {
	for _, test := range []struct {
		names []string
		want  string
	}{
		{nil, ""},
		{[]string{"a"}, "a"},
		{[]string{"twork", "tbase"}, "tbase//&twork"},
		{[]string{"b", "a", "b"}, "a//&b"},
		{[]string{"a", "a-b", "a.b", "B", "a"}, "B//&a//&a-b//&a.b"},
	} {
		if got := Label(test.names...); got != test.want {
			t.Errorf("Label(%q) = %q, want %q", test.names, got, test.want)
		}
	}
	names := []string{"b", "a"}
	if Label(names...); names[0] != "b" {
		t.Error("Label sorts its caller's slice")
	}
}

// A container that is privileged in part must get neither past a rule that confines, nor to one that frees, whichever of
// the two is for privileged containers.
func TestContainersPrivilegedInPartGetTheStricterRule(t *testing.T) {
	yes, no := new(true), new(false)
	for _, test := range []struct {
		name    string
		rules   []Assignment
		request *string
		label   string // for one that is so in part; empty for what the engine chose
		refused bool
	}{
		{"those that are privileged are confined",
			[]Assignment{{Privileged: yes, Policy: "baseline"}, {Policy: "hands-off"}}, nil, "docker-default", false},
		{"those that are privileged are let off",
			[]Assignment{{Privileged: yes, Policy: "hands-off"}, {Policy: "web"}}, nil, "docker-nginx", false},
		{"those that are not are confined",
			[]Assignment{{Privileged: no, Policy: "web"}, {Policy: "hands-off"}}, nil, "docker-nginx", false},
		{"those that are not are let off",
			[]Assignment{{Privileged: no, Policy: "hands-off"}, {Policy: "baseline"}}, nil, "docker-default", false},
		{"complain confines nothing",
			[]Assignment{{Privileged: yes, Policy: "batch"}, {Policy: "web"}}, nil, "docker-nginx", false},
		{"complain on a floor does",
			[]Assignment{{Privileged: yes, Policy: "batch", Floor: "node-baseline"}, {Policy: "hands-off"}}, nil,
			"batch//&node-baseline", false},
		{"those that are not have a rule, and then those that are",
			[]Assignment{{Privileged: no, Policy: "web"}, {Privileged: yes, Policy: "strict"}}, nil, "docker-default//&docker-nginx", false},
		{"those that are have a rule, and then those that are not",
			[]Assignment{{Privileged: yes, Policy: "strict"}, {Privileged: no, Policy: "web"}}, nil, "docker-default//&docker-nginx", false},
		{"several rules for those that are not", []Assignment{{Privileged: no, Policy: "web"}, {Privileged: no, Policy: "hands-off"},
			{Privileged: yes, Policy: "hands-off"}, {Privileged: yes, Policy: "strict"}}, nil, "docker-default//&docker-nginx", false},
		{"those that are not have a rule, and those that are let off",
			[]Assignment{{Privileged: no, Policy: "web"}, {Privileged: yes, Policy: "hands-off"}}, nil, "docker-nginx", false},
		{"a rule that lets off comes between", []Assignment{{Privileged: no, Policy: "web"}, {Engine: []string{"docker"}, Policy: "hands-off"},
			{Privileged: yes, Policy: "strict"}}, nil, "docker-nginx", false},
		{"a rule that is not for it comes between", []Assignment{{Privileged: no, Policy: "web"}, {Engine: []string{"podman"}, Policy: "hands-off"},
			{Privileged: yes, Policy: "strict"}}, nil, "docker-default//&docker-nginx", false},
		{"the rule for those that are is not for it",
			[]Assignment{{Privileged: no, Policy: "web"}, {Privileged: yes, Engine: []string{"podman"}, Policy: "strict"}}, nil, "docker-nginx", false},
		{"asking for what the rule for those that are does not allow", []Assignment{{Privileged: no, Policy: "baseline", Request: []string{"web"}},
			{Privileged: yes, Policy: "strict"}}, new("web"), "", true},
		{"asking to be let off",
			[]Assignment{{Privileged: no, Policy: "web", Request: []string{"hands-off"}}, {Policy: "baseline"}}, new("hands-off"),
			"", true},
		{"asking for what is not allowed",
			[]Assignment{{Privileged: yes, Policy: "hands-off", Request: []string{"web"}}, {Policy: "hands-off"}}, new("baseline"),
			"", true},
		{"asking for what confines, of a rule that lets off",
			[]Assignment{{Privileged: yes, Policy: "hands-off", Request: []string{"web"}}, {Policy: "baseline"}}, new("web"),
			"docker-nginx", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := node()
			p.Assignments = test.rules
			d, err := index(t, p).Decide(Facts{Engine: "docker", Privileged: PartlyPrivileged,
				PrivilegedBy: []string{"CAP_SYS_ADMIN"}, Request: test.request, RequestKey: Annotation})
			if (err != nil) != test.refused || d.Label != test.label {
				t.Errorf("got label %q, %v", d.Label, err)
			}
			if conditional := d.Label != "" && strings.Contains(d.Reason, "privileged containers ("); conditional !=
				strings.Contains(d.Reason, "a part of what privileged containers have (CAP_SYS_ADMIN)") {
				t.Errorf("the reason does not say why: %s", d.Reason)
			}
		})
	}
}

// What an engine should have told and did not must not let a container past a rule that may be for it.
func TestWhatIsNotToldIsRefusedWhereItDecides(t *testing.T) {
	p := node()
	p.Assignments = []Assignment{
		{File: "policy.yaml", Line: 1, Engine: []string{"containerd"}, Image: []string{"docker.io/library/a:*"}, Policy: "web"},
		{File: "policy.yaml", Line: 2, Privileged: new(true), Container: []string{"shop"}, Policy: "strict"},
		{File: "policy.yaml", Line: 3, Privileged: new(true), Policy: "baseline"},
		{File: "policy.yaml", Line: 4, Engine: []string{"docker", "other"}, Image: []string{"docker.io/library/nginx:*"}, Policy: "web"},
		{File: "policy.yaml", Line: 5, Label: []Labelled{{"app", []string{"web", "front-*"}}, {"ci", []string{"*"}}}, Policy: "web"},
		{File: "policy.yaml", Line: 6, Policy: "hands-off"},
	}
	x := index(t, p)
	unread := errors.New("no such file")
	for _, test := range []struct {
		name  string
		facts Facts
		line  string // of the rule that decides or refuses
		err   string
	}{
		{"an image that is told", Facts{Engine: "docker", Image: "nginx:1.27"}, "line 4", ""},
		{"another image", Facts{Engine: "docker", Image: "nginy:1.27"}, "line 6", ""},
		{"an image that is not", Facts{Engine: "docker", Unverified: unread}, "line 4", "no such file"},
		{"an image that is not, of an engine that another rule is for", Facts{Engine: "podman", Unverified: unread}, "line 5", "no such file"},
		{"a name that is not", Facts{Engine: "docker", Privileged: Privileged, Unverified: unread}, "line 2", "no such file"},
		{"all labels", Facts{Engine: "docker", Labels: map[string]string{"app": "front-1", "ci": ""}}, "line 5", ""},
		{"one label", Facts{Engine: "docker", Labels: map[string]string{"app": "web"}}, "line 6", ""},
		{"another value", Facts{Engine: "docker", Labels: map[string]string{"app": "webs", "ci": ""}}, "line 6", ""},
		{"Podman tells no labels", Facts{Engine: "podman", Image: "nginx"}, "line 5", "Podman does not report labels"},
		{"nor does containerd", Facts{Engine: "containerd", Image: "nginx"}, "line 5", "containerd does not report labels"},
		{"nor does CRI-O", Facts{Engine: "cri-o", Image: "nginx"}, "line 5", "CRI-O does not report labels"},
		{"no rule for a sandbox asks for labels", Facts{Engine: "containerd", Sandbox: true}, "", ""},
		{"what has come by no engine", Facts{Engine: "other"}, "line 6", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, err := x.Decide(test.facts)
			said := d.Reason
			if err != nil {
				said = err.Error()
			}
			if (err != nil) != (test.err != "") || !strings.Contains(said, test.line+")") || !strings.Contains(said, test.err) {
				t.Errorf("got %q, %v", d.Reason, err)
			}
			wantLine(t, said)
		})
	}
}

func TestMisspeltAnnotationsAreRefused(t *testing.T) {
	x := index(t, node())
	for _, test := range []struct{ key, meant string }{
		{"oci-apparmor/polcy", "oci-apparmor/policy"},
		{"oci-apparmor/policies", "oci-apparmor/policy"},
		{"oci-apparmor/Policy.app", "oci-apparmor/policy.app"},
		{"oci-apparmor/policy.", "oci-apparmor/policy"},
		{"oci-apparmor/", "oci-apparmor/policy"},
		{"oci-apparmor/policy", ""},
		{"oci-apparmor/policy.a.b", ""},
		{"oci-apparmor.example/policy", ""},
	} {
		f := Facts{Engine: "containerd", Container: "app"}
		f.Requested(map[string]string{test.key: "web", "z": "", "oci-apparmor/zz": ""})
		if test.meant == "" {
			f.Requested(map[string]string{test.key: "web"})
		}
		_, err := x.Decide(f)
		if test.meant == "" && err != nil || test.meant != "" && (err == nil || !strings.HasSuffix(err.Error(), "did you mean "+test.meant+"?")) {
			t.Errorf("%s: got %v, want %q", test.key, err, test.meant)
		}
		f.Sandbox = true
		if _, err := x.Decide(f); err != nil {
			t.Errorf("%s: a pause container is refused: %v", test.key, err)
		}
	}
}

// An annotation for the container of a name cannot be passed by because the name is not told.
func TestRequestByANameThatIsNotTold(t *testing.T) {
	f := Facts{Engine: "docker", Unverified: errors.New("no such file")}
	f.Requested(map[string]string{"oci-apparmor/policy.app": "web"})
	if _, err := index(t, node()).Decide(f); err == nil || !strings.Contains(err.Error(), "oci-apparmor/policy.app") ||
		!strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v", err)
	}
	f.Requested(map[string]string{"oci-apparmor/policy": "web"})
	if f.Request == nil || *f.Request != "web" {
		t.Errorf("a request for all is lost: %+v", f)
	}
}
