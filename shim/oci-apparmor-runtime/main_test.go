package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/shim/wrapper"
)

// role is an environment variable that makes this test's program play one: the wrapper itself, the wrapper on a node
// of which the test knows what it says, or the runtime, for which it must be another file.
const role = "OCI_APPARMOR_TEST_ROLE"

func TestMain(m *testing.M) {
	if strings.HasSuffix(os.Args[0], "runc-fake") {
		fakeRuntime()
		return
	}
	switch r := os.Getenv(role); r {
	case "":
		os.Exit(m.Run())
	case "wrapper":
		host := hook.NewHost()
		host.Log, host.Counts = notice.Log{}, nil // and not this machine's
		os.Exit(wrapper.Run(context.Background(), host, os.Args, os.Environ(), os.Stderr))
	default:
		os.Exit(wrapper.Run(context.Background(), node(r), os.Args, os.Environ(), os.Stderr))
	}
}

// node refuses or labels every container.
type node string

func (n node) answer() error {
	if n == "refuse" {
		return errors.New("the policy says no")
	}
	return nil
}

func (n node) Prepare(context.Context, hook.Caller, string, *hook.Bundle) (hook.Outcome, error) {
	// Waiting is what moves a goroutine to another thread, unless it is locked to its own.
	for range 200 {
		go func() {
			for until := time.Now().Add(100 * time.Microsecond); time.Now().Before(until); {
			}
		}()
		time.Sleep(10 * time.Microsecond)
		if unix.Gettid() != unix.Getpid() {
			break
		}
	}
	if err := n.answer(); err != nil {
		return hook.Outcome{}, err
	}
	return hook.Outcome{Label: "web", Warning: "look out"}, nil
}
func (n node) Start(context.Context, hook.Caller, string) (hook.Process, error) {
	return hook.Process{Ours: true}, n.answer()
}
func (n node) Exec(context.Context, hook.Caller, string) (hook.Process, error) {
	return hook.Process{Label: "web", Ours: true}, n.answer()
}
func (n node) Forget(hook.Caller, string, ...hook.Ran) {}
func (n node) Drop(hook.Caller, string)                {}
func (n node) Sweep(hook.Caller)                       {}

func (n node) Note(hook.Caller, notice.Notice, hook.Outcome)         {}
func (node) Passed(hook.Caller, string, hook.Outcome, time.Duration) {}

// report is what the fake runtime finds about itself.
type report struct {
	Args      []string
	Pdeathsig int
	Files     []string // what --process names
	FDs       []string
}

func fakeRuntime() {
	r := report{Args: os.Args}
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && !strings.HasPrefix(to, "anon_inode:") {
			r.FDs = append(r.FDs, fd.Name())
		}
	}
	var signal int32
	unix.Prctl(unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&signal)), 0, 0, 0)
	r.Pdeathsig = int(signal)
	for i, a := range os.Args {
		if a == "--process" {
			data, _ := os.ReadFile(os.Args[i+1])
			r.Files = append(r.Files, string(data))
		}
	}
	json.NewEncoder(os.Stdout).Encode(r)
}

// wrapped is the command of the wrapper, in front of a runtime.
func wrapped(t *testing.T, as, real string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), role+"="+as, wrapper.RuntimeVar+"="+real)
	return cmd
}

// fake is the path of the fake runtime.
func fake(t *testing.T) string {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "runc-fake")
	if err := os.WriteFile(path, self, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%q: %v, stderr: %s", cmd.Args, err, stderr.Bytes())
	}
	return string(out)
}

