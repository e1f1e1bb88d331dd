package integration

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/inside"
)

// trap is a directory with a runtime in it that kills who calls it, or containerd, at one moment, which the file at
// names: the subcommand, and whether before or after the real runtime does it. The file victim has containerd's process
// id, or nothing.
const trap = "/run/trap"

const trapScript = `#!/bin/sh
for a; do case $a in create|start|exec|delete) sub=$a; break;; esac; done
spring() {
	[ "$(cat /run/trap/at 2>/dev/null)" = "$sub $1" ] || return 0
	victim=$(cat /run/trap/victim)
	mv /run/trap/at /run/trap/sprung
	kill -9 ${victim:-$PPID}
	[ -n "$victim" ] || exec sleep 100 # dies with the shim, as the runtime would
	return 1
}
spring before || exec %[1]s "$@" # the shim may end it, when nobody waits for its answer any more
%[1]s "$@"
code=$?
spring after
exit $code
`

// fault is one death.
type fault struct {
	at     string // moment of the runtime's call
	victim string // "shim" or "containerd"
}

// What dies at any moment leaves nothing behind that is not cleaned up, lets nothing run without its profile, and does
// not keep the container from being made again, under the same id.
func TestContainerdKilled(t *testing.T) {
	setPolicy(t, webPolicy)
	if err := os.MkdirAll(trap, 0o755); err != nil {
		t.Fatal(err)
	}
	runc := filepath.Join(trap, "runc")
	write(t, runc, fmt.Sprintf(trapScript, program(t, "runc")))
	if err := os.Chmod(runc, 0o755); err != nil {
		t.Fatal(err)
	}
	inside.EachContainerd(t, func(t *testing.T, v inside.ContainerdVersion) {
		c := inside.StartContainerd(t, v, inside.ContainerdConfig{
			Links: map[string]string{"runc": runc},          // for the shim
			Env:   []string{"OCI_APPARMOR_RUNTIME=" + runc}, // for the wrapper
		})
		// Not among these: containerd's death before the runtime creates a container, after which 1.6 leaves any shim alone,
		// alive and without a container, the stock one too.
		for _, tc := range []struct {
			arm    inside.Arm
			faults []fault
		}{
			{inside.Shim, []fault{
				{"create before", "shim"}, {"create after", "shim"}, {"exec before", "shim"},
				{"create after", "containerd"}, {"delete before", "containerd"}, {"delete before", "shim"},
			}},
			{inside.Wrapper, []fault{{"create after", "shim"}, {"exec before", "containerd"}}},
		} {
			t.Run(tc.arm.Name, func(t *testing.T) {
				k := prepareTask(t, c, tc.arm)
				for _, f := range tc.faults {
					if !t.Run(f.victim+" at "+f.at, func(t *testing.T) { suffer(t, k, tc.arm, f) }) {
						return // the id may not be free
					}
				}
				os.Remove(k.said())
				k.MustCtr(t, k.runArgs(tc.arm, "web")...)
				wantTaskConfined(t, k, webTries, "web")
				wantTaskExecConfined(t, k, webTries, "web")
				k.remove(t)
				wantNothingLeft(t)
			})
		}
	})
}

