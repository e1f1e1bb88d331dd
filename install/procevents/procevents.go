// Package procevents notes in which control group each process of the node begins, so that its container is known also when it
// has ended at once.
//
// It has this from the kernel's process events connector (Documentation/driver-api/connector.rst), which sends an event before a
// new process runs its first instruction: whatever the process does comes later. Nothing wakes up while no process begins.
// github.com/vishvananda/netlink reads the same events; but with it threads and exits wake the reader, too, and what has come
// so far cannot be waited for.
package procevents

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
	"unique"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// mostKept bounds the processes that are kept: of more, the oldest are forgotten.
const mostKept = 1 << 16

// A Watch notes processes from Open to Close.
type Watch struct {
	cgroup func(pid int) string
	file   *os.File
	socket syscall.RawConn

	mu    sync.Mutex
	buf   []byte
	begun map[int]begun
	order [mostKept]int // their pids, in a ring
	next  int
	gap   bool  // events are missing before those that come
	ended error // why no more come
}

// begun is a process that has begun.
type begun struct {
	at    time.Duration         // by CLOCK_MONOTONIC
	group unique.Handle[string] // as far as is known
}

// Numbers of include/uapi/linux/cn_proc.h and connector.h.
const (
	idxProc, valProc = 1, 1
	listen           = 1 // PROC_CN_MCAST_LISTEN

	none     = 0 // the answer to listen
	fork     = 1
	executed = 2
)

// Where the parts of a message are: struct nlmsghdr, struct cn_msg, struct proc_event.
const (
	atWhat      = unix.SizeofNlMsghdr + 20
	atTime      = atWhat + 8
	atData      = atWhat + 16
	atChild     = atData + 8  // of fork: pid, and that of its first thread
	atExecuting = atData + 4  // of exec: the pid of the first thread
	length      = atData + 24 // of all
)

// Open begins to note processes. cgroup returns the path of a process's control group, or "" if the process is not there: see
// kernel.Kernel.Cgroup. The error wraps fs.ErrPermission without CAP_NET_ADMIN. In namespaces of processes or users other than
// the node's, and with a kernel that was built without CONFIG_PROC_EVENTS, it says so.
func Open(ctx context.Context, cgroup func(pid int) string) (*Watch, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_CONNECTOR)
	if err != nil {
		return nil, fmt.Errorf("the kernel's process events cannot be read: %w", os.NewSyscallError("socket", err))
	}
	if err := prepare(fd); err != nil {
		return nil, errors.Join(fmt.Errorf("the kernel's process events cannot be read: %w", err), unix.Close(fd))
	}
	return watch(ctx, fd, cgroup)
}

