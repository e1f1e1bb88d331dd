package integration

import (
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// A node whose engine is CRI-O, wired by our own install: a Deployment by annotation, exec, rules, a restart and a refusal.
func TestKubernetesCRIO(t *testing.T) {
	guesttest.NeedKubernetes(t)
	guesttest.NeedCRIO(t)
	k := guesttest.Kubernetes(t)
	setPolicy(t, clusterPolicy)
	guesttest.NetworkPods(t)
	c := guesttest.StartCRIO(t)
	wantDone(t, wiring(t, guesttest.CRIOBin)("install", "--yes", "cri-o"))
	c.Restart(t)
	n := &clusterNode{Kubelet: k.Kubelet(t, guesttest.CRIOSocket)}
	for _, namespace := range []string{"corners", "kept", "forced"} {
		k.Namespace(t, namespace, "")
	}
	class, _, _ := strings.Cut(block(t, "shim/README.md#runtimeclass-and-pod"), "---\n")
	k.Apply(t, class)
	k.MustKubectl(t, "label", "node", n.Node(), "oci-apparmor=true")
	const crioLabel = "crio-default (enforce)"
	k.Apply(t, shopDeployment+
		podOf("corners/plain", "", "containers: [{name: front, RUNS}]")+
		podOf("corners/without", "oci-apparmor/policy: work", "runtimeClassName: null\ncontainers: [{name: front, RUNS}]")+
		podOf("forced/plain", "", "containers: [{name: front, RUNS}]")+
		podOf("kept/plain", "", "containers: [{name: front, RUNS}]")+
		podOf("corners/refused", "oci-apparmor/policy.front: nosuch", "containers: [{name: front, RUNS}]"))
	for _, p := range n.podsOf(t, "corners", "app=shop", 2) {
		n.wantConfined(t, p, "front", podWeb, "web (enforce)")
	}
	n.wantConfined(t, "corners/plain", "front", podWeb, "base (enforce)")
	n.wantConfined(t, "forced/plain", "front", podWork, "work (enforce)")
	n.wantConfined(t, "kept/plain", "front", podEngine, crioLabel)
	n.wantConfined(t, "corners/without", "front", podEngine, crioLabel)

	// CRI-O calls the runtime when it creates a container, so the kubelet has no container that has ended, and tries again and
	// again.
	n.WaitPod(t, "corners/refused", "refused", func(p *guesttest.PodStatus) bool {
		c, _ := p.Container("front")
		return c.State.Waiting != nil && c.State.Waiting.Reason == "CreateContainerError"
	})
	said := n.MustKubectl(t, "describe", "pod", "--namespace=corners", "refused")
	if !strings.Contains(said, "oci-apparmor: create of container ") || !strings.Contains(said, "nosuch") {
		t.Errorf("kubectl describe does not show our sentence:\n%s", said)
	}
}
