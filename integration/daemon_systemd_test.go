package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// daemonUnits are the daemons that have a profile, and their units.
var daemonUnits = []struct{ program, unit string }{{"containerd", "containerd.service"}, {"dockerd", "docker.service"}}

// confineUnits has systemd start both daemons under their profiles, in enforce mode, by the lines that the profiles name.
func confineUnits(t *testing.T) {
	t.Helper()
	guesttest.RemoveProfilesAtEnd(t)
	guesttest.MustRun(t, "systemctl", "stop", "docker.service", "docker.socket", "containerd.service")
	if text, err := os.ReadFile("/etc/apparmor.d/runc"); err == nil {
		guesttest.LoadProfile(t, string(text))
	}
	for _, d := range daemonUnits {
		file := filepath.Join(t.TempDir(), d.program)
		text := guesttest.MustRun(t, "oci-apparmor", "profile", "daemon", d.program, "--mode", "enforce")
		write(t, file, text)
		guesttest.MustRun(t, "oci-apparmor", "profile", "load", file)
		t.Cleanup(func() { guesttest.Run(t, "oci-apparmor", "profile", "unload", d.program) })
		lines := ""
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(strings.TrimPrefix(line, "#"))
			if strings.HasPrefix(line, "AppArmorProfile=") || strings.HasPrefix(line, "Exec") {
				lines += line + "\n"
			}
		}
		if !strings.Contains(lines, "AppArmorProfile="+d.program) {
			t.Fatalf("the profile of %s names no lines for its unit:\n%s", d.program, text)
		}
		unitHas(t, d.unit, lines)
	}
}

// What systemd does with a daemon's unit, and what the daemon does under systemd, needs no more than the profiles in enforce mode allow:
// its notifications, its socket that systemd has opened, its reload, which is a program of the unit, and containers' control groups that
// systemd makes.
func TestSystemdDaemonsUnderTheirProfiles(t *testing.T) {
	guesttest.Need(t, guest.Systemd)
	guesttest.Leave(t, "make test has dockerd under its profile in complain mode, in TestSystemdDaemonByReadme")
	guesttest.NeedDocker(t)
	const config = "/etc/docker/daemon.json"
	settings := `{"live-restore": true}`
	if !nat() {
		settings = `{"live-restore": true, "iptables": false, "ip6tables": false}`
	}
	writeFile(t, config, settings+"\n")
	t.Cleanup(func() { guesttest.MustRun(t, "rm", config) })
	confineUnits(t)
	// The unit loads containerd's module outside of the profile, where there is one to be loaded.
	unloaded := guesttest.Run(t, "modprobe", "--remove", "overlay").Code == 0
	log := guesttest.KernelLog(t)
	startUnits(t, []string{"docker.service", "docker.socket", "containerd.service"}, "/run/docker", "/var/lib/docker", "/run/containerd", "/var/lib/containerd")
	confined := func() {
		t.Helper()
		for _, d := range daemonUnits {
			if label := guesttest.Label(t, mainOf(t, d.unit)); label != d.program+" (enforce)" {
				t.Errorf("%s runs under %s", d.unit, label)
			}
		}
	}
	confined()
	if _, err := os.Stat("/sys/module/overlay"); err != nil {
		t.Errorf("after containerd's start: %v", err)
	}
	t.Logf("the module overlay was taken out before: %v", unloaded)

	docker := func(args ...string) string {
		t.Helper()
		return strings.TrimSpace(guesttest.MustRun(t, "docker", args...))
	}
	docker("load", "--quiet", "--input", guesttest.Images(t))
	guesttest.LoadProfile(t, "abi <abi/3.0>,\nprofile other flags=(attach_disconnected) {\n  file,\n  signal,\n  network,\n}\n")
	for name, label := range map[string]string{"docker-default": "docker-default (enforce)", "other": "other (enforce)"} {
		id := docker("run", "--detach", "--security-opt", "apparmor="+name, "--health-cmd", "probe label", guesttest.ProbeImage, "probe", "sleep")
		pid := docker("inspect", "--format", "{{.State.Pid}}", id)
		if out := docker("exec", id, "probe", "label"); !strings.Contains(out, label) {
			t.Errorf("under %s: %s", name, out)
		}
		old := mainOf(t, "docker.service")
		guesttest.MustRun(t, "systemctl", "reload", "docker.service")
		if mainOf(t, "docker.service") != old {
			t.Error("by a reload, dockerd is another process")
		}
		guesttest.MustRun(t, "systemctl", "restart", "docker.service")
		guesttest.MustRun(t, "systemctl", "restart", "containerd.service")
		waitFor(t, "dockerd to answer", func() bool { return guesttest.Run(t, "docker", "ps").Code == 0 })
		confined()
		if now := docker("inspect", "--format", "{{.State.Pid}}", id); now != pid {
			t.Errorf("after restarts the container of %s is another one: %s, before %s", name, now, pid)
		}
		if out := docker("exec", id, "probe", "label"); !strings.Contains(out, label) {
			t.Errorf("after restarts, under %s: %s", name, out)
		}
		docker("stop", "--time", "1", id)
		docker("start", id)
		docker("kill", id)
		docker("rm", "--force", id)
	}
	// Not one that runs on while dockerd is restarted: Docker does not end its proxy, and then misses the port.
	docker("run", "--rm", "--publish", "8080:80", guesttest.ProbeImage, "probe", "label")
	setPolicy(t, webPolicy)
	guesttest.MustRun(t, "oci-apparmor", "policy", "load")
	wantDone(t, guesttest.Run(t, "oci-apparmor", "install", "--yes", "--restart", "docker"))
	if out := docker("run", "--rm", "--runtime", "apparmor", "--annotation", "oci-apparmor/policy=web", guesttest.ProbeImage, "probe", "label"); !strings.Contains(out, "web (enforce)") {
		t.Errorf("by our runtime a container has %s", out)
	}
	wantDone(t, guesttest.Run(t, "oci-apparmor", "uninstall", "--yes", "--restart", "docker"))
	confined()
	guesttest.MustRun(t, "systemctl", "stop", "docker.service", "docker.socket", "containerd.service")
	for _, d := range daemonUnits {
		log.WantNoDenials(t, d.program+" under systemd", fmt.Sprintf("profile=%q", d.program))
	}
	log.WantNoDenials(t, "what the daemons execute")
}
