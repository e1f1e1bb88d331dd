package hook

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/recording"
)

// recorded begins a recording of a policy on the node.
func (n node) recorded(t *testing.T, policy string) *recording.Held {
	t.Helper()
	b, err := profile.Parse(kerneltest.Blob("recording", recording.NameFor(policy, "", "")))
	if err == nil {
		b, err = b.WithMode(profile.Complain)
	}
	if err != nil {
		t.Fatal(err)
	}
	held, err := n.Recordings.Begin(policy, b)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func TestARecordedContainerHasAProfileOfItsOwn(t *testing.T) {
	n := newNode(t)
	n.Recordings = recording.Dir(filepath.Join(t.TempDir(), "recordings"))
	held := n.recorded(t, "work")
	labels := map[string]bool{}
	for _, id := range []string{"c1", "c2"} {
		b := bundle(t, "work", "")
		out, err := n.Prepare(t.Context(), n.caller, id, NewBundle(b))
		if err != nil {
			t.Fatal(err)
		}
		own := recording.NameFor("work", n.caller.Engine, id)
		if out.Label != "base//&"+own || !strings.Contains(config(t, b), own) || !strings.Contains(out.Warning, "denies nothing") {
			t.Errorf("%s runs under %q, warned of by %q", id, out.Label, out.Warning)
		}
		if _, ok := n.machine.Path(own); !ok {
			t.Errorf("profile %s was not loaded", own)
		}
		if _, err := n.Guard(t.Context(), n.caller, id, NewBundle(b)); err != nil {
			t.Errorf("the guard refuses what was prepared: %v", err)
		}
		labels[out.Label] = true
	}
	if len(labels) != 2 {
		t.Error("two containers are recorded under one profile")
	}

	// Its recording ends, and the container goes on. The next one is confined.
	if err := held.End(); err != nil {
		t.Fatal(err)
	}
	if p, err := n.Start(t.Context(), n.caller, "c1"); err != nil || !labels[p.Label] {
		t.Errorf("start after the end of the recording: %q, %v", p.Label, err)
	}
	if p, err := n.Exec(t.Context(), n.caller, "c1"); err != nil || !labels[p.Label] {
		t.Errorf("exec after the end of the recording: %q, %v", p.Label, err)
	}
	if out, err := n.Prepare(t.Context(), n.caller, "c3", NewBundle(bundle(t, "work", ""))); err != nil || out.Label != "base//&work" {
		t.Errorf("a container after the end of the recording: %q, %v", out.Label, err)
	}
}

// A recording leaves no profiles of containers that have ended. Those that a process still has stay.
func TestTheProfileOfARecordedContainerIsRemovedAtItsEnd(t *testing.T) {
	n := newNode(t)
	n.Kernel.Proc = t.TempDir()
	n.Recordings = recording.Dir(filepath.Join(t.TempDir(), "recordings"))
	held := n.recorded(t, "work")
	own := make(map[string]string)
	for _, id := range []string{"forgotten", "swept", "runs", "again"} {
		if _, err := n.Prepare(t.Context(), n.caller, id, NewBundle(bundle(t, "work", ""))); err != nil {
			t.Fatal(err)
		}
		own[id] = recording.NameFor("work", n.caller.Engine, id)
	}
	if err := held.End(); err != nil { // what runs on goes on being recorded by its profile alone
		t.Fatal(err)
	}
	for name, text := range map[string]string{"current": "base//&" + own["runs"] + " (complain)\n", "exec": ""} {
		for _, task := range []string{"", "task/10/"} {
			path := filepath.Join(n.Kernel.Proc, "10", task, "attr/apparmor", name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	other := n.caller
	other.Root += "2"
	r, err := n.Recall(n.caller, "again")
	if err != nil {
		t.Fatal(err)
	}
	r.Root = other.Root
	if err := n.remember(other, r); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"forgotten", "runs", "again"} {
		n.Forget(n.caller, id)
	}
	r, err = n.Recall(n.caller, "swept")
	if err != nil {
		t.Fatal(err)
	}
	r.PID = 1 << 30 // of nobody
	if err := n.rewrite(n.caller, r); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(n.caller.Root, 0o755); err != nil {
		t.Fatal(err)
	}
	n.Sweep(n.caller)
	for id, stays := range map[string]bool{"forgotten": false, "swept": false, "runs": true, "again": true} {
		if _, ok := n.machine.Path(own[id]); ok != stays {
			t.Errorf("the profile of %s is in the kernel: %v, want %v", id, ok, stays)
		}
	}
	if _, ok := n.machine.Path("base"); !ok {
		t.Error("the policy's floor is gone")
	}
}

func TestOnlyContainersOfTheRecordedPolicyAreRecorded(t *testing.T) {
	n := newNode(t)
	n.Recordings = recording.Dir(t.TempDir())
	defer n.recorded(t, "work").End()
	if out, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(bundle(t, "", ""))); err != nil || out.Label != "web" || out.Warning != "" {
		t.Errorf("a container of another policy: %q, %q, %v", out.Label, out.Warning, err)
	}
}

// The wrapper writes the label into the bundle's config.json, and people start a bundle again.
func TestABundleThatIsStartedAgainIsRecorded(t *testing.T) {
	n := newNode(t)
	n.Recordings = recording.Dir(filepath.Join(t.TempDir(), "recordings"))
	b := bundle(t, "work", "")
	prepare := func(when, label string) {
		t.Helper()
		out, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(b))
		if err != nil || out.Label != label {
			t.Fatalf("%s: %q, warned of by %q, %v", when, out.Label, out.Warning, err)
		}
		if _, err := n.Guard(t.Context(), n.caller, "c1", NewBundle(b)); err != nil {
			t.Errorf("%s: the guard refuses what was prepared: %v", when, err)
		}
		n.Forget(n.caller, "c1")
	}
	own := "base//&" + recording.NameFor("work", n.caller.Engine, "c1")
	prepare("before the recording", "base//&work")
	held := n.recorded(t, "work")
	prepare("in the recording", own)
	prepare("in the recording, once more", own)
	if err := held.End(); err != nil {
		t.Fatal(err)
	}
	prepare("after the recording", "base//&work")
}

// What an earlier start wrote into the bundle while the policy was recorded, nobody chose.
func TestALabelThatARecordingLeftIsNoChoice(t *testing.T) {
	n := newNode(t)
	n.Recordings = recording.Dir(filepath.Join(t.TempDir(), "recordings"))
	held := n.recorded(t, "web")
	b := bundle(t, "", "")
	warned := func(b string) string {
		t.Helper()
		out, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(b))
		if err != nil {
			t.Fatal(err)
		}
		n.Forget(n.caller, "c1")
		return out.Warning
	}
	first := warned(b)
	if !strings.Contains(config(t, b), recording.NameFor("web", n.caller.Engine, "c1")) {
		t.Fatalf("is not recorded: %s", first)
	}
	if again := warned(b); again != first {
		t.Errorf("the second start is warned of by %q, and the first by %q", again, first)
	}
	if err := held.End(); err != nil {
		t.Fatal(err)
	}
	if after := warned(b); after != "" {
		t.Errorf("a start after the recording is warned of by %q", after)
	}
	other := bundle(t, "", recording.NameFor("work", n.caller.Engine, "c1"))
	if said := warned(other); !strings.Contains(said, "the engine chose profile learn.work.") {
		t.Errorf("the label of another policy's recording is warned of by %q", said)
	}
}

