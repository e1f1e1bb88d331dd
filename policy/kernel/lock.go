package kernel

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockWait is how long a start waits for others that load profiles; a load takes less than a hundredth of a second.
const lockWait = 30 * time.Second

// lock makes this process the only one of ours that loads profiles, until release is called or it ends. The file stays:
// its lock counts, not its existence.
func (s *state) lock(ctx context.Context, wait time.Duration) (release func(), err error) {
	path := s.path + "/kernel.lock"
	fd, err := openat(s.fd, "kernel.lock", unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if wait == 0 {
		wait = lockWait
	}
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for pause := time.Millisecond; ; pause = min(2*pause, 16*time.Millisecond) {
		switch err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err {
		case nil:
			return func() { unix.Close(fd) }, nil
		case unix.EINTR:
			continue
		case unix.EWOULDBLOCK:
		default:
			unix.Close(fd)
			return nil, &os.PathError{Op: "lock", Path: path, Err: err}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			unix.Close(fd)
			return nil, fmt.Errorf("waiting for %s: %w", path, context.Cause(ctx))
		case <-timeout.C:
			unix.Close(fd)
			return nil, fmt.Errorf("%s was held by another process for %s, while it takes milliseconds to load a profile:"+
				" find that process with `lslocks` and end it: %w", path, wait, os.ErrDeadlineExceeded)
		}
	}
}
