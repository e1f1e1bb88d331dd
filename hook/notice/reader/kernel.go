package reader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
)

// readKernel reads the kernel's log. One read(2) returns one record (Documentation/ABI/testing/dev-kmsg). The log begins at
// the boot, or later if older records were overwritten.
func (r Reader) readKernel(ctx context.Context, q Query, each func(notice.Notice) error, warn func(string)) error {
	fd, err := unix.Open(r.Log.Kernel, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		err = &fs.PathError{Op: "open", Path: r.Log.Kernel, Err: err}
		return fmt.Errorf("no journal runs, and the kernel's log cannot be read: %w", err)
	}
	defer unix.Close(fd)
	ended, done, err := endOf(ctx)
	if err != nil {
		return err
	}
	defer done()
	buf := make([]byte, 16<<10) // a record has at most 8 KiB
	for ctx.Err() == nil {
		got, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EPIPE): // the next read goes on after the gap
			warn("the kernel's log was overwritten faster than it could be read: notices may be missing")
		case errors.Is(err, unix.EAGAIN) && q.Follow:
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(ended), Events: unix.POLLIN}}, -1)
		case errors.Is(err, unix.EAGAIN), err == nil && got == 0:
			return nil
		case err != nil:
			return fmt.Errorf("reading the kernel's log: %w", &fs.PathError{Op: "read", Path: r.Log.Kernel, Err: err})
		default:
			n, ok := parseRecord(string(buf[:got]), booted())
			if !ok || n.Time.Before(q.Since) {
				continue
			}
			if err := each(n); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// endOf returns a descriptor that can be read when ctx has ended, for poll(2), so that a wait needs no waking up to ask.
func endOf(ctx context.Context) (fd int, done func(), err error) {
	fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, nil, fmt.Errorf("waiting for the kernel's log: %w", err)
	}
	written := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(written)
		_, _ = unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // a counter of eight bytes that is 0 takes any
	})
	return fd, func() {
		if !stop() {
			<-written
		}
		unix.Close(fd)
	}, nil
}

// booted returns when the kernel's log began to count time. Like that log, it does not count time in suspend.
func booted() time.Time {
	var up unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &up) // it fails only for a clock that does not exist
	return time.Now().Add(-time.Duration(up.Nano()))
}

// parseRecord makes a notice of a record: "PRIORITY,NUMBER,MICROSECONDS,FLAGS[,...];TEXT", then lines of properties.
func parseRecord(record string, booted time.Time) (n notice.Notice, ok bool) {
	head, text, ok := strings.Cut(record, ";")
	fields := strings.Split(head, ",")
	if !ok || len(fields) < 4 {
		return n, false
	}
	priority, err1 := strconv.ParseUint(fields[0], 10, 32)
	at, err2 := strconv.ParseInt(fields[2], 10, 64)
	if err1 != nil || err2 != nil || at < 0 || at > int64(1<<62)/int64(time.Microsecond) || priority>>3 != notice.Facility {
		return n, false
	}
	text, _, _ = strings.Cut(text, "\n")
	if !strings.HasPrefix(text, notice.Identifier+": ") {
		return n, false
	}
	if n, ok = notice.ParseLine(unescape(text)); ok {
		n.Time = booted.Add(time.Duration(at) * time.Microsecond).Round(time.Millisecond).UTC() // booted is not known better
	}
	return n, ok
}

// unescape undoes the kernel's escaping: a byte that is not printable ASCII, or a backslash, is \x and two hexadecimal
// digits.
func unescape(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, `\x`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if c, err := strconv.ParseUint(after[:min(2, len(after))], 16, 8); err == nil && len(after) >= 2 {
			b.WriteByte(byte(c))
			s = after[2:]
			continue
		}
		b.WriteString(`\x`)
		s = after
	}
}
