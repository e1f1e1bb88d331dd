package engines

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// Settle ends the trial of a call that was killed: it takes the change back and has the engine run as it was. said is what
// it did, a sentence; empty for nothing. After an error the trial has ended as well, unless its files could not be written.
func Settle(ctx context.Context, b *wire.Book, h *host.Host) (said string, err error) {
	return settle(ctx, b, h, time.Now().Add(backTime))
}

// SettleSoon is Settle that has systemd start the engine, and does not wait for that: its start may wait for the caller.
func SettleSoon(ctx context.Context, b *wire.Book, h *host.Host) (said string, err error) {
	return settle(ctx, b, h, time.Time{})
}

func settle(ctx context.Context, b *wire.Book, h *host.Host, end time.Time) (said string, err error) {
	t := b.Trial()
	if t == nil {
		return "", nil
	}
	killed := t.Engine + ": a call was killed while the engine tried a change: "
	if e, _ := named(t.Engine); t.Boot != bootID() {
		// What runs has read its files in this boot. To take these back would take another restart.
		if d, is := serves(e, h, b); is && d.runsWithItsFiles(ctx) {
			return killed + "it runs with that since the last boot, and goes on so", b.End()
		}
	}
	if said, err = takeBack(ctx, b, h, end); err != nil {
		return "", fmt.Errorf("%s%w", killed, err)
	}
	return killed + said, nil
}

// takeBack takes the files of a trial back, has the engine run as before, and ends the trial. It waits for the engine until
// end, and not at all where that is zero. said is the end of a sentence.
func takeBack(ctx context.Context, b *wire.Book, h *host.Host, end time.Time) (said string, err error) {
	ctx = context.WithoutCancel(ctx)
	t := b.Trial()
	wait := !end.IsZero() && t.Boot == bootID() // after a boot, our own unit may wait for this, and the engine's for that
	if !wait {
		end = time.Now().Add(backTime)
	}
	ctx, cancel := context.WithDeadlineCause(ctx, end, errors.New("it is not back in time"))
	defer cancel()
	said = "everything has been taken back"
	back, err := b.TakeBack(mayHaveRead(h, t))
	if err == nil && !back {
		said, err = retake(ctx, b, h, t.Engine)
	}
	if err != nil {
		return "", fmt.Errorf("taking it back failed as well, and the next install or uninstall tries again: %w", err)
	}
	rest, up := comeBack(ctx, b, h, t, wait)
	up = errors.Join(up, startWith(ctx, h, t, wait && up == nil))
	if err := errors.Join(up, b.End()); err != nil {
		return "", fmt.Errorf("%s, and the engine is not as it was: %w", said, err)
	}
	return said + rest, nil
}

// mayHaveRead reports whether the engine of a trial may have read the trial's change.
func mayHaveRead(h *host.Host, t *wire.Trial) bool {
	e, err := named(t.Engine)
	d, is := e.(Daemon)
	if err != nil || !is {
		return false
	}
	main, runs := d.Main(h)
	return t.Reload || t.Boot != bootID() || !runs || !same(main, t.PID, t.Start)
}

// retake takes a trial's change out of files that somebody else has changed since, by what the engine knows of them. Where that
// cannot be, all of the change stays. said is the beginning of a sentence.
func retake(ctx context.Context, b *wire.Book, h *host.Host, engine string) (said string, err error) {
	const changed = "somebody has changed its files since, so that "
	w := b.Before()
	d, without, err := redraft(ctx, b, h, engine, w)
	switch {
	case err != nil:
		return changed + "they stay as they are, because " + err.Error(), b.Finish()
	case w == nil:
		said = changed + "ours is taken out of them and all else stays"
	default:
		said = changed + "ours is in them as before and all else stays"
	}
	return said, b.Retake(w, d, without)
}

