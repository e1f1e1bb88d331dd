package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/counts"
	"github.com/oci-apparmor/oci-apparmor/install/agent/watch"
)

// RefusedPace is how refusals are followed: a pod that asks for what it may not have is started again and again.
var RefusedPace = Pace{Quiet: time.Second, Most: 5 * time.Second, Rest: 2 * time.Second}

// refusedPart sees what was refused, by the counters of the programs that refuse.
type refusedPart struct {
	table *counts.Table

	mu   sync.Mutex
	file *watch.Watch // nil while Watch has none

	looked bool // once: what was refused before the agent's start is no news
	of     counts.File
	seen   map[refusedKind]uint64 // in that file
	all    []Refusal              // since the agent started, of each kind, the last first
}

type refusedKind struct{ engine, command, reason string }

// NewRefused returns the part that sees what programs of ours on the node refuse, by their counters.
func NewRefused(table *counts.Table) Part { return &refusedPart{table: table} }

func (*refusedPart) Name() string { return "refusals" }

func (p *refusedPart) Watch(ctx context.Context, changed func()) error {
	w, err := watch.New()
	if err != nil {
		return fmt.Errorf("what is refused is not seen: %w", err)
	}
	defer w.Close()
	p.watches(w)
	defer p.watches(nil)
	for {
		changed() // for the first time so that Act sets it
		if err := w.Wait(ctx); err != nil {
			return fmt.Errorf("what is refused is not seen: %w", err)
		}
	}
}

func (p *refusedPart) watches(w *watch.Watch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.file = w
}

// set watches the file that is there now.
func (p *refusedPart) set(r *Reporter) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file == nil {
		return nil
	}
	if err := p.file.SetFile(p.table.Path()); err != nil {
		return err
	}
	r.watches()
	return nil
}

// Act writes down what was refused since it last looked.
func (p *refusedPart) Act(_ context.Context, r *Reporter) error {
	if err := p.table.Make(); err != nil {
		return err
	}
	if err := p.set(r); err != nil {
		return err
	}
	totals, err := p.table.Read() // after the watch, so that nothing falls between
	if err != nil {
		return err
	}
	if totals.File == (counts.File{}) {
		return fmt.Errorf("somebody has removed %s", p.table.Path())
	}
	now := make(map[refusedKind]uint64)
	for _, t := range totals.All {
		if t.Name == counts.Refusals.Name {
			now[refusedKind{t.Labels["engine"], t.Labels["command"], t.Labels["reason"]}] += t.N
		}
	}
	was := p.seen
	if totals.File != p.of {
		was = nil // which counts from nothing
	}
	first := !p.looked
	p.looked, p.of, p.seen = true, totals.File, now
	if first {
		return nil
	}
	more := false
	for kind, n := range now {
		if n > was[kind] {
			p.add(Refusal{Engine: kind.engine, Command: kind.command, Reason: kind.reason, Count: n - was[kind], Last: time.Now().UTC()})
			more = true
		}
	}
	if more {
		slices.SortStableFunc(p.all, func(a, b Refusal) int { return b.Last.Compare(a.Last) })
		shown := slices.Clone(p.all[:min(len(p.all), maxLines)])
		r.Update(func(s *State) { s.Refused = shown })
	}
	return nil
}

// add adds to those of the same kind.
func (p *refusedPart) add(one Refusal) {
	if at := slices.IndexFunc(p.all, one.same); at >= 0 {
		one.Count += p.all[at].Count
		p.all[at] = one
		return
	}
	p.all = append(p.all, one)
}

func (f Refusal) same(other Refusal) bool {
	return f.Engine == other.Engine && f.Command == other.Command && f.Reason == other.Reason
}
