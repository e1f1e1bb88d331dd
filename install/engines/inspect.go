package engines

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

// Inspector is an engine that says how it reads our wiring, and what is wrong with that.
type Inspector interface {
	// Inspect inspects an engine whose files have ours. It changes nothing. It may run the engine's own programs.
	Inspect(ctx context.Context, h *host.Host, d *wire.Draft) (host.Inspection, error)

	// Namesake returns the runtime in the files of an engine that has the name of ours and is not ours; nil where there is none.
	Namesake(h *host.Host, d *wire.Draft) (*host.Namesake, error)
}

// Prober is an engine that can start a throw-away container by our runtime.
type Prober interface {
	// Probe starts a container of an engine that is wired. remove removes all that the probe has made, whatever has failed;
	// its error says what is left.
	Probe(ctx context.Context, h *host.Host, c *host.Throwaway) (s *host.Started, remove func() error, err error)
}

// State is how an engine stands on a host.
type State struct {
	Name   string
	Engine string      // the name that its containers' engine has in policies: that of containerd for a distribution's
	Title  string      // as its makers write the name
	Absent string      // why there is nothing to wire; empty where there is
	Err    error       // why its configuration cannot be read
	Files  []string    // that have ours
	Down   bool        // its daemon does not run, as far as root can see; other users see no daemon
	Start  string      // the command that starts its daemon; empty where there is none that does so on each node
	Record wire.Wiring // what install wrote down, if Recorded is set
	host.Inspection

	Recorded bool
	Unseen   error  // why it is not known whether its daemon has read its files since they were changed
	Prober   Prober // nil if it cannot start a throw-away container
}

// Wired reports whether ours is in the engine's configuration.
func (s *State) Wired() bool { return len(s.Files) > 0 }

// Look looks at all engines that can be wired, several at a time. b has what install wrote down, and is nil if that cannot be
// read.
func Look(ctx context.Context, b *wire.Book, h *host.Host) []State {
	states := make([]State, len(table))
	var all sync.WaitGroup
	for i, e := range table {
		all.Go(func() { states[i] = look(ctx, b, h, e) })
	}
	all.Wait()
	return states
}

func look(ctx context.Context, b *wire.Book, h *host.Host, e Engine) State {
	s := State{Name: e.Name(), Engine: e.Name(), Title: engine.Named(e.Name()).Title}
	if t, ok := e.(interface{ Title() string }); ok {
		s.Title = t.Title()
	}
	if means := engine.Meant(s.Name); !engine.Known(s.Name) && len(means) == 1 {
		s.Engine = means[0]
	}
	if b != nil {
		s.Record, s.Recorded = b.Wiring(e.Name())
	}
	if s.Absent, s.Err = e.Missing(h, wire.NewDraft(h.Tree)); s.Err != nil || s.Absent != "" {
		return s
	}
	s.Start = e.Then() // a restart starts what is down
	if of, is := e.(interface{ Start() string }); is {
		s.Start = of.Start()
	}
	former, err := e.Clear(h, wire.NewDraft(h.Tree))
	if err != nil {
		s.Err = err
		return s
	}
	s.Files, s.Default = former.Files, former.Default
	if i, ok := e.(Inspector); ok && s.Wired() {
		s.Inspection, s.Err = i.Inspect(ctx, h, wire.NewDraft(h.Tree))
		s.AskVersion(ctx, h)
	} else if ok {
		var n *host.Namesake
		if n, s.Err = i.Namesake(h, wire.NewDraft(h.Tree)); n != nil {
			s.AddNamesake(wire.NewDraft(h.Tree), n)
		}
	}
	s.addDaemon(ctx, b, h, e)
	s.Prober, _ = e.(Prober)
	return s
}

// askTaken is how long a daemon may take to say what it has of ours.
const askTaken = 10 * time.Second

// addDaemon adds what is wrong with the engine's daemon: that it does not run or work, or that it goes on with something else of ours
// than its files have.
func (s *State) addDaemon(ctx context.Context, b *wire.Book, h *host.Host, e Engine) {
	d, ok := serves(e, h, b)
	if !ok {
		return
	}
	main, runs := d.main()
	if s.Down = !runs && h.Live(); !runs || !s.Wired() && (b == nil || b.Changes(s.Name) == wire.Changes{}) {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, askTaken, fmt.Errorf("not ended after %v", askTaken))
	defer cancel()
	if s.Wired() {
		if err := d.Works(ctx, h); err != nil && !errors.Is(err, host.ErrNoProgram) { // without that it is not known
			s.Add(host.Down, "%s runs as process %d, and does not work: %v", s.Title, main.PID, err)
			return
		}
	}
	t, err := d.taken(ctx, main)
	if s.Unseen = err; err != nil || t.Older == "" {
		return
	}
	do := t.Then
	if do == "" {
		do = e.Then()
	}
	if do != "" {
		do = "Run " + do
		if why := d.cost(ctx); why != "" && t.Then == "" {
			do += "; " + why
		}
		do += "."
	}
	s.Faults = append(s.Faults, host.Fault{Kind: host.NotTaken, What: t.Older, Do: do})
}
