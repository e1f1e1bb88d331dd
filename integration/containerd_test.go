package integration

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/containerd"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
)

// What the project promises of containers that containerd runs, through our shim and through the stock one with our
// runtime wrapper. Each containerd of a guest is started for each test. Where the runtime is not what a test is about, it
// is crun, which starts several times as fast as runc where every instruction is emulated.

// A task is a container of containerd's with a process in it.
type task struct {
	*guesttest.Containerd
	ID     string
	rootfs string
	tasks  guesttest.Tasks
}

// prepareTask makes a root file system, and an id that names the arm, for a task that is yet to be run. Both last as long
// as the test t.
func prepareTask(t *testing.T, c *guesttest.Containerd, arm guesttest.Arm) *task {
	t.Helper()
	b := guesttest.NewBundle(t)
	write(t, filepath.Join(b.Rootfs(), "script"), "while :; do { "+webTries.script()+"; } >/tmp/saying; mv /tmp/saying /tmp/said\n"+
		"until rm /tmp/again 2>/dev/null; do sleep 1; done; done\n")
	return &task{Containerd: c, ID: strings.Replace(b.ID, "bundle", arm.Name, 1), rootfs: b.Rootfs(), tasks: c.Tasks(t)}
}

// runArgs are ctr's arguments that run the task.
func (k *task) runArgs(arm guesttest.Arm, policy string) []string {
	return append(append([]string{"run", "--detach", "--null-io"}, arm.Flags()...), k.containerArgs(policy)...)
}

// containerArgs are ctr's arguments that describe the container. Its process tries all operations, says how they went in
// a file, and does so again each time that it is asked by another file.
func (k *task) containerArgs(policy string) []string {
	args := []string{"--rootfs", "--env", "GODEBUG=asyncpreemptoff=1"}
	if policy != "" {
		args = append(args, "--annotation", "oci-apparmor/policy="+policy)
	}
	return append(args, k.rootfs, k.ID, "/bin/sh", "/script") // ctr 1.6 would take sh's -c for a flag of its own
}

// create creates the task's container, without a process.
func (k *task) create(t *testing.T, arm guesttest.Arm, policy string, edits ...func(*specs.Spec)) {
	t.Helper()
	k.MustCtr(t, append([]string{"container", "create"}, k.containerArgs(policy)...)...)
	k.tasks.Use(t, k.ID, arm, edits...)
}

// said is the file in which the task's process says how its operations went.
func (k *task) said() string { return filepath.Join(k.rootfs, "tmp/said") }

// ran reports whether the task's process has begun.
func (k *task) ran() bool {
	return exists(filepath.Join(k.rootfs, "tmp/saying")) || exists(k.said())
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// runTask runs a container that asks for a policy.
func runTask(t *testing.T, c *guesttest.Containerd, arm guesttest.Arm, policy string) *task {
	t.Helper()
	k := prepareTask(t, c, arm)
	k.MustCtr(t, k.runArgs(arm, policy)...)
	return k
}

// script returns a command of the shell that tries the operations and prints label and answers, a line each.
func (what tries) script() string {
	commands := []string{"probe label"}
	for _, op := range slices.Sorted(maps.Keys(what)) {
		commands = append(commands, "probe "+op)
	}
	return strings.Join(commands, "; ")
}

// check compares what the script printed.
func (what tries) check(t *testing.T, who, said string, profiles ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(said), "\n")
	if len(lines) != 1+len(what) {
		t.Errorf("%s said %q, want a label and %d answers", who, said, len(what))
		return
	}
	wantLabelText(t, who, lines[0], profiles...)
	for i, op := range slices.Sorted(maps.Keys(what)) {
		if lines[1+i] != what[op] {
			t.Errorf("%s, %s: %s, want %s", who, op, lines[1+i], what[op])
		}
	}
}

// wantLabelText checks a label that the kernel showed, as wantLabel does.
func wantLabelText(t *testing.T, who, text string, profiles ...string) {
	t.Helper()
	label, err := kernel.ParseLabel(text)
	if err != nil || !label.Covers(profiles...) {
		t.Errorf("%s has label %q, want %q (%v)", who, text, profiles, err)
	}
	if want := "enforce"; label.Mode != want && !(label.Mode == "mixed" && slices.Contains(label.Components, "crun")) {
		t.Errorf("%s has label %q, want mode %s", who, text, want)
	}
}

