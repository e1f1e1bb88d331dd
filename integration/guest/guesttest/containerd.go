package guesttest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/integration/containerd"
)

// An Arm is a way in which containerd calls an OCI runtime: through our shim or wrapper, or through the stock shim
// alone.
type Arm struct {
	Name        string   // also the name of its runtime handler in CRI, see Handler
	Type        string   // runtime type, from which containerd derives the shim's name
	Shim        string   // path of the shim; "" stands for the one that the type names
	Runtime     string   // path of the OCI runtime that the shim calls; "" stands for runc
	Annotations []string // patterns of the pod's annotations that its containers receive

	SystemdCgroup bool // option of the shim; only Tasks.Use sets it
}

// OurShim is the path of our shim for containerd in a guest.
const OurShim = "/usr/local/bin/containerd-shim-apparmor-v2"

// wrappers is a directory of links to our runtime wrapper, each with the name of the runtime that it stands for. The
// directory tells the wrapper which engine calls.
const wrappers = "/run/wrappers/containerd"

// annotations are the patterns of the annotations that this project reads.
var annotations = []string{"oci-apparmor/*"}

// The arms. Type is the shim under a runtime type of its own.
var (
	Stock       = Arm{Name: "stock", Type: "io.containerd.runc.v2"}
	StockCrun   = Arm{Name: "stock-crun", Type: "io.containerd.runc.v2", Runtime: "/usr/bin/crun"}
	Shim        = Arm{Name: "shim", Type: "io.containerd.runc.v2", Shim: OurShim, Annotations: annotations}
	Type        = Arm{Name: "type", Type: "io.containerd.apparmor.v2", Annotations: annotations}
	TypeCrun    = Arm{Name: "type-crun", Type: "io.containerd.apparmor.v2", Runtime: "/usr/bin/crun", Annotations: annotations}
	Wrapper     = Arm{Name: "wrapper", Type: "io.containerd.runc.v2", Runtime: wrappers + "/runc", Annotations: annotations}
	ShimCrun    = Arm{Name: "shim-crun", Type: "io.containerd.runc.v2", Shim: OurShim, Runtime: "/usr/bin/crun", Annotations: annotations}
	WrapperCrun = Arm{Name: "wrapper-crun", Type: "io.containerd.runc.v2", Runtime: wrappers + "/crun", Annotations: annotations}

	Arms = []Arm{Stock, StockCrun, Shim, Type, TypeCrun, Wrapper, ShimCrun, WrapperCrun}
)

// Flags returns the flags of "ctr run" for the arm. Every version of ctr accepts the path of a shim as a runtime type.
func (a Arm) Flags() []string {
	runtime := cmp.Or(a.Shim, a.Type)
	switch {
	case a.Runtime == "":
		return []string{"--runtime", runtime}
	case runtime == Stock.Type:
		return []string{"--runtime", runtime, "--runc-binary", a.Runtime}
	}
	// ctr makes runc's options for runc's own type only.
	return []string{"--runtime", runtime, "--runtime-config-path", a.options()}
}

// options returns the path of a TOML file with the shim's options.
func (a Arm) options() string { return filepath.Join(wrappers, a.Name+".toml") }

// Handler returns the arm's runtime handler in the configuration of containerd's CRI plugin.
func (a Arm) Handler() string {
	const table = `[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.%s%s]` + "\n"
	text := fmt.Sprintf(table+"runtime_type = %q\n", a.Name, "", a.Type)
	if a.Shim != "" {
		text += fmt.Sprintf("runtime_path = %q\n", a.Shim)
	}
	if a.Annotations != nil {
		text += fmt.Sprintf("pod_annotations = [\"%s\"]\n", strings.Join(a.Annotations, `", "`))
	}
	if a.Runtime != "" {
		text += fmt.Sprintf(table+"BinaryName = %q\n", a.Name, ".options", a.Runtime)
	}
	return text
}

// A ContainerdConfig is what a test sets for its containerd. The zero value has no CRI plugin.
type ContainerdConfig struct {
	CRI   bool              // enable the CRI plugin, with a runtime handler for each of Arms
	Lines string            // TOML to insert into the table of the CRI plugin
	Links map[string]string // name → path of programs that containerd and its shims find before those in PATH
	Env   []string          // KEY=VALUE, in addition to the test's own environment

	Profile string // AppArmor's, under which it runs; empty for the test's

	Options []Arm // arms that replace those of the same name in Arms

	Main string // whole content of the main file; "" stands for a file made of the other fields
	File string // path of the main file; "" stands for a temporary one
}

// A Containerd is a daemon that runs for one test.
type Containerd struct {
	ContainerdVersion
	Socket string
	daemon containerd.Daemon
	cri    bool
}

