package wrapper

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

// config is a config.json whose container sees the node's programs, read-only.
const config = `{
	"ociVersion": "1.0.2",
	"process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/usr/bin:/bin"], "args": ["sleep", "60"]},
	"root": {"path": "rootfs"},
	"mounts": [
		{"destination": "/proc", "type": "proc", "source": "proc"},
		{"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
		%s
	],
	"linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]}
}`

// A process file that is handed over as a descriptor is read by real runtimes, and the container's process does not
// have it.
func TestProcessFileDoesNotReachTheContainer(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("starting a container takes root")
	}
	for _, name := range []string{"runc", "crun"} {
		t.Run(name, func(t *testing.T) {
			path, err := findRuntime("", []string{name}, engine.RuntimeDirs)
			if err != nil {
				t.Skip(err)
			}
			dir := t.TempDir()
			run := func(args ...string) *exec.Cmd {
				global := []string{"--root", dir + "/root"}
				if name == "crun" {
					global = append(global, "--cgroup-manager=disabled") // it does not know every layout
				}
				return exec.Command(path, append(global, args...)...)
			}
			startContainer(t, dir, run)

			// runc returns a moment before the container's first process has executed its program and lost runc's descriptors.
			const list = `{"user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/usr/bin:/bin"],
				"args": ["sh", "-c", "while grep -q runc: /proc/1/comm; do sleep 0.1; done; echo /proc/self/fd/* /proc/1/fd/*"]}`
			plain := filepath.Join(dir, "process.json")
			if err := os.WriteFile(plain, []byte(list), 0o600); err != nil {
				t.Fatal(err)
			}
			fd, err := handOver([]byte(list), firstProcessFD)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			handed := fmt.Sprintf("/proc/self/fd/%d", fd)

			var got [2]string
			for i, process := range []string{plain, handed} {
				out, err := run("exec", "--process", process, "c1").CombinedOutput()
				if err != nil {
					t.Fatalf("%s exec --process %s: %v: %s", name, process, err, out)
				}
				got[i] = string(out)
			}
			if strings.Contains(got[1], handed) || !strings.Contains(got[1], "/proc/self/fd/0") {
				t.Errorf("the process has the descriptors %s", got[1])
			}
			if got[0] != got[1] {
				t.Errorf("with a plain file it has %s, with ours %s", got[0], got[1])
			}
		})
	}
}

// startContainer starts a container c1 with its bundle in dir.
func startContainer(t *testing.T, dir string, run func(...string) *exec.Cmd) {
	t.Helper()
	rootfs := filepath.Join(dir, "rootfs")
	var mounts []string
	for _, d := range []string{"/bin", "/lib", "/lib64", "/usr"} {
		if _, err := os.Stat(d); err != nil {
			continue
		}
		mounts = append(mounts,
			fmt.Sprintf(`{"destination": %q, "type": "bind", "source": %q, "options": ["bind", "ro"]}`, d, d))
		if err := os.MkdirAll(rootfs+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		os.Mkdir(rootfs+"/proc", 0o755),
		os.Mkdir(rootfs+"/dev", 0o755),
		os.WriteFile(dir+"/config.json", fmt.Appendf(nil, config, strings.Join(mounts, ",")), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// A file, not a pipe: the container keeps it open.
	out, err := os.Create(dir + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := run("run", "--detach", "--bundle", dir, "c1")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(out.Name())
		t.Skipf("no container can be started here: %v: %s", err, said)
	}
	t.Cleanup(func() {
		if out, err := run("delete", "--force", "c1").CombinedOutput(); err != nil {
			t.Errorf("deleting the container: %v: %s", err, out)
		}
	})
}
