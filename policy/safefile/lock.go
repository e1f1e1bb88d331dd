package safefile

import (
	"context"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Lock waits for the lock of the file name, which is relative to the open directory dir or to Cwd, and takes it. It makes
// the file with mode 0600 if it is missing. It does not follow a link in its place. The file stays, because its lock counts
// and not its existence. The lock ends with release, or with the process.
//
// If wait is 0, Lock waits in the kernel for as long as it takes. Otherwise it tries again and again, until ctx ends or
// wait is over. The error is then context.Cause(ctx), or wraps os.ErrDeadlineExceeded. Any other error is a *fs.PathError.
func Lock(ctx context.Context, dir int, name string, wait time.Duration) (release func(), err error) {
	fd, err := openat(dir, name, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	if err := lock(ctx, fd, wait); err != nil {
		unix.Close(fd)
		if errno, ok := err.(unix.Errno); ok {
			err = &fs.PathError{Op: "lock", Path: name, Err: errno}
		}
		return nil, err
	}
	return func() { unix.Close(fd) }, nil
}

func lock(ctx context.Context, fd int, wait time.Duration) error {
	flock := func(how int) error {
		_, err := IgnoringEINTR(func() (int, error) { return 0, unix.Flock(fd, how) })
		return err
	}
	if wait == 0 {
		return flock(unix.LOCK_EX)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, wait, os.ErrDeadlineExceeded)
	defer cancel()
	for pause := time.Millisecond; ; pause = min(2*pause, 16*time.Millisecond) {
		if err := flock(unix.LOCK_EX | unix.LOCK_NB); err != unix.EWOULDBLOCK {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
