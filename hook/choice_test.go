package hook

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// newChooser is a node on which every container gets work on base, unless its engine chose web or by-hand.
func newChooser(t *testing.T) node {
	t.Helper()
	n := newNode(t)
	p := &policy.Config{
		Policies:    []policy.Policy{{Name: "work", Profile: "work", Floor: "base"}},
		Assignments: []policy.Assignment{{File: "policy.yaml", Line: 1, Policy: "work", AcceptChoice: []string{"web", "by-hand"}}},
	}
	for _, name := range []string{"web", "work", "base"} {
		p.Profiles = append(p.Profiles, policy.Profile{Name: name, Source: name, Text: []byte("v1")})
	}
	if _, _, err := n.Store.Apply(t.Context(), p, kerneltest.Texts{}, store.Manifest{}, nil); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n node) prepare(t *testing.T, id, choice, label string) (bundlePath string) {
	t.Helper()
	b := bundle(t, "", choice)
	out, err := n.Prepare(t.Context(), n.caller, id, NewBundle(b))
	if err != nil || out.Label != label || !strings.Contains(config(t, b), strings.ReplaceAll(label, "&", `&`)) &&
		!strings.Contains(config(t, b), strings.ReplaceAll(label, "&", `\u0026`)) {
		t.Fatalf("engine's choice %q: label %q, want %q; error %v, spec %s", choice, out.Label, label, err, config(t, b))
	}
	return b
}

func TestListedChoiceOfThePolicysProfileIsLoaded(t *testing.T) {
	n := newChooser(t)
	n.prepare(t, "c1", "web", "base//&web")
	for name, want := range map[string]bool{"web": true, "base": true, "work": false} {
		if _, ok := n.machine.Path(name); ok != want {
			t.Errorf("profile %s is loaded: %v", name, ok)
		}
	}
	n.machine.Load(t, kerneltest.Blob("loosened", "web"))
	if p, err := n.Exec(t.Context(), n.caller, "c1"); p.Label != "base//&web" || err != nil ||
		!strings.Contains(p.Warning, "profile web was loaded with other content") {
		t.Errorf("exec: %q, %q, %v", p.Label, p.Warning, err)
	}
}

