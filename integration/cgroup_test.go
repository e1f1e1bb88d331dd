package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// systemdOption is what containerd's configuration says of runc's cgroup driver.
type systemdOption string

const (
	absent  systemdOption = ""
	saysNo  systemdOption = "SystemdCgroup = false\n"
	saysYes systemdOption = "SystemdCgroup = true\n"
)

// handlerOf returns a runtime handler of an arm with that option; by a file that the configuration names, where byFile.
func handlerOf(t *testing.T, arm guesttest.Arm, name string, option systemdOption, byFile bool) string {
	t.Helper()
	arm.Name = name
	text := arm.Handler()
	if option == absent {
		return text
	}
	text += fmt.Sprintf("[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.%s.options]\n", name)
	if !byFile {
		return text + string(option)
	}
	file := filepath.Join(t.TempDir(), "options.toml")
	write(t, file, string(option))
	return text + fmt.Sprintf("ConfigPath = %q\n", file)
}

// cgroupsOfPod runs a pod whose cgroup's parent is a slice, as critest does, and gives where its two containers are; or why
// it does not run.
func cgroupsOfPod(t *testing.T, engine *guesttest.CRI, handler string) string {
	t.Helper()
	pod, err := engine.TryPod(t, handler, func(c *cri.PodSandboxConfig) { c.Linux.CgroupParent = "system.slice" })
	if err != nil {
		if strings.Contains(err.Error(), "systemd not running on this host") {
			return "systemd not running on this host"
		}
		return err.Error()
	}
	defer pod.Remove(t)
	c := startPodContainer(t, pod, "front")
	return cgroupOf(t, pod.Pid(t), pod.ID) + " " + cgroupOf(t, c.Pid(t), c.ID)
}

// cgroupOf returns the control group of a process, with ID in the place of its container's id.
func cgroupOf(t *testing.T, pid int, id string) string {
	t.Helper()
	return strings.ReplaceAll(strings.TrimSpace(read(t, fmt.Sprintf("/proc/%d/cgroup", pid))), id, "ID")
}

// Where a container's control group is, and by which driver, is as with containerd's own shim: with every option, with and
// without systemd, also where a client of CRI gives its pods a parent as for systemd.
func TestContainerdCgroups(t *testing.T) {
	guesttest.OldestAndPresent(t, cgroupsAsStock)
}

// The same where systemd runs; and under Docker, which writes paths for systemd there.
func TestSystemdCgroups(t *testing.T) {
	guesttest.Need(t, guest.Systemd)
	guesttest.RemoveProfilesAtEnd(t)
	for _, v := range guesttest.Containerds(t) {
		t.Run(v.Name, func(t *testing.T) {
			v.EnoughElsewhere(t)
			if guesttest.Suite() == guesttest.Forky && !v.Present() {
				guesttest.Leave(t, "make test has the present containerd here, and the one before 2.0 in trixie")
			}
			cgroupsAsStock(t, v)
		})
	}
	t.Run("Docker", func(t *testing.T) {
		guesttest.EnoughIn(t, guesttest.Forky) // the path is Docker's
		apply(t, webPolicy)
		c := guesttest.StartContainerd(t, guesttest.Containerds(t)[0], guesttest.ContainerdConfig{})
		d := guesttest.StartDocker(t, c, map[string]map[string]any{"shim": {"runtimeType": guesttest.Type.Type}})
		cgroup := func(runtime string) string {
			id := d.MustDocker(t, "run", "--detach", "--network", "none", "--runtime", runtime, guesttest.ProbeImage, "/bin/probe", "sleep")
			defer d.MustDocker(t, "rm", "--force", id)
			return cgroupOf(t, d.Pid(t, id), id)
		}
		stock, ours := cgroup("runc"), cgroup("shim")
		if stock != ours || !strings.HasSuffix(stock, "/docker-ID.scope") {
			t.Errorf("by Docker's own runtime it is %s, through us %s", stock, ours)
		}
	})
}

func cgroupsAsStock(t *testing.T, v guesttest.ContainerdVersion) {
	options := map[string]systemdOption{"absent": absent, "false": saysNo, "true": saysYes}
	arms := map[string]guesttest.Arm{"stock": guesttest.Stock, "path": guesttest.Shim, "type": guesttest.Type}
	if ignoresRuntimePath(v) {
		delete(arms, "path")
	}
	var handlers string
	for name, arm := range arms {
		for said, option := range options {
			handlers += handlerOf(t, arm, name+"-"+said, option, false)
		}
	}
	for said, option := range options {
		if option != absent {
			handlers += handlerOf(t, guesttest.Type, "file-"+said, option, true)
		}
	}
	apply(t, podPolicy)
	c := guesttest.StartContainerd(t, v, guesttest.ContainerdConfig{CRI: true, Lines: handlers})
	c.MustCtr(t, "--namespace", "k8s.io", "images", "import", guesttest.Images(t))
	engine := guesttest.DialCRI(t, c.Socket)
	stock := make(map[string]string)
	for said := range options {
		stock[said] = cgroupsOfPod(t, engine, "stock-"+said)
		t.Logf("the stock shim, option %s: %s", said, stock[said])
	}
	if stock["absent"] != stock["false"] || stock["false"] == stock["true"] || !strings.Contains(stock["false"], "/system.slice:cri-containerd:ID ") {
		t.Fatal("the options change something else than they are here for")
	}
	for said, option := range options {
		for _, way := range []string{"path", "type", "file"} {
			want := stock[said]
			switch {
			case way == "path" && ignoresRuntimePath(v), way == "file" && option == absent:
				continue
			case way == "type" && option != absent && strings.HasPrefix(v.Name, "1.6."):
				// It drops them, so that only the path is left to go by, where systemd runs.
				if want = stock["false"]; exists("/run/systemd/system") {
					want = stock["true"]
				}
			}
			if got := cgroupsOfPod(t, engine, way+"-"+said); got != want {
				t.Errorf("through our shim by its %s, option %s: %s, want %s", way, said, got, want)
			}
		}
	}
}
