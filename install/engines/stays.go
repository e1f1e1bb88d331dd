package engines

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// What is here is about what must stay of ours when a change takes it out of an engine's files: what containers call or need, and
// what the engine's process goes on with.

// needOf returns the containers that need ours of an engine. Where that cannot be found out, there may be some.
func needOf(ctx context.Context, h *host.Host, e Engine) host.Need {
	need, err := e.Needed(ctx, h)
	if err != nil {
		need.Unknown = append(need.Unknown, err.Error())
	}
	return need
}

// leaveLinks drafts that links stay which containers call, or the engine's daemon.
func (p *Plan) leaveLinks(ctx context.Context, b *wire.Book, h *host.Host, d *wire.Draft, need host.Need) (err error) {
	p.calls = goesOnWithOurs(ctx, b, h, p.engine, d.Edits())
	switch {
	case need.Any():
		_, err = b.LeaveLinks(d, p.Engine)
	case p.calls:
		p.held, err = b.LeaveLinks(d, p.Engine)
	}
	return err
}

// keepLinks is leaveLinks for an install, which changes the way in which the engine reaches us: it needs nothing if no link goes. need
// is what containers need.
func (p *Plan) keepLinks(ctx context.Context, b *wire.Book, h *host.Host, d, without *wire.Draft, via string) (need host.Need, err error) {
	if !removesLink(d.Edits()) {
		return need, nil
	}
	need = needOf(ctx, h, p.engine)
	if w, wired := b.Wiring(p.Engine); wired && w.Options.Via != via && len(need.Containers) > 0 {
		if err := p.mayChangeWay(h, without, need); err != nil {
			return need, err
		}
	}
	return need, p.leaveLinks(ctx, b, h, d, need)
}

// mayChangeWay returns an error if containers need more than links of the way in which the engine reached us before.
func (p *Plan) mayChangeWay(h *host.Host, without *wire.Draft, need host.Need) error {
	left := without.Copy()
	if err := p.engine.Leave(h, left); err != nil {
		return err
	}
	if len(left.Edits()) != len(without.Edits()) || !sameButDirs(left.Edits(), without.Edits()) {
		return fmt.Errorf("these containers %s: remove %s first", need.Why, oneline.And(need.Containers))
	}
	return nil
}

// runs reports whether the engine's daemon runs.
func (p *Plan) runs(h *host.Host) bool {
	d, ok := p.engine.(Daemon)
	if !ok {
		return false
	}
	_, ok = d.Main(h)
	return ok
}

// heldNote says until when links stay for the engine's daemon.
func (p *Plan) heldNote() string {
	return fmt.Sprintf("%s stays, as the engine calls it until it is restarted%s: run this again after that", oneline.And(p.held),
		by(p.engine.Then()))
}

// by returns a command as the end of a sentence; nothing for none.
func by(command string) string {
	if command == "" {
		return ""
	}
	return " by " + command
}

// noteStays adds what stays of ours, and why.
func (p *Plan) noteStays(need host.Need) {
	switch {
	case len(p.held) > 0:
		p.Notes = append(p.Notes, p.heldNote())
	case p.options == nil && p.calls && len(p.Edits) == 0:
		p.Notes = append(p.Notes, "nothing of ours is in its configuration, and it goes on with ours until it is restarted"+by(p.engine.Then()))
	}
	if len(need.Containers) > 0 {
		p.Notes = append(p.Notes, "these containers "+need.Why+": "+strings.Join(need.Containers, ", ")+"; run this again when they are "+
			"gone, for what stays of ours")
	}
	if len(need.Unknown) > 0 {
		p.Notes = append(p.Notes, "whether more containers need ours is unknown, so what they would call stays: "+strings.Join(need.Unknown, "; "))
	}
}

// goesOnWithOurs reports whether an engine's daemon has something of ours that its files will not have after the edits: it goes on
// with that until it has read them again. Where that is not known, it may.
func goesOnWithOurs(ctx context.Context, b *wire.Book, h *host.Host, e Engine, edits []wire.Edit) bool {
	s, ok := serves(e, h, b)
	if !ok || len(edits) == 0 && b.Changes(e.Name()) == (wire.Changes{}) {
		return false
	}
	t, _ := s.takenNow(ctx) // or the worst
	return t.Ours && (wire.OfFiles(edits) || t.Older != "")
}

// removesLink reports whether one of the edits removes a link.
func removesLink(edits []wire.Edit) bool {
	return slices.ContainsFunc(edits, func(e wire.Edit) bool { return e.Old.IsLink() && e.New == nil })
}
