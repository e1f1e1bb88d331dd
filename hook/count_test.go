package hook

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/counts"
	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/recording"
)

// counting makes the node count, and returns what it has counted since the last call, without histograms.
func (n node) counting(t *testing.T) (counted func() map[string]uint64) {
	t.Helper()
	n.Counts, n.Wiring = counts.New(filepath.Join(t.TempDir(), "counts")), counts.Wrapper
	n.CountLoads(counts.ByStart)
	before := make(map[string]uint64)
	return func() map[string]uint64 {
		t.Helper()
		all, err := n.Counts.Read()
		if err != nil || all.Lost > 0 {
			t.Fatalf("%v, %d lost", err, all.Lost)
		}
		new := make(map[string]uint64)
		for _, c := range all.All {
			if strings.HasPrefix(c.Name, counts.StartDuration.Name) {
				continue
			}
			key := c.Name
			for _, label := range slices.Sorted(maps.Keys(c.Labels)) {
				key += " " + c.Labels[label]
			}
			if since := c.N - before[key]; since > 0 {
				new[key] = since
			}
			before[key] = c.N
		}
		return new
	}
}

// create does what a program does about a container.
func (n node) create(t *testing.T, id, bundle string) error {
	t.Helper()
	out, err := n.Prepare(t.Context(), n.caller, id, NewBundle(bundle))
	said := notice.Notice{Command: "create", ID: id}
	if out.Warning != "" {
		said.Level = notice.Warning
		n.Note(n.caller, said, out)
	}
	if err != nil {
		said.Level, said.Reason = notice.Refusal, ReasonOf(err)
		n.Note(n.caller, said, out)
		return err
	}
	n.Passed(n.caller, "create", out, time.Millisecond)
	return nil
}

// The values of the labels stand in the order of the labels' names: engine, outcome, policy, wiring; by, outcome.
func TestWhatIsDecidedIsCounted(t *testing.T) {
	n := newNode(t)
	counted := n.counting(t)
	check := func(what string, want map[string]uint64) {
		t.Helper()
		if got := counted(); !maps.Equal(got, want) {
			t.Errorf("%s: counted\n%v, want\n%v", what, got, want)
		}
	}
	for _, id := range []string{"c1", "c2"} {
		if err := n.create(t, id, bundle(t, "work", "")); err != nil {
			t.Fatal(err)
		}
	}
	check("two containers", map[string]uint64{"decisions other confined work wrapper": 2, "profile_loads start added": 2})
	if err := n.create(t, "kept", bundle(t, "", "")); err != nil {
		t.Fatal(err)
	}
	check("one that keeps its choice", map[string]uint64{"decisions other kept hands-off wrapper": 1})
	if err := n.create(t, "c3", bundle(t, "secret", "")); err == nil {
		t.Fatal("goes on")
	}
	check("one that asks for too much", map[string]uint64{"decisions other refused  wrapper": 1, "refusals create other not-allowed": 1})

	n.machine.Load(t, kerneltest.Blob("loosened", "work"))
	if err := n.create(t, "c4", bundle(t, "work", "")); err != nil {
		t.Fatal(err)
	}
	check("drift that is repaired", map[string]uint64{"decisions other confined work wrapper": 1, "profile_loads start replaced": 1,
		"drifts start replaced": 1, "warnings create other": 1})
	n.apply(t, "v2")
	if err := n.create(t, "c5", bundle(t, "work", "")); err != nil {
		t.Fatal(err)
	}
	check("another policy", map[string]uint64{"decisions other confined work wrapper": 1, "profile_loads start replaced": 2})
	n.machine.Load(t, kerneltest.Blob("foreign", "web"))
	if err := n.create(t, "c6", bundle(t, "", "")); err == nil {
		t.Fatal("goes on")
	}
	check("drift that is not ours to repair", map[string]uint64{"decisions other refused web wrapper": 1,
		"refusals create other drift": 1, "drifts start refused": 1})
	if err := n.create(t, "kept", bundle(t, "", "web")); err != nil {
		t.Fatal(err)
	}
	check("drift of what the engine chose", map[string]uint64{"decisions other kept hands-off wrapper": 1, "drifts start left": 1,
		"warnings create other": 1})

	n.Recordings = recording.Dir(filepath.Join(t.TempDir(), "recordings"))
	n.recorded(t, "work")
	if err := n.create(t, "c7", bundle(t, "work", "")); err != nil {
		t.Fatal(err)
	}
	check("a recorded one", map[string]uint64{"decisions other recorded work wrapper": 1, "profile_loads start added": 1,
		"warnings create other": 1})

	n.Passed(n.caller, "exec", Outcome{Label: "work"}, 0)
	n.Passed(n.caller, "exec", Outcome{}, 0)
	n.Passed(n.caller, "start", Outcome{Label: "work"}, 0)
	n.Note(n.caller, notice.Notice{Level: notice.Refusal, Command: "exec", Reason: notice.Removed}, Outcome{})
	n.Note(n.caller, notice.Notice{Level: notice.Refusal, Command: "start", Reason: notice.Removed}, Outcome{})
	n.Note(n.caller, notice.Notice{Level: notice.Refusal, Command: "events"}, Outcome{})
	check("later processes", map[string]uint64{"execs other confined": 1, "execs other kept": 1, "execs other refused": 1,
		"refusals exec other removed": 1, "refusals start other removed": 1, "refusals other other other": 1})
	n.Passed(Caller{}, "precreate", Outcome{}, time.Second)
	n.Passed(Caller{}, "createRuntime", Outcome{}, time.Second)
	check("hooks", map[string]uint64{"decisions other confined  precreate": 1, "decisions other confined  guard": 1})
}

