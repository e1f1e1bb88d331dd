package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/integration/containerd"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// crunRuntime is a second runtime of ours in containerd's configuration, by hand: one that has crun.
const crunRuntime = `
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.apparmor-crun]
  runtime_type = "io.containerd.runc.v2"
  runtime_path = "/usr/local/bin/containerd-shim-apparmor-v2"
  pod_annotations = ["oci-apparmor/*"]
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.apparmor-crun.options]
    BinaryName = "/usr/bin/crun"
`

// moreClasses are RuntimeClasses beside that of shim/README.md: one whose pods are charged for more than their containers, and
// one with crun.
const moreClasses = `---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: apparmor-weighed}
handler: apparmor
overhead: {podFixed: {cpu: 10m, memory: 24Mi}}
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: apparmor-crun}
handler: apparmor-crun
`

// defaultLabel is that of a container that containerd has chosen the profile of.
const defaultLabel = "cri-containerd.apparmor.d (enforce)"

// A corner is a kind of pod, or something that happens to pods, and what becomes of their confinement. Each is a line of the
// table in install/kubernetes/README.md, under the same name.
type corner struct {
	name string
	pods string // manifests of the pods that it is about, which are made before the first corner is looked at
	test func(t *testing.T, n *clusterNode)
}

// corners are looked at in this order. The last ones end containers of the others.
var corners = []corner{
	{"Deployment", "", func(t *testing.T, n *clusterNode) {
		for _, p := range n.podsOf(t, "corners", "app=shop", 2) {
			n.wantConfined(t, p, "front", podWeb, "web (enforce)")
		}
	}},
	{"Init containers and sidecars", podOf("corners/chain",
		"oci-apparmor/policy: web, oci-apparmor/policy.first: work, oci-apparmor/policy.side: work", `
initContainers:
- {name: first, ENDS}
- {name: second, ENDS}
- {name: side, restartPolicy: Always, RUNS}
containers:
- {name: front, RUNS}`), func(t *testing.T, n *clusterNode) {
		n.wantWasConfined(t, "corners/chain", "first", podWork, "work (enforce)")
		n.wantWasConfined(t, "corners/chain", "second", podWeb, "web (enforce)")
		n.wantConfined(t, "corners/chain", "side", podWork, "work (enforce)")
		n.wantConfined(t, "corners/chain", "front", podWeb, "web (enforce)")
	}},
	{"Ephemeral containers", podOf("corners/debugged", "oci-apparmor/policy: web, oci-apparmor/policy.side-debugger: work",
		"containers: [{name: front, RUNS}]"), func(t *testing.T, n *clusterNode) {
		for _, way := range []struct {
			name, profile string
			what          tries
			label         string
		}{{"debugger", "general", podWeb, "web (enforce)"}, {"side-debugger", "sysadmin", podWork, "work (enforce)"}} {
			n.MustKubectl(t, "debug", "--namespace=corners", "debugged", "--image="+guesttest.ProbeImage, "--image-pull-policy=Never",
				"--container="+way.name, "--profile="+way.profile, "--target=front", "--", "/bin/sh", "-c", triesOf(podOps)+"; exec /bin/probe sleep")
			n.wantConfined(t, "corners/debugged", way.name, way.what, way.label)
		}
	}},
	{"Probes and hooks that execute", podOf("corners/probed", "oci-apparmor/policy: web", `
containers:
- {name: front, RUNS, volumeMounts: [{name: told, mountPath: /told}],
   lifecycle: {postStart: {`+tells("poststart")+`}, preStop: {`+tells("prestop")+`}},
   startupProbe: {`+tells("startup")+`, periodSeconds: 1, timeoutSeconds: 30},
   readinessProbe: {`+tells("readiness")+`, periodSeconds: 1, timeoutSeconds: 30},
   livenessProbe: {`+tells("liveness")+`, periodSeconds: 1, timeoutSeconds: 30}}
volumes: [{name: told, hostPath: {path: /run/told, type: DirectoryOrCreate}}]`), func(t *testing.T, n *clusterNode) {
		n.WaitPod(t, "corners/probed", "ready", (*guesttest.PodStatus).Ready)
		told := func(what string) {
			t.Helper()
			var said []string
			waitFor(t, what+" to be executed", func() bool {
				text, _ := os.ReadFile("/run/told/" + what)
				said = strings.Split(strings.TrimSpace(string(text)), "\n")
				return len(said) == len(podOps)
			})
			wantSaidOf(t, what, said, podWeb, "web (enforce)")
		}
		for _, what := range []string{"poststart", "startup", "readiness", "liveness"} {
			told(what)
		}
		n.wantConfined(t, "corners/probed", "front", podWeb, "web (enforce)")
		n.MustKubectl(t, "delete", "pod", "--namespace=corners", "--grace-period=60", "probed")
		told("prestop")
	}},
	{"Static pods", "", func(t *testing.T, n *clusterNode) {
		write(t, filepath.Join(n.Manifests, "static.yaml"), podOf("corners/static", "oci-apparmor/policy: web", "containers: [{name: front, RUNS}]"))
		n.wantConfined(t, "corners/static-"+n.Node(), "front", podWeb, "web (enforce)")
	}},
	{"`hostUsers: false`", podOf("corners/mapped", "oci-apparmor/policy: web", `
hostUsers: false
containers: [{name: front, RUNS}]`), func(t *testing.T, n *clusterNode) {
		n.wantConfined(t, "corners/mapped", "front", podWeb, "web (enforce)")
		if o := n.exec(t, "corners/mapped", "front", "/bin/cat", "/proc/self/uid_map"); strings.Fields(o.Stdout + " 0 0")[1] == "0" {
			t.Errorf("it has the users %+v", o)
		}
	}},
	{"`appArmorProfile` of a pod", podsWithProfiles(func(kind string) string {
		return "securityContext: {appArmorProfile: " + kind + "}\ncontainers: [{name: front, RUNS}]"
	}), func(t *testing.T, n *clusterNode) { wantProfiles(t, n, "pod-") }},
	{"`appArmorProfile` of a container", podsWithProfilesOfContainers(), func(t *testing.T, n *clusterNode) { wantProfiles(t, n, "own-") }},
	{"Privileged pods", podOf("corners/privileged", "", "containers: [{name: front, RUNS, securityContext: {privileged: true}}]") +
		podOf("kept/privileged", "", "containers: [{name: front, RUNS, securityContext: {privileged: true}}]"), func(t *testing.T, n *clusterNode) {
		n.wantConfined(t, "corners/privileged", "front", podWeb, "base (enforce)")
		n.wantConfined(t, "kept/privileged", "front", podFree, "unconfined")
	}},
	{"Rules for namespaces", podOf("forced/plain", "", "containers: [{name: front, RUNS}]") +
		podOf("forced/asking", "oci-apparmor/policy: web", "containers: [{name: front, RUNS}]") +
		podOf("kept/asking", "oci-apparmor/policy: web", "containers: [{name: front, RUNS}]") +
		podOf("corners/plain", "", "containers: [{name: front, RUNS}]"), func(t *testing.T, n *clusterNode) {
		n.wantConfined(t, "forced/plain", "front", podWork, "work (enforce)")
		n.wantConfined(t, "kept/asking", "front", podWeb, "web (enforce)")
		n.wantConfined(t, "corners/plain", "front", podWeb, "base (enforce)")
		n.wantRefused(t, "forced/asking", "front", "web")
	}},
	{"RuntimeClass with overhead", podOf("corners/weighed", "oci-apparmor/policy: web", `
runtimeClassName: apparmor-weighed
containers: [{name: front, RUNS, resources: {limits: {cpu: 100m, memory: 64Mi}}}]`), func(t *testing.T, n *clusterNode) {
		n.wantConfined(t, "corners/weighed", "front", podWeb, "web (enforce)")
		p := n.WaitPod(t, "corners/weighed", "weighed", func(p *guesttest.PodStatus) bool { return true })
		if p.Spec.Overhead["memory"] != "24Mi" {
			t.Errorf("its overhead is %v", p.Spec.Overhead)
		}
		if got := strings.TrimSpace(read(t, "/sys/fs/cgroup/kubepods/pod"+p.Metadata.UID+"/memory.max")); got != fmt.Sprint((64+24)<<20) {
			t.Errorf("the pod's cgroup has %s bytes of memory, want those of the container and of the overhead", got)
		}
	}},
	{"Two RuntimeClasses", podOf("corners/crun", "oci-apparmor/policy: work", "runtimeClassName: apparmor-crun\ncontainers: [{name: front, RUNS}]") +
		podOf("corners/without", "oci-apparmor/policy: work", "runtimeClassName: null\ncontainers: [{name: front, RUNS}]"), func(t *testing.T, n *clusterNode) {
		n.wantConfined(t, "corners/crun", "front", podWork, "work (enforce)")
		wantRuntime(t, guesttest.ShimCrun, "k8s.io", n.idOf(t, "corners/crun", "front"))
		n.wantConfined(t, "corners/chain", "front", podWeb, "web (enforce)")
		wantRuntime(t, guesttest.Shim, "k8s.io", n.idOf(t, "corners/chain", "front"))
		n.wantConfined(t, "corners/without", "front", podEngine, defaultLabel) // nobody reads its annotation
	}},
	{"PodSecurity", podOf("strict/front", "oci-apparmor/policy: web", `
securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
containers: [{name: front, RUNS, securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]`), func(t *testing.T, n *clusterNode) {
		n.wantConfined(t, "strict/front", "front", tries{"write /etc/x": denied}, "web (enforce)")
		if o := n.DryRun(t, podOf("strict/free", "", "securityContext: {appArmorProfile: {type: Unconfined}}\ncontainers: [{name: front, RUNS}]")); o.Code == 0 ||
			!strings.Contains(o.Stderr, "forbidden AppArmor profile") {
			t.Errorf("a pod that wants to be unconfined: %+v", o)
		}
	}},
	{"Refused pods", "", func(t *testing.T, n *clusterNode) {
		n.Apply(t, podOf("corners/refused", "oci-apparmor/policy.front: nosuch", `
initContainers: [{name: side, restartPolicy: Always, RUNS}]
containers: [{name: front, RUNS}]`))
		n.wantConfined(t, "corners/refused", "side", podWeb, "base (enforce)")
		n.wantRefused(t, "corners/refused", "front", "nosuch")
		n.WaitPod(t, "corners/refused", "backed off", func(p *guesttest.PodStatus) bool {
			c, _ := p.Container("front")
			return c.State.Waiting != nil && c.State.Waiting.Reason == "CrashLoopBackOff" && c.RestartCount >= 2
		})
		n.MustKubectl(t, "annotate", "pod", "--namespace=corners", "refused", "--overwrite", "oci-apparmor/policy.front=work")
		n.wantConfined(t, "corners/refused", "front", podWork, "work (enforce)")
	}},
	{"Restart of the kubelet", "", func(t *testing.T, n *clusterNode) {
		before := n.idOf(t, "corners/chain", "front")
		n.Restart(t)
		n.wantConfined(t, "corners/chain", "front", podWeb, "web (enforce)")
		if n.idOf(t, "corners/chain", "front") != before {
			t.Error("the container is another one")
		}
	}},
	{"Restart of a container and of a pod", "", func(t *testing.T, n *clusterNode) {
		p := n.WaitPod(t, "corners/chain", "running", (*guesttest.PodStatus).Ready)
		c, _ := p.Container("front")
		syscall.Kill(n.Pid(t, c), syscall.SIGKILL)
		n.wantRestarted(t, "corners/chain", "front", c.RestartCount+1)
		n.wantConfined(t, "corners/chain", "front", podWeb, "web (enforce)")
		// Without its pause container, the pod is made anew.
		syscall.Kill(n.Sandbox(t, "corners/chain").Pid(t), syscall.SIGKILL)
		n.wantRestarted(t, "corners/chain", "front", c.RestartCount+2)
		n.wantConfined(t, "corners/chain", "front", podWeb, "web (enforce)")
		n.wantConfined(t, "corners/chain", "side", podWork, "work (enforce)")
	}},
	{"Restart of the node", "", func(t *testing.T, n *clusterNode) {
		shop := n.podsOf(t, "corners", "app=shop", 2)[0]
		count := func(pod string) int {
			c, _ := n.WaitPod(t, pod, "there", func(*guesttest.PodStatus) bool { return true }).Container("front")
			return c.RestartCount
		}
		pods := []string{shop, "corners/static-" + n.Node(), "kept/asking"}
		var before []int
		for _, p := range pods {
			before = append(before, count(p))
		}
		n.reboot(t)
		for i, p := range pods {
			n.wantRestarted(t, p, "front", before[i]+1)
			n.wantConfined(t, p, "front", podWeb, "web (enforce)")
		}
	}},
}

