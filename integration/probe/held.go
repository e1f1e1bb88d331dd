package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// What is done under a profile with what was made before the process had it.

// openedUnder has a thread open a file under a profile, change to another one, and do something with the file then.
func openedUnder(first, next, path string, do func(*os.File) error) error {
	return under(first, func() error {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("opening it: %v", err)
		}
		defer f.Close()
		if err := ask(changeprofile + next); err != nil {
			return fmt.Errorf("changing the profile: %v", err)
		}
		return do(f)
	})
}

// lockHeld opens a file under one profile, and locks it, in both ways that there are, under another one, which need not let
// it be opened. Of a file that an unconfined thread has opened no profile would be asked.
func lockHeld(a arguments) error {
	if len(a) != 3 {
		return errors.New("opened under which profile, and locked under which, and what?")
	}
	return openedUnder(a[0], a[1], a[2], func(f *os.File) error {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_SH); err != nil {
			return err
		}
		return unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_RDLCK})
	})
}

// useHeld opens a file under one profile, and uses it under another one.
func useHeld(a arguments) error {
	if len(a) != 4 {
		return errors.New("opened under which profile, and used under which, and how, and what?")
	}
	switch first, next, how, path := a[0], a[1], a[2], a[3]; how {
	case "read":
		return openedUnder(first, next, path, func(f *os.File) error {
			_, err := unix.Read(int(f.Fd()), make([]byte, 1))
			return err
		})
	case "receive":
		return receiveHeld(first, next, path)
	case "inherit":
		return inheritHeld(first, next, path)
	default:
		return fmt.Errorf("%q is neither read, receive nor inherit", how)
	}
}

// receiveHeld sends a file that was opened under one profile, and receives it under another one. The kernel leaves out of the
// message what the profile does not let through.
func receiveHeld(first, next, path string) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	return under(first, func() error {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("opening it: %v", err)
		}
		defer f.Close()
		if err := unix.Sendmsg(pair[0], []byte("x"), unix.UnixRights(int(f.Fd())), nil, 0); err != nil {
			return fmt.Errorf("sending it: %v", err)
		}
		if err := ask(changeprofile + next); err != nil {
			return fmt.Errorf("changing the profile: %v", err)
		}
		more := make([]byte, unix.CmsgSpace(4))
		_, n, _, _, err := unix.Recvmsg(pair[1], make([]byte, 1), more, unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			return err
		}
		messages, err := unix.ParseSocketControlMessage(more[:n])
		if err != nil {
			return err
		}
		for _, m := range messages {
			if files, err := unix.ParseUnixRights(&m); err == nil && len(files) == 1 {
				return unix.Close(files[0])
			}
		}
		return unix.EACCES
	})
}

// inheritHeld opens a file under one profile, and executes the probe itself under another one, with the file.
func inheritHeld(first, next, path string) error {
	return under(first, func() error {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("opening it: %v", err)
		}
		defer f.Close()
		said, err := outputUnder(next, []*os.File{f}, "inherited")
		switch {
		case err != nil:
			return err
		case said == "errno EACCES":
			return unix.EACCES
		case said != "ok":
			return errors.New(said)
		}
		return nil
	})
}

// outputUnder executes the probe itself under a profile, from a thread that is locked, and returns what it prints.
func outputUnder(profile string, files []*os.File, args ...string) (string, error) {
	cmd, out, err := commandUnder(profile, files, args...)
	if err != nil {
		return "", err
	}
	said := make([]byte, 100)
	n, _ := out.Read(said)
	out.Close()
	return strings.TrimSpace(string(said[:n])), cmd.Wait()
}

// commandUnder starts the probe itself under a profile. What it prints comes from out.
func commandUnder(profile string, files []*os.File, args ...string) (cmd *exec.Cmd, out *os.File, err error) {
	e, err := os.OpenFile("/proc/thread-self/attr/exec", os.O_WRONLY, 0)
	if err != nil {
		return nil, nil, err
	}
	_, err = e.WriteString("exec " + profile)
	e.Close()
	if err != nil {
		return nil, nil, err
	}
	out, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer w.Close()
	cmd = exec.Command("/proc/self/exe", args...)
	cmd.Stdout, cmd.ExtraFiles = w, files
	if err := cmd.Start(); err != nil {
		out.Close()
		return nil, nil, err
	}
	return cmd, out, nil
}

