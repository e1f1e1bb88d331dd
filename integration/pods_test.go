package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/oci-apparmor/oci-apparmor/integration/containerd"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
)

// Pods, through the socket by which the kubelet runs them: every containerd of the guest, with our shim and with the
// stock shim that calls our wrapper.

// podPolicy assigns base, which denies writes to /etc, to what asks for nothing. Only containers of the namespace kept
// are left to the engine, and those that pass for somebody they are not, if that works.
const podPolicy = `version: 1
profiles:
  web:   {file: profiles/web}
  work:  {file: profiles/work}
  base:  {file: profiles/base}
  pause: {file: profiles/pause}
policies:
  web:       {profile: web}
  work:      {profile: work}
  base:      {profile: base}
  pause:     {profile: pause}
  hands-off: {profile: keep}
assign:
  - sandbox: true
    container: [trusted]
    policy: hands-off
  - sandbox: true
    image: ["trusted.test/*"]
    policy: hands-off
  - sandbox: true
    namespace: [fenced]
    policy: pause
  - namespace: [kept]
    policy: hands-off
  - pod: [trusted]
    policy: hands-off
  - container: [trusted]
    policy: hands-off
  - image: ["trusted.test/*"]
    policy: hands-off
  - image: ["probe:*"]
    policy: work
  - policy: base
    request: [web, work]
`

// hubImage is the name by which CRI shows an image probe:1 of Docker's registry.
const hubImage = "docker.io/library/probe:1"

// podTries show the profiles: web and base deny a write to /etc, work one to /mnt. The engine's own profile denies to
// read a file from which otherwise nobody can.
var (
	podWeb    = tries{"write /etc/x": denied, "write /mnt/x": "ok"}
	podWork   = tries{"write /etc/x": "ok", "write /mnt/x": denied}
	podLocal  = tries{"write /etc/x": "ok", "write /tmp/x": denied}
	podEngine = tries{"write /etc/x": "ok", "read /proc/sysrq-trigger": denied}
	podFree   = tries{"write /etc/x": "ok", "read /proc/sysrq-trigger": "errno EIO"}
)

func TestContainerdPods(t *testing.T) {
	guesttest.OldestAndPresent(t, func(t *testing.T, v guesttest.ContainerdVersion) {
		guesttest.NetworkPods(t)
		c, engine := startCRI(t, v)
		run := func(name string, test func(*testing.T, *guesttest.CRI, guesttest.Arm), arms ...guesttest.Arm) {
			t.Run(name, func(t *testing.T) {
				for _, arm := range arms {
					t.Run(arm.Name, func(t *testing.T) {
						test(t, engine, arm)
						wantNoPods(t)
					})
				}
			})
		}
		each, shim, wrapper := []guesttest.Arm{guesttest.Shim, guesttest.Wrapper, guesttest.TypeCrun}, guesttest.ShimCrun, guesttest.WrapperCrun
		if ignoresRuntimePath(v) {
			each, shim = []guesttest.Arm{guesttest.Type, guesttest.Wrapper}, guesttest.Type // it sends no options to that type either
			run("runtime_path does nothing here", podThroughIgnoredPath, guesttest.Shim)
		}
		run("each container gets its own policy", podWithTwoPolicies, each...)
		run("the sandbox gets a policy where one is assigned", podWithConfinedSandbox, shim, wrapper)
		run("security contexts are the engine's choice", podWithSecurityContexts, shim, wrapper)
		run("annotations that are not passed on are no requests", podWithAnnotationsNotPassedOn, shim, wrapper)
		run("forged annotations prove nothing", podThatForges, shim, wrapper)
		run("another pod's shim is no way out", podThatNamesAnothersShim, shim, wrapper)
		run("a refusal reaches the kubelet", podThatIsRefused, shim, wrapper)
		if strings.HasPrefix(v.Name, "2.") { // the first with user namespaces for pods beside runtimes that can do them
			run("a pod has a user namespace", podInUserNamespace, shim, wrapper)
		}
		// Last, as CRI from now on shows either name of the image, whichever one a container has asked for.
		c.MustCtr(t, "--namespace", "k8s.io", "images", "tag", guesttest.ProbeImage, hubImage)
		run("an image's pattern needs no registry", podWithImageOfDockersRegistry, shim, wrapper)
	})
}

// Whoever relies on runtime_path there has no policy at all, and nothing tells. When this fails, that containerd has
// been mended: see ignoresRuntimePath.
func podThroughIgnoredPath(t *testing.T, engine *guesttest.CRI, arm guesttest.Arm) {
	pod := engine.Pod(t, arm.Name)
	wantPodConfined(t, startPodContainer(t, pod, "front"), podEngine, "cri-containerd.apparmor.d (enforce)")
	pod.Remove(t)
}