func TestAListedChoiceInThePolicysPlaceIsNotRecorded(t *testing.T) {
	n := newChooser(t)
	n.Recordings = recording.Dir(t.TempDir())
	defer n.recorded(t, "work").End()
	n.prepare(t, "c1", "web", "base//&web")
	b := n.prepare(t, "c2", "work", "base//&"+recording.NameFor("work", n.caller.Engine, "c2"))
	if _, err := n.Guard(t.Context(), n.caller, "c2", NewBundle(b)); err != nil {
		t.Error(err)
	}
}

// profile learn start and finish come at any time, also while a container is created.
func TestTheGuardTakesWhatWasPreparedWhenARecordingHasBegunOrEndedSince(t *testing.T) {
	n := newNode(t)
	n.Recordings = recording.Dir(filepath.Join(t.TempDir(), "recordings"))
	before, during := bundle(t, "work", ""), bundle(t, "work", "")
	if _, err := n.Prepare(t.Context(), n.caller, "before", NewBundle(before)); err != nil {
		t.Fatal(err)
	}
	held := n.recorded(t, "work")
	if out, err := n.Guard(t.Context(), n.caller, "before", NewBundle(before)); err != nil || out.Label != "base//&work" {
		t.Errorf("a recording has begun after prepare: %q, %v", out.Label, err)
	}
	if _, err := n.Prepare(t.Context(), n.caller, "during", NewBundle(during)); err != nil {
		t.Fatal(err)
	}
	if err := held.End(); err != nil {
		t.Fatal(err)
	}
	own := recording.NameFor("work", n.caller.Engine, "during")
	out, err := n.Guard(t.Context(), n.caller, "during", NewBundle(during))
	if err != nil || out.Label != "base//&"+own || !strings.Contains(out.Warning, "denies nothing") {
		t.Errorf("the recording has ended after prepare: %q, warned of by %q, %v", out.Label, out.Warning, err)
	}
	if _, err := n.Guard(t.Context(), n.caller, "another", NewBundle(during)); err == nil {
		t.Error("the guard takes the recording profile of another container")
	}
	named := bundle(t, "work", "base//&"+recording.NameFor("work", n.caller.Engine, "named"))
	if _, err := n.Guard(t.Context(), n.caller, "named", NewBundle(named)); err == nil {
		t.Error("the guard takes a recording profile that nothing has prepared")
	}
}

// Older Podmans do not say the id to a precreate hook.
func TestAContainerWithoutAnIDIsNotRecorded(t *testing.T) {
	n := newNode(t)
	n.Recordings = recording.Dir(t.TempDir())
	defer n.recorded(t, "work").End()
	b := bundle(t, "work", "")
	config, out, err := n.Precreate(t.Context(), n.caller, "", "", []byte(config(t, b)))
	if err != nil || out.Label != "base//&work" || strings.Contains(string(config), "learn.") || !strings.Contains(out.Warning, "is not recorded") {
		t.Fatalf("%q, warned of by %q, %v", out.Label, out.Warning, err)
	}
	if err := os.WriteFile(filepath.Join(b, "config.json"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := n.Guard(t.Context(), n.caller, "c1", NewBundle(b)); err != nil || out.Label != "base//&work" {
		t.Errorf("the guard, which knows the id: %q, %v", out.Label, err)
	}
}

func TestADamagedRecordingRefusesNoContainer(t *testing.T) {
	n := newNode(t)
	n.Recordings = recording.Dir(t.TempDir())
	defer n.recorded(t, "work").End()
	if err := os.Truncate(filepath.Join(string(n.Recordings), "work"), 10); err != nil {
		t.Fatal(err)
	}
	out, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(bundle(t, "work", "")))
	if err != nil || out.Label != "base//&work" || !strings.Contains(out.Warning, "is not recorded") {
		t.Errorf("%q, warned of by %q, %v", out.Label, out.Warning, err)
	}
}
