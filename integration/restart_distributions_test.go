package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// A distribution of Kubernetes by a stand-in for its program: no suite has one, and no proxy serves their modules. The stand-in
// starts a real containerd in a real service as the distribution does, and says so where it does (unit).
type standIn struct {
	engine, unit, program string
	ready                 string // a file without which its service is not up
	refuses               string // a file with which it does not start containerd while ours is in its files
	state                 string // of containerd
}

// script is a stand-in's program, with the directory of containerd's programs, containerd's main file and state, the directory in
// which people write files, and the two files of standIn.
const script = `#!/bin/sh
bin=%[1]s config=%[2]s state=%[3]s dropins=%[4]s
case "$1" in
--version) echo "k3s version v1.36.4+k3s1"; exit ;;
ctr) shift; exec $bin/ctr "$@" ;;
esac
PATH=$bin:$PATH
run() {
    if [ -e %[6]s ] && grep -qs apparmor $dropins/*; then return 1; fi
    $bin/containerd --root=/var/lib/stand-in --state=$state --address=$state/containerd.sock --config=$config &
    child=$!
}
trap 'kill -9 $child; exit 0' TERM # containerd ends with K3s (PR_SET_PDEATHSIG)
`

// k3sScript is the rest of K3s': its service is up when Kubernetes is, and it ends with containerd.
const k3sScript = `run || exit 1
while [ ! -e %[5]s ]; do sleep 0.2 & wait $!; done
systemd-notify --ready
wait $child
exit 1
`

// k0sScript is the rest of k0s', which sends containerd a SIGHUP when its files have been the same for a while after a change, and
// starts it again when it has ended (pkg/component/worker/containerd, pkg/supervisor).
const k0sScript = `seen() { ls -l --full-time $dropins; }
before=$(seen)
run
systemd-notify --ready
while :; do
    sleep 1 & wait $!
    now=$(seen)
    if [ "$now" != "$before" ]; then before=$now; kill -HUP $child; fi
    kill -0 $child 2>/dev/null || { wait $child; sleep 2; run; }
done
`

