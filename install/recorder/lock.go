package recorder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// lock takes the right to record. The error wraps os.ErrDeadlineExceeded if a session goes on for longer than wait.
func (h home) lock(ctx context.Context, wait time.Duration) (release func(), err error) {
	if err := os.MkdirAll(string(h), 0o700); err != nil {
		return nil, err
	}
	return safefile.Lock(ctx, safefile.Cwd, h.file("lock"), wait)
}

// goesOn reports whether a session goes on.
func (h home) goesOn(ctx context.Context) (bool, error) {
	release, err := h.lock(ctx, time.Millisecond)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true, nil
	}
	if err == nil {
		release()
	}
	return false, err
}

// A holder is a process that has the lock, or had it: its number, and when it started (see hook.StartOf). The number alone
// may be another's by now.
type holder struct {
	pid     int
	started string
}

// sign writes into the lock, which this process has, who has it.
func (h home) sign() error {
	pid := os.Getpid()
	started, _ := hook.StartOf(pid)
	return os.WriteFile(h.file("lock"), fmt.Appendf(nil, "%d %s\n", pid, started), 0o600)
}

// holder returns who has signed the lock last. The zero one is nobody.
func (h home) holder() (who holder, err error) {
	data, err := os.ReadFile(h.file("lock"))
	if err != nil {
		return who, err
	}
	if n, _ := fmt.Sscanf(string(data), "%d %s\n", &who.pid, &who.started); n != 2 || who.pid <= 0 {
		return holder{}, nil // it is not signed yet
	}
	return who, nil
}

// end asks a process to end, if it still runs.
func (who holder) end() error {
	p, err := os.FindProcess(who.pid) // by a pidfd: from here on the number cannot become another process's
	if err != nil {
		return err
	}
	defer p.Release()
	if started, alive := hook.StartOf(who.pid); !alive || started != who.started {
		return nil
	}
	if err := p.Signal(unix.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// take ends the session that goes on, if one does, and takes the lock. The error wraps os.ErrDeadlineExceeded if the session goes
// on for longer than wait.
func (h home) take(ctx context.Context, wait time.Duration) (release func(), err error) {
	ctx, stop := context.WithTimeoutCause(ctx, wait, os.ErrDeadlineExceeded)
	defer stop()
	var asked holder
	for {
		const pause = 50 * time.Millisecond
		if release, err = h.lock(ctx, pause); err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return release, err
		}
		who, err := h.holder()
		if err == nil && who != asked {
			asked, err = who, who.end()
		}
		if err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("the recorder, process %d by %s, does not end: %w", who.pid, h.file("lock"), context.Cause(ctx))
		}
	}
}