// inherited tells whether the first file beside the standard ones is one: the kernel puts a device, called .null, in the place of a file
// that a profile does not let through. Its name is looked at first, as Linux 6.1 asks the profile about that device, too.
func inherited() error {
	if name, err := os.Readlink("/proc/self/fd/3"); err != nil || strings.HasSuffix(name, "/.null") {
		return cmp.Or(err, error(unix.EACCES))
	}
	var st unix.Stat_t
	if err := unix.Fstat(3, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFCHR {
		return unix.EACCES
	}
	return nil
}

// mapCode maps a file with a protection, and then has it executed, if it is not yet.
func mapCode(path string, protection int) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	m, err := unix.Mmap(int(f.Fd()), 0, 1, protection, unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	defer unix.Munmap(m)
	if protection&unix.PROT_EXEC != 0 {
		return nil
	}
	return unix.Mprotect(m, unix.PROT_READ|unix.PROT_EXEC)
}

// sockets are one without an address, one that listens, with a client that waits to be accepted, and that client.
type sockets struct {
	fresh, listening, connected int
	address                     unix.Sockaddr // of the one that listens
}

// usesOfSockets do one thing with one of them.
var usesOfSockets = map[string]func(sockets) error{
	"bind":        func(s sockets) error { return unix.Bind(s.fresh, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}) },
	"listen":      func(s sockets) error { return unix.Listen(s.fresh, 1) },
	"connect":     func(s sockets) error { return unix.Connect(s.fresh, s.address) },
	"getsockname": func(s sockets) error { _, err := unix.Getsockname(s.fresh); return err },
	"getsockopt": func(s sockets) error {
		_, err := unix.GetsockoptInt(s.fresh, unix.SOL_SOCKET, unix.SO_TYPE)
		return err
	},
	"setsockopt": func(s sockets) error { return unix.SetsockoptInt(s.fresh, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) },
	"accept": func(s sockets) error {
		fd, _, err := unix.Accept(s.listening)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	},
	"getpeername": func(s sockets) error { _, err := unix.Getpeername(s.connected); return err },
	"send":        func(s sockets) error { return unix.Sendto(s.connected, []byte("x"), 0, nil) },
	"receive": func(s sockets) error {
		_, _, err := unix.Recvfrom(s.connected, make([]byte, 1), unix.MSG_DONTWAIT)
		if err == unix.EAGAIN { // nothing was sent
			return nil
		}
		return err
	},
	"shutdown": func(s sockets) error { return unix.Shutdown(s.connected, unix.SHUT_RDWR) },
}

// useSocket makes sockets, and does one thing with one of them under a profile.
func useSocket(profile, how string) error {
	use, ok := usesOfSockets[how]
	if !ok {
		return fmt.Errorf("%q cannot be done with a socket", how)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := net.Dial("tcp4", l.Addr().String()) // which is there to be accepted
	if err != nil {
		return err
	}
	defer c.Close()
	fresh, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fresh)
	listening, err := l.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	defer listening.Close()
	connected, err := c.(*net.TCPConn).File()
	if err != nil {
		return err
	}
	defer connected.Close()
	s := sockets{fresh: fresh, listening: int(listening.Fd()), connected: int(connected.Fd())}
	if s.address, err = unix.Getsockname(s.listening); err != nil {
		return err
	}
	return under(profile, func() error { return use(s) })
}

// toChild does something under a profile to a child that is under another one.
func toChild(childs, from string, do func(pid int) error) error {
	var cmd *exec.Cmd
	var out *os.File
	if err := onThread(func() (err error) {
		cmd, out, err = commandUnder(childs, nil, "hold")
		return err
	}); err != nil {
		return err
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
		out.Close()
	}()
	if n, err := out.Read(make([]byte, 100)); n == 0 { // it is ready
		return fmt.Errorf("the child has ended: %v", err)
	}
	return under(from, func() error { return do(cmd.Process.Pid) })
}