func TestRuntimeGetsWhatTheWrapperGot(t *testing.T) {
	sh := func(script string) []string { return []string{"/bin/sh", "-c", script} }
	for _, tt := range []struct {
		name  string
		start []string // what the wrapper is started by; it gets the command line that follows
		real  []string
	}{
		{"standard input", nil, []string{"/bin/cat"}},
		{"environment", []string{"/usr/bin/env", "EMPTY=", "A=B=C", "TEXT=a\nb"}, []string{"/usr/bin/env"}},
		{"working directory", sh(`cd /usr/bin && exec "$@"`), []string{"/bin/readlink", "/proc/self/cwd"}},
		{"descriptors", sh(`exec 7</dev/null 9>/dev/null "$@"`), []string{"/bin/ls", "/proc/self/fd"}},
		{"arguments", nil, []string{"/usr/bin/printf", "%s|", "", "a b", "\xff", "-", "--", "--x=y"}},
		{"limits", sh(`ulimit -Sn 123 -Hn 4567; ulimit -Sc 0; exec "$@"`), []string{"/bin/cat", "/proc/self/limits"}},
		{"umask", sh(`umask 0137; exec "$@"`), sh("umask")},
		{"ignored and blocked signals",
			[]string{"/usr/bin/env", "--ignore-signal=HUP,INT", "--block-signal=USR1,WINCH,TTOU"},
			[]string{"/bin/grep", "-E", "^(Sig(Blk|Ign|Cgt)|ShdPnd)", "/proc/self/status"}},
		{"exit code", nil, sh("exit 42")},
		{"death by signal", nil, sh("kill -9 $$")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got [2]string
			for i := range got {
				cmd := wrapped(t, "wrapper", tt.real[0], tt.real[1:]...)
				if i == 0 {
					cmd.Path, cmd.Args = tt.real[0], tt.real
				}
				if tt.start != nil {
					args := tt.start
					if args[0] == "/bin/sh" {
						args = append(slices.Clone(args), "sh")
					}
					args = append(slices.Clone(args), cmd.Path)
					cmd.Path, cmd.Args = tt.start[0], append(args, cmd.Args[1:]...)
				}
				cmd.Stdin = strings.NewReader("to the runtime\n")
				out, err := cmd.CombinedOutput()
				got[i] = fmt.Sprintf("%s(%v)", out, err)
			}
			if got[0] != got[1] {
				t.Errorf("without the wrapper:\n%s\nwith it:\n%s", got[0], got[1])
			}
		})
	}
}

func TestRuntimeKeepsTheSignalOfItsParentsDeath(t *testing.T) {
	runtime.LockOSThread() // it is the death of our thread that counts
	cmd := wrapped(t, "label", fake(t), "--root", "/r", "create", "c1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGUSR1}
	cmd.Stderr = io.Discard
	out, err := cmd.Output()
	var r report
	if err := errors.Join(err, json.Unmarshal(out, &r)); err != nil {
		t.Fatal(err)
	}
	if r.Pdeathsig != int(syscall.SIGUSR1) {
		t.Errorf("got signal %d, want %d", r.Pdeathsig, syscall.SIGUSR1)
	}
}

func TestExecHandsOverTheProcessFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "process.json")
	if err := os.WriteFile(file, []byte(`{"args": ["sh"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	real := fake(t)
	var r report
	out := output(t, wrapped(t, "label", real, "--root", "/r", "exec", "--process", file, "c1"))
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	want := []string{"runc-fake", "--root", "/r", "exec", "--process", "/proc/self/fd/64", "c1"}
	if !slices.Equal(r.Args, want) {
		t.Errorf("the runtime was called as %q, want %q", r.Args, want)
	}
	if len(r.Files) != 1 || r.Files[0] != `{"apparmorProfile":"web","args": ["sh"]}` {
		t.Errorf("the process file holds %q", r.Files)
	}
	var bare report
	if err := json.Unmarshal([]byte(output(t, exec.Command(real))), &bare); err != nil {
		t.Fatal(err)
	}
	more := slices.DeleteFunc(r.FDs, func(fd string) bool { return slices.Contains(bare.FDs, fd) })
	if !slices.Equal(more, []string{"64"}) {
		t.Errorf("the runtime has the descriptors %q on top of those it has without the wrapper, want 64", more)
	}
}

func TestRefusal(t *testing.T) {
	real := fake(t)
	for _, command := range []string{"create", "run", "restore", "start", "exec"} {
		t.Run(command, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "log.json")
			cmd := wrapped(t, "refuse", real, "--root", "/r", "--log", log, "--log-format", "json", command, "c1")
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			var exit *exec.ExitError
			if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("got %v, want exit status 1", err)
			}
			message := "oci-apparmor: " + command + " of container c1: the policy says no"
			if stdout.Len() > 0 || stderr.String() != message+"\n" {
				t.Errorf("stdout %q, stderr %q, want only %q", &stdout, &stderr, message)
			}
			data, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			var line struct{ Level, Msg string }
			if err := json.Unmarshal(data, &line); err != nil || line.Level != "error" || line.Msg != message {
				t.Errorf("the log holds %q (%v)", data, err)
			}
		})
	}
}

func TestNameUnderWhichTheRuntimeIsCalled(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for link, to := range map[string]string{"runc": self, "real/runc": "/bin/cat", "other": self} {
		os.MkdirAll(filepath.Dir(filepath.Join(dir, link)), 0o755)
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{dir + "/runc": dir + "/runc", dir + "/other": "runc"} {
		cmd := wrapped(t, "wrapper", dir+"/real/runc", "/proc/self/cmdline")
		cmd.Path, cmd.Args[0] = name, name
		if got, _, _ := strings.Cut(output(t, cmd), "\x00"); got != want {
			t.Errorf("called as %s, the runtime is called as %q, want %q", name, got, want)
		}
	}
}
