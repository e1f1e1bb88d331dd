package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// changing are the parts of a runtime's output that differ from container to container.
var changing = regexp.MustCompile(`"pid": ?\d+|"created": ?"[^"]*"|\b[0-9-]{10}T[0-9:.]+Z?\b|bundle-\d+`)

var blanks = regexp.MustCompile(` +`)

// One session, once without and once with the wrapper: what every call prints and returns must be the same.
func TestWrapperIsTransparent(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm, guesttest.Forky) // the oldest runtimes and the newest
	setPolicy(t, webPolicy)
	session := func(t *testing.T, runtime string) (said []string) {
		// Under the bare runtime, the spec names what the policy gives.
		b := guesttest.NewBundle(t, asks("web"), names("web"), func(s *specs.Spec) { s.Process.Args = []string{"/bin/probe", "sleep"} })
		guesttest.RunCommand(t, exec.Command(runtime, "create", "--bundle", b.Dir, b.ID))
		t.Cleanup(func() { guesttest.Run(t, runtime, "delete", "--force", b.ID) })
		pid := strconv.Itoa((&guesttest.Container{Bundle: b, Runtime: runtime}).Pid(t))
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("%s:\n%s", runtime, strings.Join(said, "\n"))
			}
		})
		say := func(stdin string, args ...string) {
			cmd := exec.Command(runtime, args...)
			cmd.Args[0] = filepath.Base(runtime)
			cmd.Stdin = strings.NewReader(stdin)
			o := guesttest.RunCommand(t, cmd)
			text := fmt.Sprintf("%s: exit code %d\nstdout: %s\nstderr: %s", strings.Join(args, " "), o.Code, o.Stdout, o.Stderr)
			text = changing.ReplaceAllString(text, "X")
			text = regexp.MustCompile(`\b`+pid+`\b`).ReplaceAllString(text, "PID")
			said = append(said, blanks.ReplaceAllString(text, " "))
		}
		say("", "--version")
		say("", "features")
		say("", "--help")
		say("", "nosuch")
		say("", "--nosuch", "list")
		say("", "state", b.ID)
		say("", "list", "--format", "json")
		say("", "list")
		say("", "list", "-q")
		say("", "start", b.ID)
		say(`{"memory":{"limit":67108864}}`, "update", "--resources", "-", b.ID)
		say(`not json`, "update", "--resources", "-", b.ID)
		say("", "pause", b.ID)
		say("", "state", b.ID)
		say("", "resume", b.ID)
		say("", "ps", "--format", "json", b.ID)
		say("", "exec", b.ID, "sh", "-c", "echo out; echo err >&2; exit 7")
		say("from stdin", "exec", b.ID, "cat")
		say("", "exec", b.ID, "sh", "-c", "kill -9 $$")
		say("", "exec", "nosuch", "true")
		say("", "exec", b.ID, "nosuch")
		say("", "start", b.ID)
		say("", "delete", b.ID)
		say("", "kill", b.ID, "KILL")
		waitFor(t, "the container to stop", func() bool {
			return strings.Contains(guesttest.Run(t, runtime, "state", b.ID).Stdout, `"stopped"`)
		})
		say("", "state", b.ID)
		say("", "delete", b.ID)
		say("", "delete", b.ID)
		say("", "state", b.ID)
		say("", "list", "-q")
		return said
	}
	eachRuntime(t, func(t *testing.T, rt arms) {
		loads := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped) // the profile, for the bare runtime too
		wantLabel(t, loads, "web")
		guesttest.MustRun(t, rt.bare, "delete", "--force", loads.ID) // no other container shall be in the lists
		bare, wrapped := session(t, rt.bare), session(t, rt.wrapped)
		for i := range bare {
			if bare[i] != wrapped[i] {
				t.Errorf("differs.\n--- without the wrapper\n%s\n--- with it\n%s", bare[i], wrapped[i])
			}
		}
	})
}

func TestWrapperKeepsExitCodesAndSignals(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky) // the wrapper is gone by then
	setPolicy(t, webPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		for name, runtime := range map[string]string{"without the wrapper": rt.bare, "with it": rt.wrapped} {
			t.Run(name, func(t *testing.T) {
				b := guesttest.NewBundle(t, asks("web"), func(s *specs.Spec) { s.Process.Args = []string{"sh", "-c", "exit 42"} })
				if o := b.Run(t, runtime); o.Code != 42 {
					t.Errorf("exit code %d, want the container's 42: %s", o.Code, o.Stderr)
				}

				// A signal to the process that was started reaches the container, as the runtime passes it on.
				b = guesttest.NewBundle(t, asks("web"), func(s *specs.Spec) {
					s.Process.Args = []string{"sh", "-c", "trap 'exit 43' TERM; echo ready; while :; do sleep 0.1; done"}
				})
				cmd := exec.Command(runtime, "run", "--bundle", b.Dir, b.ID)
				stdout, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				if _, err := stdout.Read(make([]byte, 6)); err != nil {
					t.Fatal(err)
				}
				cmd.Process.Signal(syscall.SIGTERM)
				cmd.Wait()
				if code := cmd.ProcessState.ExitCode(); code != 43 {
					t.Errorf("exit code %d after TERM, want the container's 43", code)
				}
			})
		}
	})
}

func TestWrapperKeepsATerminalSession(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky) // the wrapper is gone by then
	setPolicy(t, webPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		session := func(runtime string) string {
			b := guesttest.NewBundle(t, asks("web"), func(s *specs.Spec) {
				s.Process.Terminal = true
				s.Process.Args = []string{"sh", "-c", "tty; stty -echo; echo ready; read line; echo got $line; exit 5"}
			})
			master, slave := terminal(t)
			cmd := exec.Command(runtime, "run", "--bundle", b.Dir, b.ID)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			slave.Close()
			var said []byte
			buf := make([]byte, 4096)
			for typed := false; ; {
				n, err := master.Read(buf)
				said = append(said, buf[:n]...)
				if err != nil { // the last of them has closed the terminal
					break
				}
				if !typed && bytes.Contains(said, []byte("ready")) {
					master.WriteString("hello\n")
					typed = true
				}
			}
			cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != 5 {
				t.Errorf("%s: exit code %d, want 5: %q", runtime, code, said)
			}
			if !bytes.Contains(said, []byte("got hello")) || !bytes.Contains(said, []byte("/dev/")) {
				t.Errorf("%s: the session was %q", runtime, said)
			}
			return string(said)
		}
		if bare, wrapped := session(rt.bare), session(rt.wrapped); bare != wrapped {
			t.Errorf("without the wrapper %q, with it %q", bare, wrapped)
		}
	})
}

// The descriptors that a container's processes have are the same with and without the wrapper, also after an exec with a
// process file, which the wrapper hands over by a descriptor.
func TestWrapperLeaksNoDescriptors(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm) // they are all our own
	setPolicy(t, webPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		descriptors := func(runtime string) (list []string) {
			c := guesttest.NewBundle(t, asks("web")).Start(t, runtime)
			args := append([]string{"exec"}, byFile(t, c, nil)("/bin/ls", "/proc/self/fd")...)
			list = append(list, guesttest.MustRun(t, runtime, args...))
			fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.Pid(t)))
			if err != nil {
				t.Fatal(err)
			}
			for _, fd := range fds {
				list = append(list, fd.Name())
			}
			return list
		}
		if bare, wrapped := descriptors(rt.bare), descriptors(rt.wrapped); !slices.Equal(bare, wrapped) {
			t.Errorf("without the wrapper %q, with it %q", bare, wrapped)
		}
	})
}

// terminal opens a pseudo terminal of 24 lines and 80 columns.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}
