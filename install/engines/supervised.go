package engines

import (
	"context"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// Supervised is a daemon that something else than systemd may start.
type Supervised interface {
	// Supervisor returns what starts it; the zero value for systemd.
	Supervisor() host.Supervisor
}

func (s serving) supervisor() host.Supervisor {
	if of, is := s.Daemon.(Supervised); is {
		return of.Supervisor()
	}
	return host.Supervisor{}
}

// unit returns the service with which the daemon is started anew that runs as a process; nil where its supervisor starts it anew by
// itself.
func (s serving) unit(ctx context.Context, main host.Process) (*host.Unit, error) {
	switch of := s.supervisor(); {
	case of.Follows > 0:
		return nil, nil
	case len(of.Units) > 0:
		return s.host.UnitAbove(ctx, main, of.Units...)
	}
	return s.host.UnitOf(ctx, main)
}

// restart has systemd start the daemon anew. Where its service is up only some time after it, that is not waited for: a daemon that
// does not come up is missed all the same.
func (s serving) restart(ctx context.Context, u *host.Unit) error {
	if s.supervisor().Slow {
		return s.host.StartLater(ctx, u)
	}
	return s.host.Restart(ctx, u)
}

// takeOver has the daemon take over what its files have, and returns when it is back.
func (s serving) takeOver(ctx context.Context, r *Restart) error {
	if r.By == "" {
		u, err := s.host.Unit(ctx, r.Unit)
		switch {
		case err != nil:
		case r.Reload:
			err = s.host.Reload(ctx, u)
		default:
			err = s.restart(ctx, u)
		}
		if err != nil {
			return err
		}
	}
	return await(ctx, s, func(main host.Process) bool { return r.Reload || !same(main, r.pid, r.start) })
}

// followBack waits until a supervisor that starts its daemon anew by itself has done so with the files as they were before a trial.
// That may be twice: one that has ended is started again, and then anew as files have changed.
func (s serving) followBack(ctx context.Context, t *wire.Trial, wait bool) (rest string, err error) {
	main, runs := s.main()
	rest = ", and " + s.supervisor().Title + " starts it again by itself"
	switch {
	case runs && t.Boot == bootID() && same(main, t.PID, t.Start): // it was not yet
		return rest, s.Works(ctx, s.host)
	case !wait:
		return rest, nil
	}
	for {
		if err := await(ctx, s, anyProcess); err != nil {
			return startedAgain, err
		}
		was, _ := s.main()
		select {
		case <-ctx.Done(): // it works
			return startedAgain, nil
		case <-time.After(s.supervisor().Follows):
		}
		if now, runs := s.main(); runs && same(now, was.PID, was.Start) {
			return startedAgain, s.Works(ctx, s.host)
		}
	}
}
