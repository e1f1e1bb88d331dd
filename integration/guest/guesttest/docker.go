package guesttest

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Where a test's dockerd keeps its files. The paths are its defaults, since those of its runtimes show which engine calls.
const (
	dockerState = "/run/docker"
	dockerRoot  = "/var/lib/docker"
)

// A Docker is a dockerd that runs for one test, on a containerd of that test.
type Docker struct {
	Config  string // path of dockerd's configuration
	socket  string
	process *process
}

// Reload makes dockerd read its configuration again, which takes dockerd a moment.
func (d *Docker) Reload(t testing.TB) {
	t.Helper()
	if err := d.process.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

// Restart stops dockerd by SIGTERM, and starts it again. Its containers go on if it has live-restore, and end otherwise.
func (d *Docker) Restart(t testing.TB) {
	t.Helper()
	d.process.restart(t)
}

// NeedDocker skips the test in a guest without Docker.
func NeedDocker(t testing.TB) {
	t.Helper()
	for _, name := range []string{"dockerd", "docker"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip("this guest has no Docker: ", err)
		}
	}
}

// StartDocker starts a dockerd that has the images of Images. runtimes are its OCI runtimes by name, as in daemon.json.
// It has no network. It ends with the test, as do its containers. StartDocker skips the test if the guest has no
// Docker.
func StartDocker(t testing.TB, c *Containerd, runtimes map[string]map[string]any) *Docker {
	t.Helper()
	return StartDockerUnder(t, c, "", map[string]any{
		"runtimes": runtimes, "iptables": false, "ip6tables": false, "ip-forward": false, "bridge": "none",
	})
}

// StartDockerUnder is StartDocker for a dockerd that runs under an AppArmor profile, with these settings of its
// configuration.
func StartDockerUnder(t testing.TB, c *Containerd, profile string, settings map[string]any) *Docker {
	t.Helper()
	NeedDocker(t)
	if err := os.MkdirAll(DockerWrappers, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, runtime := range Runtimes {
		if err := os.Symlink("/usr/local/bin/oci-apparmor-runtime", filepath.Join(DockerWrappers, runtime)); err != nil &&
			!errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	settings = maps.Clone(settings)
	settings["containerd"], settings["pidfile"] = c.Socket, filepath.Join(dir, "pid")
	settings["hosts"] = []string{"unix://" + filepath.Join(dir, "socket")}
	config, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "daemon.json"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	d := &Docker{socket: filepath.Join(dir, "socket"), Config: filepath.Join(dir, "daemon.json")}
	t.Cleanup(func() { CleanEngine(t, dockerState, dockerRoot) })
	d.process = startProcessUnder(t, profile, c.daemon.Env, func(t testing.TB) bool { return d.Docker(t, "version").Code == 0 },
		"dockerd", "--config-file", d.Config)
	d.MustDocker(t, "load", "--quiet", "--input", Images(t))
	return d
}

// DockerWrappers is a directory with links to our runtime wrapper, for the runtimes in daemon.json.
const DockerWrappers = "/run/wrappers/docker"

// Socket returns the path of the socket at which dockerd listens.
func (d *Docker) Socket() string { return d.socket }

// Docker runs a command of docker for this dockerd.
func (d *Docker) Docker(t testing.TB, args ...string) Outcome {
	t.Helper()
	return Run(t, "docker", append([]string{"--host", "unix://" + d.socket}, args...)...)
}

// Pid returns the host's process id of a container's first process, which has executed its program by then. It fails the
// test if the container has ended.
func (d *Docker) Pid(t testing.TB, id string) int {
	t.Helper()
	pid, err := strconv.Atoi(d.MustDocker(t, "inspect", "--format", "{{.State.Pid}}", id))
	if err != nil || pid == 0 {
		t.Fatalf("container %s has ended (%v); it said %+v", id, err, d.Docker(t, "logs", id))
	}
	Executed(t, pid)
	return pid
}

// MustDocker is Docker, and fails the test if the command fails. It returns the standard output without the newline at
// its end.
func (d *Docker) MustDocker(t testing.TB, args ...string) string {
	t.Helper()
	o := d.Docker(t, args...)
	if o.Code != 0 {
		t.Fatalf("docker %s: exit code %d\nstdout: %s\nstderr: %s", strings.Join(args, " "), o.Code, o.Stdout, o.Stderr)
	}
	return strings.TrimSuffix(o.Stdout, "\n")
}