// podsWithProfiles returns a pod for each kind of appArmorProfile, in a namespace whose rule has a policy and in one that is left
// to the kubelet.
func podsWithProfiles(spec func(kind string) string) (pods string) {
	for _, namespace := range []string{"corners", "kept"} {
		for name, kind := range profileKinds {
			pods += podOf(namespace+"/pod-"+name, "", spec(kind))
		}
	}
	return pods
}

var profileKinds = map[string]string{
	"localhost": "{type: Localhost, localhostProfile: local}", "default": "{type: RuntimeDefault}", "unconfined": "{type: Unconfined}",
}

// podsWithProfilesOfContainers returns pods whose containers have the kinds, each beside another one of the pod.
func podsWithProfilesOfContainers() (pods string) {
	for _, namespace := range []string{"corners", "kept"} {
		for name, kind := range profileKinds {
			of := "Unconfined"
			if name == "unconfined" {
				of = "RuntimeDefault"
			}
			pods += podOf(namespace+"/own-"+name, "", fmt.Sprintf(
				"securityContext: {appArmorProfile: {type: %s}}\ncontainers: [{name: front, RUNS, securityContext: {appArmorProfile: %s}}]", of, kind))
		}
	}
	return pods
}

// wantProfiles checks the pods with a prefix: the rule's policy goes before what they chose, and under keep their choice counts.
func wantProfiles(t *testing.T, n *clusterNode, prefix string) {
	t.Helper()
	for name := range profileKinds {
		n.wantConfined(t, "corners/"+prefix+name, "front", podWeb, "base (enforce)")
	}
	n.wantConfined(t, "kept/"+prefix+"localhost", "front", podLocal, "local (enforce)")
	n.wantConfined(t, "kept/"+prefix+"default", "front", podEngine, defaultLabel)
	n.wantConfined(t, "kept/"+prefix+"unconfined", "front", podFree, "unconfined")
}

