// Package engines wires container engines to oci-apparmor and takes that back. What is known of one engine's configuration
// stands in its folder; what is done to any engine's files, and the order of that, stands here and in package wire.
//
// A new engine is a folder with a type that is an Engine, a row in table, and its tests.
package engines

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/engines/containerd"
	"github.com/oci-apparmor/oci-apparmor/install/engines/crio"
	"github.com/oci-apparmor/oci-apparmor/install/engines/docker"
	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/k0s"
	"github.com/oci-apparmor/oci-apparmor/install/engines/k3s"
	"github.com/oci-apparmor/oci-apparmor/install/engines/microk8s"
	"github.com/oci-apparmor/oci-apparmor/install/engines/podman"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/nearest"
)

// Engine is a kind of engine. Its methods draft, and write nothing.
type Engine interface {
	Name() string   // as package policy/engine has it, or a word that engine.Meant knows
	Vias() []string // the ways in which it reaches us
	Then() string   // the command by which it takes a change over; empty where it reads its files each time

	// Missing returns why there is nothing to wire on a host; an empty string where there is.
	Missing(h *host.Host, d *wire.Draft) (string, error)

	// Clear drafts that what was wired by hand, or by an oci-apparmor without a record, is gone, and returns what it was.
	Clear(h *host.Host, d *wire.Draft) (host.Former, error)

	// ByHand returns the runtimes of ours that a draft has by other names than ours, which Clear leaves.
	ByHand(h *host.Host, d *wire.Draft) ([]host.ByHand, error)

	// Wire drafts our runtime, by the engine's best way where the options have none. It has the engine's own check read
	// the draft, and where that would read anything else than before and ours, that is an error. A file that cannot be
	// parsed is an error with its line.
	Wire(ctx context.Context, h *host.Host, d *wire.Draft, o wire.Options) (*host.Outcome, error)

	// Strip takes ours out of a file that somebody else has changed since; see wire.Stripper.
	Strip(path string, was, now *wire.Entry) ([]byte, error)

	// Check has the engine's own check read a draft without ours.
	Check(ctx context.Context, h *host.Host, d *wire.Draft) error

	// Needed returns the containers of a running host that need what a draft without ours has no more.
	Needed(ctx context.Context, h *host.Host) (host.Need, error)

	// Leave drafts again what these containers need of ours in the engine's files. Our links stay for any engine.
	Leave(h *host.Host, d *wire.Draft) error
}

// table has the engines in the order in which they are wired.
var table = []Engine{
	containerd.Own(k3s.K3s.Runs, k3s.RKE2.Runs, k0s.Engine.Runs, microk8s.Engine.Runs, docker.RunsContainerd),
	k3s.K3s,
	k3s.RKE2,
	k0s.Engine,
	microk8s.Engine,
	docker.Engine{},
	podman.Engine{},
	crio.Engine{},
}

// These have daemons. They would have none without a word if one lacked a method.
var _ = []Daemon{containerd.Engine{}, docker.Engine{}, crio.Engine{}}

// Names returns the names of the engines that can be wired.
func Names() []string {
	names := make([]string, len(table))
	for i, e := range table {
		names[i] = e.Name()
	}
	return names
}

// Vias returns the ways in which engines reach us, each once.
func Vias() []string {
	var all []string
	for _, e := range table {
		for _, v := range e.Vias() {
			if !slices.Contains(all, v) {
				all = append(all, v)
			}
		}
	}
	return all
}

func named(name string) (Engine, error) {
	for _, e := range table {
		if e.Name() == name {
			return e, nil
		}
	}
	hint := ""
	if meant := meant(name); len(meant) > 0 {
		hint = "; did you mean " + strings.Join(meant, " or ") + "?"
	}
	return nil, fmt.Errorf("%q is no engine that can be wired: there are %s%s", name, strings.Join(Names(), ", "), hint)
}

// meant returns the names of the engines that a word that is none of Names may mean.
func meant(word string) []string {
	names := Names()
	all := slices.DeleteFunc(engine.Meant(word), func(name string) bool { return !slices.Contains(names, name) })
	if name := nearest.Of(strings.ToLower(word), names); len(all) == 0 && name != "" {
		all = []string{name}
	}
	return all
}

// CheckNames returns an error if one of names is not one of Names.
func CheckNames(names []string) error {
	_, err := choose(names)
	return err
}

// CheckVia returns an error if via is not empty and not one of Vias.
func CheckVia(via string) error {
	if via == "" || slices.Contains(Vias(), via) {
		return nil
	}
	return fmt.Errorf("no engine reaches us by %q: there are %s", via, strings.Join(Vias(), ", "))
}

