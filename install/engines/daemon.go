package engines

import (
	"context"
	"errors"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// Daemon is an engine whose daemon reads its files when it starts, or when it is told to. This is what the daemon has of ours, and
// how it is restarted and seen to be back.
type Daemon interface {
	// Main returns the process of the daemon that reads the engine's files, if it runs.
	Main(h *host.Host) (host.Process, bool)

	// Taken returns what the daemon has of ours, which runs as a process. changes are when we have changed its files. The error
	// says that it is not known.
	Taken(ctx context.Context, h *host.Host, main host.Process, changes wire.Changes) (host.Taken, error)

	// Works returns an error unless the daemon answers, and is not broken as far as it says.
	Works(ctx context.Context, h *host.Host) error

	// Running returns the containers that run, by what the daemon knows.
	Running(ctx context.Context, h *host.Host) ([]string, error)

	// Stops reports whether the daemon stops its containers when it ends. Where it does not answer, that is what its files say.
	Stops(ctx context.Context, h *host.Host) (bool, error)
}

// serving is the daemon of an engine, on a host.
type serving struct {
	Daemon
	engine string
	host   *host.Host
	book   *wire.Book // nil where it cannot be read
}

// serves returns the daemon of an engine; it is not ok if there is none.
func serves(e Engine, h *host.Host, b *wire.Book) (s serving, ok bool) {
	d, ok := e.(Daemon)
	return serving{d, e.Name(), h, b}, ok
}

// main returns the daemon's process, if it runs.
func (s serving) main() (host.Process, bool) { return s.Main(s.host) }

// taken returns what the daemon has of ours that runs as a process. Where that is not known, it is the worst.
func (s serving) taken(ctx context.Context, main host.Process) (host.Taken, error) {
	var changes wire.Changes
	if s.book != nil {
		changes = s.book.Changes(s.engine)
	}
	t, err := s.Taken(ctx, s.host, main, changes)
	if err != nil {
		t.Ours, t.Older = true, err.Error()
	}
	return t, err
}

// takenNow returns what the daemon has of ours, and nothing where it does not run. Where that is not known, it is the worst.
func (s serving) takenNow(ctx context.Context) (host.Taken, error) {
	main, ok := s.main()
	if !ok {
		return host.Taken{}, nil
	}
	return s.taken(ctx, main)
}

// goesOn returns an error unless the daemon that runs as a process works, and goes on with what its files have.
func (s serving) goesOn(ctx context.Context, main host.Process) error {
	if err := s.Works(ctx, s.host); err != nil {
		return err
	}
	t, err := s.taken(ctx, main)
	if err == nil && t.Older != "" {
		err = errors.New(t.Older)
	}
	return err
}

// runsWithItsFiles reports whether the daemon runs, works, and goes on with what its files have.
func (s serving) runsWithItsFiles(ctx context.Context) bool {
	main, ok := s.main()
	return ok && s.goesOn(ctx, main) == nil
}

// stops returns why a restart of the daemon, which runs as a process, stops its containers: a sentence, empty where they run on.
// unit is nil where it is no service of systemd's.
func (s serving) stops(ctx context.Context, unit *host.Unit) (string, error) {
	stops, err := s.Stops(ctx, s.host)
	switch {
	case stops:
		return s.name(unit) + " stops its containers when it ends", err
	case unit != nil:
		return s.host.Kills(unit), err
	}
	return "", err
}

// name returns what people know the daemon by: its service, if it is one of systemd's.
func (s serving) name(unit *host.Unit) string {
	if unit == nil {
		return s.engine
	}
	return unit.Name
}

// cost returns why a restart of the daemon, if that runs, stops its containers, or may stop them: a sentence, empty where they run
// on.
func (s serving) cost(ctx context.Context) string {
	main, ok := s.main()
	if !ok {
		return ""
	}
	unit, _ := s.unit(ctx, main) // it may be none of systemd's
	why, err := s.stops(ctx, unit)
	if err != nil && why == "" {
		return "it may stop its containers when it ends: whether it does is not known: " + err.Error()
	}
	return why
}
