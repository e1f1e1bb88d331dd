package integration

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/agent"
	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// An engine's wiring that another tool has removed is there again, and the engine is restarted by the agent if it has read the
// other files, and then once. Containers run on.
func TestSystemdAgentRestartsEngine(t *testing.T) {
	guesttest.Need(t, guest.Systemd)
	guesttest.EnoughIn(t, guesttest.Forky)
	guesttest.Leave(t, "an agent that puts the files back, and a restart by install")
	setPolicy(t, podPolicy)
	const unit, starts, socket = "containerd.service", "/run/containerd-starts", "/run/containerd/containerd.sock"
	v := guesttest.Containerds(t)[0]
	putTree(t, v, "none")
	// One file without imports, so that there is one for the other tool to replace.
	sandbox := regexp.MustCompile(`(?m)^(\s*sandbox(?:_image)? = )['"].*['"]$`)
	imports := regexp.MustCompile(`(?m)^imports = .*\n`)
	theirs := imports.ReplaceAllString(sandbox.ReplaceAllString(defaultConfig(t, v), fmt.Sprintf("${1}%q", guesttest.PauseImage)), "")
	writeFile(t, containerdConfig, theirs)
	unitHas(t, unit, "ExecStartPost=/bin/sh -c 'echo started >>"+starts+"'\n")
	t.Cleanup(func() { os.Remove(starts) })
	startUnits(t, []string{unit}, "/run/containerd", "/var/lib/containerd")
	guesttest.MustRun(t, "ctr", "--namespace", "k8s.io", "images", "import", guesttest.Images(t))
	guesttest.MustRun(t, "oci-apparmor", "install", "--yes", "containerd")
	guesttest.MustRun(t, "systemctl", "restart", unit)
	cri := guesttest.DialCRI(t, socket)
	web := guesttest.Annotated("oci-apparmor/policy", "web")
	first := startPodContainer(t, cri.Pod(t, "apparmor", web), "front")
	wantPodConfined(t, first, podWeb, "web (enforce)")
	enableAgent(t, agent.TakeOver)
	agentIs(t, "containerd is wired", wiringIs("containerd", agent.WiringKept, 0))
	wired := treeHash(t)
	started := func() int { return strings.Count(read(t, starts), "started") }
	before := started()

	replaceFile(t, containerdConfig, theirs)
	agentIs(t, "the files are as they were", wiringIs("containerd", agent.WiringKept, 1))
	if now := started(); treeHash(t) != wired || now != before {
		t.Errorf("the files are as they were: %v; containerd, which has not read the others, was started %d times", treeHash(t) == wired, now-before)
	}

	// As an upgrade that is faster than the agent, which waits until the files are quiet.
	guesttest.MustRun(t, "systemctl", "kill", "--signal=STOP", agentUnit)
	replaceFile(t, containerdConfig, theirs)
	guesttest.MustRun(t, "systemctl", "restart", unit)
	cri.Ready(t)
	if p, err := cri.TryPod(t, "apparmor", web); err == nil {
		t.Errorf("without our lines a pod starts: %+v", p)
	}
	before, had := started(), mainOf(t, unit)
	guesttest.MustRun(t, "systemctl", "kill", "--signal=CONT", agentUnit)
	agentIs(t, "containerd is wired again", wiringIs("containerd", agent.WiringKept, 2))
	cri.Ready(t)
	wantPodConfined(t, startPodContainer(t, cri.Pod(t, "apparmor", web), "front"), podWeb, "web (enforce)")
	wantExecSyncConfined(t, first, podWeb, "web (enforce)")
	if now := started(); treeHash(t) != wired || now != before+1 || mainOf(t, unit) == had {
		t.Errorf("the files are as they were: %v; containerd was started %d times more, and is process %d, was %d", treeHash(t) == wired, now-before, mainOf(t, unit), had)
	}
	if said := agentJournal(t); strings.Count(said, "wiring: containerd: its wiring was lost, and is there again") != 2 {
		t.Errorf("the agent says\n%s", said)
	}
}
