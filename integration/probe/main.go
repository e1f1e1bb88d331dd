// Probe is what containers of the tests run. It tries one operation and prints how that went, so that a test sees what
// a profile allows: "ok", or "errno EACCES" with the name of the error. Answers about more than one thing begin with
// its name ("child ok").
//
//	probe label                 prints its own AppArmor label
//	probe secure                prints AT_SECURE, for which a loader scrubs the environment: 0 or 1
//	probe read PATH             opens and reads a file
//	probe write PATH            creates or truncates a file and writes to it
//	probe exec PATH [ARG...]    starts a program and waits for it
//	probe output PATH [ARG...]  starts a program and prints what it prints
//	probe open PATH MODE        opens a file that is there, for "r", "w" or "rw", and does nothing with it
//	probe append PATH           opens a file that is there to append to it
//	probe unlink PATH           removes a file
//	probe link FROM TO          makes a hard link; symlink makes a symbolic one, and rename renames
//	probe chown PATH UID        gives a file to another user
//	probe truncate PATH         cuts a file off
//	probe lock PATH             opens a file for reading and locks it
//	probe lock-held NAME NEXT PATH  opens a file under a profile, and locks it under another one
//	probe use-held NAME NEXT HOW PATH  opens a file under a profile, and under another one reads it, receives it from a socket, or
//	                            has it in a program of its own ("read", "receive", "inherit")
//	probe inherited             tells whether the kernel has left it the file that it was started with
//	probe map-code PATH         opens a file for reading and maps it to be executed; protect-code maps it first, and asks for that later
//	probe socket-held NAME HOW  makes a socket, and under a profile does one thing with it: "bind", "listen", "send", ...
//	probe signal-under NAME FROM  starts a program under a profile, and sends SIGCONT to it under another one; ptrace-under attaches to it
//	probe stat PATH             asks about a file
//	probe rlimit N              limits the number of its open files
//	probe mkdir PATH            makes a directory; rmdir removes one, and chmod takes it from all but its owner
//	probe mount [TARGET]        mounts a tmpfs (on /mnt)
//	probe mount-as SOURCE TARGET TYPE FLAGS  mounts a file system, with the flags' number
//	probe bind FROM TO          mounts a directory in a second place
//	probe move-mount FROM TO    the same by open_tree(2) and move_mount(2)
//	probe umount TARGET         unmounts
//	probe pivot-root DIR [OLD]  makes a directory the root, and puts the old one there, or where OLD is
//	probe socket FAMILY TYPE    makes a socket, such as "inet stream"
//	probe unix-bind ADDRESS     gives a unix socket an address, such as "@abstract"; unix-connect connects one to it
//	probe unix-listen ADDRESS   listens at it for as long as the probe lives
//	probe abstract-unix         listens on an abstract unix socket, and connects to it
//	probe mq-open               makes a POSIX message queue
//	probe unshare user|mount    gives a child a namespace of its own
//	probe io-uring              makes an io_uring whose queue a kernel thread polls
//	probe uring-override NAME   changes to a profile, and has an io_uring do something with the credentials of before
//	probe module                loads a kernel module, which is none
//	probe mknod PATH            makes a device that is as /dev/null
//	probe change-profile NAME   asks for another profile with the next program
//	probe change-hat HAT        changes into a hat, on a thread that ends
//	probe as NAME COMMAND...    changes to a profile on a thread that ends, and tries one of these commands there
//	probe in-hat HAT COMMAND... changes into a hat on a thread that ends, and tries one of these commands there
//	probe stack NAME PATH       stacks a profile on its own label, and writes to a file then ("stack ok", "write errno EACCES")
//	probe kill PID              sends SIGCONT to a process
//	probe ptrace PID            attaches to a process as a debugger does
//	probe kill-self-child       sends SIGCONT to itself, to a child, and from a child to itself
//	probe signal PID            sends SIGCONT to a process
//	probe ptrace-child          attaches to a child as a debugger does
//	probe each COMMAND...       runs several of these commands, an argument each
//	probe sleep                 sleeps until it is killed
//	probe hold                  prints "ready"; then runs every line of its standard input as a command, each answer ending in a line "."
//
// It is static and starts no other program unless told to, so that a profile needs to allow little for it.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: probe command [argument ...]")
		os.Exit(2)
	}
	if err := run(os.Stdout, os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(2)
	}
}

// arguments are those of a command.
type arguments []string

// first returns the first, or what there is otherwise.
func (a arguments) first(otherwise string) string {
	if len(a) > 0 {
		return a[0]
	}
	return otherwise
}

func (a arguments) last() string { return append([]string{""}, a...)[len(a)] }

// pid returns the first, which must be a process.
func (a arguments) pid() (int, error) {
	pid, err := strconv.Atoi(a.first(""))
	if err != nil || pid <= 0 { // 0 and less are groups
		return 0, fmt.Errorf("signal whom? %q is no process", a.first(""))
	}
	return pid, nil
}

