package integration

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/integration/containerd"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
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

// faults are all of them. Of those that leave something behind with the stock shim too, what ours may leave is what that
// does: containerd removes a bundle while it has the runtime clean up in it, and so leaves the runtime's container; where
// containerd dies before the runtime creates a container, 1.6 leaves any shim alone, alive and without a container.
var faults = []fault{
	{"create before", "shim"}, {"create after", "shim"}, {"exec before", "shim"}, {"delete before", "shim"},
	{"create before", "containerd"}, {"create after", "containerd"}, {"exec before", "containerd"}, {"delete before", "containerd"},
}

// What dies at any moment leaves nothing behind that is not cleaned up, lets nothing run without its profile, and does
// not keep the container from being made again, under the same id.
func TestContainerdKilled(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky) // it takes minutes, and is about containerd and our programs
	setPolicy(t, webPolicy)
	if err := os.MkdirAll(trap, 0o755); err != nil {
		t.Fatal(err)
	}
	crun := filepath.Join(trap, "crun")
	write(t, crun, fmt.Sprintf(trapScript, program(t, "crun")))
	if err := os.Chmod(crun, 0o755); err != nil {
		t.Fatal(err)
	}
	guesttest.EachContainerd(t, func(t *testing.T, v guesttest.ContainerdVersion) {
		if !v.Present() {
			guesttest.Leave(t, "make test has the present containerd")
		}
		c := guesttest.StartContainerd(t, v, guesttest.ContainerdConfig{
			Links: map[string]string{"runc": crun},          // for the shims
			Env:   []string{"OCI_APPARMOR_RUNTIME=" + crun}, // for the wrapper
		})
		stock := map[fault][]string{} // what they leave with the stock shim
		k := prepareTask(t, c, guesttest.Stock)
		for _, f := range []fault{{"create before", "containerd"}, {"delete before", "shim"}} {
			t.Run("stock/"+f.victim+" at "+f.at, func(t *testing.T) {
				suffer(t, k, guesttest.Stock, f)
				stock[f] = rest(t, k)
				t.Logf("left: %q", stock[f])
				os.RemoveAll(containerd.State + "/s")
			})
		}
		for _, arm := range []guesttest.Arm{guesttest.Shim, guesttest.WrapperCrun} {
			t.Run(arm.Name, func(t *testing.T) {
				k := prepareTask(t, c, arm)
				for _, f := range faults {
					if !t.Run(f.victim+" at "+f.at, func(t *testing.T) {
						suffer(t, k, arm, f)
						for _, what := range rest(t, k) {
							// Whatever it died of, the stock one has left its socket.
							anyway := what == socketLeft && slices.Contains(stock[fault{"delete before", "shim"}], what)
							if !anyway && !slices.Contains(stock[f], what) {
								t.Errorf("left behind: %s; the stock shim leaves %q", what, stock[f])
							}
						}
					}) {
						return // the id may not be free
					}
				}
				os.Remove(k.said())
				k.MustCtr(t, k.runArgs(arm, "web")...)
				wantTaskConfined(t, k, webTries, "web")
				wantTaskExecConfined(t, k, webTries, "web")
				k.remove(t)
				wantNothingLeft(t)
			})
		}
	})
}