func podWithTwoPolicies(t *testing.T, engine *guesttest.CRI, arm guesttest.Arm) {
	pod := engine.Pod(t, arm.Name, guesttest.Annotated("oci-apparmor/policy", "web", "oci-apparmor/policy.worker", "work"))
	front, worker := startPodContainer(t, pod, "front"), startPodContainer(t, pod, "worker")
	wantRuntime(t, arm, "k8s.io", front.ID)
	wantPodConfined(t, front, podWeb, "web (enforce)")
	wantPodConfined(t, worker, podWork, "work (enforce)")
	wantExecSyncConfined(t, front, podWeb, "web (enforce)")
	wantStreamConfined(t, front, podWeb, "web (enforce)")
	wantPause(t, pod, "unconfined")
	if shims := guesttest.Shims(t); len(shims) != 1 {
		t.Errorf("%d shims serve the pod, want 1", len(shims))
	}
	front.Remove(t)
	if remembered(t, front.ID) || !remembered(t, worker.ID) {
		t.Errorf("the removed container is remembered: %v; the other one: %v", remembered(t, front.ID), remembered(t, worker.ID))
	}
	wantExecSyncConfined(t, worker, podWork, "work (enforce)")
	pod.Remove(t)
}

// The pattern probe:* fits the whole name that CRI shows. All other containers here have an image of another registry,
// and get base.
func podWithImageOfDockersRegistry(t *testing.T, engine *guesttest.CRI, arm guesttest.Arm) {
	pod := engine.Pod(t, arm.Name)
	ofHub := func(c *cri.ContainerConfig) { c.Image.Image = hubImage }
	c, err := pod.TryStart(t, "hub", podOps, ofHub)
	for late := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(late); time.Sleep(200 * time.Millisecond) {
		c, err = pod.TryStart(t, "hub", podOps, ofHub) // CRI hears of the new name by an event
	}
	if err != nil {
		t.Fatal(err)
	}
	wantPodConfined(t, c, podWork, "work (enforce)")
	pod.Remove(t)
}

// No annotation speaks for a sandbox.
func podWithConfinedSandbox(t *testing.T, engine *guesttest.CRI, arm guesttest.Arm) {
	pod := engine.Pod(t, arm.Name, inNamespace("fenced"), guesttest.Annotated("oci-apparmor/policy", "web"))
	wantPause(t, pod, "pause (enforce)")
	pod.Remove(t)
}

// What the pod's author writes into securityContext is the engine's choice: it counts where the policy leaves it to the
// engine, and nowhere else.
func podWithSecurityContexts(t *testing.T, engine *guesttest.CRI, arm guesttest.Arm) {
	guesttest.LoadProfile(t, confining("local", "  file,\n  audit deny /tmp/** w,\n")) // the engine wants to see it before we are called
	demanding := engine.Pod(t, arm.Name, guesttest.PrivilegedPod)
	keeping := engine.Pod(t, arm.Name, guesttest.PrivilegedPod, inNamespace("kept"))
	for _, context := range []struct {
		name  string
		edit  func(*cri.ContainerConfig)
		kept  tries
		label string // where the engine's choice is kept
	}{
		{"default", guesttest.WithAppArmor("runtime/default"), podEngine, "cri-containerd.apparmor.d (enforce)"},
		{"unconfined", guesttest.WithAppArmor("unconfined"), podFree, "unconfined"},
		{"localhost", guesttest.WithAppArmor("localhost/local"), podLocal, "local (enforce)"},
		{"privileged", guesttest.Privileged, podFree, "unconfined"},
	} {
		c := startPodContainer(t, demanding, context.name, context.edit)
		wantPodConfined(t, c, podWeb, "base (enforce)")
		if context.name == "privileged" {
			wantExecSyncConfined(t, c, podWeb, "base (enforce)")
		}
		wantPodConfined(t, startPodContainer(t, keeping, context.name, context.edit), context.kept, context.label)
	}
	demanding.Remove(t)
	keeping.Remove(t)
}

