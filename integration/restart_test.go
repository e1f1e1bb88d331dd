package integration

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// startUnits starts services of systemd's until the test ends. Their state is removed then.
func startUnits(t *testing.T, units []string, state ...string) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			for _, u := range units {
				t.Logf("%s", guesttest.Run(t, "journalctl", "--no-pager", "--lines=40", "--unit="+u).Stdout)
			}
		}
		guesttest.MustRun(t, "systemctl", append([]string{"stop"}, units...)...)
		guesttest.Run(t, "systemctl", append([]string{"reset-failed"}, units...)...)
		guesttest.CleanEngine(t, state...)
	})
	guesttest.MustRun(t, "systemctl", append([]string{"start"}, units...)...)
}

// unitHas writes lines of a section [Service] for a unit, and returns what takes them out again.
func unitHas(t *testing.T, unit, lines string) (remove func()) {
	t.Helper()
	dir := "/run/systemd/system/" + unit + ".d"
	writeFile(t, dir+"/test.conf", "[Service]\n"+lines)
	guesttest.MustRun(t, "systemctl", "daemon-reload")
	remove = func() {
		guesttest.MustRun(t, "rm", "-rf", dir)
		guesttest.MustRun(t, "systemctl", "daemon-reload")
	}
	t.Cleanup(remove)
	return remove
}

