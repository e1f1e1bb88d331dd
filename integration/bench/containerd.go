package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/oci-apparmor/oci-apparmor/integration/containerd"
	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/policy"
)

// A daemon is a containerd that runs for a measurement.
type daemon struct {
	containerd.Daemon
	dir    string // for what we keep
	rootfs string // of all containers; it holds busybox
	n      int
}

// An arm is a way to run a container, which is compared with others.
type arm struct {
	name  string
	flags []string // of ctr run
}

// startDaemon starts the containerd whose programs are in bin, and waits until it answers. It looks for shims and
// runtimes in the directories path first.
func startDaemon(bin string, path ...string) (*daemon, error) {
	dir, err := os.MkdirTemp("/run", "bench-containerd")
	if err != nil {
		return nil, err
	}
	d := &daemon{dir: dir, rootfs: filepath.Join(dir, "rootfs"), Daemon: containerd.Daemon{
		Bin: bin, File: filepath.Join(dir, "config.toml"), Log: filepath.Join(dir, "log"), Patience: 2 * time.Minute,
	}}
	d.Env = append(os.Environ(), "PATH="+strings.Join(append(path, bin, os.Getenv("PATH")), ":"))
	if err := d.start(); err != nil {
		said, _ := os.ReadFile(d.Log)
		d.stop()
		return nil, fmt.Errorf("starting the containerd of %s: %w: %s", bin, err, said)
	}
	return d, nil
}

