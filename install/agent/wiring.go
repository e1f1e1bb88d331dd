package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/agent/watch"
	"github.com/oci-apparmor/oci-apparmor/install/engines"
	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// WiringPace is how the engines' files are followed. Packages and tools that write them write several.
var WiringPace = Pace{Quiet: 2 * time.Second, Most: 30 * time.Second, Rest: 5 * time.Second}

// OnLost is what the agent does where the wiring of an engine is lost.
type OnLost string

// What it can do.
const (
	ReportLost OnLost = "report"  // say so
	RepairLost OnLost = "repair"  // write the files again, as install does, and say how the engine takes that over
	TakeOver   OnLost = "restart" // and have the engine take it over, as install --restart does
)

// OnLosts are all of them.
var OnLosts = []OnLost{ReportLost, RepairLost, TakeOver}

// How often an engine is wired again. Two tools that write a file in turn are not to restart an engine for ever.
const (
	mostRewired  = 3
	rewiredAfter = time.Hour
)

// wiringPart looks after the engines that install has wired.
type wiringPart struct {
	onLost OnLost
	child  Child
	files  *watch.Watch
	known  []string               // of the engines' files
	wired  map[string][]time.Time // when it wired engines again
}

// NewWiring returns the part that looks after engines' wiring.
func NewWiring(onLost OnLost, child Child) (Part, error) {
	w, err := watch.New()
	if err != nil {
		return nil, err
	}
	return &wiringPart{onLost: onLost, child: child, files: w, wired: make(map[string][]time.Time)}, nil
}

func (*wiringPart) Name() string { return "wiring" }

func (p *wiringPart) Watch(ctx context.Context, changed func()) error {
	for {
		if err := p.files.Wait(ctx); err != nil {
			return fmt.Errorf("changes of engines' files are not seen: %w", err)
		}
		changed()
	}
}

// WiringAnswer is what the child says that looks at engines.
type WiringAnswer struct {
	Engines []Wiring `json:"engines"`
	Files   []string `json:"files"` // that have the wirings
}

func (p *wiringPart) Act(ctx context.Context, r *Reporter) error {
	for range maxLooks {
		p.watch(r)
		var answer WiringAnswer
		if err := ask(ctx, p.child, r, &answer, "wiring"); err != nil {
			return fmt.Errorf("how engines are wired cannot be told: %w", err)
		}
		slices.Sort(answer.Files)
		more := !slices.Equal(p.known, answer.Files)
		p.known = answer.Files
		p.report(r, answer.Engines)
		if p.rewire(ctx, r, answer.Engines) || more {
			continue
		}
		return nil
	}
	return nil
}

func (p *wiringPart) watch(r *Reporter) {
	// Only names of the record count: install makes and removes files beside it.
	paths := []string{filepath.Join(wire.Dir, "record.json")}
	if _, err := p.files.Set(append(paths, p.known...)...); err != nil {
		r.Logf("some changes of engines' files will not be seen: %v", err)
	}
}

// report writes down how engines stand, and says what is news.
func (p *wiringPart) report(r *Reporter, now []Wiring) {
	was := r.State().Wiring
	for i := range now {
		w := &now[i]
		w.Since = time.Now().UTC()
		at := slices.IndexFunc(was, func(o Wiring) bool { return o.Engine == w.Engine })
		if at >= 0 {
			w.Rewired = was[at].Rewired
			if was[at].State == w.State && was[at].What == w.What {
				w.Since = was[at].Since
				continue
			}
		}
		switch {
		case w.State != WiringKept:
			r.Warnf("%s: %s: %s", w.Engine, w.State, w.What)
		case at >= 0:
			r.Logf("%s: wired", w.Engine)
		}
	}
	if !slices.Equal(was, now) {
		r.Update(func(s *State) { s.Wiring = now })
	}
}

// rewire wires engines again whose wiring is lost, where that is wanted. It reports whether it has done something.
func (p *wiringPart) rewire(ctx context.Context, r *Reporter, all []Wiring) (done bool) {
	if p.onLost == ReportLost {
		return false
	}
	for _, w := range all {
		if w.State != WiringLost || w.Absent {
			continue
		}
		times := slices.DeleteFunc(p.wired[w.Engine], func(at time.Time) bool { return time.Since(at) > rewiredAfter })
		p.wired[w.Engine] = times
		if len(times) >= mostRewired {
			r.Warnf("%s: wired again %d times in an hour, and lost again: somebody else keeps writing its files, and they are left", w.Engine,
				mostRewired)
			continue
		}
		p.wired[w.Engine] = append(times, time.Now())
		args := []string{"install", w.Engine, "--yes"}
		if p.onLost == TakeOver {
			args = append(args, "--restart")
		}
		if _, err := p.child(ctx, func(line string) { r.Logf("%s: %s", w.Engine, line) }, args...); err != nil {
			r.Warnf("%s: cannot be wired again: %v", w.Engine, err)
			continue
		}
		r.Update(func(s *State) {
			s.Wiring = slices.Clone(s.Wiring)
			for i := range s.Wiring {
				if s.Wiring[i].Engine == w.Engine {
					s.Wiring[i].Rewired++
				}
			}
		})
		r.Warnf("%s: its wiring was lost, and is there again", w.Engine)
		done = true
	}
	return done
}

// DoWiring is what the child does that looks at engines.
func DoWiring(ctx context.Context, h *host.Host) (a WiringAnswer, err error) {
	b, err := wire.Look(h.Tree)
	if err != nil {
		return a, err
	}
	for _, s := range engines.Look(ctx, b, h) {
		if !s.Recorded {
			continue
		}
		w := Wiring{Engine: s.Name, State: WiringKept}
		switch {
		case s.Err != nil:
			w.State, w.What = WiringUnknown, clean(s.Err.Error())
		case s.Absent != "":
			w.State, w.What, w.Absent = WiringLost, clean(s.Absent), true
		case s.Has(host.Foreign):
			w.State, w.What = WiringFaulty, "its files have a runtime of our name that is not ours"
		case !s.Wired():
			w.State, w.What = WiringLost, "what install wrote into its files is gone: run oci-apparmor install "+s.Name
		case len(s.Faults) > 0:
			w.State, w.What = WiringFaulty, clean(s.Faults[0].What+" "+s.Faults[0].Do)
		}
		a.Engines = append(a.Engines, w)
		for _, e := range s.Record.Edits {
			if !e.Old.IsDir() && !e.New.IsDir() {
				a.Files = append(a.Files, h.Tree.Real(e.Path))
			}
		}
		for _, f := range s.Files {
			a.Files = append(a.Files, h.Tree.Real(f))
		}
	}
	slices.Sort(a.Files)
	a.Files = slices.Compact(a.Files)
	return a, nil
}