// An annotation under a key of the engine's own does not stand in for what the engine knows.
func podThatForges(t *testing.T, engine *guesttest.CRI, arm guesttest.Arm) {
	forging := func(namespace string) func(*cri.PodSandboxConfig) {
		return guesttest.Annotated(
			"io.kubernetes.cri.sandbox-namespace", namespace,
			"io.kubernetes.cri.sandbox-name", "trusted",
			"io.kubernetes.cri.container-name", "trusted",
			"io.kubernetes.cri.image-name", "trusted.test/image:1",
			"io.kubernetes.cri.container-type", "sandbox",
			// Other engines' keys are no better.
			"io.kubernetes.pod.namespace", namespace,
			"io.kubernetes.pod.name", "trusted",
			"io.kubernetes.container.name", "trusted",
			"io.kubernetes.cri-o.ContainerType", "sandbox",
			"io.container.manager", "libpod",
		)
	}
	pod := engine.Pod(t, passing(arm, "open").Name, forging("kept"), inNamespace("fenced"))
	front := startPodContainer(t, pod, "front")
	passed := specOf(t, front.ID).Annotations
	for key, want := range map[string]string{
		"io.kubernetes.pod.name": "trusted", "io.container.manager": "libpod", "io.kubernetes.cri.sandbox-namespace": "fenced",
	} {
		if passed[key] != want {
			t.Fatalf("the spec has the annotation %s: %q, want %q; this test is about the annotations that the engine passes on", key, passed[key], want)
		}
	}
	wantPodConfined(t, front, podWeb, "base (enforce)")
	wantPause(t, pod, "pause (enforce)")
	pod.Remove(t)

	// The true values decide, also for a pod that denies them.
	pod = engine.Pod(t, passing(arm, "open").Name, forging("default"), inNamespace("kept"))
	wantPodConfined(t, startPodContainer(t, pod, "front", guesttest.WithAppArmor("unconfined")), podFree, "unconfined")
	pod.Remove(t)
}

// containerd's shims serve a container beside others of the group that an annotation names, and ours is not called where
// that is a stock one's: it refuses. The wrapper is called by whichever shim.
func podThatNamesAnothersShim(t *testing.T, engine *guesttest.CRI, arm guesttest.Arm) {
	free := engine.Pod(t, guesttest.StockCrun.Name)
	pod, err := engine.TryPod(t, passing(arm, "open").Name, guesttest.Annotated("io.containerd.runc.v2.group", free.ID))
	switch {
	case arm.Name == guesttest.WrapperCrun.Name && err == nil:
		wantPodConfined(t, startPodContainer(t, pod, "front"), podWeb, "base (enforce)")
		pod.Remove(t)
	case arm.Name == guesttest.WrapperCrun.Name:
		t.Error(err)
	case err == nil:
		t.Errorf("a pod in another pod's shim has started, and its pause container has label %q", guesttest.Label(t, pod.Pid(t)))
		pod.Remove(t)
	default:
		t.Log(err)
		if said := err.Error(); strings.Count(said, "oci-apparmor: create of container ") != 1 || !strings.Contains(said, "io.containerd.runc.v2.group") {
			t.Errorf("the error does not say why: %s", said)
		}
	}
	free.Remove(t)
}

// As of a pod with hostUsers: false. The engine looks at the runtime's features for it, which a shim tells, and wants
// it to have a network of its own.
func podInUserNamespace(t *testing.T, engine *guesttest.CRI, arm guesttest.Arm) {
	if _, err := os.Stat("/usr/lib/cni/ptp"); err != nil {
		t.Skip("this guest has no containernetworking-plugins: ", err)
	}
	users := func(c *cri.PodSandboxConfig) {
		ids := []*cri.IDMapping{{ContainerId: 0, HostId: mapped, Length: 65536}}
		options := c.Linux.SecurityContext.NamespaceOptions
		options.UsernsOptions = &cri.UserNamespace{Mode: cri.NamespaceMode_POD, Uids: ids, Gids: ids}
		options.Network = cri.NamespaceMode_POD
	}
	pod := engine.Pod(t, arm.Name, users, guesttest.Annotated("oci-apparmor/policy", "web"))
	c := startPodContainer(t, pod, "front")
	wantPodConfined(t, c, podWeb, "web (enforce)")
	wantExecSyncConfined(t, c, podWeb, "web (enforce)")
	if uids := read(t, fmt.Sprintf("/proc/%d/uid_map", c.Pid(t))); !slices.Equal(strings.Fields(uids), []string{"0", fmt.Sprint(mapped), "65536"}) {
		t.Errorf("its process is in a user namespace with the users %q", uids)
	}
	pod.Remove(t)
}

