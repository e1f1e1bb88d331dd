package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// clusterOverlay returns a directory for kubectl apply -k: the README's overlay with our image and a policy of two files.
func clusterOverlay(t *testing.T, policy string) string {
	t.Helper()
	dir := t.TempDir()
	base, err := filepath.Rel(dir, filepath.Join(manifestsDir, "overlays/containerd"))
	if err != nil {
		t.Fatal(err)
	}
	name, tag, _ := strings.Cut(daemonSetImage, ":")
	write(t, filepath.Join(dir, "kustomization.yaml"), strings.NewReplacer("oci-apparmor/install/kubernetes/overlays/containerd", base,
		"registry.example/oci-apparmor", name, `newTag: "1.0"`, `newTag: "`+tag+`"`, "[policy.yaml]", "[policy.yaml, web]").
		Replace(block(t, "install/kubernetes/README.md#apply")))
	write(t, filepath.Join(dir, "policy.yaml"), policy)
	write(t, filepath.Join(dir, "web"), texts["web"])
	return dir
}

// ofNode returns a part of what the API server has of the node, by a JSONPath below it.
func (n *clusterNode) ofNode(t *testing.T, path string) string {
	t.Helper()
	return n.MustKubectl(t, "get", "node", n.Node(), "--output=jsonpath={"+path+"}")
}

