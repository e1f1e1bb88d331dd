package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// longestKmsg is the size of the longest entry of /dev/kmsg (PRINTK_MESSAGE_MAX, kernel/printk/internal.h, is 2048; older
// kernels had 8192).
const longestKmsg = 16 << 10

// A kmsg reads the kernel's log. One read(2) returns one entry (Documentation/ABI/testing/dev-kmsg).
type kmsg struct {
	origin
	log     *polled
	o       Options
	buf     []byte
	next    uint64 // the number that the next entry should have
	any     bool   // an entry was read
	doubles audit.Doubles
	lost    losses
}

func (h *Host) openKmsg(o Options) (Source, error) {
	fd, err := safefile.IgnoringEINTR(func() (int, error) {
		return unix.Open(h.Kmsg, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, fmt.Errorf("the kernel's log cannot be read: %w%s", &fs.PathError{Op: "open", Path: h.Kmsg, Err: err}, needs(err, "CAP_SYSLOG"))
	}
	return h.newKmsg(fd, o)
}

// newKmsg takes over the descriptor of a kernel's log.
func (h *Host) newKmsg(fd int, o Options) (Source, error) {
	log, err := newPolled(fd, h.Kmsg)
	if err != nil {
		return nil, err
	}
	k := &kmsg{origin: origin{host: h, name: Kmsg}, log: log, o: o, buf: make([]byte, longestKmsg), doubles: audit.NewDoubles()}
	if limit, err := os.ReadFile(h.RateLimit); err != nil || strings.TrimSpace(string(limit)) != "0" {
		k.lost.add("the kernel, which writes only ten messages in five seconds into its log (kernel.printk_ratelimit)", 0, true)
	}
	if s, err := h.Status(); err == nil && s.Auditd != 0 {
		k.lost.add(fmt.Sprintf("the kernel's log, as the kernel gives its records to auditd instead (process %d)", s.Auditd), 0, true)
	}
	return k, nil
}

// needs is what to say behind an error of missing rights.
func needs(err error, capability string) string {
	if errors.Is(err, fs.ErrPermission) {
		return ": run this as root, outside of containers or with " + capability
	}
	return ""
}

func (k *kmsg) Lost() []Loss { return k.lost.all() }
func (k *kmsg) Close() error { return k.log.file.Close() }

func (k *kmsg) Next(ctx context.Context, e *Entry) error {
	wait := k.log.wait
	if !k.o.Follow {
		wait = func(_ context.Context, read func(int) (int, error)) (int, error) { return k.log.try(read) }
	}
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := wait(ctx, func(fd int) (int, error) { return unix.Read(fd, k.buf) })
		switch {
		case errors.Is(err, unix.EPIPE): // the next entry's number says how many are missing
			continue
		case errors.Is(err, unix.EAGAIN) && !k.o.Follow, err == nil && n == 0:
			return io.EOF
		case err != nil && ctx.Err() != nil:
			return err
		case err != nil:
			return fmt.Errorf("reading the kernel's log: %w", &fs.PathError{Op: "read", Path: k.host.Kmsg, Err: err})
		}
		k.came()
		if k.entry(k.buf[:n], e) {
			return nil
		}
	}
}

// entry reads an entry, and reports whether it is a record to be returned.
func (k *kmsg) entry(b []byte, e *Entry) bool {
	k.count(b)
	text, kernel := audit.Kmsg(b)
	if kernel {
		k.limits(text)
	}
	if _, ok := e.Record.Parse(text); !ok || !k.o.wants(&e.Record) {
		return false
	}
	// The kernel also logs what it was given: options of a mount, a message to the audit log. Only what begins with the
	// name of the audit subsystem is its own.
	e.Kernel = kernel && e.Record.Carrier == audit.Kernel && bytes.HasPrefix(text, []byte("audit: type=1"))
	if e.Kernel && k.doubles.Seen(&e.Record) {
		return false
	}
	return true
}

// count looks for entries that are missing before this one.
func (k *kmsg) count(b []byte) {
	fields := bytes.SplitN(b, []byte{','}, 4)
	if len(fields) < 4 {
		return
	}
	number, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		return
	}
	switch {
	case !k.any && number > 0 && k.earlier(fields[2]):
		k.lost.add("the kernel's log, which has overwritten its beginning", 0, true)
	case k.any && number > k.next:
		k.lost.add("the kernel's log, which was overwritten before it could be read", 0, true)
	}
	k.any, k.next = true, number+1
}

// earlier reports whether records of before an entry are asked for, whose time is in microseconds of the kernel's clock.
func (k *kmsg) earlier(micros []byte) bool {
	n, err := strconv.ParseInt(string(micros), 10, 64)
	var up unix.Timespec
	if err != nil || k.o.Since.IsZero() || unix.ClockGettime(unix.CLOCK_MONOTONIC, &up) != nil {
		return true
	}
	return time.Now().Add(time.Duration(n)*time.Microsecond - time.Duration(up.Nano())).After(k.o.Since)
}

// limits looks for what the kernel says of records that it did not log.
func (k *kmsg) limits(text []byte) {
	const suppressed = " callbacks suppressed"
	if before, _, ok := bytes.Cut(text, []byte(suppressed)); ok {
		// printk_ratelimit names the function that logs next, and counts for all that ask it.
		if i := bytes.LastIndexByte(before, ' '); i >= 0 && bytes.Contains(before[:i], []byte("audit")) {
			n, _ := strconv.ParseUint(string(before[i+1:]), 10, 32)
			k.lost.add("the kernel's limit on messages in its log", n, true)
		}
		return
	}
	for _, of := range []string{"audit: rate limit exceeded", "audit: backlog limit exceeded", "audit: audit_lost=", "audit: kauditd hold queue overflow"} {
		if bytes.HasPrefix(text, []byte(of)) {
			k.lost.add("the kernel, as more audit records waited than it keeps, or came than its limit allows", 0, true)
		}
	}
}