// attempts are the commands that try one thing and print how that went.
var attempts = map[string]func(arguments) error{
	"read":           func(a arguments) error { _, err := os.ReadFile(a.first("")); return err },
	"write":          func(a arguments) error { return os.WriteFile(a.first(""), []byte("written by probe\n"), 0o644) },
	"exec":           execute,
	"open":           func(a arguments) error { return open(a.first(""), a.last()) },
	"append":         func(a arguments) error { return opened(a.first(""), unix.O_WRONLY|unix.O_APPEND) },
	"unlink":         func(a arguments) error { return unix.Unlink(a.first("")) },
	"link":           func(a arguments) error { return unix.Link(a.first(""), a.last()) },
	"symlink":        func(a arguments) error { return unix.Symlink(a.first(""), a.last()) },
	"rename":         func(a arguments) error { return unix.Rename(a.first(""), a.last()) },
	"chown":          func(a arguments) error { return chown(a.first(""), a.last()) },
	"truncate":       func(a arguments) error { return unix.Truncate(a.first(""), 0) },
	"lock":           func(a arguments) error { return lock(a.first("")) },
	"lock-held":      lockHeld,
	"use-held":       useHeld,
	"inherited":      func(arguments) error { return inherited() },
	"map-code":       func(a arguments) error { return mapCode(a.first(""), unix.PROT_READ|unix.PROT_EXEC) },
	"protect-code":   func(a arguments) error { return mapCode(a.first(""), unix.PROT_READ) },
	"socket-held":    func(a arguments) error { return useSocket(a.first(""), a.last()) },
	"signal-under":   func(a arguments) error { return toChild(a.first(""), a.last(), signals["signal"]) },
	"ptrace-under":   func(a arguments) error { return toChild(a.first(""), a.last(), attach) },
	"stat":           func(a arguments) error { return unix.Stat(a.first(""), new(unix.Stat_t)) },
	"rlimit":         func(a arguments) error { return limitFiles(a.first("")) },
	"mkdir":          func(a arguments) error { return os.Mkdir(a.first(""), 0o755) },
	"rmdir":          func(a arguments) error { return unix.Rmdir(a.first("")) },
	"chmod":          func(a arguments) error { return os.Chmod(a.first(""), 0o700) },
	"mount":          func(a arguments) error { return unix.Mount("probe", a.first("/mnt"), "tmpfs", 0, "") },
	"mount-as":       mountAs,
	"bind":           func(a arguments) error { return unix.Mount(a.first(""), a.last(), "", unix.MS_BIND, "") },
	"move-mount":     func(a arguments) error { return moveMount(a.first(""), a.last()) },
	"umount":         func(a arguments) error { return unix.Unmount(a.first(""), 0) },
	"pivot-root":     func(a arguments) error { return unix.PivotRoot(a.first(""), a.last()) },
	"socket":         func(a arguments) error { return socket(a.first(""), a.last()) },
	"unix-bind":      func(a arguments) error { return unixSocket(a.first(""), unix.Bind) },
	"unix-connect":   func(a arguments) error { return unixSocket(a.first(""), unix.Connect) },
	"unix-listen":    func(a arguments) error { return unixListen(a.first("")) },
	"abstract-unix":  func(arguments) error { return abstractUnix() },
	"mq-open":        func(arguments) error { return mqOpen() },
	"unshare":        func(a arguments) error { return unshare(a.first("")) },
	"io-uring":       func(arguments) error { return ioURing() },
	"uring-override": func(a arguments) error { return overrideCredentials(a.first("")) },
	"module":         func(arguments) error { return unix.InitModule([]byte("none"), "") },
	"mknod":          func(a arguments) error { return unix.Mknod(a.first(""), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) },
	"change-profile": func(a arguments) error { return changeProfile(a.first("")) },
	"change-hat":     func(a arguments) error { return changeHat(a.first("")) },
}

func init() { // which look into attempts
	attempts["as"], attempts["in-hat"] = as(changeprofile), as(changehat)
}

// signals are the commands that do something to a process, and print how that went.
var signals = map[string]func(pid int) error{
	"kill":   func(pid int) error { return unix.Kill(pid, unix.SIGCONT) },
	"signal": func(pid int) error { return unix.Kill(pid, unix.SIGCONT) },
	"ptrace": attach,
}

// told are the commands that print something that the kernel tells a process of itself.
var told = map[string]func() (string, error){
	"label": func() (string, error) {
		label, err := os.ReadFile("/proc/self/attr/current")
		return strings.TrimRight(string(label), "\x00\n"), err
	},
	"secure": atSecure,
}

