// Package watcher watches profiles that are to be enforced once they were quiet for a time (package policy/quiet), and enforces
// them when that was shown.
//
// It reads the audit socket. The kernel's log, the journal and auditd's log do not serve: nobody can tell afterwards whether they
// were written all the time, or what the kernel dropped before. So the time counts only while a watcher runs, and begins anew
// with each watcher, and with each boot.
package watcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/apply"
	"github.com/oci-apparmor/oci-apparmor/install/audit"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	records "github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/quiet"
)

const (
	backlog  = 8192             // records that the kernel keeps until they are read; with its usual 64 it loses some of what comes at once
	patience = 10 * time.Second // how long a denial that was provoked may take to come back
	retry    = 2 * time.Second  // until the socket is opened again

	// How often it looks and proves that it misses nothing: a hundredth of the shortest time that is waited for, within these.
	oftenest = time.Second
	rarest   = time.Minute
)

// A Listener is where records come from: a *source.Listener.
type Listener = source.Proving

// A Watcher watches the profiles of the policy in force.
type Watcher struct {
	Node *node.Node
	Dir  quiet.Dir

	// Enforce enforces profiles that were quiet for long enough. If it is nil, they stay in complain mode until somebody else
	// does: see Promote. It calls still when it has made all ready: see apply.Promote.
	Enforce func(ctx context.Context, due []apply.Quiet, still func(context.Context) error) error

	Said func(sentence string) // is told what happens

	Listen   func(ctx context.Context) (Listener, error)
	Look     func(ctx context.Context) (sights []quiet.Sight, shortest time.Duration, err error)
	Forget   func(ctx context.Context) error // see memory.forget
	Patience time.Duration

	state   quiet.State
	waiting bool // a profile was to be watched at the last look
	joiner  *audit.Joiner
	told    map[string]string
}

// New returns a watcher of a node.
func New(n *node.Node, said func(string)) *Watcher {
	w := &Watcher{Node: n, Dir: n.State.Quiet, Said: said, Patience: patience, joiner: &audit.Joiner{Node: n.State}}
	w.Listen = func(ctx context.Context) (Listener, error) { return source.Listen(ctx, backlog) }
	w.Look = func(ctx context.Context) ([]quiet.Sight, time.Duration, error) { return look(n) }
	w.Forget = (&memory{node: n}).forget
	return w
}

// Run watches until ctx ends, which is no error. ready is called when it has proved that nothing is missed. The error before
// that says why this cannot be; later it goes on, and says in what it writes that nothing is shown.
func (w *Watcher) Run(ctx context.Context, ready func() error) error {
	release, err := w.Dir.Hold(ctx)
	if err != nil {
		return exit.With(exit.Cannot, exit.AsRoot(err))
	}
	defer release()
	if err := w.begin(); err != nil {
		return exit.With(exit.Cannot, err)
	}
	begun := false
	for {
		err := w.session(ctx, func() error {
			if begun {
				w.say("", "records are read again")
				return nil
			}
			begun = true
			return ready()
		})
		if ctx.Err() != nil {
			return w.end()
		}
		if !begun {
			return exit.With(exit.Cannot, exit.AsRoot(fmt.Errorf("whether profiles are quiet cannot be watched: %w", err)))
		}
		var gone notReady
		if errors.As(err, &gone) {
			return gone.error
		}
		w.dead(err)
		select {
		case <-ctx.Done():
			return w.end()
		case <-time.After(retry):
		}
	}
}

// notReady is the error of Run's ready.
type notReady struct{ error }

// begin begins with nothing but the denials that an earlier watcher saw since the boot.
func (w *Watcher) begin() error {
	boot, err := quiet.Boot()
	if err != nil {
		return err
	}
	w.told = make(map[string]string)
	if was, _ := w.Dir.Read(); was != nil && was.Boot == boot {
		w.state.Profiles = was.Profiles
		w.state.Begin(time.Now(), "the watcher was started anew")
	}
	w.state.Boot, w.state.PID = boot, pid()
	return nil
}

// end says that nobody watches any more.
func (w *Watcher) end() error {
	w.state.Dead = "the watcher was ended"
	return w.Dir.Write(&w.state)
}

// dead has all times begin anew, as nobody knows what was missed.
func (w *Watcher) dead(err error) {
	w.state.Dead = oneline.Whole(err.Error())
	w.state.Begin(time.Now(), w.state.Dead)
	w.say("", "all times begin anew: "+w.state.Dead)
	w.write()
}

func (w *Watcher) write() {
	if err := w.Dir.Write(&w.state); err != nil {
		w.say("write", fmt.Sprintf("what is shown cannot be written: %v", err))
	}
}

// say says a sentence, and for one thing not the same twice in a row.
func (w *Watcher) say(of, sentence string) {
	if of != "" && w.told[of] == sentence {
		return
	}
	w.told[of] = sentence
	w.Said(sentence)
}

