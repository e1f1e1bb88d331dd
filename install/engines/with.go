package engines

import (
	"context"
	"fmt"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

// What is here is about the units that systemd restarts with an engine's.

// others looks at the services that systemd restarts with a unit: one of them may be an engine whose containers stop by it, or may
// run a container as its program, by a client of an engine.
func (r *Restart) others(ctx context.Context, b *wire.Book, h *host.Host, u *host.Unit) error {
	if u == nil {
		return nil
	}
	all, err := stopsWith(ctx, h, u)
	if err != nil {
		return err
	}
	for _, with := range all {
		r.With = append(r.With, with.Name)
		if err := r.with(ctx, b, h, with); err != nil {
			return err
		}
	}
	return nil
}

// with adds what becomes of containers by the restart of one unit.
func (r *Restart) with(ctx context.Context, b *wire.Book, h *host.Host, u *host.Unit) error {
	for _, e := range table {
		d, is := serves(e, h, b)
		if !is {
			continue
		}
		if main, ok := d.main(); ok && main.PID == u.Main {
			return r.other(ctx, d, u)
		}
	}
	if process := h.Runs(u, engine.HoldsContainer); process != "" {
		r.Stops = also(r.Stops, fmt.Sprintf("systemd restarts %s with it, and with %s, a container may stop", u.Name, process))
		r.Unknown = also(r.Unknown, "which containers stop with "+u.Name+" is not known")
	}
	return nil
}

// stopsWith returns the units that are up and that systemd stops with a unit, and with those.
func stopsWith(ctx context.Context, h *host.Host, u *host.Unit) (all []*host.Unit, err error) {
	names := slices.Clone(u.With)
	for i := 0; i < len(names); i++ {
		with, err := h.Unit(ctx, names[i])
		if err != nil {
			return nil, err
		}
		if !with.Active && with.Main == 0 {
			continue
		}
		for _, next := range with.With {
			if next != u.Name && !slices.Contains(names, next) {
				names = append(names, next)
			}
		}
		all = append(all, with)
	}
	return all, nil
}

// other adds the containers of another engine, where they stop by it.
func (r *Restart) other(ctx context.Context, d serving, u *host.Unit) error {
	running, err := d.Running(ctx, d.host)
	if err != nil {
		return err
	}
	why, err := d.stops(ctx, u)
	if err != nil || why == "" || len(running) == 0 {
		return err
	}
	why = also(r.Stops, fmt.Sprintf("systemd restarts %s with it, and %s", u.Name, why))
	r.Stops, r.Running, r.theirs = why, append(r.Running, running...), append(r.theirs, running...)
	return nil
}

// also adds a sentence to others.
func also(to, more string) string {
	if to == "" {
		return more
	}
	return to + "; " + more
}