// A start goes on where nothing can be counted.
func TestStartsGoOnWhereNothingIsCounted(t *testing.T) {
	n := newNode(t)
	n.Counts = counts.New("/proc/none/counts")
	n.CountLoads(counts.ByStart)
	if err := n.create(t, "c1", bundle(t, "work", "")); err != nil {
		t.Error(err)
	}
}

// Each refusal has a reason, and hostile text is in none.
func TestRefusalsHaveReasons(t *testing.T) {
	const hands = "which keeps what its engine chose"
	for _, tt := range []struct {
		name string
		want notice.Reason
		call func(t *testing.T, n node) error
	}{
		{"a policy that is not allowed", notice.NotAllowed, func(t *testing.T, n node) error { return n.create(t, "c", bundle(t, "secret", "")) }},
		{"one that does not exist", notice.UnknownPolicy, func(t *testing.T, n node) error { return n.create(t, "c", bundle(t, "x\ny", "")) }},
		{"no policy", notice.NoPolicy, func(t *testing.T, n node) error {
			if err := os.RemoveAll(n.Store.Dir); err != nil {
				t.Fatal(err)
			}
			return n.create(t, "c", bundle(t, "", ""))
		}},
		{"a policy that was lost", notice.PolicyUnread, func(t *testing.T, n node) error {
			if err := os.Remove(filepath.Join(n.Store.Dir, "current")); err != nil {
				t.Fatal(err)
			}
			return n.create(t, "c", bundle(t, "", ""))
		}},
		{"a policy that others can write", notice.PolicyUnread, func(t *testing.T, n node) error {
			if err := os.Chmod(n.Store.Dir, 0o777); err != nil {
				t.Fatal(err)
			}
			return n.create(t, "c", bundle(t, "", ""))
		}},
		{"no spec", notice.Spec, func(t *testing.T, n node) error { return n.create(t, "c", t.TempDir()) }},
		{"no spec for the guard", notice.Spec, func(t *testing.T, n node) error {
			_, err := n.Guard(t.Context(), n.caller, "c", NewBundle(t.TempDir()))
			return err
		}},
		{"another profile", notice.OtherProfile, func(t *testing.T, n node) error {
			_, err := n.Guard(t.Context(), n.caller, "c", NewBundle(bundle(t, "work", "work")))
			return err
		}},
		{"drift", notice.Drift, func(t *testing.T, n node) error {
			n.machine.Load(t, kerneltest.Blob("foreign", "web"))
			return n.create(t, "c", bundle(t, "", ""))
		}},
		{"AppArmor that only logs", notice.AppArmorOff, func(t *testing.T, n node) error {
			n.machine.Write(t, "module/mode", "complain\n")
			return n.create(t, "c", bundle(t, "", ""))
		}},
		{"no blob", notice.Load, func(t *testing.T, n node) error {
			if err := os.RemoveAll(filepath.Join(n.Store.Dir, "blobs")); err != nil {
				t.Fatal(err)
			}
			return n.create(t, "c", bundle(t, "", ""))
		}},
		{"an id that is taken", notice.Exists, func(t *testing.T, n node) error {
			n.created(t, "c", os.Getpid())
			return n.create(t, "c", bundle(t, "", ""))
		}},
		{"no place for the record", notice.Record, func(t *testing.T, n node) error {
			if err := os.WriteFile(n.Containers, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return n.create(t, "c", bundle(t, "", ""))
		}},
		{"a profile that was removed", notice.Removed, func(t *testing.T, n node) error {
			if err := n.create(t, "c", bundle(t, "work", "")); err != nil {
				t.Fatal(err)
			}
			n.machine.Remove(t, "work")
			_, err := n.Start(t.Context(), n.caller, "c")
			return err
		}},
		{"a profile that was replaced", notice.ReplacedTwice, func(t *testing.T, n node) error {
			if err := n.create(t, "c", bundle(t, "work", "")); err != nil {
				t.Fatal(err)
			}
			n.machine.Load(t, kerneltest.Blob("loosened", "work"))
			_, err := n.Start(t.Context(), n.caller, "c")
			return err
		}},
		{"a record that is damaged", notice.Record, func(t *testing.T, n node) error {
			if err := n.create(t, "c", bundle(t, "work", "")); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(n.recordPath(n.caller, "c"), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := n.Exec(t.Context(), n.caller, "c")
			return err
		}},
		{"a call that was given up", notice.Cancelled, func(*testing.T, node) error { return Because(notice.Load, fmt.Errorf("x: %w", context.Canceled)) }},
		{"no right", notice.NoRight, func(*testing.T, node) error { return Because(policyReason(fs.ErrPermission), fs.ErrPermission) }},
		{"anything else", notice.OtherReason, func(*testing.T, node) error { return errors.New(hands) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			err := tt.call(t, n)
			if err == nil {
				t.Fatal("goes on")
			}
			if got := ReasonOf(err); got != tt.want {
				t.Errorf("%v has the reason %s, want %s", err, got, tt.want)
			}
		})
	}
}

func TestReasonsAreWords(t *testing.T) {
	seen := make(map[notice.Reason]bool)
	for _, r := range notice.Reasons {
		if seen[r.Reason] || r.Reason == "" || len(r.Reason) > 24 || strings.Trim(string(r.Reason), "abcdefghijklmnopqrstuvwxyz-") != "" || r.Means == "" {
			t.Errorf("reason %q", r.Reason)
		}
		seen[r.Reason] = true
	}
}
