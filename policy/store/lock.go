package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy"
)

// LockWait is how long Lock waits for another apply to end. Compiling a thousand profiles takes less.
const LockWait = 2 * time.Minute

// Lock is the right to change the store. While it is held nobody else applies a policy.
type Lock struct {
	store Store
	dir   int // the store's directory
	file  int

	// step is called before every change to the disk with what comes next. Tests end the process in it.
	step func(what string) error
}

// Lock makes the store's directory where it is missing and takes the lock, at most LockWait from now. A caller that
// reads the policy file while it holds the lock knows that no older policy is applied after its own.
func (s Store) Lock(ctx context.Context) (*Lock, error) {
	for _, d := range []string{s.Dir, filepath.Join(s.Dir, "generations"), filepath.Join(s.Dir, "blobs")} {
		if err := os.Mkdir(d, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("making the store: %w", err)
		}
	}
	dir, err := s.openDir()
	if err != nil {
		return nil, fmt.Errorf("the store: %w", err)
	}
	for _, d := range []string{"generations", "blobs"} {
		if err := checkDir(dir, d); err != nil {
			unix.Close(dir)
			return nil, fmt.Errorf("the store %s: %w", s.Dir, err)
		}
	}
	path := filepath.Join(s.Dir, "lock")
	file, err := unix.Openat(dir, "lock", unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		unix.Close(dir)
		return nil, fmt.Errorf("the store's lock: %w", &fs.PathError{Op: "open", Path: path, Err: err})
	}
	l := &Lock{store: s, dir: dir, file: file, step: func(string) error { return nil }}
	if err := l.wait(ctx, path); err != nil {
		l.Unlock()
		return nil, err
	}
	return l, nil
}

// wait asks for the lock again and again: a flock that waits in the kernel would not end with ctx.
func (l *Lock) wait(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, LockWait, fmt.Errorf("still so after %v", LockWait))
	defer cancel()
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		err := unix.Flock(l.file, unix.LOCK_EX|unix.LOCK_NB)
		switch err {
		case nil:
			return nil
		case unix.EINTR:
			continue
		case unix.EWOULDBLOCK:
		default:
			return fmt.Errorf("the store's lock: %w", &fs.PathError{Op: "flock", Path: path, Err: err})
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("another oci-apparmor policy apply holds %s: %w (fuser %s names it)",
				path, context.Cause(ctx), path)
		case <-time.After(pause):
		}
	}
}

// Unlock gives the lock back.
func (l *Lock) Unlock() {
	unix.Close(l.file)
	unix.Close(l.dir)
}

// Apply takes the lock and applies p (Lock.Apply).
func (s Store) Apply(ctx context.Context, p *policy.Policy, c Compiler, m Manifest, report func(Progress)) (*Generation,
	bool, error) {
	l, err := s.Lock(ctx)
	if err != nil {
		return nil, false, err
	}
	defer l.Unlock()
	return l.Apply(ctx, p, c, m, report)
}
