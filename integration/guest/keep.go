package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// cacheDir returns the directory in which images are kept, outside of any checkout.
func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil { // neither HOME nor XDG_CACHE_HOME, as in some CI systems
		base = "/var/cache"
	}
	dir := filepath.Join(base, "oci-apparmor", "guests")
	return dir, os.MkdirAll(dir, 0o755)
}

// thisMonth returns the beginning of the version of what the cache has. Debian updates its packages, so images are made
// anew every month.
func thisMonth() string { return time.Now().UTC().Format("2006-01") }

// cached returns the directory prefix+version in the cache. If it does not exist, cached calls fill for a new
// directory, and then removes directories with the same prefix whose version begins with another month. A directory is
// complete, or it does not exist.
//
// Only one process on a machine fills a directory at a time. A second one waits, and then uses the directory of the
// first. cached writes to progress about it, and calls it what.
func cached(ctx context.Context, progress io.Writer, cache, what, prefix, version string, fill func(dir string) error) (string, error) {
	kept := filepath.Join(cache, prefix+version)
	if exists(kept) {
		return kept, nil
	}
	lock, err := lockFile(ctx, filepath.Join(cache, "lock"), func() {
		fmt.Fprintf(progress, "%s: waiting for another build to finish\n", what)
	})
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if exists(kept) {
		return kept, nil
	}
	fmt.Fprintf(progress, "%s: not built yet; it takes about a minute and is kept in %s\n", what, kept)

	const half = "building-"
	if err := removeMatching(cache, func(name string) bool { return strings.HasPrefix(name, half) }); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(cache, half+prefix)
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if err := fill(dir); err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // whoever may use the cache may boot what root has built
		return "", err
	}
	if err := os.Rename(dir, kept); err != nil {
		return "", err
	}
	return kept, removeMatching(cache, func(name string) bool {
		return strings.HasPrefix(name, prefix) && !strings.HasPrefix(name, prefix+thisMonth())
	})
}

// lockFile takes a lock between processes. Close of the returned file releases it. lockFile calls busy once if another
// process holds the lock.
func lockFile(ctx context.Context, name string, busy func()) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if err != syscall.EWOULDBLOCK {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", name, err)
		}
		if busy != nil {
			busy()
			busy = nil
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(300 * time.Millisecond):
		}
	}
}

func removeMatching(dir string, match func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if match(e.Name()) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return !errors.Is(err, fs.ErrNotExist)
}
