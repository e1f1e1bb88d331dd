package source

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A watch waits for changes of a file and of the names in its directory (inotify(7)).
//
// github.com/fsnotify/fsnotify tells each event to a goroutine of its own. Here only that there was one matters, and that
// the wait can end.
type watch struct {
	events *polled
	of     int // the watch of the file; -1 without one
	buf    [4096]byte
}

func newWatch(dir string) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be followed: %w", dir, os.NewSyscallError("inotify_init1", err))
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_MOVED_FROM|unix.IN_ONLYDIR); err != nil {
		return nil, errors.Join(fmt.Errorf("%s cannot be followed: %w", dir, os.NewSyscallError("inotify_add_watch", err)), unix.Close(fd))
	}
	events, err := newPolled(fd, "changes of "+dir)
	if err != nil {
		return nil, err
	}
	return &watch{events: events, of: -1}, nil
}

// file watches an open file instead of the one before.
func (w *watch) file(f *os.File) error {
	var of int
	_, err := w.events.try(func(fd int) (int, error) {
		if w.of >= 0 {
			_, _ = unix.InotifyRmWatch(fd, uint32(w.of)) // it fails if the file is gone
		}
		raw, err := f.SyscallConn()
		if err != nil {
			return 0, err
		}
		var added error
		err = raw.Control(func(file uintptr) {
			of, added = unix.InotifyAddWatch(fd, fmt.Sprintf("/proc/self/fd/%d", file), unix.IN_MODIFY)
		})
		return 0, errors.Join(err, added)
	})
	if err != nil {
		return fmt.Errorf("%s cannot be followed: %w", f.Name(), err)
	}
	w.of = of
	return nil
}

// wait returns when something has changed since the last wait.
func (w *watch) wait(ctx context.Context) error {
	_, err := w.events.wait(ctx, func(fd int) (int, error) { return unix.Read(fd, w.buf[:]) })
	return err
}

func (w *watch) Close() error { return w.events.file.Close() }