// pid returns the process id of the task's first process.
func (k *task) pid(t *testing.T) int {
	t.Helper()
	task := k.tasks.Task(t, k.ID)
	if task == nil {
		t.Fatalf("no task %s", k.ID)
	}
	return int(task.Pid)
}

// wantTaskConfined checks label and operations of the task's own process.
func wantTaskConfined(t *testing.T, k *task, what tries, profiles ...string) {
	t.Helper()
	// Until its program has begun, its process is the runtime's, which has told already that it is started.
	waitFor(t, "task "+k.ID+" to try its operations", func() bool { return exists(k.said()) })
	wantLabelText(t, "the process of task "+k.ID, guesttest.Label(t, k.pid(t)), profiles...)
	what.check(t, "the process of task "+k.ID, read(t, k.said()), profiles...)
}

// execs counts the processes that tests start in tasks, for their names.
var execs int

// exec runs a program in the task. Its spec is that of the container's own process in containerd's records, which knows
// nothing of our profiles.
func (k *task) exec(t *testing.T, args ...string) guesttest.Outcome {
	t.Helper()
	execs++
	return k.Ctr(t, append([]string{"task", "exec", "--exec-id", fmt.Sprintf("exec-%d", execs), k.ID}, args...)...)
}

// wantTaskExecConfined checks label and operations of a process that is started in the task.
func wantTaskExecConfined(t *testing.T, k *task, what tries, profiles ...string) {
	t.Helper()
	o := k.exec(t, "/bin/sh", "-c", what.script())
	if o.Code != 0 {
		t.Errorf("exec in task %s: exit code %d: %s", k.ID, o.Code, o.Stderr)
	}
	what.check(t, "what was executed in task "+k.ID, o.Stdout, profiles...)
}

// remove kills the task and deletes it with its container.
func (k *task) remove(t *testing.T) {
	t.Helper()
	k.tasks.Stop(t, k.ID)
	k.tasks.Remove(t, k.ID)
}

func (k *task) waitStopped(t *testing.T) {
	t.Helper()
	waitFor(t, "task "+k.ID+" to stop", func() bool { return k.tasks.Task(t, k.ID).GetStatus() == tasktypes.Status_STOPPED })
}