// wantRefused checks that a container does not start, and that kubectl describe says why by our sentence, which is one line.
func (n *clusterNode) wantRefused(t *testing.T, namespaced, container string, words ...string) {
	t.Helper()
	p := n.WaitPod(t, namespaced, "refused", func(p *guesttest.PodStatus) bool {
		c, _ := p.Container(container)
		return c.LastState.Terminated != nil
	})
	c, _ := p.Container(container)
	if c.LastState.Terminated.Reason != "StartError" || c.LastState.Terminated.ExitCode != 128 || c.State.Running != nil {
		t.Errorf("container %s of pod %s: %+v", container, namespaced, c)
	}
	namespace, name, _ := strings.Cut(namespaced, "/")
	said := n.MustKubectl(t, "describe", "pod", "--namespace="+namespace, name)
	var ours []string
	for line := range strings.Lines(said) {
		if strings.Contains(line, "oci-apparmor: create of container ") {
			ours = append(ours, strings.TrimSpace(line))
		}
	}
	if len(ours) < 2 || !strings.HasPrefix(ours[0], "Message:") || !strings.Contains(ours[len(ours)-1], "kubelet") {
		t.Errorf("kubectl describe shows our sentence not as the container's message and as an event: %q\n%s", ours, said)
	}
	for _, line := range ours {
		for _, w := range words {
			if !strings.Contains(line, w) {
				t.Errorf("%q does not say %q", line, w)
			}
		}
	}
	t.Log(strings.Join(ours, "\n"))
}

