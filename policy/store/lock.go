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
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// LockWait is how long Store.Lock waits for another apply to end. An apply that compiles a thousand profiles takes
// less.
const LockWait = 2 * time.Minute

// A Lock is the right to change the store. While a process holds it, no other process can apply a policy.
type Lock struct {
	store   Store
	dir     int // the store's directory
	release func()

	// step is called before every change to the disk with what comes next. Tests end the process in it.
	step func(what string) error
}

// Lock creates the store's directory if it is missing, and takes the lock. It waits for another process at most
// LockWait. A caller that reads the policy file while it holds the lock knows that nobody applies an older reading of
// the file after it.
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
	release, err := safefile.Lock(ctx, dir, "lock", LockWait)
	if err != nil {
		unix.Close(dir)
		return nil, lockError(filepath.Join(s.Dir, "lock"), err)
	}
	return &Lock{store: s, dir: dir, release: release, step: func(string) error { return nil }}, nil
}

func lockError(path string, err error) error {
	if errors.As(err, new(*fs.PathError)) {
		return fmt.Errorf("the store's lock %s: %w", path, err)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("still so after %v: %w", LockWait, err)
	}
	return fmt.Errorf("another oci-apparmor policy apply holds %s: %w (fuser %s names it)", path, err, path)
}

// Unlock releases the lock.
func (l *Lock) Unlock() {
	l.release()
	unix.Close(l.dir)
}

// Apply takes the lock, applies p as Lock.Apply does, and releases the lock.
func (s Store) Apply(ctx context.Context, p *policy.Config, c Compiler, m Manifest, report func(Progress)) (*Generation,
	bool, error) {
	l, err := s.Lock(ctx)
	if err != nil {
		return nil, false, err
	}
	defer l.Unlock()
	return l.Apply(ctx, p, c, m, report)
}