// mainOf returns a unit's main process; 0 where it does not run.
func mainOf(t *testing.T, unit string) int {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(guesttest.MustRun(t, "systemctl", "show", "--value", "--property=MainPID", unit)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// restarted is what --restart has done with an engine.
type restarted struct {
	Unit, Outcome  string
	By             string
	Reload         bool
	Running, After []string
}

// restart runs install or uninstall with --restart for an engine.
func restart(t *testing.T, engine string, args ...string) (restarted, guesttest.Outcome) {
	t.Helper()
	began := time.Now()
	o := guesttest.Run(t, "oci-apparmor", append(args, "--yes", "--json", "--restart", engine)...)
	var said struct {
		Engines []struct{ Restart restarted }
	}
	if err := json.Unmarshal([]byte(o.Stdout), &said); err != nil || len(said.Engines) != 1 {
		t.Fatalf("%v: exit code %d, %s%s", err, o.Code, o.Stdout, o.Stderr)
	}
	r := said.Engines[0].Restart
	t.Logf("%q: %s after %.1f s, %d containers run: %s", args, r.Outcome, time.Since(began).Seconds(), len(r.After), o.Stderr)
	if slices.Sort(r.Running); !slices.Equal(r.Running, slices.Sorted(slices.Values(r.After))) || len(r.Running) == 0 {
		t.Errorf("%q: before it %q ran, and after it %q", args, r.Running, r.After)
	}
	return r, o
}

// A container runs on through all that --restart does to containerd: a change whose call is killed, which is taken back by the process
// that waits for that, one that works, and the way back.
func TestSystemdRestartContainerd(t *testing.T) {
	guesttest.Need(t, guest.Systemd)
	guesttest.EnoughIn(t, guesttest.Trixie) // what systemd is asked to do is ours
	setPolicy(t, podPolicy)
	const unit = "containerd.service"
	v := guesttest.Containerds(t)[0]
	putTree(t, v, "none")
	writeFile(t, containerdConfig, regexp.MustCompile(`(?m)^(\s*sandbox(?:_image)? = )['"].*['"]$`).ReplaceAllString(
		defaultConfig(t, v), fmt.Sprintf("${1}%q", guesttest.PauseImage)))
	startUnits(t, []string{unit}, "/run/containerd", "/var/lib/containerd")
	const socket = "/run/containerd/containerd.sock"
	guesttest.MustRun(t, "ctr", "--namespace", "k8s.io", "images", "import", guesttest.Images(t))
	guesttest.MustRun(t, "ctr", "--namespace", "k8s.io", "run", "--detach", guesttest.ProbeImage, "plain", "/bin/probe", "sleep")
	task := func() string {
		for line := range strings.Lines(guesttest.MustRun(t, "ctr", "--namespace", "k8s.io", "tasks", "list")) {
			if strings.HasPrefix(line, "plain ") {
				return strings.Join(strings.Fields(line), " ")
			}
		}
		return ""
	}
	// As a kubelet may: systemd stops it with containerd, and after a start that fails it stays down.
	const requires = "requires-containerd.service"
	writeFile(t, "/run/systemd/system/"+requires, "[Unit]\nRequires="+unit+"\nAfter="+unit+"\n[Service]\nExecStart=/bin/sleep infinity\n")
	guesttest.MustRun(t, "systemctl", "daemon-reload")
	t.Cleanup(func() { guesttest.MustRun(t, "rm", "/run/systemd/system/"+requires) })
	startUnits(t, []string{requires})
	hash, before := treeHash(t), task()
	still := func() {
		t.Helper()
		waitFor(t, requires+" to run", func() bool { return guesttest.Run(t, "systemctl", "is-active", requires).Code == 0 })
		if treeHash(t) != hash {
			t.Error("the tree is not as it was")
		}
		if now := mainOf(t, unit); now == 0 {
			t.Error("containerd does not run")
		}
		if now := task(); now != before || !strings.HasSuffix(now, " RUNNING") {
			t.Errorf("the container is %q, and was %q", now, before)
		}
	}

	t.Run("a start that hangs", func(t *testing.T) {
		guesttest.Leave(t, "a start that fails, which is not waited for")
		guesttest.MustRun(t, "sh", "-c", "sha256sum "+containerdConfig+" >/run/config.sha256")
		defer unitHas(t, unit, "ExecStartPre=/bin/sh -c 'sha256sum --check --status /run/config.sha256 || exec sleep 600'\n")()
		began := time.Now()
		r, o := restart(t, "containerd", "install")
		if o.Code != 3 || r.Outcome != "taken back" || !strings.Contains(o.Stderr, "not back after 1m0s") {
			t.Errorf("exit code %d, %+v, %s", o.Code, r, o.Stderr)
		}
		if took := time.Since(began); took > 90*time.Second {
			t.Errorf("it took %v", took)
		}
		still()
	})

	t.Run("a stop that hangs", func(t *testing.T) {
		guesttest.Leave(t, "a start that fails, which is not waited for")
		remove := unitHas(t, unit, "ExecStop=/bin/sh -c '[ -e /run/has-hung ] || { touch /run/has-hung; exec sleep infinity; }'\nTimeoutStopSec=infinity\n")
		defer remove()
		old, began := mainOf(t, unit), time.Now()
		r, o := restart(t, "containerd", "install")
		if o.Code != 3 || r.Outcome != "taken back" || !strings.Contains(o.Stderr, "not back after 1m0s") {
			t.Errorf("exit code %d, %+v, %s", o.Code, r, o.Stderr)
		}
		if took := time.Since(began); took > 90*time.Second || mainOf(t, unit) == old {
			t.Errorf("it took %v, and containerd is process %d, which was %d", took, mainOf(t, unit), old)
		}
		still()
	})

	// A call that is killed with containerd down.
	remove := unitHas(t, unit, "ExecStartPre=/bin/sh -c '[ -e /run/may-start ] || exec sleep 600'\n")
	cmd := exec.Command("oci-apparmor", "install", "--yes", "--restart", "containerd")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "systemd to start containerd", func() bool {
		return strings.Contains(guesttest.MustRun(t, "systemctl", "show", "--property=SubState", unit), "start-pre")
	})
	if treeHash(t) == hash {
		t.Error("nothing was changed before the restart")
	}
	write(t, "/run/may-start", "")
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	waitFor(t, "the change to be taken back", func() bool { return !exists("/var/lib/oci-apparmor/wiring/journal.json") })
	waitFor(t, "containerd to run", func() bool { return guesttest.Run(t, "systemctl", "is-active", unit).Code == 0 })
	still()
	remove()

	old := mainOf(t, unit)
	r, o := restart(t, "containerd", "install")
	wantDone(t, o)
	if r.Outcome != "taken over" || r.Unit != unit || mainOf(t, unit) == old {
		t.Errorf("%+v: containerd is process %d, and was %d", r, mainOf(t, unit), old)
	}
	old = mainOf(t, unit)
	pod := guesttest.DialCRI(t, socket).Pod(t, "apparmor", guesttest.Annotated("oci-apparmor/policy", "web"))
	wantPodConfined(t, startPodContainer(t, pod, "front"), podWeb, "web (enforce)")
	pod.Remove(t)
	r, o = restart(t, "containerd", "uninstall")
	wantDone(t, o)
	if r.Outcome != "taken over" || mainOf(t, unit) == old {
		t.Errorf("%+v", r)
	}
	still()

	// A power failure in a trial: our unit takes it back before containerd starts, which waits for our unit.
	wantDone(t, guesttest.Run(t, "oci-apparmor", "install", "--yes", "containerd"))
	guesttest.MustRun(t, "systemctl", "stop", unit)
	interrupt(t, unit, requires)
	const ours = "oci-apparmor.service"
	began := time.Now()
	guesttest.MustRun(t, "systemctl", "start", ours, unit, requires)
	t.Cleanup(func() { guesttest.MustRun(t, "systemctl", "stop", ours) })
	if took := time.Since(began); took > time.Minute {
		t.Errorf("the boot takes %v", took)
	}
	waitFor(t, "containerd to run", func() bool { return guesttest.Run(t, "systemctl", "is-active", unit).Code == 0 })
	still()
}

// interrupt makes of what install has done to containerd a trial of another boot, in which other units were up.
func interrupt(t *testing.T, unit string, with ...string) {
	t.Helper()
	const dir = "/var/lib/oci-apparmor/wiring/"
	var record struct {
		Engines map[string]struct{ Edits json.RawMessage }
	}
	text := read(t, dir+"record.json")
	if err := json.Unmarshal([]byte(text), &record); err != nil {
		t.Fatal(err)
	}
	journal, err := json.Marshal(map[string]any{
		"version": 2, "steps": record.Engines["containerd"].Edits, "after": json.RawMessage(text), "before": map[string]any{"version": 1},
		"trial": map[string]any{"engine": "containerd", "unit": unit, "boot": "another", "with": with},
	})
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir+"journal.json", string(journal))
}

