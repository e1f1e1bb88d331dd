package engines

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Restart is how an engine takes a change over, and what becomes of its containers.
type Restart struct {
	Unit    string   `json:"unit,omitempty"`    // systemd's; empty for an engine without a daemon, which is only probed
	By      string   `json:"by,omitempty"`      // what restarts its daemon by itself when its files have changed
	Reload  bool     `json:"reload,omitempty"`  // it reads its files again, and is not restarted
	With    []string `json:"with,omitempty"`    // units that systemd restarts with it
	Running []string `json:"running"`           // containers that run before
	Unknown string   `json:"unknown,omitempty"` // why more may run, or less
	Stops   string   `json:"stops,omitempty"`   // why they stop by it; empty where they run on
	After   []string `json:"after"`             // containers that run afterwards
	Outcome Outcome  `json:"outcome"`

	pid    int // of its daemon before, with the ticks at which that was started
	start  uint64
	broken error    // it did not answer before
	theirs []string // those of Running that are of other engines
}

// Outcome is what has come of it.
type Outcome string

// The outcomes.
const (
	NotTried  Outcome = "not tried"
	TakenOver Outcome = "taken over" // the engine runs with the change
	TakenBack Outcome = "taken back" // it does not, and runs as before
	Down      Outcome = "down"       // it does not, and does not run as before either
)

func newRestart() *Restart {
	return &Restart{Running: []string{}, After: []string{}, Outcome: NotTried}
}

// Command returns what it does, for people.
func (r *Restart) Command() string {
	switch {
	case r.By != "":
		return r.By + "'s own restart of it"
	case r.Unit == "":
		return "a container is started to see that it works"
	case r.Reload:
		return "systemctl reload " + r.Unit
	}
	return "systemctl restart " + r.Unit
}

// OfDaemon reports whether it is of an engine with a daemon, which has containers that run.
func (r *Restart) OfDaemon() bool { return r.Unit != "" || r.By != "" }

// Gone returns the containers that ran before and do not run afterwards.
func (r *Restart) Gone() (gone []string) {
	after := map[string]bool{}
	for _, c := range r.After {
		after[c] = true
	}
	for _, c := range r.Running {
		if !after[c] {
			gone = append(gone, c)
		}
	}
	return gone
}

// Probe starts a throw-away container through an engine: by our runtime, or by the engine's own default with stock set.
type Probe func(ctx context.Context, e Engine, via string, stock bool) error

// How long an engine may take to come back, and how long to come back as it was. Both together end after allTime, but for the
// least time that it has to come back as it was.
const (
	patience  = time.Minute
	backTime  = 45 * time.Second
	allTime   = 85 * time.Second
	leastTime = 5 * time.Second
)

// askTime is how long systemd may take to answer what it does later.
const askTime = time.Second

// pause is the time between two looks at an engine.
const pause = 200 * time.Millisecond

// PlanRestarts plans that engines take changes over by themselves. It fails for an engine of which nobody could tell whether
// it is back.
func PlanRestarts(ctx context.Context, b *wire.Book, h *host.Host, plans []*Plan) error {
	for _, p := range plans {
		if p.engine == nil || p.Absent != "" {
			continue
		}
		if err := p.planRestart(ctx, b, h); err != nil {
			return fmt.Errorf("%s: --restart cannot be done: %w", p.Engine, err)
		}
	}
	return nil
}

func (p *Plan) planRestart(ctx context.Context, b *wire.Book, h *host.Host) error {
	d, is := serves(p.engine, h, b)
	if !is {
		switch {
		case len(p.Edits) == 0:
		case p.Then == "":
			p.Restart = newRestart()
		default:
			return errors.New("whether it comes back is not known here" + p.instead())
		}
		return nil
	}
	main, ok := d.main()
	if !ok {
		p.Notes = append(p.Notes, "it does not run, and reads its files when it is started")
		return nil
	}
	if p.options == nil && !p.calls { // it has never read ours
		return nil
	}
	unit, err := d.unit(ctx, main)
	if err != nil {
		return fmt.Errorf("%w%s", err, p.instead())
	}
	r := newRestart()
	r.Reload, r.pid, r.start = p.reload, main.PID, main.Start
	if unit == nil {
		r.By = d.supervisor().Title
	} else {
		r.Unit = unit.Name
	}
	var t host.Taken
	if err = d.Works(ctx, h); err == nil {
		t, err = d.taken(ctx, main)
	}
	cannotAsk := fmt.Errorf("it cannot be asked which containers run, and whether it is back: %w%s", err, p.instead())
	switch {
	case err != nil && p.options != nil && errors.Is(err, host.ErrNoProgram):
		return cannotAsk
	case err != nil && p.options != nil:
		return fmt.Errorf("it does not work already: %w", err)
	case err != nil:
		r.broken = err
	}
	if len(p.Edits) == 0 && (t.Older == "" || err != nil) {
		return nil
	}
	if errors.Is(err, host.ErrNoProgram) {
		return cannotAsk
	}
	p.Restart = r
	p.Notes = slices.DeleteFunc(p.Notes, func(note string) bool { return note == p.heldNote() }) // as they go after it
	return r.weigh(ctx, b, h, d, unit)
}

// weigh finds what a restart does to the containers of an engine, and to those of others.
func (r *Restart) weigh(ctx context.Context, b *wire.Book, h *host.Host, d serving, unit *host.Unit) error {
	if r.broken != nil {
		r.guess(ctx, d, unit)
		return r.others(ctx, b, h, unit)
	}
	running, err := d.Running(ctx, h)
	r.Running = append(r.Running, running...)
	if err != nil || r.Reload {
		return err
	}
	if r.Stops, err = d.stops(ctx, unit); err != nil {
		return err
	}
	return r.others(ctx, b, h, unit)
}