// redraft drafts that an engine is wired as by the options, or not at all where they are nil, in place of a trial's change.
func redraft(ctx context.Context, b *wire.Book, h *host.Host, engine string, w *wire.Options) (d, without *wire.Draft, err error) {
	e, err := named(engine)
	if err != nil {
		return nil, nil, err
	}
	d = wire.NewDraft(h.Tree)
	if _, err := b.Unwire(d, engine, e.Strip); err != nil {
		return nil, nil, err
	}
	if _, err := e.Clear(h, d); err != nil {
		return nil, nil, err
	}
	without = d.Copy()
	if w != nil {
		_, err = e.Wire(ctx, h, d, *w)
	}
	return d, without, err
}

// startWith starts the units that systemd has stopped with an engine's: after a start that failed it starts none of them.
// With wait they are up then.
func startWith(ctx context.Context, h *host.Host, t *wire.Trial, wait bool) error {
	if !wait { // also where the engine has taken all the time
		var cancel func()
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), askTime)
		defer cancel()
	}
	start := h.StartSoon
	if wait {
		start = h.Start
	}
	var errs []error
	for _, name := range t.With {
		if err := start(ctx, name); !errors.Is(err, host.ErrNoSystemd) { // as in comeBack
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// comeBack has an engine run as it did before a trial, whose files have been taken back. rest is what there is to say of it.
func comeBack(ctx context.Context, b *wire.Book, h *host.Host, t *wire.Trial, wait bool) (rest string, err error) {
	e, err := named(t.Engine)
	d, is := serves(e, h, b)
	switch {
	case err != nil || !is:
		return "", nil
	case d.supervisor().Follows > 0:
		return d.followBack(ctx, t, wait)
	case t.Unit == "":
		return "", nil
	}
	u, err := h.Unit(ctx, t.Unit)
	if errors.Is(err, host.ErrNoSystemd) { // an image's book cannot have a trial of this machine
		return "", nil
	}
	if err != nil {
		return "", err
	}
	main, runs := d.main()
	here := runs && t.Boot == bootID()
	switch {
	case here && t.Reload:
		return reread(ctx, d, u, t, wait)
	case here && same(main, t.PID, t.Start) && !u.Starting && !u.Stopping: // it was not restarted yet, and is not about to be
		return "", d.Works(ctx, h)
	case !wait:
		return ", and systemd starts it again", h.StartLater(ctx, u)
	}
	return startedAgain, startAgain(ctx, d, u)
}

const startedAgain = ", and it has been started again as it was"

// reread has a daemon that may have read a change read its files as they were.
func reread(ctx context.Context, d serving, u *host.Unit, t *wire.Trial, wait bool) (rest string, err error) {
	if !wait {
		return ", and systemd has it read them again", d.host.ReloadLater(ctx, u)
	}
	rest, err = reloadAgain(ctx, d, u)
	if rest != "" || err != nil {
		return rest, err
	}
	if d.runsWithItsFiles(ctx) {
		return "", nil
	}
	all, err := stopsWith(ctx, d.host, u)
	if err != nil {
		return "", err
	}
	for _, with := range all {
		t.With = append(t.With, with.Name)
	}
	return startedAgain, startAgain(ctx, d, u)
}

// reloadAgain has a daemon that has read a change forget it, as far as a reload does that. rest says what it does not forget,
// where a restart would stop its containers.
func reloadAgain(ctx context.Context, d serving, u *host.Unit) (rest string, err error) {
	if err := d.host.Reload(ctx, u); err != nil {
		return "", err
	}
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := await(short, d, anyProcess); err == nil {
		return "", nil
	}
	running, err := d.Running(ctx, d.host)
	if err != nil {
		return "", err
	}
	if why, err := d.stops(ctx, u); err != nil || why == "" || len(running) == 0 {
		return "", err
	}
	rest = ", and it goes on with what it has read of ours until systemctl restart " + u.Name + ", by which its containers stop"
	return rest, nil
}

// startAgain restarts a unit until its daemon is back: what the last start has left may be in the way of the first one.
func startAgain(ctx context.Context, d serving, u *host.Unit) error {
	for {
		old, ran := d.main()
		err := d.restart(ctx, u)
		if err == nil { // for a slow one systemd has only begun, and the old process may answer still
			return await(ctx, d, func(main host.Process) bool { return !ran || !same(main, old.PID, old.Start) })
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

func anyProcess(host.Process) bool { return true }
