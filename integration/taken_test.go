package integration

import (
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// After an uninstall without a restart, an engine goes on with ours: new pods and containers are started by the link that it calls,
// and are confined. doctor says so, the programs cannot be removed, and once the engine was restarted nothing of ours is left.
func TestContainerdUninstallWithoutRestart(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky) // which has Docker and crun
	setPolicy(t, podPolicy)
	v := guesttest.Containerds(t)[0]
	run := wiring(t, v.Bin)
	putTree(t, v, "none")
	putDefaultConfig(t, v)
	c := guesttest.StartContainerd(t, v, guesttest.ContainerdConfig{CRI: true, File: containerdConfig})
	c.MustCtr(t, "--namespace", "k8s.io", "images", "import", guesttest.Images(t))
	hash := treeHash(t)
	t.Cleanup(func() { run("uninstall", "--yes") })
	const link, older = "/usr/local/lib/oci-apparmor/containerd/runc", "engine-restart"
	restart := func() *guesttest.CRI {
		c.Restart(t)
		engine := guesttest.DialCRI(t, c.Socket)
		engine.Ready(t)
		return engine
	}
	wantOlder := func(what string, is bool) {
		t.Helper()
		r := parseDoctor(t, run("doctor", "--json"))
		if got := slices.ContainsFunc(r.Findings, func(f finding) bool { return f.ID == older }); got != is {
			t.Errorf("%s: doctor finds %+v", what, r.Findings)
		}
	}

	wantDone(t, run("install", "--yes", "--default", "--via", "wrapper", "containerd"))
	wantOlder("installed, and not restarted", true)
	engine := restart()
	wantOlder("installed and restarted", false)
	o := run("uninstall", "--yes", "containerd")
	wantDone(t, o)
	if said := strings.Join(strings.Fields(o.Stdout), " "); !strings.Contains(said, link+" stays, as the engine calls it until it is restarted by systemctl restart containerd") {
		t.Errorf("uninstall says %s", o.Stdout)
	}
	wantOlder("uninstalled, and not restarted", true)
	pod := engine.Pod(t, "", guesttest.Annotated("oci-apparmor/policy", "web"))
	front := startPodContainer(t, pod, "front")
	wantPodConfined(t, front, podWeb, "web (enforce)")
	wantExecSyncConfined(t, front, podWeb, "web (enforce)")
	pod.Remove(t)
	if o := run("removable"); o.Code == 0 || !strings.Contains(o.Stderr, "containerd is not wired to them any more, and calls them until it is restarted") {
		t.Errorf("removable: %+v", o)
	}
	engine = restart()
	wantOlder("uninstalled and restarted", false)
	pod = engine.Pod(t, "", guesttest.Annotated("oci-apparmor/policy", "web"))
	wantPodConfined(t, startPodContainer(t, pod, "plain"), podEngine, "cri-containerd.apparmor.d (enforce)")
	pod.Remove(t)
	wantDone(t, run("uninstall", "--yes", "containerd"))
	if treeHash(t) != hash {
		t.Error("uninstall has not given the same tree back")
	}
	wantDone(t, run("removable"))

	t.Run("Docker", func(t *testing.T) { uninstallDockerWithoutRestart(t, c, run) })
}

// uninstallDockerWithoutRestart is the same of a Docker whose default runtime is crun, which it calls by a link of ours.
func uninstallDockerWithoutRestart(t *testing.T, c *guesttest.Containerd, run func(...string) guesttest.Outcome) {
	d := guesttest.StartDocker(t, c, map[string]map[string]any{"crun": {"path": "/usr/bin/crun"}})
	write(t, d.Config, strings.Replace(read(t, d.Config), "{", `{"live-restore":true,"default-runtime":"crun",`, 1))
	d.Restart(t)
	const link = "/usr/local/lib/oci-apparmor/docker/crun"
	before := read(t, d.Config)
	wantOlder := func(what, part string) {
		t.Helper()
		r := parseDoctor(t, run("doctor", "--json"))
		i := slices.IndexFunc(r.Findings, func(f finding) bool { return f.ID == "engine-restart" })
		if (i >= 0) != (part != "") || i >= 0 && !strings.Contains(r.Findings[i].What, part) {
			t.Errorf("%s: doctor finds %+v", what, r.Findings)
		}
	}
	wantDone(t, run("install", "--yes", "docker"))
	wantOlder("installed, and not reloaded", "dockerd runs without our runtime apparmor")
	d.Reload(t)
	waitFor(t, "Docker to take its runtimes over", func() bool {
		return strings.Contains(d.MustDocker(t, "info", "--format", "{{json .Runtimes}}"), `"apparmor"`)
	})
	wantOlder("installed and reloaded", "")
	o := run("uninstall", "--yes", "docker")
	wantDone(t, o)
	if got := read(t, d.Config); got != before || !exists(link) || !strings.Contains(strings.Join(strings.Fields(o.Stdout), " "), link+" stays, as the engine calls it") {
		t.Errorf("uninstall says %s, and makes of its file %s", o.Stdout, got)
	}
	wantOlder("uninstalled, and not restarted", "dockerd goes on with our runtime apparmor")
	script := webTries.script()
	id := d.MustDocker(t, "run", "--detach", "--network", "none", "--runtime", "apparmor", "--annotation", "oci-apparmor/policy=web",
		guesttest.ProbeImage, "/bin/sh", "-c", script+"; exec probe sleep")
	waitFor(t, "the container to try its operations", func() bool { return strings.Count(d.MustDocker(t, "logs", id), "\n") >= len(webTries)-1 })
	webTries.check(t, "the container's process", d.MustDocker(t, "logs", id), "web")
	d.MustDocker(t, "rm", "--force", id)
	if o := run("removable"); o.Code == 0 || !strings.Contains(o.Stderr, "docker is not wired to them any more, and calls them until it is restarted by systemctl restart docker") {
		t.Errorf("removable: %+v", o)
	}
	d.Restart(t)
	wantOlder("uninstalled and restarted", "")
	wantDone(t, run("uninstall", "--yes", "docker"))
	if exists(link) {
		t.Error("the link stays")
	}
	wantDone(t, run("removable"))
}
