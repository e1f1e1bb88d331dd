package command

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/audit"
)

// A workload that is denied the same thing a thousand times a second fills no screen, and nothing of it is lost.
func TestFollowedRepeatsAreHeldBack(t *testing.T) {
	at := time.Date(2026, 11, 30, 6, 0, 0, 0, time.UTC)
	zone := time.Local
	time.Local = time.UTC
	defer func() { time.Local = zone }()
	var got []string
	r := newRepeats(func(e *audit.Event, count string) { got = append(got, e.Comm+count) })
	clock := at
	r.now = func() time.Time { return clock }
	add := func(comm string) {
		r.add(&audit.Event{Kind: audit.Denied, Time: clock, Comm: comm, Joined: audit.Joined{Container: &audit.Container{ID: comm}}})
		clock = clock.Add(time.Second)
	}
	add("a")
	add("a")
	add("b")
	if want := []string{"a", "b"}; !slices.Equal(got, want) {
		t.Errorf("printed %q, want %q", got, want)
	}
	clock = clock.Add(again)
	add("b") // by now a's repeat has waited long enough
	if want := []string{"a", "b", "b (2 times since 2026-11-30T06:00:02Z)", "a (2 times since 2026-11-30T06:00:00Z)"}; !slices.Equal(got, want) {
		t.Errorf("printed %q, want %q", got, want)
	}
	add("a")
	r.end()
	if last := got[len(got)-1]; len(got) != 5 || last != "a (3 times since 2026-11-30T06:00:00Z)" {
		t.Errorf("at the end printed %q", got)
	}
}

// Whatever a workload tries, what is repeated after that is held back again.
func TestFollowedRepeatsAreHeldBackAfterManyDifferentEvents(t *testing.T) {
	printed := 0
	r := newRepeats(func(*audit.Event, string) { printed++ })
	clock := time.Now()
	r.now = func() time.Time { return clock }
	add := func(id string) {
		r.add(&audit.Event{Kind: audit.Denied, Time: clock, Joined: audit.Joined{Container: &audit.Container{ID: id}}})
	}
	for i := 0; !r.groups.Full(); i++ {
		add(strconv.Itoa(i))
	}
	clock = clock.Add(2 * again)
	printed = 0
	for range 100 {
		add("a")
	}
	if printed != 1 || len(r.last) != 1 {
		t.Errorf("100 repeats are printed %d times, and %d groups kept", printed, len(r.last))
	}
}