// One manifest sets a node up: the DaemonSet's pod puts programs, policy and wiring there and labels the node when a container and
// what was executed in it were confined. Pods are confined then, the policy is that of the ConfigMap, and the API server shows what
// became of it. Deleting the manifest gives the node's tree back, after the last pod of ours, and so does deleting the DaemonSet first.
func TestSystemdKubernetesDaemonSet(t *testing.T) {
	guesttest.Need(t, guest.Systemd)
	guesttest.EnoughIn(t, guesttest.Forky)
	guesttest.NeedKubernetes(t)
	k := guesttest.Kubernetes(t)
	guesttest.NetworkPods(t)
	putBareNode(t)
	n := &clusterNode{Kubelet: k.Kubelet(t, containerdSocket)}
	before := treeHash(t)

	began := time.Now()
	overlay := clusterOverlay(t, nodePolicy)
	k.MustKubectl(t, "apply", "--kustomize", overlay)
	t.Cleanup(func() {
		if t.Failed() {
			for _, args := range [][]string{{"describe", "pods"}, {"logs", "--all-containers", "--prefix", "daemonset/oci-apparmor"}, {"get", "events"}} {
				t.Log(k.Kubectl(t, append(args, "--namespace=oci-apparmor")...).Stdout)
			}
			t.Log(k.Kubectl(t, "describe", "node").Stdout)
			t.Log(guesttest.Run(t, "journalctl", "--no-pager", "--lines=40", "--unit=oci-apparmor-leave.service").Stdout)
		}
	})
	const ready = `.metadata.labels.oci-apparmor\.github\.io/ready`
	waitLong(t, "the node to be labelled", func() bool { return n.ofNode(t, ready) == "true" })
	took(t, "the node is labelled", began)
	if got := n.ofNode(t, `.status.conditions[?(@.type=="OCIAppArmorReady")].status`); got != "True" {
		t.Errorf("the condition is %q", got)
	}
	digest := n.ofNode(t, `.metadata.annotations.oci-apparmor\.github\.io/policy`)
	if o := guesttest.Run(t, "oci-apparmor", "policy", "show"); digest == "" || !strings.Contains(o.Stdout, "web") {
		t.Errorf("the Node says the policy is %q, the node %+v", digest, o)
	}

	k.Namespace(t, "corners", "")
	k.Apply(t, shopDeployment)
	pods := n.podsOf(t, "corners", "app=shop", 2)
	for _, p := range pods {
		n.wantConfined(t, p, "front", podWeb, "web (enforce)")
	}

	// A policy with a fault changes nothing, and the Node says why. A good one counts.
	const refused = `.metadata.annotations.oci-apparmor\.github\.io/policy-refused`
	k.MustKubectl(t, "apply", "--kustomize", clusterOverlay(t, "version: 1\npolicies: {web: {profile: none}}\n"))
	waitLong(t, "the Node to say that a policy is refused", func() bool { return strings.Contains(n.ofNode(t, refused), "none") })
	if got := n.ofNode(t, `.metadata.annotations.oci-apparmor\.github\.io/policy`); got != digest || n.ofNode(t, ready) != "true" {
		t.Errorf("after a bad policy the Node has %q, before %q", got, digest)
	}
	overlay = clusterOverlay(t, strings.Replace(nodePolicy, "{web: {profile: web}}", "{web: {profile: web}, other: {profile: web}}", 1))
	k.MustKubectl(t, "apply", "--kustomize", overlay)
	waitLong(t, "the Node to have the new policy", func() bool {
		got := n.ofNode(t, `.metadata.annotations.oci-apparmor\.github\.io/policy`)
		return got != digest && got != "" && n.ofNode(t, refused) == ""
	})

	changeConfigMap(t, n)

	// The DaemonSet's pod goes and comes without a trace.
	k.MustKubectl(t, "delete", "pods", "--all", "--namespace=oci-apparmor", "--wait=true")
	n.podsOf(t, "oci-apparmor", "app.kubernetes.io/name=oci-apparmor", 1)
	if _, err := os.Stat("/usr/local/bin/oci-apparmor"); err != nil || n.ofNode(t, ready) != "true" {
		t.Errorf("after the agent's pod was deleted: %v, the label is %q", err, n.ofNode(t, ready))
	}
	n.wantExecConfined(t, pods[0], "front", podWeb, "web (enforce)")

	k.MustKubectl(t, "delete", "--wait=false", "--kustomize", overlay)
	waitLong(t, "the DaemonSet's pod to be gone", func() bool { return len(k.Pods(t, "oci-apparmor", "app.kubernetes.io/name=oci-apparmor")) == 0 })
	waitLong(t, "the node's unit to have tried", func() bool {
		return strings.Contains(guesttest.Run(t, "journalctl", "--no-pager", "--unit=oci-apparmor-leave.service").Stdout, "still run")
	})
	n.wantExecConfined(t, pods[0], "front", podWeb, "web (enforce)")
	k.MustKubectl(t, "delete", "--wait=true", "deployment", "--namespace=corners", "shop")
	left := func() {
		t.Helper()
		began := time.Now()
		waitLong(t, "the node to be left", func() bool {
			_, err := os.Lstat("/var/lib/oci-apparmor")
			return os.IsNotExist(err) && guesttest.Run(t, "systemctl", "is-active", "oci-apparmor-leave.service").Code != 0
		})
		took(t, "the node is left", began)
		if treeHash(t) != before {
			t.Errorf("the tree is not as it was: %s", guesttest.MustRun(t, "sh", "-c", "find /etc /usr/local -newer "+filepath.Join(overlay, "web")))
		}
	}
	left()

	// The rights to change the Node were gone before the agent, so it has kept its label. They are there if the DaemonSet is deleted first,
	// and then nothing of ours stays on the Node either. Helm's chart sets the node up as well.
	waitLong(t, "the namespace to be gone", func() bool { return k.Kubectl(t, "get", "namespace", "oci-apparmor").Code != 0 })
	k.MustKubectl(t, "label", "nodes", "--all", "oci-apparmor.github.io/ready-")
	k.Namespace(t, "oci-apparmor", "pod-security.kubernetes.io/enforce: privileged")
	image, tag, _ := strings.Cut(daemonSetImage, ":")
	k.Apply(t, guesttest.MustRun(t, "helm", "template", "oci-apparmor", filepath.Join(manifestsDir, "chart"), "--namespace=oci-apparmor",
		"--kube-version="+guest.Kubernetes.Version, "--set=engine=containerd,image.repository="+image, "--set-string=image.tag="+tag,
		`--set-file=policy.files.policy\.yaml=`+filepath.Join(overlay, "policy.yaml"), "--set-file=policy.files.web="+filepath.Join(overlay, "web")))
	waitLong(t, "the node to be labelled, by Helm's chart", func() bool { return n.ofNode(t, ready) == "true" })
	k.Apply(t, shopDeployment)
	for _, p := range n.podsOf(t, "corners", "app=shop", 2) {
		n.wantConfined(t, p, "front", podWeb, "web (enforce)")
		n.wantExecConfined(t, p, "front", podWeb, "web (enforce)")
	}
	k.MustKubectl(t, "delete", "--wait=true", "deployment", "--namespace=corners", "shop")
	waitLong(t, "its pods to be gone", func() bool { return len(k.Pods(t, "corners", "app=shop")) == 0 })
	k.MustKubectl(t, "delete", "daemonset", "--namespace=oci-apparmor", "--cascade=foreground", "oci-apparmor")
	left()
	marks := n.ofNode(t, ".metadata.labels") + n.ofNode(t, ".metadata.annotations") + n.ofNode(t, ".status.conditions[*].type")
	if strings.Contains(marks, "oci-apparmor") || strings.Contains(marks, "OCIAppArmor") {
		t.Errorf("the Node keeps %s", marks)
	}
}