// left lists what containers leave behind as long as they are there: shims, processes, records of ours, bundles, sockets,
// the runtime's state, mounts.
func left(t *testing.T) (left []string) {
	t.Helper()
	for _, pid := range append(guesttest.Shims(t), guesttest.ContainerProcesses(t)...) {
		if cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && len(cmdline) > 0 {
			left = append(left, "process "+strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	for _, pattern := range []string{
		"/run/oci-apparmor/containers/*.json",
		containerd.State + "/s/*",
		containerd.State + "/runc/*/[^.]*", // newer cruns keep an .empty-directory there
		containerd.State + "/io.containerd.runtime.v2.task/*/*",
		containerd.Root + "/io.containerd.runtime.v2.task/*/*",
		"/run/docker/runtime-*/*/*",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, found...)
	}
	return append(left, guesttest.Mounts(t, containerd.State+"/io.containerd.runtime.v2.task")...)
}

// wantNothingLeft waits until the last container is gone with all that belonged to it: a shim ends on its own, a moment
// after its task was deleted.
func wantNothingLeft(t *testing.T) {
	t.Helper()
	wantLeft(t, func(string) bool { return false })
}

// wantLeft waits until nothing is left but what may be.
func wantLeft(t *testing.T, may func(what string) bool) {
	t.Helper()
	var rest []string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if rest = slices.DeleteFunc(left(t), may); len(rest) == 0 {
			return
		}
	}
	t.Errorf("left behind:\n%s", strings.Join(rest, "\n"))
}

// ours are the ways by which containerd reaches us.
var ours = []guesttest.Arm{guesttest.Shim, guesttest.Type, guesttest.Wrapper, guesttest.ShimCrun, guesttest.WrapperCrun}

// eachArm runs the test as a subtest for each of the arms.
func eachArm(t *testing.T, arms []guesttest.Arm, test func(t *testing.T, arm guesttest.Arm)) {
	for _, arm := range arms {
		t.Run(arm.Name, func(t *testing.T) { test(t, arm) })
	}
}

// What ctr and other clients of containerd's do with a container, in one containerd for all.
func TestContainerdTasks(t *testing.T) {
	setPolicy(t, webPolicy)
	guesttest.EachContainerd(t, func(t *testing.T, v guesttest.ContainerdVersion) {
		c := guesttest.StartContainerd(t, v, guesttest.ContainerdConfig{})
		run := func(name string, test func(*testing.T, *guesttest.Containerd)) {
			t.Run(name, func(t *testing.T) {
				test(t, c)
				wantNothingLeft(t)
			})
		}
		run("each way confines, also after a restart", tasksOfEachArm)
		if !v.Oldest() && !v.Present() && !guesttest.Everything() {
			t.Log(guesttest.LeftOut + "the rest with the containerds between the oldest and the present one")
			return
		}
		run("a refusal reaches who ran the container", tasksThatAreRefused)
		run("the shim of another group's", taskInAForeignGroup)
		run("a profile is removed between create and start", tasksThatLoseTheirProfile)
		run("what is warned of stays", tasksThatAreWarnedOf)
		run("a container has a user namespace", taskInAUserNamespace)
	})
}

func tasksOfEachArm(t *testing.T, c *guesttest.Containerd) {
	var tasks []*task
	for _, arm := range ours {
		k := runTask(t, c, arm, "web")
		tasks = append(tasks, k)
		wantTaskConfined(t, k, webTries, "web")
		wantRuntime(t, arm, "default", k.ID)
	}
	other := runTask(t, c, guesttest.Shim, "")
	wantTaskConfined(t, other, workTries, "work")
	wantTaskExecConfined(t, other, workTries, "work")
	other.remove(t)
	wantTaskExecConfined(t, tasks[0], webTries, "web")
	c.Restart(t)
	for _, k := range tasks {
		wantTaskExecConfined(t, k, webTries, "web")
		k.remove(t)
	}
}

// wantRuntime checks that a container was created by the arm's runtime, by the name of the file in which it keeps the
// container's state.
func wantRuntime(t *testing.T, arm guesttest.Arm, namespace, id string) {
	t.Helper()
	state := map[string]string{"runc": "state.json", "crun": "status"}
	runtime := filepath.Base(cmp.Or(arm.Runtime, "runc"))
	if file := filepath.Join(containerd.State, "runc", namespace, id, state[runtime]); !exists(file) {
		t.Errorf("arm %s: there is no %s, so it was not %s that created the container", arm.Name, file, runtime)
	}
}

// A refusal reaches who ran the container as one line of ours, and no trace of the container is left.
func tasksThatAreRefused(t *testing.T, c *guesttest.Containerd) {
	for _, arm := range ours {
		k := prepareTask(t, c, arm)
		wantRefusal(t, k.Ctr(t, k.runArgs(arm, "nosuch")...), k.ID)
		if k.tasks.Task(t, k.ID) != nil {
			t.Error("its task is there")
		}
		k.tasks.RemoveContainer(t, k.ID)
		wantNothingLeft(t)
	}
}

// A container whose group a stock shim serves is refused by our shim, which would not be called. The wrapper is.
func taskInAForeignGroup(t *testing.T, c *guesttest.Containerd) {
	holder := runTask(t, c, guesttest.StockCrun, "")
	run := func(arm guesttest.Arm) (*task, guesttest.Outcome) {
		k := prepareTask(t, c, arm)
		return k, k.Ctr(t, slices.Insert(k.runArgs(arm, "web"), 1, "--annotation", "io.containerd.runc.v2.group="+holder.ID)...)
	}
	k, o := run(guesttest.ShimCrun)
	if o.Code == 0 || strings.Count(o.Stderr, "oci-apparmor: create of container "+k.ID+": its group is served by ") != 1 {
		t.Errorf("through our shim: exit code %d, %q", o.Code, o.Stderr)
	}
	t.Logf("ctr said: %s", o.Stderr)
	if k.ran() {
		t.Error("its process has run")
	}
	k.tasks.RemoveContainer(t, k.ID)
	if k, o = run(guesttest.WrapperCrun); o.Code != 0 {
		t.Fatalf("through the wrapper: %s", o.Stderr)
	}
	wantTaskConfined(t, k, webTries, "web")
	k.remove(t)
	holder.remove(t)
}

// wantRefusal checks what an engine's command said of a container that asked for policy nosuch.
func wantRefusal(t *testing.T, o guesttest.Outcome, id string) {
	t.Helper()
	line := "oci-apparmor: create of container " + id + ": "
	if o.Code == 0 || strings.Count(o.Stderr, line) != 1 || !strings.Contains(o.Stderr, "nosuch") {
		t.Errorf("exit code %d, %q: want %q, once, and the policy's name", o.Code, o.Stderr, line)
	}
	if strings.Contains(o.Stderr, "exit status") || strings.Count(strings.TrimSpace(o.Stderr), "\n") > 0 {
		t.Errorf("it says more than it should: %s", o.Stderr)
	}
}

// As CRI does it, with the shim's path in the request, and with runc's own options.
func tasksThatLoseTheirProfile(t *testing.T, c *guesttest.Containerd) {
	for _, arm := range []guesttest.Arm{guesttest.Shim, guesttest.Wrapper} {
		for _, lost := range []struct {
			what   string
			record bool
			said   string
		}{
			{"the profile", false, "profile web was removed"},
			{"the record, too", true, "no record of it in /run/oci-apparmor"},
		} {
			t.Run(arm.Name+" loses "+lost.what, func(t *testing.T) {
				if lost.record && arm.Name == guesttest.Wrapper.Name && !kernel.New().ShowsPending() {
					t.Skip("this kernel does not tell what is pending for a process, and the wrapper remembers nothing by itself")
				}
				unload(t, "web") // the one that loadOurs has loaded is not ours to replace
				k := prepareTask(t, c, arm)
				k.create(t, arm, "web")
				if _, err := k.tasks.CreateTask(t, k.ID, arm, ""); err != nil {
					t.Fatal(err)
				}
				guesttest.RemoveProfile(t, "web")
				loadOurs(t, "web") // does not bring back the label that is lost
				if lost.record {
					if err := os.RemoveAll("/run/oci-apparmor"); err != nil {
						t.Fatal(err)
					}
				}
				err := k.tasks.StartTask(t, k.ID)
				if err == nil || !strings.Contains(err.Error(), lost.said) || !strings.Contains(err.Error(), k.ID) {
					t.Errorf("start gave %v", err)
				}
				if k.ran() {
					t.Error("its process has run")
				}
				k.remove(t)
				unload(t, "web")
			})
		}
	}
}

// hostNetwork leaves a container in the host's network. CRIU would lock another with iptables, which a guest has not got.
func hostNetwork(s *specs.Spec) {
	s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
		return n.Type == specs.NetworkNamespace
	})
}

