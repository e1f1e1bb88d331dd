package integration

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// A whole Kubernetes: API server, controllers, scheduler, kubelet and kubectl, with a containerd that our own install has
// wired. kubernetes_corners_test.go has what becomes of each kind of container there.

// clusterPolicy assigns base to what asks for nothing. A namespace is left to the kubelet, and one has a rule of its own.
const clusterPolicy = `version: 1
profiles:
  web:  {file: profiles/web}
  work: {file: profiles/work}
  base: {file: profiles/base}
policies:
  web:  {profile: web}
  work: {profile: work}
  base: {profile: base}
assign:
  - namespace: [kube-system, kept]
    policy: keep
    request: [web]
  - namespace: [forced]
    policy: work
  - policy: base
    request: [web, work]
`

// A clusterNode is a node of the cluster, whose containerd is wired.
type clusterNode struct {
	*guesttest.Kubelet
	containerd *guesttest.Containerd
}

// startNode makes a node of a containerd with its default configuration, which may have more runtimes, and of our install.
func startNode(t *testing.T, v guesttest.ContainerdVersion, runtimes string) *clusterNode {
	t.Helper()
	k := guesttest.Kubernetes(t)
	setPolicy(t, clusterPolicy)
	guesttest.NetworkPods(t)
	putTree(t, v, "none")
	putDefaultConfig(t, v)
	write(t, containerdConfig, read(t, containerdConfig)+runtimes)
	c := guesttest.StartContainerd(t, v, guesttest.ContainerdConfig{CRI: true, File: containerdConfig})
	c.MustCtr(t, "--namespace", "k8s.io", "images", "import", guesttest.Images(t))
	wantDone(t, wiring(t, v.Bin)("install", "--yes", "containerd"))
	c.Restart(t)
	return &clusterNode{k.Kubelet(t, c.Socket), c}
}

// runs and ends are what a container of the tests' manifests has beside its name, in YAML: its first process tries podOps, and
// goes on or ends then.
var (
	runs = fromImage("exec /bin/probe sleep")
	ends = fromImage("exit 0")
)

func fromImage(then string) string {
	return fmt.Sprintf("image: %q, imagePullPolicy: Never, command: [/bin/sh, -c, %q]", guesttest.ProbeImage, triesOf(podOps)+"; "+then)
}

// triesOf returns a shell's command that tries operations of probe.
func triesOf(ops []string) string { return "/bin/probe each '" + strings.Join(ops, "' '") + "'" }

// podOf returns a manifest of a pod. namespaced is NAMESPACE/NAME, annotations are in YAML's flow style, and spec has RUNS and
// ENDS for runs and ends. If it names no RuntimeClass, the pod has apparmor.
func podOf(namespaced, annotations, spec string) string {
	namespace, name, _ := strings.Cut(namespaced, "/")
	if !strings.Contains(spec, "runtimeClassName:") {
		spec += "\nruntimeClassName: apparmor"
	}
	return fmt.Sprintf("---\napiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: %s, annotations: {%s}}\nspec:\n", name, namespace, annotations) +
		specOfPod("  ", spec)
}

// specOfPod returns the fields of a pod's spec, indented. It has no account's token unless it says so, which the kubelet would
// ask for and mount, and its containers get a second to end.
func specOfPod(indent, spec string) string {
	for _, line := range []string{"automountServiceAccountToken: false", "terminationGracePeriodSeconds: 1"} {
		if key, _, _ := strings.Cut(line, ":"); !strings.Contains(spec, key) {
			spec += "\n" + line
		}
	}
	spec = strings.NewReplacer("RUNS", runs, "ENDS", ends).Replace(strings.TrimSpace(spec))
	return indent + strings.ReplaceAll(spec, "\n", "\n"+indent) + "\n"
}

// wantWasConfined checks the container of a pod that ends by itself, by what it tells of its label and of its tries.
func (n *clusterNode) wantWasConfined(t *testing.T, namespaced, container string, what tries, label string) {
	t.Helper()
	n.WaitPod(t, namespaced, "done with "+container, func(p *guesttest.PodStatus) bool {
		c, _ := p.Container(container)
		return c.State.Terminated != nil
	})
	n.wantSaid(t, namespaced, container, what, label)
}

// wantConfined checks the container of a pod that runs: the label that the kernel shows of its first process, what
// that was let do, and the same of what kubectl exec starts in it.
func (n *clusterNode) wantConfined(t *testing.T, namespaced, container string, what tries, label string) {
	t.Helper()
	p := n.WaitPod(t, namespaced, "running "+container, func(p *guesttest.PodStatus) bool {
		c, ok := p.Container(container)
		return ok && c.State.Running != nil
	})
	c, _ := p.Container(container)
	n.wantSaid(t, namespaced, container, what, label)
	if got := guesttest.Label(t, n.Pid(t, c)); got != label {
		t.Errorf("container %s of pod %s has label %q, want %q", container, namespaced, got, label)
	}
	n.wantExecConfined(t, namespaced, container, what, label)
}