// Docker takes our runtime over by a reload. An uninstall that its start refuses, because a flag of its unit has our runtime for
// the default, is taken back although dockerd's own check accepts it.
func TestSystemdRestartDocker(t *testing.T) {
	guesttest.Need(t, guest.Systemd)
	guesttest.EnoughIn(t, guesttest.Forky) // what systemd is asked to do is ours
	guesttest.NeedDocker(t)
	setPolicy(t, webPolicy)
	const unit, config = "docker.service", "/etc/docker/daemon.json"
	settings := `{"iptables": false, "ip6tables": false, "ip-forward": false, "bridge": "none", "live-restore": true}` + "\n"
	writeFile(t, config, settings)
	t.Cleanup(func() { guesttest.MustRun(t, "rm", config) })
	startUnits(t, []string{unit, "containerd.service"}, "/run/docker", "/var/lib/docker", "/run/containerd", "/var/lib/containerd")
	docker := func(args ...string) string { return strings.TrimSpace(guesttest.MustRun(t, "docker", args...)) }
	docker("load", "--quiet", "--input", guesttest.Images(t))
	run := []string{"run", "--detach", "--network", "none"}
	plain := docker(append(run, guesttest.ProbeImage, "/bin/probe", "sleep")...)
	pid := docker("inspect", "--format", "{{.State.Pid}}", plain)
	hash, old := treeHash(t), mainOf(t, unit)

	r, o := restart(t, "docker", "install")
	wantDone(t, o)
	if r.Outcome != "taken over" || !r.Reload || mainOf(t, unit) != old {
		t.Errorf("%+v", r)
	}
	script := webTries.script()
	id := docker(append(run, "--runtime", "apparmor", "--annotation", "oci-apparmor/policy=web", guesttest.ProbeImage, "/bin/sh", "-c",
		script+"; exec probe sleep")...)
	waitFor(t, "the container to try its operations", func() bool { return strings.Count(docker("logs", id), "\n") >= len(webTries)-1 })
	webTries.check(t, "the container's process", docker("logs", id), "web")
	docker("rm", "--force", id)

	// A default that is in the file no more, a reload keeps.
	wired, standard := treeHash(t), func() string { return docker("info", "--format", "{{.DefaultRuntime}}") }
	r, o = restart(t, "docker", "install", "--default")
	wantDone(t, o)
	if r.Outcome != "taken over" || !r.Reload || standard() != "apparmor" {
		t.Errorf("%+v, and the default is %s", r, standard())
	}
	byDefault := read(t, config)
	wantDone(t, guesttest.Run(t, "oci-apparmor", "install", "--yes", "--default=false", "docker"))
	guesttest.MustRun(t, "systemctl", "reload", unit)
	time.Sleep(2 * time.Second)
	if got := standard(); got != "apparmor" {
		t.Errorf("after a reload the default is %s: so it need not be a restart", got)
	}
	write(t, config, byDefault)
	r, o = restart(t, "docker", "install", "--default=false")
	wantDone(t, o)
	if r.Outcome != "taken over" || r.Reload || standard() != "runc" || treeHash(t) != wired {
		t.Errorf("%+v, and the default is %s", r, standard())
	}

	remove := unitHas(t, unit, "ExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock --default-runtime=apparmor\n")
	began := time.Now()
	r, o = restart(t, "docker", "uninstall")
	if o.Code != 3 || r.Outcome != "taken back" || !strings.Contains(o.Stderr, "everything has been taken back, and it has been started again") {
		t.Errorf("exit code %d, %+v, %s", o.Code, r, o.Stderr)
	}
	if took := time.Since(began); took > 90*time.Second {
		t.Errorf("it took %v", took)
	}
	if treeHash(t) != wired {
		t.Error("the tree is not as it was")
	}
	if now := docker("inspect", "--format", "{{.State.Pid}}", plain); now != pid || mainOf(t, unit) == 0 {
		t.Errorf("the container is process %s, and was %s", now, pid)
	}
	remove()
	r, o = restart(t, "docker", "uninstall")
	wantDone(t, o)
	if r.Outcome != "taken over" || treeHash(t) != hash || read(t, config) != settings {
		t.Errorf("%+v: %s", r, read(t, config))
	}
	if left, _ := filepath.Glob("/var/tmp/oci-apparmor-probe-*"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	t.Run("without live-restore", func(t *testing.T) {
		guesttest.Leave(t, "with live-restore")
		defer write(t, config, settings)
		write(t, config, strings.Replace(settings, "true}", "false}", 1))
		guesttest.MustRun(t, "systemctl", "reload", unit)
		waitFor(t, "Docker to read that", func() bool { return docker("info", "--format", "{{.LiveRestoreEnabled}}") == "false" })
		_, o := restart(t, "docker", "install")
		wantDone(t, o)
		o = guesttest.Run(t, "oci-apparmor", "uninstall", "--yes", "--restart", "docker")
		if o.Code != 3 || !strings.Contains(o.Stderr, "1 container runs: give --stop-containers") || docker("ps", "--quiet") == "" {
			t.Errorf("exit code %d, %s%s", o.Code, o.Stdout, o.Stderr)
		}
		o = guesttest.Run(t, "oci-apparmor", "uninstall", "--yes", "--restart", "--stop-containers", "docker")
		wantDone(t, o)
		if !strings.Contains(strings.Join(strings.Fields(o.Stdout), " "), "of 1 container these run no more: "+plain[:12]) || docker("ps", "--quiet") != "" {
			t.Errorf("what it says is\n%s", o.Stdout)
		}
		t.Logf("\n%s", o.Stdout)
	})
	docker("rm", "--force", plain)
}
