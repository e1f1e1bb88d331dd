package hook

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy"
)

// keptOf returns what is kept of ended containers, which must all be readable.
func keptOf(t *testing.T, n node) []*Ended {
	t.Helper()
	all, _, err := n.Ended()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAContainerIsKeptAfterItsEnd(t *testing.T) {
	n := newNode(t)
	before := time.Now()
	if _, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(bundle(t, "work", ""))); err != nil {
		t.Fatal(err)
	}
	record, err := n.Recall(n.caller, "c1")
	if err != nil {
		t.Fatal(err)
	}
	const gone = 1 << 23 // more than a kernel's largest pid
	n.created(t, "c1", gone)
	n.Forget(n.caller, "c1")
	all := keptOf(t, n)
	if len(all) != 1 || !reflect.DeepEqual(all[0].Record, *record) || all[0].End.Before(before) {
		t.Fatalf("kept is %+v, want %+v", all, record)
	}
	if ran := all[0].Processes; len(ran) != 1 || ran[0].PID != gone || !ran[0].From.Equal(record.Created) || !ran[0].To.IsZero() {
		t.Errorf("its processes: %+v, want the first one, since its create", ran)
	}
	if records, err := n.Records(); err != nil || len(records) > 0 {
		t.Errorf("it counts as running: %+v, %v", records, err)
	}
}

func TestTheEnginesChoiceIsKept(t *testing.T) {
	for choice, want := range map[string]string{"docker-default": "docker-default", "": "unconfined"} {
		n := newNode(t)
		n.rules(t, policy.Assignment{Policy: "hands-off"})
		if _, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(bundle(t, "", choice))); err != nil {
			t.Fatal(err)
		}
		n.Forget(n.caller, "c1")
		if all := keptOf(t, n); len(all) != 1 || all[0].Label != "" || all[0].Choice != want {
			t.Errorf("where the engine chose %q is kept %+v", choice, all)
		}
	}
}

func TestProcessesThatTheCallerKnowsAreKept(t *testing.T) {
	n := newNode(t)
	if _, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(bundle(t, "", ""))); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1764500000, 123456789).UTC()
	want := []Ran{{PID: 7, From: at, To: at.Add(time.Hour)}, {PID: 9, From: at.Add(time.Minute)}}
	n.Forget(n.caller, "c1", want...)
	if all := keptOf(t, n); len(all) != 1 || !reflect.DeepEqual(all[0].Processes, want) {
		t.Errorf("kept is %+v, want %+v", all, want)
	}
}

// runc and crun kill a container that is deleted by force after we have looked at it.
func TestTheFirstProcessOfOneThatIsDeletedWhileItRunsIsKept(t *testing.T) {
	n := newNode(t)
	if _, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(bundle(t, "", ""))); err != nil {
		t.Fatal(err)
	}
	n.ended(t, "c1") // the process that created it, but not the container
	n.created(t, "c1", os.Getpid())
	n.Forget(n.caller, "c1")
	if all := keptOf(t, n); len(all) != 0 {
		t.Fatalf("while it runs, kept is %+v", all)
	}
	if err := os.RemoveAll(filepath.Join(n.caller.Root, "c1")); err != nil {
		t.Fatal(err)
	}
	if all := keptOf(t, n); len(all) != 1 || len(all[0].Processes) != 1 || all[0].Processes[0].PID != os.Getpid() {
		t.Errorf("before a sweep, it is %+v", all)
	}
	n.Sweep(n.caller)
	if all := keptOf(t, n); len(all) != 1 || len(all[0].Processes) != 1 || all[0].Processes[0].PID != os.Getpid() {
		t.Errorf("kept is %+v", all)
	}
}

func TestWhatASweepTakesIsKept(t *testing.T) {
	n := newNode(t)
	if _, err := n.Prepare(t.Context(), n.caller, "lost", NewBundle(bundle(t, "", ""))); err != nil {
		t.Fatal(err)
	}
	n.ended(t, "lost")
	if err := os.MkdirAll(n.caller.Root, 0o700); err != nil {
		t.Fatal(err)
	}
	n.Sweep(n.caller)
	if all := keptOf(t, n); len(all) != 1 || all[0].ID != "lost" || len(all[0].Processes) != 0 {
		t.Errorf("kept is %+v", all)
	}
}

// One id may be used again, and each container of it is one.
func TestAContainerOfTheSameIDDoesNotReplaceAnEarlierOne(t *testing.T) {
	n := newNode(t)
	for range 2 {
		if _, err := n.Prepare(t.Context(), n.caller, "c1", NewBundle(bundle(t, "", ""))); err != nil {
			t.Fatal(err)
		}
		n.Forget(n.caller, "c1")
	}
	if all := keptOf(t, n); len(all) != 2 || !all[0].End.Before(all[1].End) {
		t.Errorf("kept is %+v, want two, in order", all)
	}
}

func TestEndedContainersAreBounded(t *testing.T) {
	n := newNode(t)
	now := time.Now()
	keep := func(end time.Time) {
		e := Ended{Record: Record{ID: "c"}, End: end.UTC()}
		name := filepath.Join(n.endedDir(), fmt.Sprintf("%019d-0.json", end.UnixNano()))
		if err := os.WriteFile(name, e.marshal(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(n.endedDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, since, _ := n.Ended(); now.Sub(since) < longestEnded-time.Minute || now.Sub(since) > longestEnded+time.Minute {
		t.Errorf("with none, all are kept since %s", since)
	}
	keep(now.Add(-longestEnded - time.Hour))
	for i := range mostEnded + 3 {
		keep(now.Add(time.Duration(i-mostEnded-3) * time.Second))
	}
	n.thin(now)
	all, since, err := n.Ended()
	if err != nil || len(all) != mostEnded {
		t.Fatalf("%d are left, %v", len(all), err)
	}
	if first := now.Add(-mostEnded * time.Second); !all[0].End.Equal(first) || !since.Equal(first) {
		t.Errorf("they begin at %s, and all are kept since %s, want %s", all[0].End, since, first)
	}
}

func TestAnUnreadableEndedContainerIsNamed(t *testing.T) {
	n := newNode(t)
	if err := os.MkdirAll(n.endedDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(n.endedDir(), "1-x.json")
	if err := os.WriteFile(bad, []byte(`{"id":"a"`), 0o600); err != nil {
		t.Fatal(err)
	}
	if all, _, err := n.Ended(); len(all) != 0 || err == nil {
		t.Errorf("gave %+v, %v", all, err)
	}
}
