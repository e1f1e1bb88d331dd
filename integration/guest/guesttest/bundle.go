package guesttest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/bundle"
)

// A Bundle is the directory of a container. It has config.json, and a root file system with busybox, a hard link for
// each applet of it, and the program /bin/probe.
type Bundle struct {
	ID  string // id of the bundle's container, unique in the guest
	Dir string
}

// bundles is on the guest's disk, not in its memory.
const bundles = "/var/lib/bundles"

// NewBundle makes a bundle of DefaultSpec after the edits have changed it. At the end of the test, it removes the
// container and the bundle.
func NewBundle(t testing.TB, edits ...func(*specs.Spec)) *Bundle {
	t.Helper()
	if err := rootfs(); err != nil {
		t.Fatal("making a root file system: ", err)
	}
	dir, err := os.MkdirTemp(bundles, "bundle-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	b := &Bundle{Dir: dir, ID: filepath.Base(dir)}
	MustRun(t, "cp", "--archive", filepath.Join(bundles, "rootfs"), b.Rootfs())
	spec := DefaultSpec()
	for _, edit := range edits {
		edit(spec)
	}
	b.SetSpec(t, spec)
	return b
}

// rootfs makes the tree from which bundles copy their root file systems. The applets are hard links, so that a profile
// sees each of them under its own path.
var rootfs = sync.OnceValue(func() error {
	root := filepath.Join(bundles, "rootfs")
	for _, dir := range []string{"bin", "dev", "etc", "mnt", "proc", "root", "sys", "tmp", "usr/bin", "usr/sbin", "sbin", "var"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	probe, err := exec.LookPath("probe")
	if err != nil {
		return err
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	for _, argv := range [][]string{
		{"cp", busybox, probe, filepath.Join(root, "bin")},
		{"chroot", root, "/bin/busybox", "--install"},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return errors.New(strings.Join(argv, " ") + ": " + err.Error() + ": " + string(out))
		}
	}
	return errors.Join(
		os.WriteFile(filepath.Join(root, "etc/passwd"),
			[]byte("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\n"), 0o644),
		os.WriteFile(filepath.Join(root, "etc/group"), []byte("root:x:0:\nuser:x:1000:\n"), 0o644),
		os.Chmod(filepath.Join(root, "tmp"), 0o1777),
	)
})

// Rootfs returns the host's path of the container's root directory.
func (b *Bundle) Rootfs() string { return filepath.Join(b.Dir, "rootfs") }

// Spec returns the content of config.json.
func (b *Bundle) Spec(t testing.TB) *specs.Spec {
	t.Helper()
	spec, err := bundle.Read(b.Dir)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// SetSpec writes config.json.
func (b *Bundle) SetSpec(t testing.TB, spec *specs.Spec) {
	t.Helper()
	if err := bundle.Write(b.Dir, spec); err != nil {
		t.Fatal(err)
	}
}

// Run runs the bundle's container to its end, and removes it. The container's process must end by itself, which that of
// DefaultSpec does not. runtime is a name or a path. flags are global flags of the runtime: they stand before its
// subcommand.
func (b *Bundle) Run(t testing.TB, runtime string, flags ...string) Outcome {
	t.Helper()
	defer b.delete(t, runtime, flags)
	return Run(t, runtime, append(flags[:len(flags):len(flags)], "run", "--bundle", b.Dir, b.ID)...)
}

// delete removes the container, if there is one.
func (b *Bundle) delete(t testing.TB, runtime string, flags []string) {
	Run(t, runtime, append(flags[:len(flags):len(flags)], "delete", "--force", b.ID)...)
}

// A Container is a container of a bundle that runs in the background.
type Container struct {
	*Bundle
	Runtime string
	Flags   []string // the runtime's global flags
	pid     int      // 0 where the runtime is to be asked
	stdin   *os.File
	stdout  *bufio.Reader
	mu      sync.Mutex
}

// TryStart starts the bundle's container in the background (run --detach), and waits until its process has executed its
// program. It returns the container, or nil if the runtime failed; the Outcome is the runtime's. The container ends with the
// test. Its standard input and output are pipes, since no profile can refuse these.
func (b *Bundle) TryStart(t testing.TB, runtime string, flags ...string) (*Container, Outcome) {
	t.Helper()
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := os.CreateTemp(t.TempDir(), "stderr")
	if err != nil {
		t.Fatal(err)
	}
	c := &Container{Bundle: b, Runtime: runtime, Flags: flags, stdin: inW, stdout: bufio.NewReader(outR)}
	t.Cleanup(func() {
		b.delete(t, runtime, flags)
		inW.Close()
		outR.Close()
	})
	pidFile := filepath.Join(filepath.Dir(stderr.Name()), "pid")
	cmd := exec.Command(runtime, append(flags[:len(flags):len(flags)], "run", "--detach", "--pid-file", pidFile, "--bundle", b.Dir, b.ID)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inR, outW, stderr
	late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	err = cmd.Run()
	ended := late.Stop()
	inR.Close()
	outW.Close()
	stderr.Close()
	said, _ := os.ReadFile(stderr.Name())
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatalf("%s: %v", strings.Join(cmd.Args, " "), err)
	}
	outcome := Outcome{Stderr: string(said), Code: cmd.ProcessState.ExitCode()}
	if !ended {
		t.Fatalf("%s: not ended after %v\nstderr: %s", strings.Join(cmd.Args, " "), patience, said)
	}
	if outcome.Code != 0 {
		return nil, outcome
	}
	pid, err := os.ReadFile(pidFile)
	if err == nil {
		c.pid, err = strconv.Atoi(string(pid))
	}
	if err != nil {
		t.Fatal(err)
	}
	Executed(t, c.pid)
	return c, outcome
}

// Start is TryStart, and fails the test if the container does not start.
func (b *Bundle) Start(t testing.TB, runtime string, flags ...string) *Container {
	t.Helper()
	c, outcome := b.TryStart(t, runtime, flags...)
	if c == nil {
		t.Fatalf("%s run: exit code %d\n%s", runtime, outcome.Code, outcome.Stderr)
	}
	return c
}

// Pid returns the host's process id of the container's first process.
func (c *Container) Pid(t testing.TB) int {
	t.Helper()
	if c.pid != 0 {
		return c.pid
	}
	var state specs.State
	text := MustRun(t, c.Runtime, append(c.Flags[:len(c.Flags):len(c.Flags)], "state", c.ID)...)
	if err := json.Unmarshal([]byte(text), &state); err != nil {
		t.Fatalf("%s state: %v: %s", c.Runtime, err, text)
	}
	return state.Pid
}

// Label returns the AppArmor label of the container's first process, as a process outside of the container reads it. It
// waits until that process has executed its program.
func (c *Container) Label(t testing.TB) string {
	t.Helper()
	pid := c.Pid(t)
	Executed(t, pid)
	return Label(t, pid)
}

// Executed waits until a container's first process has executed its program. Before that it runs the runtime's, under the
// label of the runtime: neither "run --detach" nor an engine's command to start a container waits for more than that.
//
// The process has its new label when the kernel sets where the program's code begins. Its link exe shows the program a little
// earlier (begin_new_exec in fs/exec.c).
func Executed(t testing.TB, pid int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil {
			return // it is gone, and whoever looks at it says so
		}
		// A runtime executes a copy of itself, which is named after it, or a mount of its file alone, whose path is /.
		if exe != "/" && !strings.Contains(exe, "runc") && !strings.Contains(exe, "crun") && codeBegins(pid) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v process %d still runs %s", patience, pid, exe)
		}
	}
}

// codeBegins reports whether the kernel has set where the code of a process's program begins: the field startcode of
// /proc/PID/stat (proc(5)).
func codeBegins(pid int) bool {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, fields, _ := strings.Cut(string(text), ") ") // behind its name, the second field
	stat := strings.Fields(fields)
	return len(stat) > 23 && stat[23] != "0"
}

// Ask makes the container's first process run a command of probe, such as "write /etc/x". That process must be
// DefaultSpec's "probe hold". Ask returns the answer: "ok", "errno EACCES", or what the command prints, with newlines
// between lines. It asks the same process every time.
func (c *Container) Ask(t testing.TB, command string) string {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.stdin.WriteString(command + "\n"); err != nil {
		t.Fatalf("asking %q: %v", command, err)
	}
	late := time.AfterFunc(patience, func() {
		c.stdin.Close()
		Run(t, c.Runtime, append(c.Flags[:len(c.Flags):len(c.Flags)], "kill", c.ID, "KILL")...)
	})
	defer late.Stop()
	var lines []string
	for {
		line, err := c.stdout.ReadString('\n')
		if err != nil {
			t.Fatalf("asking %q: the container has ended: %v; it said: %s", command, err, strings.Join(lines, "\n"))
		}
		switch line = strings.TrimSuffix(line, "\n"); line {
		case "ready":
		case ".":
			return strings.Join(lines, "\n")
		default:
			lines = append(lines, line)
		}
	}
}

// Exec runs a program in the container by the runtime's exec.
func (c *Container) Exec(t testing.TB, args ...string) Outcome {
	t.Helper()
	return Run(t, c.Runtime, append(append(c.Flags[:len(c.Flags):len(c.Flags)], "exec", c.ID), args...)...)
}

// ExecProbe runs a command of probe in the container by the runtime's exec, and returns the answer as Ask does.
func (c *Container) ExecProbe(t testing.TB, args ...string) string {
	t.Helper()
	outcome := c.Exec(t, append([]string{"/bin/probe"}, args...)...)
	if outcome.Code != 0 {
		t.Fatalf("%s exec probe %s: exit code %d\nstdout: %s\nstderr: %s", c.Runtime, strings.Join(args, " "),
			outcome.Code, outcome.Stdout, outcome.Stderr)
	}
	return strings.TrimSuffix(outcome.Stdout, "\n")
}