// suffer brings the task to the fault's moment, and cleans up after it as an engine's user does.
func suffer(t *testing.T, k *task, arm guesttest.Arm, f fault) {
	executed := filepath.Join(k.rootfs, "tmp/executed")
	for _, file := range []string{k.said(), executed, trap + "/sprung"} {
		os.Remove(file)
	}
	sub, _, _ := strings.Cut(f.at, " ")
	var cmd *exec.Cmd
	switch sub {
	case "create":
		cmd = k.CtrCommand(k.runArgs(arm, "web")...)
	case "exec":
		k.MustCtr(t, k.runArgs(arm, "web")...)
		cmd = k.CtrCommand("task", "exec", "--exec-id", "trapped", k.ID,
			"/bin/sh", "-c", "probe label >/tmp/execut; mv /tmp/execut /tmp/executed; while :; do sleep 100; done")
	case "delete":
		k.MustCtr(t, k.runArgs(arm, "web")...)
		k.tasks.Stop(t, k.ID)
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
	free := wantNothingFree
	if arm.Name == guesttest.Stock.Name {
		free = func(*testing.T, *task) {}
	}
	if f.victim == "containerd" {
		k.Kill9(t)
		k.Start(t)
		// The shim lives, and has what it was told to do done, or has ended the runtime, as nobody waits for its answer.
		waitFor(t, "the runtime to end", func() bool { return !runtimeRuns(t) })
		free(t, k)
		waitFor(t, "the task to be deleted", func() bool {
			k.Ctr(t, "task", "delete", "--force", k.ID)
			return k.tasks.Task(t, k.ID) == nil
		})
	} else {
		waitFor(t, "containerd to clean up after its shim", func() bool {
			return k.tasks.Task(t, k.ID) == nil
		})
	}
	// To kill ctr would cancel what containerd is still doing for it. But it may wait for an answer of who is dead.
	late := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
	cmd.Wait()
	late.Stop()
	free(t, k)
	for _, file := range []string{k.said(), executed} {
		if text, err := os.ReadFile(file); err == nil && arm.Name != guesttest.Stock.Name {
			label, _, _ := strings.Cut(string(text), "\n")
			wantLabelText(t, "what wrote "+file, label, "web")
		}
	}
	k.tasks.RemoveContainer(t, k.ID)
}

const (
	socketLeft    = "the socket of a dead shim" // until the next one of that name
	shimLeft      = "a shim"
	containerLeft = "the runtime's container"
	bundleLeft    = "its bundle" // while a shim of it is left
)

// rest returns what a fault has left behind, by its kind, and ends it. Our record is not among it: the end of the next
// container sweeps it away.
func rest(t *testing.T, k *task) (kinds []string) {
	t.Helper()
	var all []string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if all = slices.DeleteFunc(left(t), func(what string) bool {
			return strings.HasPrefix(what, "/run/oci-apparmor/containers/") || deadSocket(what)
		}); len(all) == 0 {
			break
		}
	}
	for _, what := range left(t) {
		switch {
		case strings.HasPrefix(what, "/run/oci-apparmor/containers/"):
			continue
		case deadSocket(what):
			what = socketLeft
		case strings.HasPrefix(what, "process ") && strings.Contains(what, "containerd-shim-"):
			what = shimLeft
		case what == containerd.State+"/runc/default/"+k.ID:
			what = containerLeft
		case slices.Contains(bundles(k), what):
			what = bundleLeft
		case slices.Contains(kinds, shimLeft) && strings.HasPrefix(what, containerd.State+"/s/"): // its socket
			continue
		}
		kinds = append(kinds, what)
	}
	if slices.Contains(kinds, containerLeft) {
		guesttest.Run(t, "crun", "--root", containerd.State+"/runc/default", "delete", "--force", k.ID)
	}
	for _, pid := range guesttest.Shims(t) {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	if slices.Contains(kinds, bundleLeft) {
		waitFor(t, "containerd to clean up after the shim that was left", func() bool {
			return !slices.ContainsFunc(bundles(k), exists)
		})
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// bundles returns containerd's directories of a task.
func bundles(k *task) []string {
	const tasks = "/io.containerd.runtime.v2.task/default/"
	return []string{containerd.State + tasks + k.ID, containerd.Root + tasks + k.ID}
}

// deadSocket tells a shim's socket at which nobody listens.
func deadSocket(path string) bool {
	if filepath.Dir(path) != containerd.State+"/s" {
		return false
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
	}
	return err != nil
}

// runtimeRuns reports whether a runtime is at work that a shim has called. crun's process in a container that is not started
// yet has the same command line.
func runtimeRuns(t *testing.T) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	contained := guesttest.ContainerProcesses(t)
	return slices.ContainsFunc(files, func(file string) bool {
		cmdline, _ := os.ReadFile(file)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		return strings.Contains(string(cmdline), "\x00--log-format\x00") && !slices.Contains(contained, pid)
	})
}

// wantNothingFree checks that all processes of containers have profile web, but for the runtime's own, which is to become
// one of them.
func wantNothingFree(t *testing.T, k *task) {
	t.Helper()
	for _, pid := range guesttest.ContainerProcesses(t) {
		dir := fmt.Sprintf("/proc/%d", pid)
		cmdline, _ := os.ReadFile(dir + "/cmdline")
		label, err := os.ReadFile(dir + "/attr/current")
		if err != nil || len(cmdline) == 0 { // gone meanwhile, or a zombie
			continue
		}
		if argv := strings.Split(string(cmdline), "\x00"); len(argv) > 1 && strings.HasPrefix(filepath.Base(argv[0]), "crun") {
			continue
		}
		wantLabelText(t, fmt.Sprintf("process %q", cmdline), strings.TrimRight(string(label), "\x00\n"), "web")
	}
}
