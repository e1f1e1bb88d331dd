package source

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/audit"
)

const (
	// readLog is the group of processes that get a copy of each record (AUDIT_NLGRP_READLOG, include/uapi/linux/audit.h).
	readLog = 1

	// longestMessage is more than a message can have: MAX_AUDIT_MESSAGE_LENGTH, include/uapi/linux/audit.h, and its header.
	longestMessage = 16 << 10

	// room is the memory in which the kernel keeps records until we read them. One takes about 900 bytes of it. The kernel
	// takes the memory only as it is needed.
	room = 16 << 20
)

// A multicast is the audit socket, from which each reader gets all records, whether there is an auditd or not.
//
// github.com/mdlayher/netlink and github.com/elastic/go-libaudit read the same socket. But neither says who sent a message,
// which a process with CAP_NET_ADMIN can, too; the former allocates for each message, and the latter cannot be stopped.
type multicast struct {
	origin
	socket  *polled
	o       Options
	buf     [longestMessage]byte
	raised  uint32 // what the backlog limit was before we raised it
	lost    losses
	counter lostCounter

	serial   uint64 // of the last record of any kind
	overruns uint64 // how often records were lost that come after it; of each time, one is counted

	rate rate // of messages
}

func (h *Host) openMulticast(o Options) (Source, error) {
	if !o.Follow {
		return nil, errors.New("the audit socket has no past: it can only be followed")
	}
	fd, err := auditSocket(unix.SOCK_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("the audit socket cannot be opened: %w", err)
	}
	// Without CAP_NET_ADMIN the kernel gives what net.core.rmem_max allows.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, room)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (readLog - 1)}); err != nil {
		return nil, errors.Join(fmt.Errorf("the audit socket cannot be read: %w%s", os.NewSyscallError("bind", err), needs(err, "CAP_AUDIT_READ")), unix.Close(fd))
	}
	m, err := h.newMulticast(fd, o)
	if err != nil {
		return nil, err
	}
	if err := m.raise(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// newMulticast takes over a socket.
func (h *Host) newMulticast(fd int, o Options) (*multicast, error) {
	socket, err := newPolled(fd, "audit socket")
	if err != nil {
		return nil, err
	}
	m := &multicast{origin: origin{host: h, name: Multicast}, socket: socket, counter: h.newLostCounter()}
	if o.past() {
		m.lost.add("the audit socket, which has no past: of what was before it was opened, it has nothing", 0, true)
	}
	if o.Since.Before(time.Now()) {
		o.Since = time.Time{} // whatever comes is newer, even if the kernel's clock is late
	}
	m.o = o
	return m, nil
}

// raise raises the kernel's backlog to what the operator asked for.
func (m *multicast) raise() error {
	if have := m.counter.first.BacklogLimit; m.o.Backlog > have && have > 0 {
		if err := setBacklogLimit(m.o.Backlog); err != nil {
			return err
		}
		m.raised = have
	}
	return nil
}

// Close gives the backlog back, unless somebody else has changed it since.
func (m *multicast) Close() error {
	err := m.socket.file.Close()
	if m.raised == 0 {
		return err
	}
	if now, failed := m.host.Status(); failed == nil && now.BacklogLimit == m.o.Backlog {
		err = errors.Join(err, setBacklogLimit(m.raised))
	}
	m.raised = 0
	return err
}

func (m *multicast) Lost() []Loss { return append(m.lost.all(), m.counter.lost()...) }

// shift is where a message is put, so that the words of the kernel's log fit in the place of its header.
const shift = len("audit: type=1400 ") - unix.SizeofNlMsghdr

func (m *multicast) Next(ctx context.Context, e *Entry) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, from, err := m.receive(ctx)
		if err == nil || errors.Is(err, unix.ENOBUFS) {
			m.came()
		}
		switch {
		case errors.Is(err, unix.ENOBUFS):
			m.overrun()
		case err != nil && ctx.Err() != nil:
			return err
		case err != nil:
			return fmt.Errorf("reading the audit socket: %w", err)
		case fromKernel(from) && m.message(n, e):
			return nil
		}
	}
}

// receive waits for a message.
func (m *multicast) receive(ctx context.Context) (n int, from unix.Sockaddr, err error) {
	read := func(fd int) (n int, err error) {
		n, from, err = unix.Recvfrom(fd, m.buf[shift:], 0)
		return n, err
	}
	if m.rate.high(time.Now) {
		if n, err = m.socket.try(read); !errors.Is(err, unix.EAGAIN) {
			return n, from, err
		}
		rest(ctx)
	}
	n, err = m.socket.wait(ctx, read)
	return n, from, err
}

// message reads a message of n bytes, and reports whether it is a record to be returned. The header's length is not used:
// some kernels count the header, and some do not. A message is one record.
func (m *multicast) message(n int, e *Entry) bool {
	if n < unix.SizeofNlMsghdr {
		return false
	}
	of := binary.NativeEndian.Uint16(m.buf[shift+4:])
	body := m.buf[shift+unix.SizeofNlMsghdr : shift+n]
	m.count(body)
	if !apparmors(of) {
		return false
	}
	line := append(strconv.AppendUint(append(m.buf[:0], "audit: type="...), uint64(of), 10), ' ')
	line = append(line, body...) // which stands there already
	if _, ok := e.Record.Parse(bytes.TrimRight(line, "\x00\n")); !ok || !m.o.wants(&e.Record) {
		return false
	}
	e.Kernel = e.Record.Carrier == audit.Kernel || e.Record.Carrier == audit.User && m.host.fromDBus(&e.Record)
	return true
}

// apparmors reports whether a message of this type can be of AppArmor: AUDIT_AVC, AUDIT_USER_AVC and AUDIT_APPARMOR_*
// (include/uapi/linux/audit.h). Processes can send no others of these types than AUDIT_USER_AVC.
func apparmors(of uint16) bool { return of == 1400 || of == 1107 || 1500 <= of && of < 1600 }

// overran is who loses what came while the socket was full.
const overran = "the audit socket, as more came than it keeps until it is read"

// overrun notes that the socket was full. The kernel says so before it gives what the socket has kept, and drops all that comes until
// that has been read (netlink_overrun, net/netlink/af_netlink.c).
func (m *multicast) overrun() {
	m.lost.add(overran, 1, true) // so that each time makes another loss of it
	m.overruns++
}

// count looks how many records are missing before one, when some are. All kinds of records have numbers of one row.
func (m *multicast) count(b []byte) {
	_, serial, ok := audit.Stamp(b)
	if !ok {
		return
	}
	if m.overruns > 0 && m.serial > 0 && serial > m.serial+1 {
		m.lost.add(overran, max(serial-m.serial-1, m.overruns)-m.overruns, true)
		m.overruns = 0
	}
	m.serial = max(m.serial, serial)
}