// wantSaid checks what the first process of a container that runs tells of its label and its tries.
func (n *clusterNode) wantSaid(t *testing.T, namespaced, container string, what tries, label string) {
	t.Helper()
	var said []string
	waitFor(t, "container "+container+" of pod "+namespaced+" to try all", func() bool {
		said = strings.Split(strings.TrimSpace(n.Log(t, namespaced, container)), "\n")
		return len(said) >= len(podOps)
	})
	wantSaidOf(t, namespaced+" "+container, said, what, label)
}

// wantSaidOf compares what probe said of podOps.
func wantSaidOf(t *testing.T, who string, said []string, what tries, label string) {
	t.Helper()
	if len(said) != len(podOps) {
		t.Errorf("%s said %q", who, said)
		return
	}
	want := maps.Clone(what)
	want["label"] = label
	for i, op := range podOps {
		if w := cmp.Or(want[op], said[i]); said[i] != w {
			t.Errorf("%s, %s: %s, want %s", who, op, said[i], w)
		}
	}
}

// exec runs a program in a pod's container by kubectl exec.
func (n *clusterNode) exec(t *testing.T, namespaced, container string, args ...string) guesttest.Outcome {
	t.Helper()
	namespace, name, _ := strings.Cut(namespaced, "/")
	return n.Kubectl(t, append([]string{"exec", "--namespace=" + namespace, name, "--container=" + container, "--"}, args...)...)
}

// wantExecConfined checks what kubectl exec starts in a pod's container.
func (n *clusterNode) wantExecConfined(t *testing.T, namespaced, container string, what tries, label string) {
	t.Helper()
	o := n.exec(t, namespaced, container, append([]string{"/bin/probe", "each"}, podOps...)...)
	if o.Code != 0 {
		t.Errorf("kubectl exec in container %s of pod %s: %+v", container, namespaced, o)
		return
	}
	wantSaidOf(t, "kubectl exec in "+namespaced+" "+container, strings.Split(strings.TrimSpace(o.Stdout), "\n"), what, label)
}

// podsOf waits until there are as many pods of a label as there must be, and they are ready.
func (n *clusterNode) podsOf(t *testing.T, namespace, label string, count int) (pods []string) {
	t.Helper()
	waitFor(t, fmt.Sprintf("%d pods %s", count, label), func() bool {
		pods = n.Pods(t, namespace, label)
		return len(pods) == count
	})
	for _, p := range pods {
		n.WaitPod(t, p, "ready", (*guesttest.PodStatus).Ready)
	}
	return pods
}

// clusterContainerds returns Debian's containerd, and the present one.
func clusterContainerds(t *testing.T) (debian, present guesttest.ContainerdVersion) {
	t.Helper()
	all := guesttest.Containerds(t)
	i := slices.IndexFunc(all, guesttest.ContainerdVersion.Present)
	if i < 0 {
		t.Fatal("this guest has no present containerd")
	}
	return all[0], all[i]
}

// took logs how long a step of a test took.
func took(t *testing.T, what string, began time.Time) {
	t.Helper()
	t.Logf("%s: %.1f s", what, time.Since(began).Seconds())
}

// A manifest that the API server would take passes a dry run, and nothing of it is there then. One with a field that nobody
// knows, or that is not allowed in its namespace, does not pass.
func TestKubernetesDryRun(t *testing.T) {
	k := guesttest.Kubernetes(t)
	k.Namespace(t, "dry", "pod-security.kubernetes.io/enforce: restricted")
	free := podOf("default/dry", "", "containers: [{name: front, RUNS}]\nruntimeClassName: null")
	for _, test := range []struct{ name, manifest, want string }{
		{"good", free, ""},
		{"field", strings.Replace(free, "name: front,", "name: front, color: green,", 1), `unknown field "spec.containers[0].color"`},
		{"class", podOf("default/dry", "", "containers: [{name: front, RUNS}]"), `RuntimeClass "apparmor" not found`},
		{"pod security", strings.Replace(free, "namespace: default", "namespace: dry", 1), `violates PodSecurity "restricted:latest"`},
	} {
		o := k.DryRun(t, test.manifest)
		if (o.Code == 0) != (test.want == "") || !strings.Contains(o.Stdout+o.Stderr, test.want) {
			t.Errorf("%s: %+v, want %q", test.name, o, test.want)
		}
	}
	if o := k.Kubectl(t, "get", "pod", "dry"); o.Code == 0 {
		t.Errorf("the pod is there: %s", o.Stdout)
	}
	// RBAC and the node's authorizer hold: an account has no rights of its own, and a node only those of its own objects.
	for _, test := range []struct{ as, group, can, want string }{
		{"system:serviceaccount:default:default", "system:serviceaccounts", "get nodes", "no"},
		{"system:node:node", "system:nodes", "get nodes/node", "yes"},
		{"system:node:node", "system:nodes", "list secrets", "no"},
	} {
		args := append([]string{"auth", "can-i", "--as=" + test.as, "--as-group=" + test.group}, strings.Fields(test.can)...)
		if o := k.Kubectl(t, args...); !strings.HasPrefix(o.Stdout, test.want) { // a reason may follow
			t.Errorf("can %s %s? %s %s, want %s", test.as, test.can, o.Stdout, o.Stderr, test.want)
		}
	}
}
