package host

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// daemon is the name under which this test's own program stands for an engine's.
const daemon = "oci-aa-daemon"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == daemon {
		os.Stdout.WriteString("runs\n")
		io.Copy(io.Discard, os.Stdin) // until the test ends it
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// place puts this test's own program into a directory under the daemon's name.
func place(t *testing.T, dir string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(dir, daemon)
	if err := os.WriteFile(at, program, 0o755); err != nil {
		t.Fatal(err)
	}
	return at
}

// start runs a program until the test ends, and returns its number.
func start(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("it does not run: %q, %v", line, err)
	}
	return cmd.Process.Pid
}

// Another user's program, one that others can write, and a container's are not taken for the node's engine.
func TestOnlyTheNodesOwnProcessesCount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can start another user's process")
	}
	top := t.TempDir()
	for dir := top; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	good, evil := filepath.Join(top, "good"), filepath.Join(top, "evil")
	for _, dir := range []string{good, evil} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	goodProgram, evilProgram := place(t, good), place(t, evil)
	if err := os.Chown(evil, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534, NoSetGroups: true}
	for _, tt := range []struct {
		name    string
		program string
		as      syscall.SysProcAttr
		counts  bool
	}{
		{"root's", goodProgram, syscall.SysProcAttr{}, true},
		{"another user's", goodProgram, syscall.SysProcAttr{Credential: nobody}, false},
		{"another user's, of their own directory", evilProgram, syscall.SysProcAttr{Credential: nobody}, false},
		{"root's, of another user's directory", evilProgram, syscall.SysProcAttr{}, false},
		{"in a mount namespace", goodProgram, syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}, false},
		{"in a PID namespace", goodProgram, syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}, false},
		{"in a user namespace", goodProgram, syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{Size: 1}}, GidMappings: []syscall.SysProcIDMap{{Size: 1}}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := New("/", "/bin")
			cmd := exec.Command(tt.program, "--config-file", filepath.Join(evil, "daemon.json"))
			cmd.SysProcAttr = &tt.as
			pid := start(t, cmd)
			all := h.Processes(daemon)
			at := slices.IndexFunc(all, func(p Process) bool { return p.PID == pid })
			if (at >= 0) != tt.counts {
				t.Fatalf("it is process %d, and these count: %v", pid, all)
			}
			if got := h.Program(wire.NewDraft(h.Tree), daemon); !tt.counts && got != "" || tt.counts && got != goodProgram {
				t.Errorf("%s would be run as root", got)
			}
			if !tt.counts {
				return
			}
			if _, err := all[at].Path("--config-file"); err == nil || !strings.Contains(err.Error(), evil+": it belongs to uid 65534") {
				t.Errorf("a configuration in another user's directory: %v", err)
			}
		})
	}
}

// A program that is called by a link counts if its file has one of the names that are given, as k3s's containerd does.
func TestProcessOfALink(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a process counts only if it is root's, and this is none")
	}
	top := t.TempDir()
	for dir := top; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	link := place(t, top)
	if err := os.Rename(link, filepath.Join(top, "all-in-one")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("all-in-one", link); err != nil {
		t.Fatal(err)
	}
	pid := start(t, exec.Command(link))
	h := New("/", "/bin")
	is := func(p Process) bool { return p.PID == pid }
	if all := h.Processes(daemon); slices.ContainsFunc(all, is) {
		t.Errorf("it counts without its file's name: %v", all)
	}
	all := h.Processes(daemon, "all-in-one")
	if at := slices.IndexFunc(all, is); at < 0 || all[at].Program != filepath.Join(top, "all-in-one") {
		t.Errorf("of process %d these count: %v", pid, all)
	}
}
