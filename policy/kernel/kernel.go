// Package kernel is AppArmor in the running kernel. It detects AppArmor, lists the loaded profiles, compares their content
// with what we compiled, and loads and removes profiles.
//
// It knows no policy and runs no program. It keeps its results below Kernel.State, so that the next container start needs
// to read only a number if the kernel has not changed.
package kernel

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Kernel has the paths of AppArmor's files, and of our results. Outside of tests, New sets all fields that must be set.
type Kernel struct {
	FS     string // AppArmor's directory of securityfs
	Module string // AppArmor's parameters
	State  string // ours: verdicts, records of ownership, the lock; made on demand, and gone after a reboot
	BootID string // the file with this boot's id
	Proc   string // where procfs is mounted; empty for /proc

	// WriteReplace stands in for the write to FS/.replace; nil is that write. Its error has the write's errno.
	WriteReplace func(blob []byte) error

	// WriteRemove stands in for the write to FS/.remove.
	WriteRemove func(name string) error

	// QueryAccess stands in for a query of FS/.access. It takes what is written and returns what is read then.
	QueryAccess func(query string) (answer string, err error)

	// OnLoad, unless nil, is told of each profile that Ensure has loaded: its Name, Done and Planned. Ensure may return an
	// error all the same.
	OnLoad func(Loaded)

	lockWait time.Duration                     // how long to wait for another process that loads; 0 is lockWait
	rights   func() (admin bool, initial bool) // what detection asks of this process; nil asks the kernel
}

// New returns the kernel of this machine.
func New() *Kernel {
	return &Kernel{
		FS:     "/sys/kernel/security/apparmor",
		Module: "/sys/module/apparmor/parameters",
		State:  "/run/oci-apparmor",
		BootID: "/proc/sys/kernel/random/boot_id",
	}
}

// Features returns the directory that describes what the kernel can mediate, for profile.ReadFeatures.
func (k *Kernel) Features() string { return k.FS + "/features" }

// profiles returns the directory that has one directory for each loaded profile of this policy namespace.
func (k *Kernel) profiles() string { return k.FS + "/policy/profiles" }

// Revision returns the number that the kernel raises with every profile that is loaded, replaced or removed in this policy
// namespace; 0 before the first. The kernel reads it under the lock under which it changes policy (ns_revision_read,
// security/apparmor/apparmorfs.c). So what is read after Revision is at least as new as the number says.
func (k *Kernel) Revision() (int64, error) {
	// The first read of a namespace without any policy, and every second read, waits for a change. O_NONBLOCK turns
	// that into EAGAIN; package os would go on waiting.
	path := k.FS + "/policy/revision"
	var buf [24]byte
	text, err := readOnce(path, unix.O_NONBLOCK, buf[:])
	if err == unix.EAGAIN {
		return 0, nil
	}
	if err != nil {
		return 0, &os.PathError{Op: "read", Path: path, Err: err}
	}
	revision, err := strconv.ParseInt(string(bytes.TrimSuffix(text, []byte("\n"))), 10, 64)
	if err != nil || revision < 0 {
		return 0, fmt.Errorf("%s: %q is not a revision of AppArmor's policy", path, text)
	}
	return revision, nil
}

// namespace returns an id of this process's policy namespace. Each namespace of a boot counts its own revisions. The id is
// the inode of the directory to which the link policy leads (policy_get_link, security/apparmor/apparmorfs.c).
func (k *Kernel) namespace() (string, error) {
	var stat unix.Stat_t
	path := k.FS + "/policy"
	if err := unix.Stat(path, &stat); err != nil {
		return "", &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return strconv.FormatUint(stat.Ino, 10), nil
}

// bootID returns the id of this boot.
func (k *Kernel) bootID(buf []byte) ([]byte, error) {
	text, err := readOnce(k.BootID, 0, buf)
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: k.BootID, Err: err}
	}
	return bytes.TrimSuffix(text, []byte("\n")), nil
}

// readOnce opens a file, reads it with one read(2), and closes it. It returns the whole content of a kernel file that fits
// into buf, and the beginning of any other file. A caller that must have the whole makes buf larger than the content can
// be, and checks the length. The error is a bare errno.
func readOnce(path string, flags int, buf []byte) ([]byte, error) {
	return readOnceAt(unix.AT_FDCWD, path, flags, buf)
}

func readOnceAt(dir int, path string, flags int, buf []byte) ([]byte, error) {
	fd, err := openat(dir, path, unix.O_RDONLY|flags, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, err
		default:
			return buf[:n], nil
		}
	}
}

func openat(dir int, path string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dir, path, flags|unix.O_CLOEXEC, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}