// Plan is what would be done to one engine.
type Plan struct {
	Engine string
	Absent string      // why it is not wired, where nobody named the engine; all else is empty then
	Failed bool        // it is there, and Absent is an error
	Edits  []wire.Edit // what changes on the disk; none where all is as it should be
	Notes  []string    // sentences
	Then   string      // the command by which the engine takes it over

	// Restart is how the engine takes it over by itself; nil where it is not asked to, or has nothing to do.
	Restart *Restart

	engine         Engine
	stays          bool          // Absent is why ours is not taken out
	reload         bool          // Then has the engine read its files again, and does not restart it
	ours           bool          // something of ours is there now, also where it stays
	calls          bool          // its daemon goes on with ours until it takes the plan over
	was            *wire.Options // that it is wired by, in a plan of PlanRemoval; nil where it is not
	held           []string      // links of ours that stay for that alone
	needed         bool          // containers need ours, or may
	checked        bool          // the engine's own check takes what is left
	options        *wire.Options // nil for an uninstall
	draft, without *wire.Draft
	serial         uint64                // of the book when this was planned
	again          func() (*Plan, error) // plans it by what is there now
}

// Default reports whether the engine is to take our runtime where nobody asks for another.
func (p *Plan) Default() bool { return p.options != nil && p.options.Default }

// Why returns why nothing is done to an engine that has Absent, for people.
func (p *Plan) Why() string {
	if p.stays {
		return "ours stays in its configuration: " + p.Absent
	}
	return "not wired: " + p.Absent
}

// Choice is how engines are to be wired. What it leaves open is as it is already, or else the engine's best way, beside the
// default.
type Choice struct {
	Via     string
	Default *bool
}

