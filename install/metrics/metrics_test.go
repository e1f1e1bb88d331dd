package metrics

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.yaml.in/yaml/v3"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/hook/counts"
	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile/safefiletest"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

func TestMain(m *testing.M) { safefiletest.Main(m) }

// newNode returns a node with a policy of the profiles web, work and gone, of which the kernel has web and another work.
func newNode(t *testing.T) *Node {
	t.Helper()
	dir := t.TempDir()
	machine := kerneltest.New(t)
	host := &hook.Host{Store: store.Store{Dir: filepath.Join(dir, "store")}, Kernel: machine.Kernel(),
		Containers: filepath.Join(dir, "containers"), Counts: counts.New(filepath.Join(dir, "counts")), Wiring: counts.Wrapper}
	host.Kernel.Proc = filepath.Join(dir, "proc")
	if err := os.MkdirAll(host.Kernel.Proc, 0o700); err != nil {
		t.Fatal(err)
	}
	p := &policy.Config{
		Policies:    []policy.Policy{{Name: "web", Profile: "web"}, {Name: "work", Profile: "work"}, {Name: "gone", Profile: "gone"}},
		Assignments: []policy.Assignment{{File: "policy.yaml", Line: 1, Policy: "web"}},
	}
	for _, name := range []string{"web", "work", "gone"} {
		p.Profiles = append(p.Profiles, policy.Profile{Name: name, Source: name, Text: []byte("v1")})
	}
	if _, _, err := host.Store.Apply(t.Context(), p, kerneltest.Texts{}, store.Manifest{Digest: strings.Repeat("0f", 32)}, nil); err != nil {
		t.Fatal(err)
	}
	machine.Load(t, kerneltest.Blob("v1", "web"))
	machine.Load(t, kerneltest.Blob("foreign", "work"))
	return &Node{
		Counts: host.Counts,
		State:  &status.Node{Host: host, Run: filepath.Join(dir, "run"), Lib: dir},
		Detect: func() kernel.Readiness { return kernel.Ready },
		Lost:   func() (uint32, bool) { return 7, true },
		Agent: func() Agent {
			return Agent{Applied: true, Success: true, At: time.Unix(1.8e9, 5e8), Wirings: map[string]bool{"docker": true, "podman": false}}
		},
	}
}