// suffer brings the task to the fault's moment, and cleans up after it as an engine's user does.
func suffer(t *testing.T, k *task, arm inside.Arm, f fault) {
	executed := filepath.Join(k.rootfs, "tmp/executed")
	for _, file := range []string{k.said(), executed, trap + "/sprung"} {
		os.Remove(file)
	}
	sub, _, _ := strings.Cut(f.at, " ")
	var cmd *exec.Cmd
	switch sub {
	case "create", "start":
		cmd = k.CtrCommand(k.runArgs(arm, "web")...)
	case "exec":
		k.MustCtr(t, k.runArgs(arm, "web")...)
		cmd = k.CtrCommand("task", "exec", "--exec-id", "trapped", k.ID,
			"/bin/sh", "-c", "probe label >/tmp/execut; mv /tmp/execut /tmp/executed; while :; do sleep 100; done")
	case "delete":
		k.MustCtr(t, k.runArgs(arm, "web")...)
		k.MustCtr(t, "task", "kill", "--signal", "SIGKILL", k.ID)
		k.waitStopped(t)
		cmd = k.CtrCommand("task", "delete", k.ID)
	}

	victim := ""
	if f.victim == "containerd" {
		victim = fmt.Sprint(k.Pid())
	}
	write(t, trap+"/victim", victim)
	write(t, trap+"/at", f.at)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the trap to spring", func() bool { return exists(trap + "/sprung") })
	if f.victim == "containerd" {
		k.Kill9(t)
		k.Start(t)
		// The shim lives, and has what it was told to do done, or has ended the runtime, as nobody waits for its answer.
		waitFor(t, "the runtime to end", func() bool { return !runtimeRuns(t) })
		wantNothingFree(t, k)
		waitFor(t, "the task to be deleted", func() bool {
			k.Ctr(t, "task", "delete", "--force", k.ID)
			return !strings.Contains(k.MustCtr(t, "task", "ls", "-q"), k.ID)
		})
	} else {
		waitFor(t, "containerd to clean up after its shim", func() bool {
			return !strings.Contains(k.MustCtr(t, "task", "ls", "-q"), k.ID)
		})
	}
	// To kill ctr would cancel what containerd is still doing for it. But it may wait for an answer of who is dead.
	late := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
	cmd.Wait()
	late.Stop()
	wantNothingFree(t, k)
	for _, file := range []string{k.said(), executed} {
		if text, err := os.ReadFile(file); err == nil {
			label, _, _ := strings.Cut(string(text), "\n")
			wantLabelText(t, "what wrote "+file, label, "web")
		}
	}
	k.MustCtr(t, "container", "delete", k.ID)
	if f == (fault{"delete before", "shim"}) {
		// containerd removes the bundle while it has the runtime clean up in it, and so leaves the runtime's container, with
		// the stock shim too.
		inside.Run(t, "runc", "--root", inside.ContainerdState+"/runc/default", "delete", "--force", k.ID)
	}
	wantOnlyOrphans(t)
}

// wantOnlyOrphans waits until nothing is left but what a dead shim leaves until the next container: its socket, which the
// stock shim leaves too, and our record.
func wantOnlyOrphans(t *testing.T) {
	t.Helper()
	wantLeft(t, func(what string) bool {
		if conn, err := net.Dial("unix", what); err == nil {
			conn.Close()
			return false
		}
		return filepath.Dir(what) == inside.ContainerdState+"/s" || strings.HasPrefix(what, "/run/oci-apparmor/containers/")
	})
}

// runtimeRuns tells whether a runtime is at work that a shim has called.
func runtimeRuns(t *testing.T) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		cmdline, _ := os.ReadFile(file)
		return strings.Contains(string(cmdline), "\x00--log-format\x00")
	})
}

// wantNothingFree checks that all processes of containers have profile web, but for the runtime's own, which is to become
// one of them.
func wantNothingFree(t *testing.T, k *task) {
	t.Helper()
	for _, pid := range inside.ContainerProcesses(t) {
		dir := fmt.Sprintf("/proc/%d", pid)
		cmdline, _ := os.ReadFile(dir + "/cmdline")
		label, err := os.ReadFile(dir + "/attr/current")
		if err != nil || len(cmdline) == 0 { // gone meanwhile, or a zombie
			continue
		}
		if argv := strings.Split(string(cmdline), "\x00"); len(argv) > 1 && strings.HasPrefix(filepath.Base(argv[0]), "runc") ||
			argv[0] == "/proc/self/exe" {
			continue
		}
		wantLabelText(t, fmt.Sprintf("process %q", cmdline), strings.TrimRight(string(label), "\x00\n"), "web")
	}
}