// What the engine's call gives is what the kubelet writes into the pod's events.
func podThatIsRefused(t *testing.T, engine *guesttest.CRI, arm guesttest.Arm) {
	pod := engine.Pod(t, arm.Name, guesttest.Annotated("oci-apparmor/policy.front", "hands-off"))
	_, err := pod.TryStart(t, "front", []string{"label"})
	if err == nil {
		t.Fatal("a container that asks for what it may not have has started")
	}
	message := err.Error()
	t.Log(message)
	_, ours, found := strings.Cut(message, "oci-apparmor: create of container ")
	for _, want := range []string{"hands-off", "oci-apparmor/policy.front"} {
		if !found || !strings.Contains(ours, want) {
			t.Errorf("the error does not say %q: %s", want, message)
		}
	}
	if strings.Contains(message, "exit status") || strings.Contains(message, "\n") || strings.Count(message, "oci-apparmor: ") != 1 {
		t.Errorf("the error is not our one line: %q", message)
	}
	if left, err := filepath.Glob(podBundles + "/*"); err != nil || len(left) != 1 || len(records(t)) != 1 {
		t.Errorf("bundles: %v (%v), records: %v; want those of the pause container alone", left, err, records(t))
	}
	wantPodConfined(t, startPodContainer(t, pod, "other"), podWeb, "base (enforce)")
	pod.Remove(t)
}

// containerd gives a container those of its pod's annotations that the handler's pod_annotations name. Without that a
// request does not reach us, also none that would be refused: the container has asked for nothing, and gets what it is
// assigned. It is never free for that.
func podWithAnnotationsNotPassedOn(t *testing.T, engine *guesttest.CRI, arm guesttest.Arm) {
	pod := engine.Pod(t, passing(arm, "silent").Name, guesttest.Annotated("oci-apparmor/policy", "work", "oci-apparmor/policy.front", "no such policy"))
	c := startPodContainer(t, pod, "front")
	for key := range specOf(t, c.ID).Annotations {
		if strings.HasPrefix(key, "oci-apparmor/") {
			t.Fatalf("containerd passed on the annotation %s", key)
		}
	}
	wantPodConfined(t, c, podWeb, "base (enforce)")
	pod.Remove(t)
}

// startCRI starts containerd under podPolicy, with the images of pods, and connects to its CRI.
func startCRI(t *testing.T, v guesttest.ContainerdVersion) (*guesttest.Containerd, *guesttest.CRI) {
	t.Helper()
	setPolicy(t, podPolicy)
	var handlers string
	for _, arm := range []guesttest.Arm{guesttest.ShimCrun, guesttest.WrapperCrun, guesttest.Type} {
		handlers += passing(arm, "open", "*", "*/*").Handler() + passing(arm, "silent").Handler()
	}
	c := guesttest.StartContainerd(t, v, guesttest.ContainerdConfig{CRI: true, Lines: handlers})
	c.MustCtr(t, "--namespace", "k8s.io", "images", "import", guesttest.Images(t))
	return c, guesttest.DialCRI(t, c.Socket)
}

// passing returns an arm whose handler passes annotations on that the patterns match, under a name of its own.
func passing(arm guesttest.Arm, name string, patterns ...string) guesttest.Arm {
	arm.Name += "-" + name
	arm.Annotations = patterns
	return arm
}

// ignoresRuntimePath tells a containerd that takes a handler's runtime_path and does not use it: its CRI plugin's
// client leaves it out of the request (WithRuntimePath in task_opts.go, containerd 1.6.0 to 1.6.20).
func ignoresRuntimePath(v guesttest.ContainerdVersion) bool {
	patch, ok := strings.CutPrefix(v.Name, "1.6.")
	n, err := strconv.Atoi(patch)
	return ok && err == nil && n <= 20
}

func inNamespace(name string) func(*cri.PodSandboxConfig) {
	return func(c *cri.PodSandboxConfig) { c.Metadata.Namespace = name }
}

// podOps are what the first process of every container tries.
var podOps = []string{"label", "write /etc/x", "write /mnt/x", "write /tmp/x", "read /proc/sysrq-trigger"}

// startPodContainer starts a container whose first process tries podOps.
func startPodContainer(t *testing.T, pod *guesttest.Pod, name string, edits ...func(*cri.ContainerConfig)) *guesttest.PodContainer {
	t.Helper()
	return pod.Start(t, name, podOps, edits...)
}

// exeOf returns the path of a process's program, or "" where there is no such process.
func exeOf(pid int) string {
	exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return exe
}

// wantPodConfined checks the label of a container that startPodContainer has started, and what the kernel let its first
// process do.
func wantPodConfined(t *testing.T, c *guesttest.PodContainer, what tries, label string) {
	t.Helper()
	answers := c.Answers(t, len(podOps)) // by now it has executed its program, and has no longer the runtime's label
	if got := guesttest.Label(t, c.Pid(t)); got != label {
		t.Errorf("container %s has label %q, want %q", c.ID, got, label)
	}
	for i, op := range podOps {
		if want, ok := what[op]; ok && answers[i] != want {
			t.Errorf("container %s, %s: %s, want %s", c.ID, op, answers[i], want)
		}
	}
}

