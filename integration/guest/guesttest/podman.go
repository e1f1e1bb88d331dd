package guesttest

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// PodmanWrappers is a directory with links to our runtime wrapper. The wrapper sees from the directory's name that
// Podman calls it.
const PodmanWrappers = "/run/wrappers/podman"

// A Podman is Podman with directories of its own for one test. It has no daemon.
type Podman struct {
	conf string
	args []string
}

// NeedPodman skips the test in a guest without Podman.
func NeedPodman(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("podman"); err != nil {
		t.Skip("this guest has no Podman: ", err)
	}
}

// NewPodman returns a Podman that starts containers by the runtime at a path. If hooks is not empty, Podman uses the
// hooks in that directory. The containers end with the test. NewPodman skips the test if the guest has no Podman.
func NewPodman(t testing.TB, runtime, hooks string) *Podman {
	t.Helper()
	NeedPodman(t)
	if err := os.MkdirAll(PodmanWrappers, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range Runtimes {
		err := os.Symlink("/usr/local/bin/oci-apparmor-runtime", filepath.Join(PodmanWrappers, name))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("/var/lib", "podman-")
	if err != nil {
		t.Fatal(err)
	}
	p := &Podman{conf: filepath.Join(dir, "containers.conf"), args: []string{
		"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--tmpdir", filepath.Join(dir, "tmp"),
		"--runtime", runtime,
	}}
	if hooks != "" {
		p.args = append(p.args, "--hooks-dir", hooks)
	}
	// A guest has neither systemd nor its journal.
	text := "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nlock_type = \"file\"\n" +
		"[containers]\nlog_driver = \"k8s-file\"\n"
	if err := os.WriteFile(p.conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { CleanEngine(t, dir) })
	return p
}

// Podman runs a command of podman.
func (p *Podman) Podman(t testing.TB, args ...string) Outcome {
	t.Helper()
	cmd := exec.Command("podman", append(p.args[:len(p.args):len(p.args)], args...)...)
	cmd.Env = append(os.Environ(), "CONTAINERS_CONF="+p.conf)
	return RunCommand(t, cmd)
}

// CleanPodman removes all that the node's own Podman has, now and when the test ends.
func CleanPodman(t testing.TB) {
	t.Helper()
	dirs := []string{"/var/lib/containers", "/run/containers", "/run/libpod"}
	CleanEngine(t, dirs...)
	t.Cleanup(func() { CleanEngine(t, dirs...) })
}
