package engines

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Ties are why our programs must stay on a host, a sentence each.
type Ties struct {
	Wired      []string // an engine is wired to them, or its daemon goes on with them
	ByHand     []string // somebody has wired an engine to them in a way that only they can undo
	Containers []string // containers need them that run or may be started again
	Unknown    []string // what could not be looked at, and is no reason to keep them for good
}

// All returns all that must be undone before the programs can be removed.
func (t *Ties) All() []string { return slices.Concat(t.Containers, t.ByHand, t.Wired) }

func (t *Ties) add(o Ties) {
	t.Wired, t.Containers = append(t.Wired, o.Wired...), append(t.Containers, o.Containers...)
	t.Unknown, t.ByHand = append(t.Unknown, o.Unknown...), append(t.ByHand, o.ByHand...)
}

// FindTies returns why our programs must stay on a host.
func FindTies(ctx context.Context, b *wire.Book, h *host.Host) *Ties {
	var all Ties
	for _, e := range table {
		all.add(tiesOf(ctx, b, h, e))
	}
	return &all
}

// tiesOf returns an engine's ties.
func tiesOf(ctx context.Context, b *wire.Book, h *host.Host, e Engine) (t Ties) {
	need := needOf(ctx, h, e)
	for _, why := range need.Unknown {
		t.Unknown = append(t.Unknown, e.Name()+": "+why)
	}
	if len(need.Containers) > 0 {
		t.Containers = append(t.Containers, fmt.Sprintf("%s: these containers %s: remove %s first", e.Name(), need.Why,
			oneline.And(need.Containers)))
	}
	byHand, unseen := e.ByHand(h, wire.NewDraft(h.Tree))
	for _, has := range byHand {
		t.ByHand = append(t.ByHand, fmt.Sprintf("%s is wired to them by hand: %v: take that out first%s", e.Name(), has, andThen(e)))
	}
	d := wire.NewDraft(h.Tree)
	_, err := b.Unwire(d, e.Name(), e.Strip)
	if err == nil {
		_, err = e.Clear(h, d)
	}
	if err == nil && unseen != nil {
		t.Unknown = append(t.Unknown, fmt.Sprintf("%s: %v", e.Name(), unseen))
	}
	_, recorded := b.Wiring(e.Name())
	switch {
	case err != nil && recorded:
		t.Wired = append(t.Wired, fmt.Sprintf("%s is wired to them, and cannot be looked at: %v", e.Name(), err))
		return t
	case err != nil && mayGoOn(ctx, b, h, e):
		t.Wired = append(t.Wired, fmt.Sprintf("%s may go on with ours, and cannot be looked at: %v", e.Name(), err))
		return t
	case err != nil:
		t.Unknown = append(t.Unknown, fmt.Sprintf("%s: %v", e.Name(), err))
		return t
	case recorded || wire.OfFiles(d.Edits()):
		t.Wired = append(t.Wired, e.Name()+" is wired to them: run oci-apparmor uninstall "+e.Name()+" first"+andThen(e))
		return t
	}
	why, err := callsThem(ctx, b, h, e)
	if err != nil {
		t.Unknown = append(t.Unknown, fmt.Sprintf("%s: %v", e.Name(), err))
	}
	if why == "" && len(d.Edits()) > 0 && !need.Any() {
		why = fmt.Sprintf("%s needs no more what the last uninstall has left for it: run oci-apparmor uninstall %s first", e.Name(), e.Name())
	}
	if why != "" {
		t.Wired = append(t.Wired, why)
	}
	return t
}

// andThen returns by what an engine takes its files over, as the end of a sentence that says what to do; nothing where it reads them
// each time.
func andThen(e Engine) string {
	if then := e.Then(); then != "" {
		return ", and then " + then
	}
	return ""
}

