package agent

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// wirings is a Child that says how engines are wired, and wires them.
type wirings struct {
	engines []Wiring
	asked   []string
}

func (w *wirings) child(_ context.Context, _ func(string), args ...string) ([]byte, error) {
	w.asked = append(w.asked, strings.Join(args, " "))
	if args[0] != "install" {
		return json.Marshal(WiringAnswer{Engines: w.engines})
	}
	for i := range w.engines {
		if w.engines[i].Engine == args[1] {
			w.engines[i].State, w.engines[i].What = WiringKept, ""
		}
	}
	return nil, nil
}

func newWirings(t *testing.T, on OnLost) (*wirings, *wiringPart, *Reporter, *lines) {
	t.Helper()
	w := &wirings{engines: []Wiring{{Engine: "containerd", State: WiringKept}, {Engine: "docker", State: WiringKept}}}
	p, err := NewWiring(on, w.child)
	if err != nil {
		t.Fatal(err)
	}
	log := new(lines)
	return w, p.(*wiringPart), &Reporter{New(Options{Dir: t.TempDir(), Log: log.log}), "wiring"}, log
}

// lose takes an engine's wiring away.
func (w *wirings) lose() { w.engines[0].State, w.engines[0].What = WiringLost, "gone" }

// That a wiring is lost is said once, and since when.
func TestWiringIsReported(t *testing.T) {
	w, p, r, log := newWirings(t, ReportLost)
	act := func() []Wiring {
		t.Helper()
		if err := p.Act(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		return r.State().Wiring
	}
	act()
	w.lose()
	first := act()
	if again := act(); !slices.Equal(first, again) || again[0].State != WiringLost || again[1].State != WiringKept {
		t.Errorf("%+v, then %+v", first, again)
	}
	if n := strings.Count(strings.Join(log.all, "\n"), "containerd: lost: gone"); n != 1 || slices.ContainsFunc(w.asked, func(s string) bool {
		return strings.HasPrefix(s, "install")
	}) {
		t.Errorf("said %d times: %q, %q", n, log.all, w.asked)
	}
}

// It is wired again where that is wanted, but not for ever; an engine that is gone is left.
func TestWiringIsRepaired(t *testing.T) {
	for on, want := range map[OnLost]string{RepairLost: "install containerd --yes", TakeOver: "install containerd --yes --restart"} {
		w, p, r, log := newWirings(t, on)
		w.engines[1] = Wiring{Engine: "docker", State: WiringLost, What: "no Docker is here", Absent: true}
		for range 2 * mostRewired {
			w.lose()
			if err := p.Act(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		done := slices.DeleteFunc(slices.Clone(w.asked), func(s string) bool { return s != want })
		if s := r.State().Wiring; len(done) != mostRewired || s[0].Rewired != mostRewired || s[0].State != WiringLost || s[1].Rewired != 0 {
			t.Errorf("%s: %q, %+v", on, w.asked, s)
		}
		if !log.has("somebody else keeps writing its files") {
			t.Errorf("%s: %q", on, log.all)
		}
		for i := range p.wired["containerd"] {
			p.wired["containerd"][i] = time.Now().Add(-2 * rewiredAfter)
		}
		if err := p.Act(t.Context(), r); err != nil || r.State().Wiring[0].State != WiringKept {
			t.Errorf("%s: after an hour: %v, %+v", on, err, r.State().Wiring)
		}
	}
}
