package integration

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// crioUnit is the service of CRI-O's packages (contrib/systemd/crio.service), by what counts here.
const crioUnit = "[Service]\nType=notify\nExecStart=" + guesttest.CRIOBin + "/crio\nRestart=on-failure\nRestartSec=10\n"

// A pod's container runs on through all that --restart does to CRI-O: a change that works, a probe, an uninstall that CRI-O's start
// refuses and its check accepts, as a flag of its unit has our runtime for the default, and the way back.
func TestSystemdRestartCRIO(t *testing.T) {
	guesttest.Need(t, guest.Systemd)
	guesttest.PutCRIO(t)
	setPolicy(t, podPolicy)
	const unit, file, engines = "crio.service", "/run/systemd/system/crio.service", "crio-default (enforce)"
	writeFile(t, file, crioUnit)
	guesttest.MustRun(t, "systemctl", "daemon-reload")
	t.Cleanup(func() { guesttest.MustRun(t, "rm", file) })
	startUnits(t, []string{unit}, "/run/crio")
	c := guesttest.DialCRI(t, guesttest.CRIOSocket)
	guesttest.LoadCRIO(t)
	old := c.Pod(t, "")
	plain := startPodContainer(t, old, "plain")
	wantPodConfined(t, plain, podEngine, engines)
	pid, hash, process := plain.Pid(t), treeHash(t), mainOf(t, unit)
	still := func(what string) {
		t.Helper()
		now := mainOf(t, unit)
		if now == process || now == 0 {
			t.Errorf("%s: CRI-O is process %d, and was %d", what, now, process)
		}
		process = now
		c.Ready(t)
		if now := plain.Pid(t); now != pid {
			t.Errorf("%s: the container is process %d, and was %d", what, now, pid)
		}
		wantExecSyncConfined(t, plain, podEngine, engines)
		for _, kind := range []string{"pods", "ps"} {
			if left := guesttest.MustRun(t, "crictl", "--runtime-endpoint", "unix://"+guesttest.CRIOSocket, kind, "--output", "json"); strings.Contains(left, "probe-") {
				t.Errorf("%s: of the probe is left %s", what, left)
			}
		}
		if left, _ := filepath.Glob("/var/tmp/oci-apparmor-probe-*"); len(left) > 0 {
			t.Errorf("%s: left: %q", what, left)
		}
	}

	// This unit's stop kills conmon where that is in its control group, as it is without a parent group of the kubelet's.
	o := guesttest.Run(t, "oci-apparmor", "install", "--yes", "--restart", "cri-o")
	if o.Code != 3 || !strings.Contains(o.Stderr, "crio.service has KillMode=control-group, by which systemd kills process") ||
		!strings.Contains(o.Stderr, "conmon, as well") || treeHash(t) != hash || mainOf(t, unit) != process {
		t.Errorf("exit code %d, %s", o.Code, o.Stderr)
	}
	write(t, file, crioUnit+"KillMode=process\n") // as newer ones have it
	guesttest.MustRun(t, "systemctl", "daemon-reload")

	r, o := restart(t, "cri-o", "install")
	wantDone(t, o)
	if r.Outcome != "taken over" || r.Unit != unit || r.Reload {
		t.Errorf("%+v", r)
	}
	still("installed")
	pod := c.Pod(t, "apparmor", guesttest.Annotated("oci-apparmor/policy", "web"))
	front := startPodContainer(t, pod, "front")
	wantPodConfined(t, front, podWeb, "web (enforce)")
	wantExecSyncConfined(t, front, podWeb, "web (enforce)")
	pod.Remove(t)

	d := parseDoctor(t, guesttest.Run(t, "oci-apparmor", "doctor", "--json", "--probe", "--probe-policy", "web"))
	if len(d.Probes) != 1 || d.Probes[0].Engine != "cri-o" || d.Probes[0].Policy != "web" || d.Probes[0].Label != "web (enforce)" ||
		d.Probes[0].Executed != "web (enforce)" {
		t.Errorf("the probe saw %+v: %+v", d.Probes, d.Findings)
	}
	d = parseDoctor(t, guesttest.Run(t, "oci-apparmor", "doctor", "--json", "--probe", "--probe-policy", "nosuch"))
	refused := false
	for _, f := range d.Findings {
		refused = refused || f.ID == "probe-failed" && strings.Contains(f.What, "nosuch")
	}
	if !refused {
		t.Errorf("a probe that is refused: %+v", d.Findings)
	}

	wired := treeHash(t)
	remove := unitHas(t, unit, "ExecStart=\nExecStart="+guesttest.CRIOBin+"/crio --default-runtime=apparmor\n")
	began := time.Now()
	r, o = restart(t, "cri-o", "uninstall")
	if o.Code != 3 || r.Outcome != "taken back" || !strings.Contains(o.Stderr, "everything has been taken back, and it has been started again") {
		t.Errorf("exit code %d, %+v, %s", o.Code, r, o.Stderr)
	}
	if took := time.Since(began); took > 90*time.Second {
		t.Errorf("it took %v", took)
	}
	if treeHash(t) != wired {
		t.Error("the tree is not as it was")
	}
	still("taken back")
	remove()

	r, o = restart(t, "cri-o", "uninstall")
	wantDone(t, o)
	if r.Outcome != "taken over" || treeHash(t) != hash {
		t.Errorf("%+v", r)
	}
	still("uninstalled")
	old.Remove(t)
}