// Install plans to wire engines: those of the names, or those that are found on the host where there are none. An engine
// that is named and cannot be wired is an error.
func Install(ctx context.Context, b *wire.Book, h *host.Host, names []string, o Choice) ([]*Plan, error) {
	wanted, err := choose(names)
	if err != nil {
		return nil, err
	}
	var plans []*Plan
	for _, e := range wanted {
		p, err := install(ctx, b, h, e, o)
		if err != nil && len(names) == 0 {
			p, err = &Plan{Engine: e.Name(), Absent: err.Error(), Failed: !errors.Is(err, errWay)}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		if p.Absent != "" && len(names) > 0 {
			return nil, fmt.Errorf("%s: %s", e.Name(), p.Absent)
		}
		p.serial, p.again = b.Serial(), func() (*Plan, error) { return install(ctx, b, h, e, o) }
		plans = append(plans, p)
	}
	return plans, nil
}

// errWay says that an engine has not the way that was asked for. Where nobody named the engine, it is left out.
var errWay = errors.New("it does not reach us")

func choose(names []string) ([]Engine, error) {
	if len(names) == 0 {
		return table, nil
	}
	var all []Engine
	for _, name := range names {
		e, err := named(name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(all, e) {
			all = append(all, e)
		}
	}
	return all, nil
}

func install(ctx context.Context, b *wire.Book, h *host.Host, e Engine, choice Choice) (*Plan, error) {
	p := &Plan{Engine: e.Name(), engine: e}
	d := wire.NewDraft(h.Tree)
	absent, err := e.Missing(h, d)
	if err != nil || absent != "" {
		p.Absent = absent
		return p, err
	}
	kept, err := b.Unwire(d, e.Name(), e.Strip)
	if err != nil {
		return nil, err
	}
	was, err := e.Clear(h, d)
	if err != nil {
		return nil, err
	}
	o := wire.Options{Via: choice.Via, Default: was.Default, Own: was.Own}
	if w, ok := b.Wiring(e.Name()); ok {
		o.Default, o.Own = w.Options.Default, w.Options.Own
		if o.Via == "" {
			o.Via = w.Options.Via
		}
	}
	if choice.Default != nil {
		o.Default = *choice.Default
	}
	if o.Via != "" && !slices.Contains(e.Vias(), o.Via) {
		return nil, fmt.Errorf("%w by %q: take --via %s", errWay, o.Via, strings.Join(e.Vias(), " or --via "))
	}
	without := d.Copy()
	outcome, err := e.Wire(ctx, h, d, o)
	if err != nil {
		return nil, err
	}
	p.Notes, p.Then, p.reload = outcome.Notes, outcome.Then, outcome.Reload
	need, err := p.keepLinks(ctx, b, h, d, without, outcome.Via)
	if err != nil {
		return nil, err
	}
	o.Via, p.Edits = outcome.Via, d.Edits()
	p.options, p.draft, p.without = &o, d, without
	if s, ok := serves(e, h, b); ok && !p.reload && len(p.Edits) > 0 {
		p.noteCost(ctx, s)
	}
	p.noteStays(need)
	for _, f := range was.Files {
		if !slices.Contains(kept, f) {
			p.Notes = append(p.Notes, "what "+f+" had of ours, without a record, is taken over: uninstall takes that out, too")
		}
	}
	return p, nil
}

// Uninstall plans to take ours out of engines: those of the names, or all that are wired where there are none.
func Uninstall(ctx context.Context, b *wire.Book, h *host.Host, names []string) ([]*Plan, error) {
	wanted, err := choose(names)
	if err != nil {
		return nil, err
	}
	var plans []*Plan
	for _, e := range wanted {
		p, err := uninstall(ctx, b, h, e)
		if err != nil && len(names) == 0 {
			_, wired := b.Wiring(e.Name())
			p, err = &Plan{Engine: e.Name(), Absent: err.Error(), Failed: true, stays: wired}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		p.serial, p.again = b.Serial(), func() (*Plan, error) { return uninstall(ctx, b, h, e) }
		if len(names) > 0 || p.ours || p.Failed {
			plans = append(plans, p)
		}
	}
	return plans, nil
}

func uninstall(ctx context.Context, b *wire.Book, h *host.Host, e Engine) (*Plan, error) {
	p := &Plan{Engine: e.Name(), Then: e.Then(), engine: e}
	d := wire.NewDraft(h.Tree)
	need := needOf(ctx, h, e)
	kept, err := b.Unwire(d, e.Name(), e.Strip)
	if err != nil {
		return nil, err
	}
	if _, err := e.Clear(h, d); err != nil {
		return nil, err
	}
	p.without = d.Copy()
	if err := p.leaveLinks(ctx, b, h, d, need); err != nil {
		return nil, err
	}
	if need.Any() {
		if err := e.Leave(h, d); err != nil {
			return nil, err
		}
	}
	p.draft, p.Edits, p.needed = d, d.Edits(), need.Any()
	if !p.calls && p.runs(h) {
		p.Then = "" // it has nothing to forget
	}
	_, wired := b.Wiring(e.Name())
	p.noteKept(kept)
	if p.ours = wired || p.calls || len(p.Edits)+len(p.without.Edits()) > 0; !p.ours {
		p.Notes = append(p.Notes, "nothing of ours is in its configuration")
		return p, nil
	}
	if s, ok := serves(e, h, b); ok && p.calls {
		p.noteCost(ctx, s)
	}
	p.noteStays(need)
	// The engine's check decides nothing here: what is not ours may be broken, or the engine be gone.
	err = e.Check(ctx, h, p.without)
	if p.checked = err == nil || errors.Is(err, host.ErrNoProgram); !p.checked {
		p.Notes = append(p.Notes, "the engine's own check of what is left says: "+err.Error())
	}
	return p, nil
}

// noteKept adds what becomes of files that somebody else has changed.
func (p *Plan) noteKept(kept []string) {
	for _, f := range kept {
		note := f + " has been changed by somebody else since, and has nothing of ours any more"
		if slices.ContainsFunc(p.Edits, func(e wire.Edit) bool { return e.Path == f }) {
			note = f + " has been changed by somebody else since: only what is ours is taken out"
		}
		p.Notes = append(p.Notes, note)
	}
}

// noteCost adds what the command that takes the plan over takes from containers.
func (p *Plan) noteCost(ctx context.Context, s serving) {
	if why := s.cost(ctx); why != "" {
		note := p.Then + " stops every container of it, ours or not, as " + why
		if p.calls {
			note += ": until then it goes on with what it has read, and new containers with our runtime are made through us"
		}
		p.Notes = append(p.Notes, note)
	}
}

// Commit does what was planned, an engine after the other, and returns the plans that are done. Where it fails for an
// engine, nothing has changed for that one and those after it.
func Commit(b *wire.Book, plans []*Plan) (done []*Plan, err error) {
	return inTurn(plans, func(p *Plan) error { return commit(b, p) })
}

func inTurn(plans []*Plan, do func(*Plan) error) (done []*Plan, err error) {
	for _, p := range plans {
		if err := do(p); err != nil {
			return done, fmt.Errorf("%s: %w", p.Engine, err)
		}
		done = append(done, p)
	}
	return done, nil
}

func commit(b *wire.Book, p *Plan) error {
	if p.draft == nil {
		return nil
	}
	if _, wired := b.Wiring(p.Engine); len(p.Edits) == 0 && wired == (p.options != nil) {
		return nil
	}
	if err := p.renew(b); err != nil {
		return err
	}
	return b.Commit(p.Engine, p.options, p.draft, p.without)
}

// renew plans again where another engine was changed since, and with it directories that both have.
func (p *Plan) renew(b *wire.Book) error {
	if p.serial == b.Serial() {
		return nil
	}
	now, err := p.again()
	if err != nil {
		return err
	}
	if !sameButDirs(p.Edits, now.Edits) {
		return errors.New("somebody has changed its files just now, so that this would do something else than " +
			"was shown: run this again")
	}
	p.Edits, p.draft, p.without, p.options, p.held = now.Edits, now.draft, now.without, now.options, now.held
	return nil
}

// sameButDirs reports whether edits are the same, whichever directories they make and remove.
func sameButDirs(a, b []wire.Edit) bool {
	isDir := func(e wire.Edit) bool { return e.Old.IsDir() || e.New.IsDir() }
	return slices.EqualFunc(slices.DeleteFunc(slices.Clone(a), isDir), slices.DeleteFunc(slices.Clone(b), isDir),
		func(a, b wire.Edit) bool { return a.Path == b.Path && a.Old.Equal(b.Old) && a.New.Equal(b.New) })
}
