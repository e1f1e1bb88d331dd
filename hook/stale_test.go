package hook

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
)

// runs makes a container run: its first process is this one, and is under a label.
func (n node) runs(t *testing.T, id, asks, label string) *Record {
	t.Helper()
	if _, err := n.Prepare(t.Context(), n.caller, id, NewBundle(bundle(t, asks, ""))); err != nil {
		t.Fatal(err)
	}
	n.created(t, id, os.Getpid())
	n.Kernel.Proc = filepath.Join(n.machine.Dir, "proc")
	attr := filepath.Join(n.Kernel.Proc, fmt.Sprint(os.Getpid()), "attr")
	if err := os.MkdirAll(attr, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(attr, "current"), []byte(label+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := n.Recall(n.caller, id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (n node) exec(t *testing.T, id string) (warning string) {
	t.Helper()
	p, err := n.Exec(t.Context(), n.caller, id)
	if err != nil || !p.Ours {
		t.Fatalf("exec: ours %v, %v", p.Ours, err)
	}
	return p.Warning
}

func TestFreshness(t *testing.T) {
	loosen := func(name string) func(*testing.T, node) {
		return func(t *testing.T, n node) { n.machine.Load(t, kerneltest.Blob("loosened", name)) }
	}
	update := func(content string) func(*testing.T, node) {
		return func(t *testing.T, n node) {
			n.apply(t, content)
			for _, asks := range []string{"web", "work"} { // a container of the policy is started
				if _, err := n.Prepare(t.Context(), n.caller, "new-"+asks+"-"+content, NewBundle(bundle(t, asks, ""))); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for name, test := range map[string]struct {
		asks, label string
		then        []func(*testing.T, node)
		want        Freshness
		profile     string
	}{
		"nothing happens":                    {"work", "base//&work (enforce)", nil, Fresh, ""},
		"a stack, loosened":                  {"work", "base//&work (enforce)", []func(*testing.T, node){loosen("work")}, Unclear, "work"},
		"a stack, loosened and put right":    {"work", "base//&work (enforce)", []func(*testing.T, node){loosen("work"), update("v1")}, Stale, "work"},
		"a stack's floor, and put right":     {"work", "base//&work (enforce)", []func(*testing.T, node){loosen("base"), update("v1")}, Stale, "base"},
		"a stack, of which both are updated": {"work", "base//&work (enforce)", []func(*testing.T, node){update("v2")}, Stale, "base"},
		"another profile":                    {"work", "base//&work (enforce)", []func(*testing.T, node){loosen("other"), loosen("other"), update("v1")}, Fresh, ""},
		"a profile, loosened and put right":  {"web", "web (enforce)", []func(*testing.T, node){loosen("web"), update("v1")}, Fresh, ""},
		"a profile, updated often":           {"web", "web (enforce)", []func(*testing.T, node){update("v2"), update("v3"), update("v1")}, Fresh, ""},
		"a profile that is stacked by the runtime": {"web", "crun//&web (mixed)",
			[]func(*testing.T, node){loosen("web"), update("v1")}, Stale, "web"},
		"a profile that is stacked by the runtime, updated once": {"web", "crun//&web (mixed)", []func(*testing.T, node){update("v2")},
			Fresh, ""},
		"a profile that is stacked by the runtime, whose own is replaced": {"web", "crun//&web (mixed)",
			[]func(*testing.T, node){loosen("crun"), update("v2")}, Stale, "web"},
		"only the runtime's own is replaced": {"web", "crun//&web (mixed)", []func(*testing.T, node){loosen("crun"), loosen("crun")},
			Fresh, ""},
		"a profile that the kernel stacks on no profile": {"web", "web//&unconfined (mixed)", []func(*testing.T, node){update("v2")},
			Fresh, ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.machine.Load(t, kerneltest.Blob("1", "crun"))
			r := n.runs(t, "c1", test.asks, test.label)
			for _, do := range test.then {
				do(t, n)
			}
			f, profile, err := n.Freshness(r)
			if err != nil || f != test.want || profile != test.profile {
				t.Errorf("freshness %d of %q, %v, want %d of %q", f, profile, err, test.want, test.profile)
			}
			label, err := kernel.ParseLabel(test.label)
			if err != nil {
				t.Fatal(err)
			}
			os.RemoveAll(n.Kernel.Proc) // who knows the label asks nobody
			if again, _, err := n.Freshness(r, label); again != f || err != nil {
				t.Errorf("by its label: %d, %v", again, err)
			}
		})
	}
}

// A record of an earlier version knows no dates of profiles, only the second in which the container was created.
func TestFreshnessOfEarlierRecords(t *testing.T) {
	n := newNode(t)
	r := n.runs(t, "c1", "work", "base//&work (enforce)")
	for i := range r.Profiles {
		r.Profiles[i].Since = 0
	}
	r.Created = time.Now().Truncate(time.Second).Add(time.Second)
	if f, _, err := n.Freshness(r); f != Fresh || err != nil {
		t.Errorf("freshness %d, %v", f, err)
	}
	r.Created = r.Created.Add(-time.Hour)
	if f, _, err := n.Freshness(r); f != Stale || err != nil { // both parts are newer than that
		t.Errorf("freshness %d, %v", f, err)
	}
}

func TestTheRecordKeepsWhenItsProfilesWereLoaded(t *testing.T) {
	n := newNode(t)
	r := n.runs(t, "c1", "work", "base//&work (enforce)")
	var again Record
	if err := again.parse(r.marshal(), nil); err != nil {
		t.Fatal(err)
	}
	if len(again.Profiles) != 2 || !again.Created.Equal(r.Created) {
		t.Fatalf("%+v", again)
	}
	for i, p := range again.Profiles {
		if p.Since == 0 || p.Since != r.Profiles[i].Since {
			t.Errorf("%+v", p)
		}
	}
	if f, _, err := n.Freshness(&again); f != Fresh || err != nil {
		t.Errorf("freshness %d, %v", f, err)
	}
}

// Who replaces a profile says which containers do not follow; and so does an exec in one of them, each time.
func TestContainersThatStayBehindAreNamed(t *testing.T) {
	n := newNode(t)
	n.runs(t, "old", "work", "base//&work (enforce)")
	n.runs(t, "single", "web", "web (enforce)")
	n.machine.Load(t, kerneltest.Blob("loosened", "work"))
	n.machine.Load(t, kerneltest.Blob("loosened", "web"))
	out, err := n.Prepare(t.Context(), n.caller, "new", NewBundle(bundle(t, "work", "")))
	if err != nil || !strings.Contains(out.Warning, "profile work was loaded with other content") ||
		!strings.Contains(out.Warning, "what runs in old stays under older content") || strings.Contains(out.Warning, "single") {
		t.Errorf("%q, %v", out.Warning, err)
	}
	for range 2 {
		if warning := n.exec(t, "old"); !strings.Contains(warning, "profile work was replaced") || !strings.Contains(warning, "start the container anew") {
			t.Errorf("exec in the old one: %q", warning)
		}
	}
	n.created(t, "new", os.Getpid())
	if warning := n.exec(t, "new"); warning != "" {
		t.Errorf("exec in the new one: %q", warning)
	}
	if warning := n.exec(t, "single"); strings.Contains(warning, "older") || !strings.Contains(warning, "has been replaced") {
		t.Errorf("exec in the one with a single profile: %q", warning)
	}
}

// An exec that replaces a profile names the container itself once.
func TestExecThatReplacesNamesItsContainerOnce(t *testing.T) {
	n := newNode(t)
	n.runs(t, "c1", "work", "base//&work (enforce)")
	n.machine.Load(t, kerneltest.Blob("loosened", "work"))
	warning := n.exec(t, "c1")
	if strings.Count(warning, "anew") != 1 || !strings.Contains(warning, "stays under older content") {
		t.Errorf("%q", warning)
	}
}

func TestManyContainersThatStayBehindAreCounted(t *testing.T) {
	n := newNode(t)
	for i := range maxNamed + 3 {
		n.runs(t, fmt.Sprint("c", i), "work", "base//&work (enforce)")
	}
	n.runs(t, "gone", "work", "base//&work (enforce)")
	if err := os.RemoveAll(filepath.Join(n.caller.Root, "gone")); err != nil {
		t.Fatal(err)
	}
	n.machine.Load(t, kerneltest.Blob("loosened", "work"))
	if said := n.StaleAfter(nil, "work"); !strings.Contains(said, "what runs in c0, c1, c2, c3, c4 and 3 more may stay") {
		t.Errorf("%q", said)
	}
	if said := n.StaleAfter(nil, "web"); said != "" {
		t.Errorf("%q", said)
	}
}
