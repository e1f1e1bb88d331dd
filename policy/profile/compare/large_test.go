package compare

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// Large profiles and hostile ones are compared in bounded time and memory.
func TestLargeProfiles(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	var text strings.Builder
	for text.Len() < 1<<15 {
		fmt.Fprintf(&text, "  /srv/%x/%x r,\n", random.Uint64(), random.Uint32())
	}
	rules := text.String()
	start := time.Now()
	a, b := profileOf(t, rules), profileOf(t, strings.Replace(rules, " r,\n", " rw,\n", 3)+"  /srv/*/x r,\n")
	t.Logf("two profiles of %d bytes compile in %v", len(rules), time.Since(start))
	d := timed(t, a, b, 60*time.Second)
	allowed := 0
	for _, l := range d.Lines {
		if l.Change == Denied {
			t.Errorf("%+v", l)
		}
		if l.Change == Allowed {
			allowed++
		}
	}
	if allowed == 0 {
		t.Error("nothing is allowed")
	}
	if same := timed(t, a, profileOf(t, rules), 20*time.Second); !same.Same() {
		t.Errorf("%v", shownLines(same))
	}
}

// timed compares two profiles and reports what takes too long, or too much memory.
func timed(t *testing.T, a, b *meaning.Profile, most time.Duration) *Difference {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	d, err := Compare(Side{Stack: meaning.Stack{a}}, Side{Stack: meaning.Stack{b}}, Options{})
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Log(err)
		d = &Difference{}
	}
	t.Logf("%d lines in %v, %d MiB allocated", len(d.Lines), took, (after.TotalAlloc-before.TotalAlloc)>>20)
	if took > most {
		t.Errorf("it takes %v", took)
	}
	return d
}

// Of profiles that are too large for patterns, an example is shown of all that differs.
func TestTooLargeForPatterns(t *testing.T) {
	a, b := meaning.Stack{profileOf(t, "/srv/** r, mount,")}, meaning.Stack{profileOf(t, "/srv/** rw,")}
	for _, topic := range meaning.Topics() {
		p := newPair(topic, a, b, new(int))
		x, err := p.explore(topic.Shape(), false, nil)
		if err != nil || x.next != nil {
			t.Fatal(err)
		}
		l := liner{comparison: &comparison{}, pair: p, product: x, describer: describer{topic: topic}, covers: make(map[string]cover)}
		lines := l.lines()
		want := map[string]string{"file": "allowed some of w /**", "mount": "denied some of mount"}[topic.Name]
		if got := strings.Join(whats(lines), ", "); got != want {
			t.Errorf("%s: %q, want %q", topic.Name, got, want)
		}
		for _, line := range lines {
			checkWitness(t, topic.Name, a, b, line)
		}
	}
	if _, err := newPair(meaning.Topics()[0], a, b, func() *int { n := mostSteps; return &n }()).explore(nil, false, nil); !errors.Is(err,
		automaton.ErrTooLarge) {
		t.Error(err)
	}
}

// Whatever bytes of a blob are changed, if it is read, it is compared.
func TestHostileBlobs(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 2))
	tries, read := times(60, 300), 0
	for _, name := range []string{"web.permissions2", "web.permissions3", "sockets.permissions5"} {
		good, err := os.ReadFile("../meaning/testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		origin := readAll(t, good)[0]
		for range tries {
			data := append([]byte{}, good...)
			for range 1 + random.IntN(8) {
				data[random.IntN(len(data))] = byte(random.IntN(256))
			}
			all, err := meaning.Read(data)
			if err != nil {
				continue
			}
			read++
			start := time.Now()
			d, err := Compare(Side{Stack: meaning.Stack{origin}}, Side{Stack: meaning.Stack{all[0]}}, Options{Lines: 50})
			if took := time.Since(start); took > 2*time.Minute || d != nil && len(d.Lines) > 50 {
				t.Errorf("%v, %v", took, err)
			}
			if d == nil {
				continue
			}
			for _, l := range d.Lines {
				if text := l.String() + l.Example(); strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
					t.Fatalf("%q", text)
				}
				if l.Profile == "" {
					checkWitness(t, name, meaning.Stack{origin}, meaning.Stack{all[0]}, l)
				}
			}
		}
	}
	if read < tries/15 {
		t.Errorf("only %d blobs are read", read)
	}
}

// Of two tables with more combinations of states than are looked at, some differences are shown, and it is said what is not
// compared. That nothing differs is never said then.
func TestTooLargeToCompare(t *testing.T) {
	if os.Getenv("OCI_APPARMOR_EVERYTHING") != "yes" {
		t.Skip("takes seconds: OCI_APPARMOR_EVERYTHING=yes runs it, as make test-all does")
	}
	a, b := readAll(t, profiletest.Large(100_000, 1))[0], readAll(t, profiletest.Large(100_000, 2))[0]
	d := timed(t, a, b, time.Minute)
	if !slices.ContainsFunc(d.Unknown, func(s string) bool { return strings.Contains(s, "there may be more differences") }) ||
		!slices.ContainsFunc(d.Unknown, func(s string) bool { return strings.Contains(s, "link is not compared") }) {
		t.Errorf("%q", d.Unknown)
	}
	if len(d.Lines) == 0 {
		t.Error("nothing differs")
	}
	for _, l := range d.Lines {
		checkWitness(t, "large", meaning.Stack{a}, meaning.Stack{b}, l)
	}
}
