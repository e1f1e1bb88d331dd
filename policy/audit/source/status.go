package source

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// Messages of the audit socket (include/uapi/linux/audit.h).
const (
	auditGet = 1000
	auditSet = 1001

	auditStatusBacklogLimit = 0x10 // in audit_status.mask: which one auditSet sets
)

// A Status is what the kernel says of its audit subsystem (struct audit_status, include/uapi/linux/audit.h).
type Status struct {
	Enabled      uint32 // 0: only the records of AppArmor and its like are made; 1: all; 2: all, and it cannot be changed
	Auditd       uint32 // the process that takes the records; 0 if there is none
	RateLimit    uint32 // messages a second; 0 for no limit
	BacklogLimit uint32 // how many records wait at most
	Lost         uint32 // since the boot, or since somebody set it back
	Backlog      uint32 // how many wait
}

// statusSize is the length of what is read of struct audit_status, which new kernels made longer.
const statusSize = 8 * 4

// ErrNoAudit is the error if the kernel has no audit subsystem, or was told at boot not to use it (audit=0). Then there are
// no records anywhere.
var ErrNoAudit = errors.New("the kernel makes no audit records: it was booted with audit=0, or is built without them")

// ReadStatus asks the kernel. The error wraps fs.ErrPermission without CAP_AUDIT_CONTROL, and in a container, or ErrNoAudit.
func ReadStatus() (s Status, err error) {
	b, err := exchange(auditGet, nil)
	if err != nil {
		return s, fmt.Errorf("asking the kernel for the state of its audit records: %w", err)
	}
	word := func(n int) uint32 { return binary.NativeEndian.Uint32(b[4*n:]) }
	return Status{Enabled: word(1), Auditd: word(3), RateLimit: word(4), BacklogLimit: word(5), Lost: word(6), Backlog: word(7)}, nil
}

// setBacklogLimit sets how many records wait at most.
func setBacklogLimit(n uint32) error {
	var b [statusSize]byte
	binary.NativeEndian.PutUint32(b[0:], auditStatusBacklogLimit)
	binary.NativeEndian.PutUint32(b[4*5:], n)
	if _, err := exchange(auditSet, b[:]); err != nil {
		return fmt.Errorf("setting how many audit records the kernel keeps: %w", err)
	}
	return nil
}

// auditSocket returns a socket of the audit subsystem.
func auditSocket(flags int) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|flags, unix.NETLINK_AUDIT)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return -1, ErrNoAudit
	}
	return fd, os.NewSyscallError("socket", err)
}

// exchange sends a request to the kernel, and waits until it is answered or, for what is not asked, acknowledged.
func exchange(kind uint16, request []byte) (answer []byte, err error) {
	fd, err := auditSocket(0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	const patience = 5 // seconds
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: patience}); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	message := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(request))
	binary.NativeEndian.PutUint32(message[0:], uint32(cap(message)))
	binary.NativeEndian.PutUint16(message[4:], kind)
	binary.NativeEndian.PutUint16(message[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	binary.NativeEndian.PutUint32(message[8:], 1)
	if err := unix.Sendto(fd, append(message, request...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	buf := make([]byte, longestMessage)
	for {
		var from unix.Sockaddr
		n, err := safefile.IgnoringEINTR(func() (n int, err error) {
			n, from, err = unix.Recvfrom(fd, buf, 0)
			return n, err
		})
		if errors.Is(err, unix.EAGAIN) {
			return nil, errors.New("the kernel does not answer")
		}
		if err != nil {
			return nil, os.NewSyscallError("recvfrom", err)
		}
		if !fromKernel(from) || n < unix.SizeofNlMsghdr {
			continue
		}
		body := buf[unix.SizeofNlMsghdr:n]
		switch of := binary.NativeEndian.Uint16(buf[4:]); {
		case of == unix.NLMSG_ERROR && len(body) >= 4:
			if code := int32(binary.NativeEndian.Uint32(body)); code != 0 {
				return nil, unix.Errno(-code)
			}
			if kind != auditGet {
				return nil, nil
			}
		case of == auditGet && kind == auditGet && len(body) >= statusSize:
			return body, nil
		}
	}
}

// fromKernel reports whether the kernel sent a message, and not a process with CAP_NET_ADMIN.
func fromKernel(from unix.Sockaddr) bool {
	a, ok := from.(*unix.SockaddrNetlink)
	return ok && a.Pid == 0
}