// wantRestarted waits until a container of a pod runs and has been restarted so often.
func (n *clusterNode) wantRestarted(t *testing.T, namespaced, container string, count int) {
	t.Helper()
	n.WaitPod(t, namespaced, fmt.Sprintf("restarted %d times", count), func(p *guesttest.PodStatus) bool {
		c, _ := p.Container(container)
		return c.State.Running != nil && c.RestartCount == count
	})
}

// idOf returns the engine's id of a container that runs.
func (n *clusterNode) idOf(t *testing.T, namespaced, container string) string {
	t.Helper()
	p := n.WaitPod(t, namespaced, "running "+container, func(p *guesttest.PodStatus) bool {
		c, _ := p.Container(container)
		return c.State.Running != nil
	})
	c, _ := p.Container(container)
	_, id, _ := strings.Cut(c.ContainerID, "://")
	return id
}

// reboot does to a node what a reboot does: all processes of containers and engine end, /run is lost, and the kernel has no
// cgroups and no profiles. Then containerd and the kubelet start.
func (n *clusterNode) reboot(t *testing.T) {
	t.Helper()
	n.Stop(t)
	n.containerd.Kill9(t)
	guesttest.CleanEngine(t, containerd.State, "/run/oci-apparmor", "/run/netns")
	for _, volume := range guesttest.Mounts(t, "/var/lib/kubelet") {
		syscall.Unmount(volume, syscall.MNT_DETACH)
	}
	guesttest.MustRun(t, "find", "/sys/fs/cgroup/kubepods", "-depth", "-type", "d", "-exec", "rmdir", "{}", "+")
	for name := range guesttest.Profiles(t) {
		if !strings.Contains(name, "//") {
			guesttest.RemoveProfile(t, name)
		}
	}
	n.containerd.Start(t)
	n.Start(t)
}