// A container that was saved under one profile comes back under that which the policy gives it then. Forky's kernel lacks in
// user mode what CRIU needs, so trixie has the present containerd here.
func TestContainerdRestore(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm, guesttest.Trixie)
	if _, err := exec.LookPath("criu"); err != nil {
		t.Skip("this guest has no criu")
	}
	guesttest.NeedKcmp(t)
	setPolicy(t, webPolicy)
	for _, v := range guesttest.Containerds(t) {
		t.Run(v.Name, func(t *testing.T) {
			guesttest.Require(t)
			if !v.Oldest() && !v.Present() {
				guesttest.Leave(t, "make test has the oldest containerd, and the present one")
			}
			tasksThatAreRestored(t, guesttest.StartContainerd(t, v, guesttest.ContainerdConfig{}))
			wantNothingLeft(t)
		})
	}
}

func tasksThatAreRestored(t *testing.T, c *guesttest.Containerd) {
	eachArm(t, []guesttest.Arm{guesttest.Shim, guesttest.Wrapper}, func(t *testing.T, arm guesttest.Arm) {
		start := func(k *task, image string) {
			t.Helper()
			if _, err := k.tasks.CreateTask(t, k.ID, arm, image); err != nil {
				t.Fatal(err)
			}
			if err := k.tasks.StartTask(t, k.ID); err != nil {
				t.Fatal(err)
			}
		}
		k := prepareTask(t, c, arm)
		k.create(t, arm, "web", hostNetwork)
		start(k, "")
		wantTaskConfined(t, k, webTries, "web")
		image := filepath.Join(t.TempDir(), "image")
		k.MustCtr(t, "task", "checkpoint", "--exit", "--image-path", image, k.ID)
		k.waitStopped(t)
		k.tasks.Remove(t, k.ID)
		wantNothingLeft(t)

		unload(t, "web")
		k.create(t, arm, "", hostNetwork) // gets work, by the policy
		start(k, image)
		os.Remove(k.said())
		write(t, filepath.Join(k.rootfs, "tmp/again"), "")
		wantTaskConfined(t, k, workTries, "work")
		wantTaskExecConfined(t, k, workTries, "work")
		k.remove(t)
	})
}