// mayGoOn reports whether an engine that is wired no more may still need our programs: links stay for its containers or its daemon, or
// the daemon runs that has had something of ours. It is for an engine whose files cannot be read.
func mayGoOn(ctx context.Context, b *wire.Book, h *host.Host, e Engine) bool {
	if b.Left(e.Name()) {
		return true
	}
	s, ok := serves(e, h, b)
	if !ok || b.Changes(e.Name()) == (wire.Changes{}) {
		return false
	}
	t, _ := s.takenNow(ctx) // or the worst
	return t.Ours
}

// callsThem returns why an engine needs our programs whose files have nothing of ours any more: its daemon was not restarted since.
func callsThem(ctx context.Context, b *wire.Book, h *host.Host, e Engine) (string, error) {
	s, ok := serves(e, h, b)
	if !ok {
		return "", nil
	}
	t, err := s.takenNow(ctx)
	if err != nil || !t.Ours {
		return "", err
	}
	why := fmt.Sprintf("%s is not wired to them any more, and calls them until it is restarted%s", e.Name(), by(e.Then()))
	if stops := s.cost(ctx); stops != "" {
		why += ", and " + stops
	}
	return why, nil
}

// PlanRemoval plans to take ours out of all engines that our programs can be removed, where nothing is lost by that: no container
// needs ours, the engine's own check takes what is left, and a restart, where the engine needs one, stops none. ties are what is in
// the way of that. While there are some, nothing should be done: an engine would run without us beside programs that stay.
func PlanRemoval(ctx context.Context, b *wire.Book, h *host.Host) (plans []*Plan, ties *Ties) {
	ties = new(Ties)
	for _, e := range table {
		t := tiesOf(ctx, b, h, e)
		if len(t.Wired) > 0 && len(t.Containers)+len(t.ByHand) == 0 {
			p, err := planRemoval(ctx, b, h, e)
			if err == nil {
				plans, t.Wired = append(plans, p), nil
			} else if !errors.Is(err, errNotRecorded) {
				t.Wired[0] += fmt.Sprintf(" (this is not done here, as %v)", err)
			}
		}
		ties.add(t)
	}
	return plans, ties
}

// errNotRecorded says that what an engine has of ours was written by hand, and is left to whoever has written it.
var errNotRecorded = errors.New("no record has it")

func planRemoval(ctx context.Context, b *wire.Book, h *host.Host, e Engine) (*Plan, error) {
	was, wired := b.Wiring(e.Name())
	if !wired && b.Changes(e.Name()) == (wire.Changes{}) {
		return nil, errNotRecorded
	}
	p, err := uninstall(ctx, b, h, e)
	if wired && err == nil {
		p.was = &was.Options
	}
	switch {
	case err != nil:
		return nil, err
	case p.needed:
		return nil, errors.New("containers may need them")
	case !p.checked:
		return nil, errors.New("the engine's own check does not take what would be left")
	}
	p.serial, p.again = b.Serial(), func() (*Plan, error) { return uninstall(ctx, b, h, e) }
	if !p.calls {
		return p, nil
	}
	if err := p.planRestart(ctx, b, h); err != nil {
		return nil, err
	}
	switch r := p.Restart; {
	case r == nil || r.broken != nil:
		return nil, errors.New("it does not answer")
	case len(r.With) > 0:
		return nil, fmt.Errorf("systemd would restart %s with it", oneline.And(r.With))
	case r.Ends():
		return nil, errors.New(r.Stops)
	}
	return p, nil
}

// Halfway returns the error that a removal has failed after some of its plans were done: their engines have nothing of ours any more,
// and the programs stay. It says by what they are wired again as they were.
func Halfway(done []*Plan, err error) error {
	errs := []error{err}
	for _, p := range done {
		if p.was == nil {
			continue
		}
		flags := " --via " + p.was.Via
		if p.was.Default {
			flags += " --default"
		}
		errs = append(errs, fmt.Errorf("%s has nothing of ours any more, and the programs stay: its new containers start under no policy, or not at "+
			"all: to have it wired as it was, run oci-apparmor install --restart%s %s", p.Engine, flags, p.Engine))
	}
	return errors.Join(errs...)
}