func text(t *testing.T, n *Node) string {
	t.Helper()
	b, err := n.Text()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestMetricsTellWhatWasCounted(t *testing.T) {
	n := newNode(t)
	docker := hook.Caller{Engine: "docker"}
	h := n.State.Host
	for range 3 {
		h.Passed(docker, "create", hook.Outcome{Label: "web", Decision: policy.Decision{Policy: "web"}}, 3*time.Millisecond)
	}
	h.Passed(docker, "create", hook.Outcome{Label: "web", Decision: policy.Decision{Policy: "web"}}, 10*time.Second)
	h.Passed(docker, "exec", hook.Outcome{Label: "web"}, 0)
	h.Note(docker, notice.Notice{Level: notice.Refusal, Command: "create", Reason: notice.NotAllowed}, hook.Outcome{})
	got := text(t, n)
	for _, line := range []string{
		`oci_apparmor_decisions_total{engine="docker",outcome="confined",policy="web",wiring="wrapper"} 4`,
		`oci_apparmor_decisions_total{engine="docker",outcome="refused",policy="",wiring="wrapper"} 1`,
		`oci_apparmor_refusals_total{command="create",engine="docker",reason="not-allowed"} 1`,
		`oci_apparmor_execs_total{engine="docker",outcome="confined"} 1`,
		`oci_apparmor_start_duration_seconds_bucket{wiring="wrapper",le="0.0025"} 0`,
		`oci_apparmor_start_duration_seconds_bucket{wiring="wrapper",le="0.005"} 3`,
		`oci_apparmor_start_duration_seconds_bucket{wiring="wrapper",le="5"} 3`,
		`oci_apparmor_start_duration_seconds_bucket{wiring="wrapper",le="+Inf"} 4`,
		`oci_apparmor_start_duration_seconds_sum{wiring="wrapper"} 10.009`,
		`oci_apparmor_start_duration_seconds_count{wiring="wrapper"} 4`,
		`oci_apparmor_policy_generation 1`,
		`oci_apparmor_policy_profiles{state="loaded"} 1`,
		`oci_apparmor_policy_profiles{state="drifted"} 1`,
		`oci_apparmor_policy_profiles{state="missing"} 1`,
		`oci_apparmor_containers{engine="other",state="confined"} 0`,
		`oci_apparmor_enforcing 1`,
		`oci_apparmor_audit_records_lost_total 7`,
		`oci_apparmor_counts_lost_total 0`,
		`oci_apparmor_last_apply_success 1`,
		`oci_apparmor_last_apply_timestamp_seconds 1.8000000005e+09`,
		`oci_apparmor_engine_wired{engine="podman"} 0`,
		`oci_apparmor_collect_problems 0`,
	} {
		if !strings.Contains(got, "\n"+line+"\n") {
			t.Errorf("there is no line %s", line)
		}
	}
	if !regexp.MustCompile(`(?m)^oci_apparmor_policy_info\{digest="sha256:[0-9a-f]{64}"\} 1$`).MatchString(got) {
		t.Error("there is no digest of the policy")
	}
	if t.Failed() {
		t.Log(got)
	}
	served := httptest.NewRecorder()
	n.Handler().ServeHTTP(served, httptest.NewRequest("GET", "/metrics", nil))
	if served.Code != 200 || served.Body.String() != got {
		t.Errorf("what is served (%d) differs from what is written:\n%s", served.Code, served.Body)
	}
}

// Counters of a later version have more labels and other buckets.
func TestMetricsAddUpWhatALaterVersionHasCounted(t *testing.T) {
	n := newNode(t)
	later := counts.Family{Name: "execs", Labels: []string{"engine", "outcome", "new"}}
	bucket := counts.Family{Name: counts.StartDuration.Buckets(), Labels: []string{"wiring", "le"}}
	n.Counts.Add(later.With("docker", "kept", "x"), later.With("docker", "kept", "y"), counts.Execs.With("docker", "kept"),
		bucket.With("shim", "0.007"), bucket.With("shim", "+Inf"), bucket.With("shim", "soon"))
	got := text(t, n)
	for _, line := range []string{
		`oci_apparmor_execs_total{engine="docker",outcome="kept"} 3`,
		`oci_apparmor_start_duration_seconds_bucket{wiring="shim",le="0.007"} 1`,
		`oci_apparmor_start_duration_seconds_bucket{wiring="shim",le="0.01"} 1`,
		`oci_apparmor_start_duration_seconds_count{wiring="shim"} 2`,
		`oci_apparmor_collect_problems 1`,
	} {
		if !strings.Contains(got, "\n"+line+"\n") {
			t.Errorf("there is no line %s in\n%s", line, got)
		}
	}
}

func TestWhatCannotBeReadIsAProblem(t *testing.T) {
	n := newNode(t)
	if err := os.WriteFile(filepath.Join(n.State.Host.Store.Dir, "current"), nil, 0o600); err == nil {
		t.Fatal("the link is a file")
	}
	if err := os.Remove(filepath.Join(n.State.Host.Store.Dir, "current")); err != nil {
		t.Fatal(err)
	}
	got := text(t, n)
	if !strings.Contains(got, "\noci_apparmor_policy_generation 0\n") || strings.Contains(got, "\noci_apparmor_collect_problems 0\n") {
		t.Errorf("without its policy the node tells\n%s", got)
	}
}

// Names, kinds and help are as Prometheus has them.
func TestMetricsPassPromlint(t *testing.T) {
	n := newNode(t)
	n.State.Host.Passed(hook.Caller{}, "create", hook.Outcome{}, 1)
	problems, err := promlint.New(strings.NewReader(text(t, n))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

var tableRow = regexp.MustCompile("(?m)^\\| `(oci_apparmor_[a-z_]+)` \\| (counter|gauge|histogram) \\| ([^|]*) \\| ([^|]+) \\|$")

// The table of install/README.md has every metric, and no other.
func TestMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, m := range tableRow.FindAllStringSubmatch(string(page), -1) {
		told = append(told, strings.Join(m[1:4], "|"))
	}
	var want []string
	for _, r := range Rows() {
		var labels []string
		for _, l := range r.Labels {
			labels = append(labels, "`"+l+"`")
		}
		want = append(want, r.Name+"|"+r.Kind+"|"+strings.Join(labels, ", "))
		if !strings.HasSuffix(r.Help, ".") {
			t.Errorf("the help of %s is no sentence", r.Name)
		}
	}
	for _, w := range want {
		if !slices.Contains(told, w) {
			t.Errorf("install/README.md has no row for %s", w)
		}
	}
	for _, w := range told {
		if !slices.Contains(want, w) {
			t.Errorf("install/README.md tells of %s", w)
		}
	}
	for _, r := range notice.Reasons {
		if !strings.Contains(string(page), "| `"+string(r.Reason)+"` | "+r.Means+" |") {
			t.Errorf("install/README.md has no row | `%s` | %s |", r.Reason, r.Means)
		}
	}
}

// The example of rules is YAML of that form, and its expressions name metrics that there are.
func TestRulesNameMetricsThatThereAre(t *testing.T) {
	data, err := os.ReadFile("rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	dec.KnownFields(true)
	if err := dec.Decode(&rules); err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, r := range Rows() {
		known[r.Name] = true
		if r.Kind == histogram {
			known[r.Name+"_bucket"] = true
		}
	}
	count := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			count++
			names := regexp.MustCompile(`oci_apparmor_[a-z_]+`).FindAllString(r.Expr, -1)
			if r.Alert == "" || len(names) == 0 || r.Annotations["summary"] == "" || r.Labels["severity"] == "" ||
				strings.Count(r.Expr, "(") != strings.Count(r.Expr, ")") {
				t.Errorf("rule %+v", r)
			}
			for _, name := range names {
				if !known[name] {
					t.Errorf("%s is of %s, which is no metric", r.Alert, name)
				}
			}
		}
	}
	if count < 5 {
		t.Errorf("%d rules", count)
	}
}