func (d *daemon) start() error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	for _, p := range []string{"bin", "proc", "sys", "dev", "run", "tmp"} {
		if err := os.MkdirAll(filepath.Join(d.rootfs, p), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(d.rootfs+"/bin/busybox", program, 0o755); err != nil {
		return err
	}
	// All versions read the second version of the file.
	if err := os.WriteFile(d.File, []byte(containerd.Config(2, containerd.NoCRI, "")), 0o600); err != nil {
		return err
	}
	return d.Start()
}

// stop ends containerd. Its containers must be gone.
func (d *daemon) stop() {
	if err := d.Stop(syscall.SIGTERM); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.RemoveAll(d.dir)
}

func (d *daemon) nextID() string { d.n++; return "bench" + strconv.Itoa(d.n) }

func (d *daemon) ctr(args ...string) (string, error) {
	out, err := d.Ctr(args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ctr %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// run times a whole "ctr run --rm" of a container that ends at once.
func (d *daemon) run(a arm) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		args := append([]string{"run", "--rm", "--rootfs"}, a.flags...)
		args = append(args, d.rootfs, d.nextID(), "/bin/busybox", "true")
		begin := time.Now()
		_, err := d.ctr(args...)
		return time.Since(begin), err
	}
}

// A container runs until it is removed.
type container struct {
	*daemon
	id   string
	shim int // process id of its shim
}

func (d *daemon) runDetached(a arm) (*container, error) {
	c := &container{daemon: d, id: d.nextID()}
	args := append([]string{"run", "--detach", "--null-io", "--rootfs"}, a.flags...)
	if _, err := d.ctr(append(args, d.rootfs, c.id, "/bin/busybox", "sleep", "100000")...); err != nil {
		return nil, err
	}
	pid, err := os.ReadFile(filepath.Join(containerd.State, "io.containerd.runtime.v2.task/default", c.id, "init.pid"))
	if err != nil {
		return nil, err
	}
	status, err := os.ReadFile("/proc/" + string(pid) + "/status")
	if err != nil {
		return nil, err
	}
	_, parent, _ := bytes.Cut(status, []byte("\nPPid:"))
	parent, _, _ = bytes.Cut(parent, []byte("\n"))
	c.shim, err = strconv.Atoi(string(bytes.TrimSpace(parent)))
	return c, err
}

func (c *container) exec() error {
	_, err := c.ctr("task", "exec", "--exec-id", c.nextID(), c.id, "/bin/busybox", "true")
	return err
}

func (c *container) remove() error {
	_, err1 := c.ctr("task", "delete", "--force", c.id)
	_, err2 := c.ctr("container", "delete", c.id)
	return errors.Join(err1, err2)
}

// containerdPrograms are those of one containerd.
type containerdPrograms struct {
	name  string
	bin   string // directory of containerd and ctr
	shims string // directory of the stock shim that is built as ours; "" for the shim that comes with containerd
}

// buildContainerd returns the containerd that our shim is made of.
func buildContainerd(ctx context.Context) (containerdPrograms, error) {
	p := containerdPrograms{name: guest.Containerd24.Version}
	var err error
	if p.bin, err = guest.Containerd24.Build(ctx, os.Stderr); err == nil {
		p.shims, err = guest.Shim24.Build(ctx, os.Stderr)
	}
	return p, err
}

// inGuestPrograms are the same in a guest.
var inGuestPrograms = containerdPrograms{
	name: guest.Containerd24.Version, bin: "/usr/local/containerd/bin", shims: "/usr/local/containerd/shims",
}

// Which policies the containers get: on a kernel with AppArmor a profile, that the stock arm has as well, so that the
// kernel has the same work; on a kernel without, the one that leaves the engine's choice as it is.
const (
	profiled = true
	keptOnly = false
)

// arms returns the ways to run a container: by the stock shim, by ours, and by the stock one with our runtime wrapper.
func arms(bin string, profile bool) (stock, shim, wrapper arm) {
	const byType = "io.containerd.runc.v2"
	stock = arm{"the stock shim", []string{"--runtime", byType}}
	shim = arm{"our shim", []string{"--runtime", filepath.Join(bin, "containerd-shim-apparmor-v2")}}
	wrapper = arm{"the stock shim with our wrapper",
		[]string{"--runtime", byType, "--runc-binary", filepath.Join(bin, "oci-apparmor-runtime")}}
	if profile {
		stock.flags = append(stock.flags, "--apparmor-profile", "docker-default")
	} else {
		shim, wrapper = kept(shim), kept(wrapper)
	}
	return stock, shim, wrapper
}

// kept has an arm's containers ask for the policy that leaves the engine's choice as it is.
func kept(a arm) arm {
	return arm{a.name + " (policy keep)", append(slices.Clip(a.flags), "--annotation", policy.Annotation+"=kept")}
}

// shimRuns measures the shim's file, and short runs of it.
func shimRuns(bin string, with containerdPrograms, n int) error {
	p := shimPrograms{
		ours:  filepath.Join(bin, "containerd-shim-apparmor-v2"),
		stock: filepath.Join(with.shims, "containerd-shim-runc-v2"),
	}
	if err := p.sizes(); err != nil {
		return err
	}
	d, err := startDaemon(with.bin, with.shims)
	if err != nil {
		return err
	}
	defer d.stop()
	return p.calls(d, n)
}

// shimMemory measures n shims of each kind while they serve.
func shimMemory(bin string, with containerdPrograms, n int, profile bool) error {
	d, err := startDaemon(with.bin, with.shims)
	if err != nil {
		return err
	}
	defer d.stop()
	stock, shim, _ := arms(bin, profile)
	return d.shimMemory(n, shim, stock) // ours first: it loads the profile that the stock arm's containers have too
}

// ctrRuns measures whole containers.
func ctrRuns(bin string, with containerdPrograms, n int, profile bool) error {
	path := []string{}
	if with.shims != "" {
		path = append(path, with.shims)
	}
	d, err := startDaemon(with.bin, path...)
	if err != nil {
		return err
	}
	defer d.stop()
	stock, shim, wrapper := arms(bin, profile)
	others := []arm{shim, wrapper}
	if profile && with.shims != "" {
		others = append(others, kept(shim))
	}
	if _, err := d.run(shim)(); err != nil { // it loads the profile that the stock arm's containers have too
		return err
	}
	all := []func() (time.Duration, error){d.run(stock)}
	for _, a := range others {
		all = append(all, d.run(a))
	}
	times, err := compare(n, all...)
	if err != nil {
		return err
	}
	marks, whys := []float64{1.03, 1.10, 0}, []string{"its create reads and writes the spec, asks the kernel and " +
		"writes a record, which the stock shim does not", "containerd's shim calls the runtime four times for it " +
		"(create, start, delete, delete --force), and each time one Go program more starts: see the wrapper's " +
		"added time", ""}
	if with.shims == "" {
		marks[0] = 0 // the shims are made of different versions
	}
	for i, a := range others {
		ratio(fmt.Sprintf("ctr run --rm, containerd %s: %s ÷ %s", with.name, a.name, stock.name), marks[i], times[i+1], times[0],
			strconv.Itoa(n)+" containers each", whys[i])
	}
	return nil
}