// wantExecSyncConfined is wantPodConfined for a process that is started in the container and waited for, as the kubelet
// does for a probe.
func wantExecSyncConfined(t *testing.T, c *guesttest.PodContainer, what tries, label string) {
	t.Helper()
	ops := tries{"label": label}
	maps.Copy(ops, what)
	script, asked := "", slices.Sorted(maps.Keys(ops))
	for _, op := range asked {
		script += "/bin/probe " + op + "; "
	}
	o := c.ExecSync(t, "/bin/sh", "-c", script+"exit 3")
	said := strings.Split(strings.TrimSpace(o.Stdout), "\n")
	if o.Code != 3 || len(said) != len(asked) {
		t.Errorf("container %s, ExecSync %q: %+v, want exit code 3", c.ID, script, o)
		return
	}
	for i, op := range asked {
		if said[i] != ops[op] {
			t.Errorf("container %s, ExecSync %s: %s, want %s", c.ID, op, said[i], ops[op])
		}
	}
}

// wantStreamConfined checks a process that is started in the container with its standard streams connected, as kubectl
// exec --stdin does.
func wantStreamConfined(t *testing.T, c *guesttest.PodContainer, what tries, label string) {
	t.Helper()
	stream := c.Exec(t, "/bin/sh", "-c", `while read op; do [ "$op" ] || exit 3; /bin/probe $op; done`)
	if got := stream.Ask(t, "label"); got != label {
		t.Errorf("container %s, Exec label: %q, want %q", c.ID, got, label)
	}
	for op, want := range what {
		if got := stream.Ask(t, op); got != want {
			t.Errorf("container %s, Exec %s: %s, want %s", c.ID, op, got, want)
		}
	}
	stream.Tell(t, "")
	if o := stream.Wait(t); o.Code != 3 {
		t.Errorf("container %s, Exec: %+v, want exit code 3", c.ID, o)
	}
}

// wantPause checks the label of a pod's pause container. Of what it is allowed, a test sees from outside which signals
// it may get: profile pause lets it have all but SIGUSR2. It ignores both.
func wantPause(t *testing.T, pod *guesttest.Pod, label string) {
	t.Helper()
	pid := pod.Pid(t)
	guesttest.Executed(t, pid)
	if got := guesttest.Label(t, pid); got != label {
		t.Errorf("the pause container of pod %s has label %q, want %q", pod.ID, got, label)
	}
	var want error
	if l, err := kernel.ParseLabel(label); err == nil && l.Covers("pause") {
		want = syscall.EACCES
	}
	if err := syscall.Kill(pid, syscall.SIGUSR2); !errors.Is(err, want) {
		t.Errorf("SIGUSR2 to the pause container of pod %s: %v, want %v", pod.ID, err, want)
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Errorf("SIGCONT to the pause container of pod %s: %v", pod.ID, err)
	}
}

// remembered reports whether there is a record of the container.
func remembered(t *testing.T, id string) bool {
	t.Helper()
	for _, file := range records(t) {
		if strings.Contains(read(t, file), id) {
			return true
		}
	}
	return false
}

// records returns the files in which we remember containers.
func records(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/run/oci-apparmor/containers/*.json")
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// podBundles is the directory of the pods' containers' bundles.
const podBundles = containerd.State + "/io.containerd.runtime.v2.task/k8s.io"

// specOf reads the config.json of a pod's container.
func specOf(t *testing.T, id string) *specs.Spec {
	t.Helper()
	spec := new(specs.Spec)
	path := filepath.Join(podBundles, id, "config.json")
	if err := json.Unmarshal([]byte(read(t, path)), spec); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return spec
}

// wantNoPods checks that nothing is left of pods that were removed: no process, no bundle, no state of the runtime, no
// mount, no record.
func wantNoPods(t *testing.T) {
	t.Helper()
	waitFor(t, "all shims to end", func() bool { return len(guesttest.Shims(t)) == 0 })
	if left := guesttest.ContainerProcesses(t); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	left := records(t)
	for _, pattern := range []string{podBundles + "/*", containerd.State + "/runc/k8s.io/[^.]*", containerd.State + "/s/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, found...)
	}
	left = append(left, guesttest.Mounts(t, containerd.State)...)
	if len(left) > 0 {
		t.Errorf("files and mounts are left: %v", slices.Sorted(slices.Values(left)))
	}
}