// changeConfigMap changes the ConfigMap of the policy a hundred times within a minute, every other time to one with a fault, and the last
// time to a good one. The kubelet brings the node some of them, when it comes to it. What is in force meanwhile is good, the node stays
// ready, and the Node has the digest of the last one in the end.
func changeConfigMap(t *testing.T, n *clusterNode) {
	t.Helper()
	const changes = 100
	policy := func(number int) string {
		return strings.Replace(nodePolicy, "{web: {profile: web}}", fmt.Sprintf("{web: {profile: web}, v%d: {profile: web}}", number), 1)
	}
	seen := map[string]bool{} // versions that were in force
	look := func() (last, digest string) {
		t.Helper()
		g, err := store.Store{Dir: store.Dir}.Current()
		if err != nil {
			t.Fatal(err)
		}
		c, err := g.Config()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range c.Policies {
			if number, isVersion := strings.CutPrefix(p.Name, "v"); isVersion {
				last = number
				if i, err := strconv.Atoi(number); err != nil || i%2 != 0 {
					t.Fatalf("in force is version %s, which has a fault", number)
				}
			}
		}
		seen[last] = true
		brief, err := g.Brief()
		if err != nil {
			t.Fatal(err)
		}
		return last, "sha256:" + brief.Digest
	}
	ready := func() {
		t.Helper()
		if got := n.ofNode(t, `.metadata.labels.oci-apparmor\.github\.io/ready`); got != "true" {
			t.Fatalf("the label is %q while the policy changes", got)
		}
	}
	began := time.Now()
	tick := time.NewTicker(time.Minute / changes)
	defer tick.Stop()
	for i := 1; i <= changes; i++ {
		text := policy(i)
		if i%2 != 0 {
			text = strings.Replace(text, "assign:", "asign:", 1)
		}
		patch, err := json.Marshal(map[string]any{"data": map[string]string{"policy.yaml": text}})
		if err != nil {
			t.Fatal(err)
		}
		if status, answer := n.Patch(t, "/api/v1/namespaces/oci-apparmor/configmaps/oci-apparmor-policy", string(patch), http.Header{}); status != http.StatusOK {
			t.Fatalf("change %d: %d %s", i, status, answer)
		}
		<-tick.C
		look()
		if i%10 == 0 {
			ready()
		}
	}
	t.Logf("%d changes in %v", changes, time.Since(began).Round(time.Second))
	waitLong(t, "the Node to have the last version", func() bool {
		last, digest := look()
		ready()
		return last == strconv.Itoa(changes) && n.ofNode(t, `.metadata.annotations.oci-apparmor\.github\.io/policy`) == digest &&
			n.ofNode(t, `.metadata.annotations.oci-apparmor\.github\.io/policy-refused`) == ""
	})
	t.Logf("the last version was in force on the node, and on the Node, after %v; seen in force: %v", time.Since(began).Round(time.Second), slices.Sorted(maps.Keys(seen)))
}

// waitLong is waitFor for what takes minutes in an emulated guest.
func waitLong(t *testing.T, what string, is func() bool) {
	t.Helper()
	for late := time.Now().Add(4 * time.Minute); !is(); time.Sleep(time.Second) {
		if time.Now().After(late) {
			t.Fatal("waited 4 minutes for ", what)
		}
	}
}