// session watches by one socket until something may have been missed, or ctx ends.
func (w *Watcher) session(ctx context.Context, ready func() error) error {
	w.waiting = true // the first look proves that the socket lives
	l, err := w.Listen(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	for first := true; ; first = false {
		every, err := w.look(ctx, l)
		if err != nil {
			return err
		}
		if first {
			if err := ready(); err != nil {
				return notReady{err}
			}
		}
		next, stop := context.WithTimeout(ctx, every)
		err = w.read(next, l)
		late := source.Ended(next, err)
		stop()
		if ctx.Err() != nil || !late {
			return err
		}
	}
}

// look looks at the profiles, and enforces those that are due. It returns until when to look again.
func (w *Watcher) look(ctx context.Context, l Listener) (every time.Duration, err error) {
	every, err = w.see(ctx, l)
	if err == nil && w.Enforce != nil {
		err = w.enforce(ctx, l)
	}
	return every, err
}

// see proves that all that was logged until now has been read, and looks at the profiles. It returns until when to look again.
func (w *Watcher) see(ctx context.Context, l Listener) (every time.Duration, err error) {
	if !w.waiting { // nothing is to be shown, unless somebody has applied a policy
		now, wall := quiet.Clock(), time.Now()
		sights, _, err := w.Look(ctx)
		if err != nil {
			return 0, err
		}
		if len(sights) == 0 {
			w.seen(now, wall, rarest, nil)
			return rarest, nil
		}
	}
	// What was logged once and is not logged again has to be logged again from now on.
	if err := w.Forget(ctx); err != nil {
		return 0, err
	}
	now, wall := quiet.Clock(), time.Now()
	silent := w.prove(ctx, l)
	if ctx.Err() != nil {
		return 0, silent
	}
	if lost := l.Lost(); len(lost) > 0 { // the denial may be among them
		var words []string
		for _, one := range lost {
			words = append(words, one.Sentence())
		}
		return 0, errors.New(strings.Join(words, "; "))
	}
	if silent != nil {
		return 0, silent
	}
	sights, shortest, err := w.Look(ctx)
	if err != nil {
		return 0, err
	}
	every = min(max(shortest/100, oftenest), rarest)
	w.seen(now, wall, every, sights)
	return every, nil
}

// seen takes over a look that ends now. Nothing is missed of what was logged until the time now.
func (w *Watcher) seen(now time.Duration, wall time.Time, every time.Duration, sights []quiet.Sight) {
	w.state.Seen(now, quiet.Clock(), wall, 2*max(every, w.state.Every), sights)
	w.state.Every, w.state.Proved, w.state.Dead = every, now, ""
	w.waiting = len(sights) > 0
	w.write()
}

// prove has a denial made, and reads until it comes back.
func (w *Watcher) prove(ctx context.Context, l Listener) error {
	return source.Proved(ctx, l, w.Patience, w.note)
}

// read reads records until ctx ends, whose cause is the error then.
func (w *Watcher) read(ctx context.Context, l Listener) error {
	var e source.Entry
	for {
		if err := l.Next(ctx, &e); err != nil {
			return err
		}
		if e.Kernel {
			w.note(&e)
		}
	}
}

// note looks whether a record is of a denial by a profile that waits.
func (w *Watcher) note(e *source.Entry) {
	switch e.Record.Type {
	case records.Audited, records.Status:
		return
	}
	if e.Record.Get("namespace") != "" {
		return
	}
	label, _ := e.Record.Profile()
	for part := range strings.SplitSeq(label, "//&") {
		name, _, _ := strings.Cut(part, "//")
		if slices.ContainsFunc(w.state.Profiles, func(p *quiet.Profile) bool { return p.Name == name }) {
			w.denied(name, e)
		}
	}
}

// mostRecord is how much of a record is kept.
const mostRecord = 4 << 10

// denied has a profile's time begin anew. Of what comes at once, the first denial is described: a workload chooses how many
// there are.
func (w *Watcher) denied(name string, e *source.Entry) {
	wall := time.Now()
	i := slices.IndexFunc(w.state.Profiles, func(p *quiet.Profile) bool { return p.Name == name })
	if recent(w.state.Profiles[i], wall) {
		w.state.Denied(name, wall, nil)
		return
	}
	ev := audit.EventOf(e)
	d := &quiet.Denial{Time: ev.Time, Sentence: ev.Sentence(), Record: oneline.Whole(oneline.Cut(recordLine(&e.Record), mostRecord))}
	if w.joiner != nil {
		ev.Locate(w.joiner)
		d.Container = ev.Whose()
	}
	of := w.state.Profiles[i]
	news := of.Denial == nil || of.Quiet > 0
	w.state.Denied(name, wall, d)
	if news {
		w.say("", fmt.Sprintf("profile %s: the time begins anew: %s, in %s", name, d.Sentence, d.Container))
	}
	w.write()
}

// recent reports whether a denial of the profile was described within the last second.
func recent(p *quiet.Profile, now time.Time) bool {
	return p.Denial != nil && p.Quiet == 0 && now.Sub(p.Denial.Time).Abs() < time.Second
}

// enforce enforces what is due, unless the look at hand took so long that its proof is too old: what was denied meanwhile is not
// read yet. The next look decides then. Nothing is read while the profiles are compiled, so it looks once more after that. The
// error is one of this look.
func (w *Watcher) enforce(ctx context.Context, l Listener) (failed error) {
	recently := func() (*quiet.State, error) { return &w.state, w.state.Recent(quiet.Clock()) }
	err := func() error {
		due, _, err := dueOf(w.Node, &w.state, nil)
		if err != nil || len(due) == 0 {
			return err
		}
		if _, err := recently(); err != nil {
			return err
		}
		return w.Enforce(ctx, due, func(ctx context.Context) error {
			if _, failed = w.see(ctx, l); failed != nil {
				return failed
			}
			return stillDue(w.Node, due, recently)
		})
	}()
	if err != nil {
		w.say("enforce", fmt.Sprintf("what was quiet for long enough is not enforced: %v", err))
		return failed
	}
	delete(w.told, "enforce")
	return nil
}
