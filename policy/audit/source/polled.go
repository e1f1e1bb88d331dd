package source

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// A polled file is one that is waited for in Go's poller (epoll), so that nothing wakes up until there is something to read.
type polled struct {
	file *os.File
	raw  syscall.RawConn
}

// newPolled takes over a descriptor with O_NONBLOCK.
func newPolled(fd int, name string) (*polled, error) {
	f := os.NewFile(uintptr(fd), name)
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &polled{f, raw}, nil
}

// try calls read once with the descriptor.
func (p *polled) try(read func(fd int) (int, error)) (n int, err error) {
	other := p.raw.Read(func(fd uintptr) bool {
		n, err = safefile.IgnoringEINTR(func() (int, error) { return read(int(fd)) })
		return true
	})
	return n, errors.Join(other, err)
}

// wait calls read with the descriptor until its error is not EAGAIN, or until ctx ends, whose cause is the error then.
func (p *polled) wait(ctx context.Context, read func(fd int) (int, error)) (n int, err error) {
	if n, err = p.try(read); !errors.Is(err, unix.EAGAIN) {
		return n, err
	}
	set := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(set)
		_ = p.file.SetReadDeadline(time.Unix(1, 0)) // it fails only for a file that is closed, which ends the wait, too
	})
	other := p.raw.Read(func(fd uintptr) bool {
		n, err = safefile.IgnoringEINTR(func() (int, error) { return read(int(fd)) })
		return !errors.Is(err, unix.EAGAIN)
	})
	if !stop() {
		<-set
		_ = p.file.SetReadDeadline(time.Time{})
	}
	switch {
	case errors.Is(other, os.ErrDeadlineExceeded):
		return 0, context.Cause(ctx)
	case other != nil:
		return 0, other
	}
	return n, err
}