// shopDeployment is the Deployment of the first corner, whose pods have their account's token as most pods have.
var shopDeployment = `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, namespace: corners}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}, annotations: {oci-apparmor/policy: web}}
    spec:
` + specOfPod("      ", "automountServiceAccountToken: true\nruntimeClassName: apparmor\ncontainers: [{name: front, RUNS}]")

// tells returns a probe or a hook, in YAML, that tries podOps and writes into the volume of its container how that went.
func tells(what string) string {
	script := fmt.Sprintf("[ -e /told/%s ] || %s >/told/%[1]s", what, triesOf(podOps))
	return fmt.Sprintf("exec: {command: [/bin/sh, -c, %q]}", script)
}

// What becomes of each kind of container in a cluster, and of containers that run when something of the node is restarted.
func TestKubernetesCorners(t *testing.T) {
	k := guesttest.Kubernetes(t)
	debian, present := clusterContainerds(t)
	began := time.Now()
	n := startNode(t, debian, crunRuntime)
	took(t, "the node is ready", began)
	guesttest.LoadProfile(t, confining("local", "  file,\n  audit deny /tmp/** w,\n")) // containerd wants to see it before we are called
	if got := n.Handlers(t); !slices.Contains(got, "apparmor") || !slices.Contains(got, "apparmor-crun") {
		t.Fatalf("the node has the handlers %q", got)
	}
	for _, namespace := range []string{"corners", "kept", "forced"} {
		k.Namespace(t, namespace, "")
	}
	k.Namespace(t, "strict", "pod-security.kubernetes.io/enforce: restricted")
	class, pod, _ := strings.Cut(block(t, "shim/README.md#runtimeclass-and-pod"), "---\n")
	k.Apply(t, class+moreClasses)

	t.Run("RuntimeClass with scheduling", func(t *testing.T) {
		k.Apply(t, strings.Replace(pod, "image: nginx", runs, 1))
		k.WaitPod(t, "default/shop", "kept waiting", func(p *guesttest.PodStatus) bool {
			return slices.ContainsFunc(p.Status.Conditions, func(c struct{ Type, Status, Reason, Message string }) bool {
				return c.Type == "PodScheduled" && c.Reason == "Unschedulable" && strings.Contains(c.Message, "node affinity/selector")
			})
		})
		k.MustKubectl(t, "label", "node", n.Node(), "oci-apparmor=true")
		n.wantConfined(t, "default/shop", "front", podWeb, "web (enforce)")
	})
	k.Apply(t, shopDeployment)
	t.Run("Upgrade of containerd", func(t *testing.T) {
		pods := n.podsOf(t, "corners", "app=shop", 2)
		before := n.idOf(t, pods[0], "front")
		n.containerd.Upgrade(t, present)
		n.wantExecConfined(t, pods[0], "front", podWeb, "web (enforce)")
		p := n.WaitPod(t, pods[0], "running", (*guesttest.PodStatus).Ready)
		c, _ := p.Container("front")
		if n.idOf(t, pods[0], "front") != before {
			t.Error("the container is another one")
		}
		syscall.Kill(n.Pid(t, c), syscall.SIGKILL) // what is started in a pod of before comes to us, too
		n.wantRestarted(t, pods[0], "front", c.RestartCount+1)
		n.wantConfined(t, pods[0], "front", podWeb, "web (enforce)")
	})

	began = time.Now()
	k.Apply(t, manifestsOf(corners))
	took(t, "all pods are made", began)
	for _, c := range corners {
		t.Run(c.name, func(t *testing.T) {
			began := time.Now()
			c.test(t, n)
			took(t, "this", began)
		})
	}
}

// manifestsOf returns the manifests of all pods that corners have.
func manifestsOf(corners []corner) string {
	var all strings.Builder
	for _, c := range corners {
		all.WriteString(c.pods)
	}
	return all.String()
}

// Each corner is a line of the table that says what happens there, and the table has no others.
func TestCornersAreDocumented(t *testing.T) {
	guesttest.Outside(t)
	want := []string{"RuntimeClass with scheduling", "Upgrade of containerd"} // which come before all others
	for _, c := range corners {
		want = append(want, c.name)
	}
	var got []string
	_, table, _ := strings.Cut(read(t, "../install/kubernetes/README.md"), "\n| --- | --- |\n")
	for line := range strings.Lines(table) {
		if name, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " | "); ok && strings.HasPrefix(line, "| ") {
			got = append(got, name)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the table has the corners\n%q, and tests are of\n%q", got, want)
	}
}