// guess finds what a restart does to the containers of an engine that did not answer just now. What is not known is taken for
// the worst.
func (r *Restart) guess(ctx context.Context, d serving, u *host.Unit) {
	running, err := d.Running(ctx, d.host)
	r.Running = append(r.Running, running...)
	if err != nil {
		r.Unknown = err.Error()
	}
	if r.Stops, err = d.stops(ctx, u); err != nil && r.Stops == "" {
		r.Stops = fmt.Sprintf("%s may stop its containers when it ends: whether it does is not known: %v", d.name(u), err)
	}
}

// Ends reports whether containers stop by it, or may.
func (r *Restart) Ends() bool { return r.Stops != "" && (len(r.Running) > 0 || r.Unknown != "") }

// instead returns what to do in place of --restart.
func (p *Plan) instead() string {
	if p.Then == "" {
		return ": leave it away"
	}
	return ": leave it away, and run " + p.Then
}

// Try is Commit that has each engine take its change over, as PlanRestarts has planned it, and takes the change back where an
// engine does not come back with it.
func Try(ctx context.Context, b *wire.Book, h *host.Host, plans []*Plan, probe Probe) (done []*Plan, err error) {
	return inTurn(plans, func(p *Plan) error {
		if p.Restart == nil {
			return commit(b, p)
		}
		return p.try(ctx, b, h, probe)
	})
}

// try commits a plan, and takes it back unless the engine comes back with it.
func (p *Plan) try(ctx context.Context, b *wire.Book, h *host.Host, probe Probe) error {
	if err := p.renew(b); err != nil {
		return err
	}
	r := p.Restart
	if err := p.recount(ctx, h); err != nil {
		return err
	}
	t := wire.Trial{Engine: p.Engine, Unit: r.Unit, Reload: r.Reload, Boot: bootID(), With: r.With, PID: r.pid, Start: r.start}
	end := time.Now().Add(allTime)
	if err := b.Try(t, p.options, p.draft, p.without); err != nil {
		return err
	}
	err := p.takeOver(ctx, b, h, probe)
	switch {
	case err == nil:
		r.Outcome = TakenOver
		if err := b.End(); err != nil {
			return err
		}
		return p.dropLinks(b)
	case r.broken != nil:
		r.Outcome = Down
		return errors.Join(fmt.Errorf("it did not work before, and does not now that its files are changed: %w", err), b.End())
	}
	r.Outcome = TakenBack
	end = clamp(end, leastTime, backTime)
	said, back := takeBack(ctx, b, h, end)
	if back != nil {
		r.Outcome = Down
		return fmt.Errorf("%w; %w", err, back)
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), end)
	defer cancel()
	if lost := p.count(ctx, h); lost != nil {
		said += ", and how many containers run is not known: " + lost.Error()
	}
	return fmt.Errorf("%w: %s", err, said)
}

// dropLinks removes links that have stayed for the engine's daemon until it had taken the plan over.
func (p *Plan) dropLinks(b *wire.Book) error {
	if len(p.held) == 0 {
		return nil
	}
	now, err := p.again()
	if err == nil && !wire.OfFiles(now.Edits) {
		now.serial = b.Serial()
		err = commit(b, now)
	}
	if err != nil {
		return fmt.Errorf("it runs with the change, and %s is left, which it called before: run this again: %w", oneline.And(p.held), err)
	}
	return nil
}

// clamp returns a time, or the nearest one that is that far from now.
func clamp(t time.Time, least, most time.Duration) time.Time {
	return time.Now().Add(min(max(time.Until(t), least), most))
}

// recount counts the containers that run before anew: an operator may have been asked in between.
func (p *Plan) recount(ctx context.Context, h *host.Host) error {
	d, is := p.engine.(Daemon)
	r := p.Restart
	if !is || r.broken != nil {
		return nil
	}
	running, err := d.Running(ctx, h)
	if err != nil {
		return err
	}
	if r.Stops != "" && len(r.Running) == 0 && len(running) > 0 {
		return fmt.Errorf("nothing was changed: a container has been started just now, and %s: run this again", r.Stops)
	}
	r.Running = append(append([]string{}, running...), r.theirs...)
	return nil
}

// takeOver has the engine take over what its files have, and looks whether it is back.
func (p *Plan) takeOver(ctx context.Context, b *wire.Book, h *host.Host, probe Probe) error {
	r := p.Restart
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it is not back after %v", patience))
	defer cancel()
	if d, is := serves(p.engine, h, b); is && r.OfDaemon() {
		if err := d.takeOver(ctx, r); err != nil {
			return err
		}
	}
	via := ""
	if p.options != nil {
		via = p.options.Via
	}
	if err := probe(ctx, p.engine, via, p.options == nil); err != nil {
		return err
	}
	return p.count(ctx, h)
}

// count counts the containers that run afterwards.
func (p *Plan) count(ctx context.Context, h *host.Host) error {
	d, is := p.engine.(Daemon)
	if !is {
		return nil
	}
	after, err := d.Running(ctx, h)
	p.Restart.After = append([]string{}, after...)
	return err
}

// await waits until a daemon works that has taken its files over.
func await(ctx context.Context, d serving, is func(host.Process) bool) error {
	for {
		why := errors.New("its process has not ended, or no new one runs")
		if main, ok := d.main(); ok && is(main) {
			if why = d.goesOn(ctx, main); why == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), why)
		case <-time.After(pause):
		}
	}
}

func same(p host.Process, pid int, start uint64) bool { return p.PID == pid && p.Start == start }

// bootID returns the kernel's id of this boot. Tests boot by it.
var bootID = func() string { return wire.Now().Boot }
