package meaning

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/internal/element"
)

// writer writes the elements of a blob.
type writer struct{ data []byte }

func (w *writer) name(name string) {
	if name != "" {
		w.data = append(w.data, byte(element.Name))
		w.text(name)
	}
}

func (w *writer) text(text string) {
	w.data = binary.LittleEndian.AppendUint16(w.data, uint16(len(text)+1))
	w.data = append(append(w.data, text...), 0)
}

func (w *writer) u32(name string, values ...uint32) {
	w.name(name)
	for _, v := range values {
		w.data = binary.LittleEndian.AppendUint32(append(w.data, byte(element.U32)), v)
	}
}

func (w *writer) code(name string, code element.Code) {
	w.name(name)
	w.data = append(w.data, byte(code))
}

// profileWith returns the blob of a profile whose rules about files are a DFA. start may be nil; else it is where
// matches begin.
func profileWith(dfa []byte, start ...uint32) []byte {
	var w writer
	w.u32("version", 7)
	w.code("profile", element.Struct)
	w.code("", element.String)
	w.text("large")
	w.code("flags", element.Struct)
	w.u32("", 0, 0, 0)
	w.code("", element.StructEnd)
	w.u32("", 0, 0, 0, 0)
	w.code("aadfa", element.Blob)
	w.data = binary.LittleEndian.AppendUint32(w.data, uint32(len(dfa)))
	w.data = append(w.data, dfa...)
	if len(start) > 0 {
		w.u32("dfa_start", start...)
	}
	w.code("", element.StructEnd)
	return w.data
}

// largeDFA returns a DFA of n states of which each leads to two others.
func largeDFA(n int, seed uint64) []byte {
	random := rand.New(rand.NewPCG(seed, 1))
	accept, base, def := make([]uint32, n), make([]uint32, n), make([]uint32, n)
	next, check := make([]uint32, 2*n+classes+4), make([]uint32, 2*n+classes+4)
	for s := 1; s < n; s++ {
		accept[s] = uint32(random.IntN(8)) << 1 * 0x4001 // for the owner and others alike
		base[s] = uint32(2 * s)
		for i, to := range []int{random.IntN(n), s%(n-1) + 1} {
			at := 2*s + 'a' + i
			next[at], check[at] = uint32(to), uint32(s)
		}
		def[s] = uint32(min(s, 1+random.IntN(n-1)))
	}
	return encode(0, table(tableAccept, 4, accept...), table(tableBase, 4, base...), table(tableDefault, 4, def...),
		table(tableNext, 4, next...), table(tableCheck, 4, check...), table(tableAccept2, 4, make([]uint32, n)...))
}

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
	blob, other := profileWith(largeDFA(states, 1)), profileWith(largeDFA(states, 2))
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
		all, err := Read(profileWith(dfa, start))
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