// watch takes over a socket by which the answer and the events come.
func watch(ctx context.Context, fd int, cgroup func(pid int) string) (*Watch, error) {
	w := &Watch{cgroup: cgroup, buf: make([]byte, 4096), begun: make(map[int]begun), file: os.NewFile(uintptr(fd), "process events")}
	var err error
	if w.socket, err = w.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, w.file.Close())
	}
	answered := make(chan error, 1)
	go w.follow(answered)
	const patience = time.Second
	ctx, stop := context.WithTimeoutCause(ctx, patience, errors.New("the kernel sends no process events: it was built without them "+
		"(CONFIG_PROC_EVENTS), or this runs in another namespace than the node's"))
	defer stop()
	select {
	case err = <-answered:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// prepare has the events come that matter.
func prepare(fd int) error {
	filter := filter()
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	const room = 4 << 20                                                   // some 5,000 events
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room) // what is missing then is noticed
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: idxProc}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	return os.NewSyscallError("sendto", unix.Sendto(fd, request(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
}

// request asks for events.
func request() []byte {
	m := make([]byte, atWhat+4)
	order := binary.NativeEndian
	order.PutUint32(m[0:], uint32(len(m)))
	order.PutUint16(m[4:], unix.NLMSG_DONE)
	order.PutUint32(m[unix.SizeofNlMsghdr:], idxProc)
	order.PutUint32(m[unix.SizeofNlMsghdr+4:], valProc)
	order.PutUint16(m[unix.SizeofNlMsghdr+16:], 4) // the length of what follows
	order.PutUint32(m[atWhat:], listen)
	return m
}

// filter lets through the answer, forks that make a process and no thread, and execs. So nothing else wakes anybody up. A
// filter reads numbers as the network has them.
func filter() []unix.SockFilter {
	swapped := func(n uint32) uint32 {
		var b [4]byte
		binary.NativeEndian.PutUint32(b[:], n)
		return binary.BigEndian.Uint32(b[:])
	}
	const load, store, equal, equalX, end = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_MISC | unix.BPF_TAX,
		unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_X, unix.BPF_RET | unix.BPF_K
	const all = ^uint32(0)
	return []unix.SockFilter{
		{Code: load, K: atWhat},
		{Code: equal, K: swapped(none), Jt: 6},
		{Code: equal, K: swapped(executed), Jt: 5},
		{Code: equal, K: swapped(fork), Jf: 5},
		{Code: load, K: atChild},
		{Code: store},
		{Code: load, K: atChild + 4},
		{Code: equalX, Jf: 1},
		{Code: end, K: all},
		{Code: end},
	}
}

// Close ends it. Group tells what was known.
func (w *Watch) Close() error { return w.file.Close() }

// follow takes what comes until Close.
func (w *Watch) follow(answered chan<- error) {
	err := w.socket.Read(func(fd uintptr) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.take(int(fd), answered)
		return w.ended != nil
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = cmp.Or(w.ended, err)
	select {
	case answered <- w.ended:
	default:
	}
}

// take takes all that has come. The caller holds mu.
func (w *Watch) take(fd int, answered chan<- error) {
	for w.ended == nil {
		var from unix.Sockaddr
		n, err := safefile.IgnoringEINTR(func() (n int, err error) {
			n, from, err = unix.Recvfrom(fd, w.buf, unix.MSG_DONTWAIT)
			return n, err
		})
		switch {
		case errors.Is(err, unix.EAGAIN):
			w.gap = false
			return
		case errors.Is(err, unix.ENOBUFS):
			w.overrun()
		case err != nil:
			w.ended = fmt.Errorf("reading the kernel's process events: %w", err)
		default:
			if a, ok := from.(*unix.SockaddrNetlink); ok && a.Pid == 0 {
				w.event(w.buf[:n], answered)
			}
		}
	}
}

// overrun forgets all processes: a pid that is known may be another process's by now. The kernel says that the socket was full
// before it gives what the socket has kept, and drops all that comes until that has been read (netlink_overrun,
// net/netlink/af_netlink.c). So events are missing until nothing is left to be read.
func (w *Watch) overrun() {
	clear(w.begun)
	w.gap = true
}

// event takes one message.
func (w *Watch) event(m []byte, answered chan<- error) {
	if len(m) < length {
		return
	}
	number := func(at int) int { return int(int32(binary.NativeEndian.Uint32(m[at:]))) }
	what := number(atWhat)
	if w.gap && what != none { // whatever it says may be over
		return
	}
	switch what {
	case none:
		var err error
		if code := number(atData); code != 0 {
			err = fmt.Errorf("the kernel sends no process events: %w", unix.Errno(code))
		}
		select {
		case answered <- err:
		default: // the answer to somebody else
		}
	case fork:
		group := w.cgroup(number(atChild))
		if group == "" { // it has ended, and began where its parent is
			parent := number(atData + 4)
			if known, ok := w.begun[parent]; ok {
				group = known.group.Value()
			} else {
				group = w.cgroup(parent)
			}
		}
		w.note(number(atChild), time.Duration(binary.NativeEndian.Uint64(m[atTime:])), group)
	case executed: // until then, a runtime may have moved it to where it belongs
		pid := number(atExecuting)
		if known, ok := w.begun[pid]; ok {
			if group := w.cgroup(pid); group != "" {
				w.begun[pid] = begun{known.at, unique.Make(group)}
			}
		}
	}
}

// note notes a process that has begun.
func (w *Watch) note(pid int, at time.Duration, group string) {
	if old := w.order[w.next]; old != 0 && len(w.begun) >= mostKept {
		delete(w.begun, old)
	}
	w.order[w.next] = pid
	w.next = (w.next + 1) % mostKept
	w.begun[pid] = begun{at, unique.Make(group)}
}

// Group returns the path of the control group of the process that had a pid at a time, as far as is known: that in which it
// executed its last program, or began. ok is false if it began before Open, or before events were missing, or is forgotten.
func (w *Watch) Group(pid int, at time.Time) (group string, ok bool) {
	_ = w.socket.Control(func(fd uintptr) { // it fails only after Close
		w.mu.Lock()
		defer w.mu.Unlock()
		w.take(int(fd), nil)
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	p, ok := w.begun[pid]
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil || !ok {
		return "", false
	}
	began := time.Now().Add(p.at - time.Duration(now.Nano()))
	if began.After(at.Add(clocks)) { // another process had the pid before
		return "", false
	}
	return p.group.Value(), p.group.Value() != ""
}

// clocks is how far the clocks of events and of records can be apart: records have that of the kernel's last tick.
const clocks = 100 * time.Millisecond
