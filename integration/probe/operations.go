package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// execute starts a program and waits for it. How the program ends does not matter, nor what it says. What it reads and writes
// are pipes, since a profile may deny /dev/null.
func execute(a arguments) error {
	if len(a) == 0 {
		return errors.New("exec what?")
	}
	in, noInput, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	noInput.Close()
	said, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer said.Close()
	go io.Copy(io.Discard, said)
	cmd := exec.Command(a[0], a[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, out
	err = cmd.Run()
	out.Close()
	if errors.As(err, new(*exec.ExitError)) {
		err = nil
	}
	return err
}

// open opens a file for what mode says and closes it. It makes none and cuts none off, so that one of the kernel's, with
// which a write would do something, can be tried.
func open(path, mode string) error {
	flags, ok := map[string]int{"r": unix.O_RDONLY, "w": unix.O_WRONLY, "rw": unix.O_RDWR}[mode]
	if !ok {
		return fmt.Errorf("%q is neither r, w nor rw", mode)
	}
	return opened(path, flags)
}

// opened opens a file that is there and closes it.
func opened(path string, flags int) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// atSecure returns what the kernel told the program at its start. It reads no file, which a profile could deny.
func atSecure() (string, error) {
	const secure = 23 // AT_SECURE, linux/auxvec.h
	vector, err := unix.Auxv()
	for _, entry := range vector {
		if entry[0] == secure {
			return strconv.FormatUint(uint64(entry[1]), 10), err
		}
	}
	return "", errors.Join(errors.New("the kernel told of no AT_SECURE"), err)
}

func lock(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_SH)
}

// chown gives a file to a user, and leaves its group.
func chown(path, user string) error {
	uid, err := strconv.Atoi(user)
	if err != nil {
		return err
	}
	return unix.Chown(path, uid, -1)
}

// limitFiles sets both limits of the number of open files.
func limitFiles(number string) error {
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return err
	}
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: n})
}

// mountAs mounts a file system of a type, with flags by their number.
func mountAs(a arguments) error {
	if len(a) != 4 {
		return errors.New("a source, a target, a type and flags belong to mount-as")
	}
	flags, err := strconv.ParseUint(a[3], 10, 32)
	if err != nil {
		return err
	}
	return unix.Mount(a[0], a[1], a[2], uintptr(flags), "")
}

func moveMount(from, to string) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, from, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.MoveMount(fd, "", unix.AT_FDCWD, to, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

func socket(family, kind string) error {
	f, known := map[string]int{
		"alg": unix.AF_ALG, "inet": unix.AF_INET, "inet6": unix.AF_INET6, "netlink": unix.AF_NETLINK, "packet": unix.AF_PACKET,
		"unix": unix.AF_UNIX, "vsock": unix.AF_VSOCK,
	}[family]
	k, ok := map[string]int{
		"stream": unix.SOCK_STREAM, "dgram": unix.SOCK_DGRAM, "raw": unix.SOCK_RAW, "seqpacket": unix.SOCK_SEQPACKET,
	}[kind]
	if !known || !ok {
		return fmt.Errorf("no socket is called %s %s", family, kind)
	}
	protocol := 0
	if kind == "raw" && family != "netlink" {
		protocol = unix.IPPROTO_ICMP
	}
	fd, err := unix.Socket(f, k|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// unixSocket does something with a new unix socket and an address.
func unixSocket(address string, do func(int, unix.Sockaddr) error) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return do(fd, &unix.SockaddrUnix{Name: address})
}

// listening are the sockets that unixListen has made.
var listening []net.Listener

// unixListen listens for as long as the process lives.
func unixListen(address string) error {
	l, err := net.Listen("unix", address)
	listening = append(listening, l)
	return err
}

func abstractUnix() error {
	const address = "@oci-apparmor-probe"
	l, err := net.Listen("unix", address)
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := net.Dial("unix", address)
	if err != nil {
		return err
	}
	return c.Close()
}

func mqOpen() error {
	name, err := unix.BytePtrFromString("probe") // libc takes off the slash
	if err != nil {
		return err
	}
	fd, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(name)), unix.O_CREAT|unix.O_RDWR, 0o600, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	defer unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(name)), 0, 0)
	return unix.Close(int(fd))
}

// unshare makes the namespace for a child: a process with several threads cannot have a user namespace.
func unshare(what string) error {
	body, ok := map[string]func(){"user": unshareUser, "mount": unshareMount}[what]
	if !ok {
		return fmt.Errorf("%q is neither user nor mount", what)
	}
	child, err := fork(body)
	if err != nil {
		return err
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(child, &status, 0, nil); err != nil {
		return err
	}
	if !status.Exited() {
		return errors.New("the child was killed")
	}
	return syscall.Errno(status.ExitStatus())
}

//go:norace
//go:nosplit
func unshareUser() { unshareAndExit(unix.CLONE_NEWUSER) }

//go:norace
//go:nosplit
func unshareMount() { unshareAndExit(unix.CLONE_NEWNS) }

// unshareAndExit exits with the errno.
//
//go:norace
//go:nosplit
func unshareAndExit(flags uintptr) {
	_, _, errno := syscall.RawSyscall(syscall.SYS_UNSHARE, flags, 0, 0)
	for {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, uintptr(errno), 0, 0)
	}
}

func ioURing() error {
	var params [120]byte                            // struct io_uring_params, include/uapi/linux/io_uring.h
	*(*uint32)(unsafe.Pointer(&params[8])) = 1 << 1 // its flags: IORING_SETUP_SQPOLL
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		return errno
	}
	return unix.Close(int(fd))
}

// changeProfile asks on a thread that ends with what it got.
func changeProfile(name string) error { return asked("/proc/thread-self/attr/exec", "exec "+name) }

// changeHat changes on a thread that ends in the hat.
func changeHat(hat string) error { return asked("/proc/thread-self/attr/current", changehat+hat) }

// asked writes a request to a file of a thread that ends then.
func asked(file, request string) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString(request)
			f.Close()
		}
		done <- err
	}()
	return <-done
}

// stackAndWrite stacks a profile on the label of a thread, which writes to a file and ends.
func stackAndWrite(name, path string) (stacked, written error) {
	done := make(chan bool)
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f, err := os.OpenFile("/proc/thread-self/attr/current", os.O_WRONLY, 0)
		if stacked = err; err == nil {
			_, stacked = f.WriteString("stack " + name)
			f.Close()
		}
		written = attempts["write"](arguments{path})
	}()
	<-done
	return stacked, written
}