// run runs one command. An operation that is denied is an answer; the error is for a command that is none.
func run(w io.Writer, command string, args []string) error {
	if try, ok := attempts[command]; ok {
		fmt.Fprintln(w, answer(try(args)))
		return nil
	}
	if do, ok := signals[command]; ok {
		pid, err := arguments(args).pid()
		if err == nil {
			fmt.Fprintln(w, answer(do(pid)))
		}
		return err
	}
	if tell, ok := told[command]; ok {
		what, err := tell()
		if err != nil {
			what = answer(err)
		}
		fmt.Fprintln(w, what)
		return nil
	}
	switch command {
	case "output":
		if len(args) == 0 {
			return errors.New("start what?")
		}
		out, err := exec.Command(args[0], args[1:]...).Output()
		if err != nil {
			out = []byte(answer(err) + "\n")
		}
		w.Write(out)
	case "stack":
		stacked, written := stackAndWrite(arguments(args).first(""), arguments(args).last())
		fmt.Fprintf(w, "stack %s\nwrite %s\n", answer(stacked), answer(written))
	case "kill-self-child":
		killSelfChild(w)
	case "ptrace-child":
		ptraceChild(w)
	case "each":
		for _, line := range args {
			words := strings.Fields(line)
			if err := run(w, words[0], words[1:]); err != nil {
				return err
			}
		}
	case "sleep":
		forever()
	case "hold":
		hold(w)
	default:
		return fmt.Errorf("no command is called %q", command)
	}
	return nil
}

// hold runs the commands that standard input has, one on a line, and lives on.
func hold(w io.Writer) {
	fmt.Fprintln(w, "ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if words := strings.Fields(lines.Text()); len(words) > 0 {
			if err := run(w, words[0], words[1:]); err != nil {
				fmt.Fprintln(w, "error", err)
			}
		}
		fmt.Fprintln(w, ".")
	}
	forever() // standard input has ended, as in a detached container
}

// forever lives on until it is killed. Blocking for good would not do: Go takes that for a deadlock.
func forever() {
	for {
		time.Sleep(time.Hour)
	}
}

func answer(err error) string {
	if err == nil {
		return "ok"
	}
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		if errno == 0 {
			return "ok"
		}
		return "errno " + unix.ErrnoName(errno)
	}
	return "error " + err.Error()
}

func killSelfChild(w io.Writer) {
	signal.Ignore(syscall.SIGCONT)
	fmt.Fprintln(w, "self", answer(unix.Kill(os.Getpid(), unix.SIGCONT)))
	child, err := fork(pause)
	if err != nil {
		fmt.Fprintln(w, "fork", answer(err))
		return
	}
	fmt.Fprintln(w, "child", answer(unix.Kill(child, unix.SIGCONT)))
	end(child)

	child, err = fork(signalParent)
	if err != nil {
		fmt.Fprintln(w, "fork", answer(err))
		return
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(child, &status, 0, nil); err != nil {
		fmt.Fprintln(w, "wait", answer(err))
		return
	}
	fmt.Fprintln(w, "parent", answer(syscall.Errno(status.ExitStatus())))
}

func ptraceChild(w io.Writer) {
	child, err := fork(pause)
	if err != nil {
		fmt.Fprintln(w, "fork", answer(err))
		return
	}
	defer end(child)
	fmt.Fprintln(w, answer(attach(child)))
}

// attach attaches to a process, and lets it go on.
func attach(pid int) error {
	runtime.LockOSThread() // the thread is the tracer
	defer runtime.UnlockOSThread()
	if err := unix.PtraceAttach(pid); err != nil {
		return err
	}
	unix.Wait4(pid, nil, unix.WALL, nil)
	return unix.PtraceDetach(pid)
}

// fork makes a child that only runs body. It executes no program, because that would be an operation of its own to a
// profile; therefore body may do nothing but raw system calls, as the child has one thread and none of Go's runtime.
func fork(body func()) (int, error) {
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	if pid == 0 {
		body()
	}
	return int(pid), nil
}

// pause dies with whoever kills it; a child that may not be killed must not outlive its parent.
//
//go:norace
//go:nosplit
func pause() {
	syscall.RawSyscall(syscall.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0)
	for {
		syscall.RawSyscall(syscall.SYS_PAUSE, 0, 0, 0)
	}
}

// signalParent exits with the errno of a signal to its parent.
//
//go:norace
//go:nosplit
func signalParent() {
	parent, _, _ := syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0)
	_, _, errno := syscall.RawSyscall(syscall.SYS_KILL, parent, uintptr(syscall.SIGCONT), 0)
	for {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, uintptr(errno), 0, 0)
	}
}

// end kills a child and collects it. Where a profile forbids the killing, the child is left to its parent's end.
func end(child int) {
	if unix.Kill(child, unix.SIGKILL) == nil {
		unix.Wait4(child, nil, 0, nil)
	}
}