func TestListedChoiceThatIsLoadedByHand(t *testing.T) {
	n := newChooser(t)
	b := bundle(t, "", "by-hand")
	if _, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(b)); err == nil ||
		!strings.Contains(err.Error(), "by-hand, which is not loaded") {
		t.Errorf("before it is loaded: %v", err)
	}
	if n.machine.Writes(t) != 0 {
		t.Error("a floor was loaded for a container that was refused")
	}

	byHand := kerneltest.Blob("of somebody", "by-hand", "by-hand//hat")
	n.machine.Load(t, byHand)
	again := n.prepare(t, "c1", "by-hand", "base//&by-hand")
	if r, err := n.Recall(n.caller, "c1"); err != nil || len(r.Profiles) != 2 || len(r.Profiles[1].Compiled) != 2 ||
		r.Profiles[1].Compiled[1].Name != "by-hand//hat" || r.Profiles[1].Compiled[0].SHA256 == [32]byte{} {
		t.Errorf("remembered %+v, %v", r, err)
	}
	for name, ask := range map[string]func() error{
		"start": func() error { _, err := n.Start(t.Context(), n.caller, "c1"); return err },
		"exec": func() error {
			p, err := n.Exec(t.Context(), n.caller, "c1")
			if p.Label != "base//&by-hand" || !p.Ours {
				t.Errorf("exec gets %q, ours %v", p.Label, p.Ours)
			}
			return err
		},
		"guard": func() error { _, err := n.Guard(t.Context(), n.caller, "c1", NewBundle(again)); return err },
		"create once more": func() error {
			out, err := n.Prepare(t.Context(), n.caller, "c2", NewBundle(again))
			if out.Label != "base//&by-hand" {
				t.Errorf("a second create of the same bundle gives label %q", out.Label)
			}
			return err
		},
	} {
		if err := ask(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	n.machine.Load(t, kerneltest.Blob("of somebody", "by-hand", "by-hand//hat", "by-hand//other"))
	if _, err := n.Exec(t.Context(), n.caller, "c1"); err == nil || !strings.Contains(err.Error(), "by-hand//other") {
		t.Errorf("exec after a hat was added: %v", err)
	}
	n.machine.Remove(t, "by-hand")
	n.machine.Load(t, kerneltest.Blob("of somebody", "by-hand"))
	if _, err := n.Start(t.Context(), n.caller, "c1"); err == nil || !strings.Contains(err.Error(), "by-hand was removed") {
		t.Errorf("start after it was removed and loaded: %v", err)
	}
	if _, err := n.Exec(t.Context(), n.caller, "c1"); err == nil || !strings.Contains(err.Error(), "by-hand") {
		t.Errorf("exec after a hat was dropped: %v", err)
	}
	n.machine.Load(t, kerneltest.Blob("loosened", "by-hand"))
	if _, err := n.Exec(t.Context(), n.caller, "c1"); err == nil || !strings.Contains(err.Error(), "is not what it was") {
		t.Errorf("exec after it was changed: %v", err)
	}
}

func TestProfileByHandMustConfine(t *testing.T) {
	n := newChooser(t)
	n.machine.Load(t, kerneltest.Blob("of somebody", "by-hand"))
	mode := filepath.Join(first(n.machine.Path("by-hand")), "mode")
	for text, want := range map[string]string{
		"complain\n": "", "unconfined\n": "in mode unconfined, which is none", "user\n": "mode",
	} {
		if err := os.WriteFile(mode, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(bundle(t, "", "by-hand")))
		if want == "" {
			if err != nil || !strings.Contains(out.Warning, "by hand in mode complain") {
				t.Errorf("mode %q: %q, %v", text, out.Warning, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("mode %q: %v", text, err)
		}
	}
}

// What complain mode makes on its own, once a process runs, is no change.
func TestProfileByHandThatLearns(t *testing.T) {
	n := newChooser(t)
	n.machine.Load(t, kerneltest.Blob("of somebody", "by-hand"))
	dir := first(n.machine.Path("by-hand"))
	learn := func(number string) {
		for name, text := range map[string]string{"name": "null-/usr/bin/id\n", "mode": "complain\n"} {
			if err := os.MkdirAll(dir+"/profiles/null-.usr.bin.id."+number, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(dir+"/profiles/null-.usr.bin.id."+number+"/"+name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	learn("7")
	if err := os.WriteFile(dir+"/mode", []byte("complain\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	n.prepare(t, "c1", "by-hand", "base//&by-hand")
	if err := os.RemoveAll(dir + "/profiles"); err != nil {
		t.Fatal(err)
	}
	learn("8")
	if _, err := n.Exec(t.Context(), n.caller, "c1"); err != nil {
		t.Error(err)
	}
}

func TestUnlistedChoiceGivesWay(t *testing.T) {
	n := newChooser(t)
	for _, choice := range []string{"unconfined", "docker-default", "", "u", "::by-hand", "by-hand//&unconfined", "other"} {
		n.prepare(t, "c-"+choice, choice, "base//&work")
		out, err := n.Prepare(t.Context(), n.caller, "d-"+choice, NewBundle(bundle(t, "", choice)))
		warns := choice != "unconfined" && choice != "docker-default" && choice != ""
		if err != nil || (out.Warning != "") != warns {
			t.Errorf("%q: warning %q, %v", choice, out.Warning, err)
		}
	}
}

// The guard that runs behind the wrapper, and a second create of the same bundle, see the wrapper's label in the spec.
func TestOurOwnLabelInTheSpecIsNotWarnedOf(t *testing.T) {
	n := newChooser(t)
	b := n.prepare(t, "c1", "", "base//&work")
	for name, ask := range map[string]func() (Outcome, error){
		"guard":   func() (Outcome, error) { return n.Guard(t.Context(), n.caller, "c1", NewBundle(b)) },
		"prepare": func() (Outcome, error) { return n.Prepare(t.Context(), n.caller, "c2", NewBundle(b)) },
	} {
		if out, err := ask(); err != nil || out.Warning != "" {
			t.Errorf("%s: %q, %v", name, out.Warning, err)
		}
	}
}
