package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/counts"
	"github.com/oci-apparmor/oci-apparmor/install/agent/watch"
)

// RefusedPace is how refusals are followed: a pod that asks for what it may not have is started again and again.
var RefusedPace = Pace{Quiet: time.Second, Most: 5 * time.Second, Rest: 2 * time.Second}

// refusedPart sees what was refused, by the counters of the programs that refuse.
type refusedPart struct {
	table *counts.Table
	file  *watch.Watch
	seen  map[refusedKind]uint64 // nil before the first look
}

type refusedKind struct{ engine, command, reason string }

// NewRefused returns the part that sees what programs of ours on the node refuse, by their counters.
func NewRefused(table *counts.Table) (Part, error) {
	w, err := watch.New()
	if err != nil {
		return nil, err
	}
	return &refusedPart{table: table, file: w}, nil
}

func (*refusedPart) Name() string { return "refusals" }

func (p *refusedPart) Watch(ctx context.Context, changed func()) error {
	for {
		if err := p.file.Wait(ctx); err != nil {
			return fmt.Errorf("what is refused is not seen: %w", err)
		}
		changed()
	}
}

// Act writes down what was refused since it last looked. What was refused before the agent's start is no news.
func (p *refusedPart) Act(_ context.Context, r *Reporter) error {
	if err := p.table.Make(); err != nil {
		return err
	}
	if err := p.file.SetFile(p.table.Path()); err != nil {
		return err
	}
	totals, err := p.table.Read() // after the watch, so that nothing falls between
	if err != nil {
		return err
	}
	now := make(map[refusedKind]uint64)
	for _, t := range totals.All {
		if t.Name == counts.Refusals.Name {
			now[refusedKind{t.Labels["engine"], t.Labels["command"], t.Labels["reason"]}] += t.N
		}
	}
	was := p.seen
	p.seen = now
	if was == nil {
		return nil
	}
	all := slices.Clone(r.State().Refused)
	more := false
	for kind, n := range now {
		before := was[kind]
		if n < before { // somebody has removed the file
			before = 0
		}
		if n == before {
			continue
		}
		more = true
		all = addRefused(all, Refusal{Engine: kind.engine, Command: kind.command, Reason: kind.reason, Count: n - before, Last: time.Now().UTC()})
	}
	if more {
		slices.SortFunc(all, func(a, b Refusal) int { return b.Last.Compare(a.Last) })
		all = all[:min(len(all), maxLines)]
		r.Update(func(s *State) { s.Refused = all })
	}
	return nil
}

// addRefused adds to the one of the same kind, or makes one.
func addRefused(all []Refusal, one Refusal) []Refusal {
	at := slices.IndexFunc(all, one.same)
	if at < 0 {
		return append(all, one)
	}
	one.Count += all[at].Count
	all[at] = one
	return all
}

func (f Refusal) same(other Refusal) bool {
	return f.Engine == other.Engine && f.Command == other.Command && f.Reason == other.Reason
}
