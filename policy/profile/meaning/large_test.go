package meaning

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// held returns how many bytes are allocated and in use.
func held() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A profile of more states than any parser writes is read, asked and compared in bounded time and memory.
func TestLargeProfile(t *testing.T) {
	const states = 100_000
	blob, other := profiletest.Large(states, 1), profiletest.Large(states, 2)
	within := func(what string, most time.Duration, f func()) {
		t.Helper()
		start := time.Now()
		f()
		took := time.Since(start)
		t.Logf("%s: %s", what, took)
		if took > most {
			t.Errorf("%s takes %s", what, took)
		}
	}
	read := func(blob []byte) *Profile {
		all, err := Read(blob)
		if err != nil {
			t.Fatal(err)
		}
		return all[0]
	}
	var p, q *Profile
	before := held()
	within("reading two blobs", 10*time.Second, func() { p, q = read(blob), read(other) })
	grown := held() - before
	runtime.KeepAlive([]any{blob, other, p, q})
	t.Logf("blobs of %d bytes, and %d are in use for both", len(blob), grown)
	if grown < 100_000 || grown > 4*uint64(len(blob)) {
		t.Errorf("%d bytes are in use for two blobs of %d", grown, len(blob))
	}
	path := strings.Repeat("ab", 2000)
	within("an answer about a path of 4000 bytes", 5*time.Second, func() { p.Decide(FileAccess{Path: path, Want: MayRead}) })
	if os.Getenv("OCI_APPARMOR_EVERYTHING") != "yes" {
		return // what follows takes half a minute
	}
	within("whether the profile allows what it allows", time.Minute, func() {
		if d, found, err := (Combination{Profiles: []*Profile{p}}).Deviation(p); err != nil || found {
			t.Errorf("%+v, %v", d, err)
		}
	})
	within("a search for what two profiles have in common", time.Minute, func() {
		// Any pair of states may be reached, and these are too many to look at.
		k := kind{class: File}
		_, found, err := automaton.Shortest(func(s []automaton.State) bool { return false }, limit, p.machine(k.class), q.machine(k.class))
		if found || !errors.Is(err, automaton.ErrTooLarge) {
			t.Errorf("%v, %v", found, err)
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		t.Logf("%d MiB are in use", m.HeapAlloc>>20)
		if m.HeapAlloc > 2<<30 {
			t.Errorf("%d bytes are in use", m.HeapAlloc)
		}
	})
}

// A match begins in a state that is there: the kernel looked at no start until Linux 7.0.
func TestHostileStarts(t *testing.T) {
	dfa := encode(flagDiffEncode, parts()...)
	for start, sound := range map[uint32]bool{0: true, 1: true, 3: true, 4: false, 1 << 24: false, 1<<32 - 1: false} {
		all, err := Read(profiletest.ProfileOf(dfa, start))
		if sound {
			if err != nil {
				t.Fatal(err)
			}
			all[0].Decide(FileAccess{Path: "ab", Want: MayRead})
		} else if err == nil || !strings.Contains(err.Error(), "not there") {
			t.Errorf("start %d: %v", start, err)
		}
	}
}
