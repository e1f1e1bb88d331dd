package procevents

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// told returns a watch of which the test tells it the events, and where processes are.
func told(t *testing.T) (w *Watch, groups map[int]string) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	groups = make(map[int]string)
	w = &Watch{cgroup: func(pid int) string { return groups[pid] }, buf: make([]byte, 4096), begun: make(map[int]begun),
		file: os.NewFile(uintptr(fds[0]), "events")}
	if w.socket, err = w.file.SyscallConn(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close(); unix.Close(fds[1]) })
	return w, groups
}

// tell tells a watch of an event that happens now.
func (w *Watch) tell(what int, data ...int) {
	m := make([]byte, length)
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	binary.NativeEndian.PutUint32(m[atWhat:], uint32(what))
	binary.NativeEndian.PutUint64(m[atTime:], uint64(now.Nano()))
	for i, n := range data {
		binary.NativeEndian.PutUint32(m[atData+4*i:], uint32(n))
	}
	w.event(m, nil)
}

func (w *Watch) want(t *testing.T, when string, pid int, at time.Time, group string) {
	t.Helper()
	if got, ok := w.Group(pid, at); got != group || ok != (group != "") {
		t.Errorf("%s: process %d is in %q (%v), want %q", when, pid, got, ok, group)
	}
}

func TestAProcessIsWhereItBeganOrExecutedItsLastProgram(t *testing.T) {
	w, groups := told(t)
	groups[10], groups[11] = "/host", "/a"
	w.tell(fork, 1, 1, 10, 10)
	w.want(t, "begun", 10, time.Now(), "/host")
	groups[10] = "/docker/a"
	w.want(t, "moved, and nothing executed", 10, time.Now(), "/host")
	w.tell(executed, 10, 10)
	delete(groups, 10)
	w.want(t, "ended", 10, time.Now(), "/docker/a")

	w.tell(fork, 10, 10, 12, 12)
	w.want(t, "a child of one that is known, and ended", 12, time.Now(), "/docker/a")
	w.tell(fork, 11, 11, 13, 13)
	w.want(t, "a child of one that is there, and ended", 13, time.Now(), "/a")
	w.tell(executed, 13, 13)
	w.want(t, "ended while it executed something", 13, time.Now(), "/a")
	w.tell(fork, 77, 77, 14, 14)
	w.want(t, "of which nothing is known", 14, time.Now(), "")
	w.want(t, "never begun", 15, time.Now(), "")

	before := time.Now().Add(-time.Minute)
	w.want(t, "of another process that had the pid", 10, before, "")
}

// What the socket had kept is from before the events that it had no room for, in which a pid may have gone to another process.
func TestWhileEventsAreMissingNothingIsKnown(t *testing.T) {
	w, groups := told(t)
	groups[1], groups[10], groups[11] = "/host", "/a", "/a"
	w.tell(fork, 1, 1, 10, 10)
	w.overrun()
	w.tell(fork, 1, 1, 11, 11) // pid 11 has ended since, and is a process of /b
	w.tell(executed, 11, 11)
	w.want(t, "begun before", 10, time.Now(), "")
	w.want(t, "begun by what was kept", 11, time.Now(), "")
	w.tell(fork, 1, 1, 10, 10)
	w.want(t, "begun since nothing is missing", 10, time.Now(), "/a")
	w.want(t, "still", 11, time.Now(), "")
}

func TestProcessesThatAreKeptAreBounded(t *testing.T) {
	w, groups := told(t)
	groups[1] = "/host"
	for pid := 2; pid < mostKept+100; pid++ {
		w.tell(fork, 1, 1, pid, pid)
	}
	if len(w.begun) > mostKept {
		t.Errorf("%d processes are kept", len(w.begun))
	}
	w.want(t, "the last one", mostKept+99, time.Now(), "/host")
	w.want(t, "the first one", 2, time.Now(), "")
}

func TestAMessageThatIsCutShortIsNone(t *testing.T) {
	w, groups := told(t)
	groups[10] = "/a"
	for n := range length {
		w.event(make([]byte, n), nil)
	}
	if len(w.begun) > 0 {
		t.Errorf("known are %v", w.begun)
	}
}

// Where the kernel lets us, what it says of real processes.
func TestTheKernelTellsOfProcesses(t *testing.T) {
	own := "/of/the/test"
	w, err := Open(t.Context(), func(pid int) string { return own })
	if err != nil {
		if !errors.Is(err, fs.ErrPermission) && !strings.Contains(err.Error(), "process events") {
			t.Error(err)
		}
		t.Skip(err)
	}
	defer w.Close()
	for range 50 {
		cmd := exec.Command("/bin/true")
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		w.want(t, "after its end", cmd.ProcessState.Pid(), time.Now(), own)
	}
}
