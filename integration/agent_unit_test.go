package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/agent"
	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

const agentUnit = "oci-apparmor-agent.service"

// enableAgent enables and starts the agent as a unit until the test ends, as install/README.md has it, with what it is to do
// where an engine's wiring is lost.
func enableAgent(t *testing.T, onLost agent.OnLost) {
	t.Helper()
	const option = "--on-wiring-lost="
	dropIn := strings.TrimPrefix(block(t, "install/README.md#the-agent:2"), "[Service]\n")
	unitHas(t, agentUnit, strings.Replace(dropIn, option+string(agent.TakeOver), option+string(onLost), 1))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s", agentJournal(t))
		}
		guesttest.MustRun(t, "systemctl", "disable", "--quiet", "--now", agentUnit)
		guesttest.Run(t, "systemctl", "reset-failed", agentUnit)
	})
	guesttest.MustRun(t, "sh", "-e", "-c", block(t, "install/README.md#the-agent"))
	agentIs(t, "it has begun", func(s agent.State) bool { return s.PID == mainOf(t, agentUnit) })
}

func agentJournal(t *testing.T) string {
	t.Helper()
	return guesttest.MustRun(t, "journalctl", "--no-pager", "--lines=60", "--output=cat", "--unit="+agentUnit)
}

// agentIs waits for a state of the agent that is a unit.
func agentIs(t *testing.T, what string, is func(s agent.State) bool) {
	t.Helper()
	t.Logf("%s: after %v", what, untilAgent(t, what, func() string { return agentJournal(t) }, is))
}

// As the unit that is shipped, which restricts it, the agent does all that it does, and ends when it is told to.
func TestSystemdAgentUnit(t *testing.T) {
	guesttest.Need(t, guest.Systemd)
	guesttest.EnoughIn(t, guesttest.Forky) // the newest systemd
	setPolicy(t, webPolicy)
	o := guesttest.Run(t, "systemd-analyze", "verify", "--man=no", agentUnit)
	if o.Code != 0 || strings.Contains(o.Stderr, "oci-apparmor") {
		t.Errorf("systemd-analyze verify: exit code %d, %s", o.Code, o.Stderr)
	}
	boot := func() string {
		return guesttest.MustRun(t, "systemctl", "show", "--property=ActiveState,UnitFileState,Result", "oci-apparmor.service")
	}
	unitBefore := boot()

	enableAgent(t, agent.RepairLost)
	if link := "/etc/systemd/system/multi-user.target.wants/" + agentUnit; !exists(link) {
		t.Errorf("there is no %s", link)
	}
	rt := armsOf(t, "runc")
	c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
	wantConfined(t, c, webTries, "web")

	// By hand, the policy is changed, and a profile is replaced.
	writePolicy(t, webPolicy, map[string]string{"web": texts["web"][:strings.LastIndex(texts["web"], "}")] + "  audit deny /mnt/** w,\n}\n"})
	agentIs(t, "the policy is applied", func(s agent.State) bool {
		return s.Policy.Last != nil && s.Policy.Last.Outcome == agent.Applied && s.Policy.Generation == 2
	})
	c = guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
	wantConfined(t, c, bothTries, "web")
	guesttest.LoadProfile(t, loose("web"))
	agentIs(t, "web is put right", func(s agent.State) bool { return s.Drift.Repaired == 1 })
	wantConfined(t, c, bothTries, "web")
	numbers := metricsIn(t, servedByAgent(t, "/metrics"))
	for name, want := range map[string]float64{
		"oci_apparmor_last_apply_success":              1,
		"oci_apparmor_policy_generation":               2,
		"oci_apparmor_enforcing":                       1,
		"oci_apparmor_collect_problems":                0,
		`oci_apparmor_policy_profiles{state="loaded"}`: 1,
	} {
		if got, told := numbers[name]; !told || got != want {
			t.Errorf("the metrics have %s %v (%v), want %v", name, got, told, want)
		}
	}
	if status := read(t, fmt.Sprintf("/proc/%d/status", mainOf(t, agentUnit))); !strings.Contains(status, "NoNewPrivs:\t1\n") {
		t.Errorf("it runs without the unit's restrictions:\n%s", status)
	}

	t.Run("wiring", func(t *testing.T) {
		guesttest.Leave(t, "an agent that is no unit")
		putPodman(t, "none")
		guesttest.MustRun(t, "oci-apparmor", "install", "--yes", "podman")
		t.Cleanup(func() { guesttest.MustRun(t, "oci-apparmor", "uninstall", "--yes", "podman") })
		agentIs(t, "podman is wired", wiringIs("podman", agent.WiringKept, 0))
		wired := treeHash(t)
		guesttest.MustRun(t, "rm", "-r", podmanConfig+".d", "/usr/local/lib/oci-apparmor/podman")
		agentIs(t, "podman is wired again", wiringIs("podman", agent.WiringKept, 1))
		if treeHash(t) != wired {
			t.Error("the files are not as they were")
		}
	})
	t.Run("killed", func(t *testing.T) {
		guesttest.Leave(t, "that it is stopped")
		old := mainOf(t, agentUnit)
		guesttest.MustRun(t, "systemctl", "kill", "--signal=KILL", agentUnit)
		agentIs(t, "it is there again", func(s agent.State) bool { return s.PID != old && s.PID == mainOf(t, agentUnit) })
	})
	guesttest.MustRun(t, "systemctl", "stop", agentUnit)
	ended := guesttest.MustRun(t, "systemctl", "show", "--property=ActiveState,Result,ExecMainStatus", agentUnit)
	for _, want := range []string{"ActiveState=inactive", "Result=success", "ExecMainStatus=0"} {
		if !slices.Contains(strings.Fields(ended), want) {
			t.Errorf("after a stop it has\n%swant %s", ended, want)
		}
	}
	if said := agentJournal(t); !strings.Contains(said, "agent ends") || strings.Contains(said, "read-only file system") || strings.Contains(said, "not permitted") {
		t.Errorf("it says\n%s", said)
	}
	if exists(agent.Dir+"/agent.json") || !exists(agent.Dir) {
		t.Errorf("its state is left, or others' files in %s are gone", agent.Dir)
	}
	wantExecConfined(t, c, bothTries, "web (enforce)", byCommandLine(c)) // by its record there
	guesttest.MustRun(t, "systemctl", "disable", "--quiet", agentUnit)
	guesttest.MustRun(t, "rm", "-r", "/run/systemd/system/"+agentUnit+".d")
	if now := boot(); now != unitBefore {
		t.Errorf("oci-apparmor.service was\n%sand is\n%s", unitBefore, now)
	}
}