// StartContainerd starts a containerd, and returns when it answers. At the end of the test, it stops containerd, its
// shims and its containers, and removes their files. If the test has failed, it shows containerd's log.
func StartContainerd(t testing.TB, v ContainerdVersion, config ContainerdConfig) *Containerd {
	t.Helper()
	dir := t.TempDir()
	c := &Containerd{ContainerdVersion: v, Socket: containerd.Socket, cri: config.CRI, daemon: containerd.Daemon{
		Bin: v.Bin, File: cmp.Or(config.File, filepath.Join(dir, "config.toml")), Log: filepath.Join(dir, "log"), Patience: patience,
		Profile: config.Profile,
	}}
	others := processes(t, func(dir string) bool {
		name, err := os.ReadFile(dir + "/comm")
		return err == nil && string(name) == "containerd\n"
	})
	if len(others) > 0 { // it would wait for the database
		t.Fatalf("another containerd runs already, as process %d", others[0])
	}
	t.Cleanup(func() { c.clean(t) })

	if err := linkWrappers(config.Options); err != nil {
		t.Fatal(err)
	}
	links := filepath.Join(dir, "bin")
	if err := os.Mkdir(links, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, path := range config.Links {
		if err := os.Symlink(path, filepath.Join(links, name)); err != nil {
			t.Fatal(err)
		}
	}
	c.daemon.Env = append(os.Environ(), "PATH="+links+":"+v.Bin+":"+os.Getenv("PATH"))
	c.daemon.Env = append(c.daemon.Env, config.Env...)

	// All versions read the second version of the file. From 2.0 on, the main one is of the third version in many places,
	// and imports others.
	version, imported := 2, config.CRI && !strings.HasPrefix(v.Name, "1.")
	handlers := filepath.Join(dir, "conf.d", "cri.toml")
	var keys, tables string
	switch {
	case imported:
		version = 3
		keys = fmt.Sprintf("imports = [%q]\n", filepath.Dir(handlers)+"/*.toml")
	case !config.CRI:
		keys = containerd.NoCRI
	}
	if config.CRI {
		cri := fmt.Sprintf("[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = %q\n%s\n", PauseImage, config.Lines)
		cri += "[plugins.\"io.containerd.grpc.v1.cri\".containerd]\ndefault_runtime_name = \"stock\"\n"
		for _, a := range Arms {
			cri += a.Handler()
		}
		if imported {
			err := os.Mkdir(filepath.Dir(handlers), 0o755)
			if err == nil {
				err = os.WriteFile(handlers, []byte("version = 2\n"+cri), 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		} else {
			tables = cri
		}
	}
	if config.File == "" {
		text := cmp.Or(config.Main, containerd.Config(version, keys, tables))
		if err := os.WriteFile(c.daemon.File, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c.Start(t)
	return c
}

// linkWrappers makes the links to the runtime wrapper, and the arms' files of options.
func linkWrappers(others []Arm) error {
	if err := os.MkdirAll(wrappers, 0o755); err != nil {
		return err
	}
	wrapper, err := exec.LookPath("oci-apparmor-runtime")
	if err != nil {
		return err
	}
	for _, a := range slices.Concat(Arms, others) {
		if err := os.WriteFile(a.options(), fmt.Appendf(nil, "BinaryName = %q\n", a.Runtime), 0o644); err != nil {
			return err
		}
	}
	for _, runtime := range Runtimes {
		if err := os.Symlink(wrapper, filepath.Join(wrappers, runtime)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// Start starts containerd again after the test has stopped or killed it, and returns when it answers.
func (c *Containerd) Start(t testing.TB) {
	t.Helper()
	if err := c.daemon.Start(); err != nil {
		t.Fatal(err)
	}
}

// Pid returns containerd's process id.
func (c *Containerd) Pid() int { return c.daemon.Pid() }

// Kill9 kills containerd by SIGKILL. Its shims and containers go on.
func (c *Containerd) Kill9(t testing.TB) {
	t.Helper()
	c.stop(t, syscall.SIGKILL)
}

// Restart stops containerd by SIGTERM, as an upgrade does, and starts it again. Its containers go on.
func (c *Containerd) Restart(t testing.TB) {
	t.Helper()
	c.stop(t, syscall.SIGTERM)
	c.Start(t)
}

// Upgrade stops containerd by SIGTERM, and starts another version of it, with the same configuration. Its containers go on.
func (c *Containerd) Upgrade(t testing.TB, to ContainerdVersion) {
	t.Helper()
	c.stop(t, syscall.SIGTERM)
	for i, kv := range c.daemon.Env {
		c.daemon.Env[i] = strings.ReplaceAll(kv, ":"+c.Bin+":", ":"+to.Bin+":")
	}
	c.ContainerdVersion, c.daemon.Bin = to, to.Bin
	c.Start(t)
}

func (c *Containerd) stop(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if err := c.daemon.Stop(signal); err != nil {
		t.Fatal(err)
	}
}

// Log returns what containerd and its shims have logged so far.
func (c *Containerd) Log(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(c.daemon.Log)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// CtrCommand returns a command of ctr for this containerd. The caller runs it.
func (c *Containerd) CtrCommand(args ...string) *exec.Cmd { return c.daemon.Ctr(args...) }

// Ctr runs a command of ctr for this containerd.
func (c *Containerd) Ctr(t testing.TB, args ...string) Outcome {
	t.Helper()
	return RunCommand(t, c.CtrCommand(args...))
}

// MustCtr is Ctr, and fails the test if the command fails. It returns the standard output without the newline at its
// end.
func (c *Containerd) MustCtr(t testing.TB, args ...string) string {
	t.Helper()
	o := c.Ctr(t, args...)
	if o.Code != 0 {
		t.Fatalf("ctr %s: exit code %d\nstdout: %s\nstderr: %s", strings.Join(args, " "), o.Code, o.Stdout, o.Stderr)
	}
	return strings.TrimSuffix(o.Stdout, "\n")
}

// Shims returns the process ids of all shims, ours and stock ones, that serve or are about to serve.
func Shims(t testing.TB) []int {
	t.Helper()
	return processes(t, func(dir string) bool {
		name, err := os.ReadFile(dir + "/cmdline")
		argv0, _, _ := bytes.Cut(name, []byte{0})
		return err == nil && strings.HasPrefix(filepath.Base(string(argv0)), "containerd-shim-")
	})
}

// ContainerProcesses returns the process ids of all processes in containers. In a guest only containers have a cgroup
// of their own. Under systemd every service has one, so there ContainerProcesses returns the processes with a PID
// namespace of their own.
func ContainerProcesses(t testing.TB) []int {
	t.Helper()
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		ours, err := os.Readlink("/proc/self/ns/pid")
		if err != nil {
			t.Fatal(err)
		}
		return processes(t, func(dir string) bool {
			theirs, err := os.Readlink(dir + "/ns/pid")
			return err == nil && theirs != ours
		})
	}
	return processes(t, func(dir string) bool {
		cgroup, err := os.ReadFile(dir + "/cgroup")
		return err == nil && len(cgroup) > 0 && strings.TrimSpace(string(cgroup)) != "0::/"
	})
}

func processes(t testing.TB, match func(dir string) bool) (pids []int) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil && match(dir) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// clean ends containerd, all shims and all containers, and removes their files.
func (c *Containerd) clean(t testing.TB) {
	if t.Failed() {
		said, _ := os.ReadFile(c.daemon.Log)
		lines := strings.Split(strings.TrimSpace(string(said)), "\n")
		lines = slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, "loading plugin") })
		t.Logf("containerd %s said:\n%s", c.Name, strings.Join(lines[max(0, len(lines)-100):], "\n"))
	}
	c.stop(t, syscall.SIGKILL)
	CleanEngine(t, containerd.State, containerd.Root)
}

// CleanEngine kills all shims and all that runs in containers, and removes the directories, with what is mounted below them.
func CleanEngine(t testing.TB, dirs ...string) {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		left := append(Shims(t), ContainerProcesses(t)...)
		if len(left) == 0 {
			break
		}
		for _, pid := range left {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		if time.Now().After(deadline) {
			t.Errorf("processes of containers can't be killed: %v", left)
			break
		}
	}
	for _, dir := range dirs {
		err := unmountAndRemove(t, dir)
		// Podman cleans up after a container when it is gone, and tries a mount of its own.
		for deadline := time.Now().Add(patience); (errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EBUSY)) &&
			time.Now().Before(deadline); {
			time.Sleep(200 * time.Millisecond)
			err = unmountAndRemove(t, dir)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// unmountAndRemove removes a directory, and unmounts first what is mounted below it.
func unmountAndRemove(t testing.TB, dir string) error {
	for _, mounted := range slices.Backward(Mounts(t, dir)) {
		if err := syscall.Unmount(mounted, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) &&
			!errors.Is(err, syscall.ENOENT) {
			t.Errorf("unmounting %s: %v", mounted, err)
		}
	}
	return os.RemoveAll(dir)
}

// Mounts returns what is mounted on or below the directories, in the order in which it was mounted.
func Mounts(t testing.TB, below ...string) (dirs []string) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		dir := strings.Fields(line)[4]
		if slices.ContainsFunc(below, func(b string) bool { return dir == b || strings.HasPrefix(dir, b+"/") }) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}