// start makes a node with a stand-in, and starts its service, as the distribution's own unit does.
func (s standIn) start(t *testing.T, v guesttest.ContainerdVersion, rest, config, dropIns string) {
	t.Helper()
	t.Cleanup(func() { guesttest.MustRun(t, "rm", "-f", s.program, s.ready, s.refuses) })
	for _, dir := range []string{dropIns, s.state} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text := fmt.Sprintf(script+rest, v.Bin, config, s.state, dropIns, s.ready, s.refuses)
	if err := os.WriteFile(s.program, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	file := "/run/systemd/system/" + s.unit
	writeFile(t, file, "[Service]\nType=notify\nNotifyAccess=all\nExecStart="+s.program+" server\nKillMode=process\nDelegate=yes\nTimeoutStartSec=0\nRestart=always\nRestartSec=1s\n")
	guesttest.MustRun(t, "systemctl", "daemon-reload")
	t.Cleanup(func() { guesttest.MustRun(t, "rm", file) })
	write(t, s.ready, "")
	startUnits(t, []string{s.unit}, s.state, "/var/lib/stand-in", "/run/containerd")
}

// works takes the engine of a stand-in through install and uninstall with --restart, with a container that runs on.
func (s standIn) works(t *testing.T, unit, by string, dir string) {
	t.Helper()
	ctr := func(args ...string) string {
		return guesttest.MustRun(t, newest(t).Bin+"/ctr",
			append([]string{"--address", s.state + "/containerd.sock", "--namespace", "k8s.io"}, args...)...)
	}
	c := guesttest.DialCRI(t, s.state+"/containerd.sock")
	ctr("images", "import", guesttest.Images(t))
	ctr("run", "--detach", guesttest.ProbeImage, "plain", "/bin/probe", "sleep")
	task := func() string {
		for line := range strings.Lines(ctr("tasks", "list")) {
			if strings.HasPrefix(line, "plain ") {
				return strings.Join(strings.Fields(line), " ")
			}
		}
		return ""
	}
	hash := func() string {
		return treeHash(t) + guesttest.MustRun(t, "sh", "-c", "find "+dir+" -type f -exec sha256sum {} + | sort")
	}
	before, plain := hash(), task()
	still := func(what string) {
		t.Helper()
		c.Ready(t)
		if now := task(); now != plain || !strings.HasSuffix(now, " RUNNING") {
			t.Errorf("%s: the container is %q, and was %q", what, now, plain)
		}
	}
	t.Run("a start that refuses", func(t *testing.T) {
		guesttest.Leave(t, "a start that works")
		write(t, s.refuses, "")
		defer os.Remove(s.refuses)
		began := time.Now()
		r, o := restart(t, s.engine, "install")
		if o.Code != 3 || r.Outcome != "taken back" || !strings.Contains(o.Stderr, "it is not back after 1m0s") {
			t.Errorf("exit code %d, %+v, %s", o.Code, r, o.Stderr)
		}
		if took := time.Since(began); took > 90*time.Second {
			t.Errorf("it took %v", took)
		}
		if hash() != before {
			t.Error("the tree is not as it was")
		}
		still("taken back")
	})
	if err := os.Remove(s.ready); err != nil { // from now on the service of K3s is never up, as where another server is gone
		t.Fatal(err)
	}
	r, o := restart(t, s.engine, "install")
	wantDone(t, o)
	if r.Outcome != "taken over" || r.Unit != unit || r.By != by {
		t.Errorf("%+v", r)
	}
	still("installed")
	pod := c.Pod(t, "apparmor", guesttest.Annotated("oci-apparmor/policy", "web"))
	front := startPodContainer(t, pod, "front")
	wantPodConfined(t, front, podWeb, "web (enforce)")
	wantExecSyncConfined(t, front, podWeb, "web (enforce)")
	pod.Remove(t)
	r, o = restart(t, s.engine, "uninstall")
	wantDone(t, o)
	if r.Outcome != "taken over" || hash() != before {
		t.Errorf("%+v", r)
	}
	still("uninstalled")
	ctr("tasks", "delete", "--force", "plain")
}

// newest returns the newest containerd of a guest.
func newest(t *testing.T) guesttest.ContainerdVersion {
	all := guesttest.Containerds(t)
	return all[len(all)-1]
}

// K3s is restarted by its service, whose main process has started containerd: the service is not waited for, and containers run on.
func TestSystemdRestartK3s(t *testing.T) {
	guesttest.Need(t, guest.Systemd)
	guesttest.EnoughIn(t, guesttest.Forky) // what systemd is asked to do is ours
	setPolicy(t, podPolicy)
	v := newest(t)
	node := newK3s(t, v, true)
	guesttest.MustRun(t, "rm", "/run/k3s/containerd")
	node.start(t)
	s := standIn{engine: "k3s", unit: "k3s-shop.service", program: "/usr/local/bin/k3s", ready: "/run/stand-in-ready", refuses: "/run/stand-in-refuses",
		state: "/run/k3s/containerd"}
	s.start(t, v, k3sScript, k3sConfig, filepath.Dir(k3sConfig)+"/config-v3.toml.d")
	s.works(t, s.unit, "", k3sDir+"/agent/etc")
}

// k0s restarts its containerd by itself when a file has changed, and that is waited for.
func TestSystemdRestartK0s(t *testing.T) {
	guesttest.Need(t, guest.Systemd)
	guesttest.EnoughIn(t, guesttest.Forky)
	setPolicy(t, podPolicy)
	v := newest(t)
	const config, dropIns, program = "/etc/k0s/containerd.toml", "/etc/k0s/containerd.d", "/var/lib/k0s/bin/containerd"
	t.Cleanup(func() { guesttest.MustRun(t, "rm", "-rf", "/etc/k0s", "/run/k0s", "/var/lib/k0s") })
	guesttest.MustRun(t, "mkdir", "-p", dropIns, filepath.Dir(program))
	guesttest.MustRun(t, "ln", "-s", filepath.Join(v.Bin, "containerd"), program)
	writeFile(t, config, fmt.Sprintf("# k0s_managed=true\nversion = 3\nimports = [%q]\n[plugins.'io.containerd.cri.v1.images'.pinned_images]\n  sandbox = %q\n"+
		"[plugins.'io.containerd.cri.v1.images']\n  snapshotter = \"native\"\n", dropIns+"/*.toml", guesttest.PauseImage))
	s := standIn{engine: "k0s", unit: "k0sworker.service", program: "/usr/local/bin/k0s", ready: "/run/stand-in-ready", refuses: "/run/stand-in-refuses",
		state: "/run/k0s/containerd"}
	s.start(t, v, k0sScript, config, dropIns)
	s.works(t, "", "k0s", "/etc/k0s")
}
