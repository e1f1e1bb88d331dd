package integration

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// manifestsDir is where a guest has install/kubernetes.
var manifestsDir = path.Join(testDir, "../install/kubernetes")

// The manifests are what the API server takes, for every engine; its admission says to pods' authors what they may ask for, and holds
// the agents to their own Node.
func TestKubernetesManifests(t *testing.T) {
	k := guesttest.Kubernetes(t)
	overlays, err := filepath.Glob(filepath.Join(manifestsDir, "overlays/*"))
	if err != nil || len(overlays) < 5 {
		t.Fatal(overlays, err)
	}
	k.Namespace(t, "oci-apparmor", "")
	for _, overlay := range overlays {
		if o := k.Kubectl(t, "apply", "--dry-run=server", "--validate=strict", "--kustomize", overlay); o.Code != 0 || !strings.Contains(o.Stdout, "daemonset.apps/oci-apparmor") {
			t.Errorf("%s: %+v", overlay, o)
		}
	}
	k.MustKubectl(t, "apply", "--kustomize", filepath.Join(manifestsDir, "overlays/containerd"))
	t.Cleanup(func() {
		k.Kubectl(t, "delete", "--wait=false", "--kustomize", filepath.Join(manifestsDir, "overlays/containerd"))
	})
	k.Namespace(t, "shop", "")
	k.MustKubectl(t, "annotate", "namespace", "shop", "oci-apparmor/policies=web, batch")
	const asks, class = "oci-apparmor/policy: ", "runtimeClassName: apparmor, "
	pod := func(namespace, annotation, class string) guesttest.Outcome {
		return k.DryRun(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: "+namespace+", annotations: {"+annotation+"}}\n"+
			"spec: {"+class+"containers: [{name: front, image: x}]}\n")
	}
	waitFor(t, "the API server to know the policies of admission", func() bool { return pod("shop", asks+"root", class).Code != 0 })
	for _, c := range []struct{ name, namespace, annotation, class, refused, warned string }{
		{"one of them", "shop", asks + "batch", class, "", ""},
		{"another", "shop", asks + "root", class, "pods of the namespace shop may ask for the AppArmor policies web, batch (its annotation oci-apparmor/policies), and not for root", ""},
		{"for a container", "shop", "oci-apparmor/policy.front: root", class, "annotation oci-apparmor/policy.front: pods of the namespace shop may ask", ""},
		{"no class", "shop", asks + "web", "", "", "counts only with a RuntimeClass of oci-apparmor"},
		{"no word of the namespace", "default", asks + "root", class, "", ""},
		{"no request", "shop", "a: b", class, "", ""},
	} {
		o := pod(c.namespace, c.annotation, c.class)
		if (o.Code == 0) != (c.refused == "") || !strings.Contains(o.Stderr, c.refused) || (c.warned != "") != strings.Contains(o.Stderr, "Warning: ") ||
			!strings.Contains(o.Stderr, c.warned) {
			t.Errorf("%s: %+v", c.name, o)
		}
	}

	// What a pod has asked for before the namespace said anything stands, and hinders no other change of it.
	k.Namespace(t, "later", "")
	k.Apply(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: later, annotations: {"+asks+"root}}\nspec: {automountServiceAccountToken: false, containers: [{name: front, image: x}]}\n")
	k.MustKubectl(t, "annotate", "namespace", "later", "oci-apparmor/policies=web")
	waitFor(t, "the API server to know the namespace's annotation", func() bool { return pod("later", asks+"root", class).Code != 0 })
	if o := k.Kubectl(t, "annotate", "pod", "--namespace=later", "a", "other=1"); o.Code != 0 {
		t.Errorf("an annotation that is not ours: %+v", o)
	}
	if o := k.Kubectl(t, "annotate", "pod", "--namespace=later", "--overwrite", "a", "oci-apparmor/policy=batch"); o.Code == 0 || !strings.Contains(o.Stderr, "not for batch") {
		t.Errorf("a changed request: %+v", o)
	}

	for _, node := range []string{"n1", "n2"} {
		k.Apply(t, "apiVersion: v1\nkind: Node\nmetadata: {name: "+node+"}\n")
	}
	agent := func(args ...string) guesttest.Outcome {
		return k.Kubectl(t, append([]string{"--as=system:serviceaccount:oci-apparmor:oci-apparmor", "--as-group=system:serviceaccounts",
			"--as-user-extra=authentication.kubernetes.io/node-name=n1"}, args...)...)
	}
	for _, c := range []struct{ args, refused string }{
		{"label node n1 oci-apparmor.github.io/ready=true", ""},
		{"annotate node n1 oci-apparmor.github.io/policy=sha256:0", ""},
		{"label node n2 oci-apparmor.github.io/ready=true", "may change its own Node alone"},
		{"label node n1 other=true", "only labels and annotations that begin with oci-apparmor.github.io/"},
		{"annotate node n1 other=true", "only labels and annotations that begin with oci-apparmor.github.io/"},
		{`patch node n1 --patch={"metadata":{"finalizers":["example.com/a"]}}`, "ownerReferences and finalizers"},
		{`patch node n1 --patch={"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"gone","uid":"1"}]}}`, "ownerReferences and finalizers"},
		{"taint node n1 a=b:NoSchedule", "may not change a Node's spec"},
		{"get daemonset oci-apparmor --namespace oci-apparmor", ""},
		{"get daemonsets --namespace oci-apparmor", "cannot list resource"},
		{"get secrets --all-namespaces", "cannot list resource"},
		{"delete node n1", "cannot delete resource"},
	} {
		if o := agent(strings.Fields(c.args)...); (o.Code == 0) != (c.refused == "") || !strings.Contains(o.Stderr, c.refused) {
			t.Errorf("%s: %+v", c.args, o)
		}
	}
	// kubectl would also read the status, to which an agent has no right of its own.
	conditions := func(node, patch string, status int, want string) {
		t.Helper()
		got, said := k.Patch(t, "/api/v1/nodes/"+node+"/status", `{"status":{"conditions":[`+patch+`]}}`, map[string][]string{
			"Impersonate-User":  {"system:serviceaccount:oci-apparmor:oci-apparmor"},
			"Impersonate-Group": {"system:serviceaccounts"},
			"Impersonate-Extra-authentication.kubernetes.io%2Fnode-name": {"n1"},
		})
		if types := k.MustKubectl(t, "get", "node", node, "--output=jsonpath={.status.conditions[*].type}"); got != status || types != want {
			t.Errorf("%s of %s: %d %s; it has the conditions %q", patch, node, got, said, types)
		}
	}
	const condition = `{"type":"OCIAppArmorReady","status":"True"}`
	conditions("n1", condition, 200, "OCIAppArmorReady")
	conditions("n1", `{"$patch":"delete","type":"OCIAppArmorReady"}`, 200, "")
	conditions("n2", condition, 403, "")
	if o := k.Kubectl(t, "--as=system:serviceaccount:oci-apparmor:oci-apparmor", "label", "node", "n1", "oci-apparmor.github.io/ready=false", "--overwrite"); o.Code == 0 {
		t.Errorf("an agent of no node: %+v", o)
	}
}

// The chart passes Helm's own check, and makes for each engine what the overlay makes. The API server takes it.
func TestKubernetesChart(t *testing.T) {
	k := guesttest.Kubernetes(t)
	k.Namespace(t, "oci-apparmor", "")
	chart, version := filepath.Join(manifestsDir, "chart"), "--kube-version="+guest.Kubernetes.Version
	helm := func(args ...string) guesttest.Outcome { return guesttest.Run(t, "helm", args...) }
	template := func(args ...string) string {
		t.Helper()
		o := helm(append([]string{"template", "oci-apparmor", chart, "--namespace=oci-apparmor", version}, args...)...)
		if o.Code != 0 {
			t.Fatalf("helm template %q: %+v", args, o)
		}
		return o.Stdout
	}
	for _, engine := range []string{"containerd", "cri-o", "k3s", "rke2", "microk8s"} {
		if o := helm("lint", "--strict", version, "--set=engine="+engine, chart); o.Code != 0 {
			t.Errorf("helm lint: %s%s", o.Stdout, o.Stderr)
		}
		rendered := template("--set=engine=" + engine)
		if o := k.DryRun(t, rendered); o.Code != 0 {
			t.Errorf("%s: %+v", engine, o)
		}
		made, want := objectsOf(t, rendered), objectsOf(t, k.MustKubectl(t, "kustomize", filepath.Join(manifestsDir, "overlays", engine)))
		delete(want, "Namespace oci-apparmor") // helm --create-namespace makes it
		for name, object := range want {
			if made[name] != object {
				t.Errorf("%s: %s of the overlay is\n%s\nand that of the chart\n%s", engine, name, object, made[name])
			}
			delete(made, name)
		}
		for name := range made {
			t.Errorf("%s: the overlay has no %s", engine, name)
		}
	}
	for _, args := range [][]string{
		{"--set=api=false"},
		{"--set=default=true,prefix=/opt/apparmor,restart=false,engine="},
		{"--set=runtimeClass.overhead.podFixed.cpu=5m,runtimeClass.nodeSelector.pool=a,nodeSelector.pool=a", "--set=runtimeClass.tolerations[0].operator=Exists"},
		{"--set=policy.existingConfigMap=mine,networkPolicy.enabled=false,admission.nodes=false,admission.requests=false"},
		{"--set=policy.existingConfigMap=mine,policy.keepsRelease=true,default=true"},
		{"--set=image.pullSecrets[0].name=s,image.tag=1.0,agentArguments[0]=--on-wiring-lost=repair,priorityClassName="},
	} {
		if o := k.DryRun(t, template(args...)); o.Code != 0 {
			t.Errorf("%q: %+v", args, o)
		}
	}
	for arg, refused := range map[string]string{
		"--set=engine=lxc":   "engine",
		"--set=engines=k3s":  "engines",
		"--set=prefix=local": "prefix",
		// A word of the file is no rule.
		"--set=policy.files.policy\\.yaml=version: 1 # oci-apparmor,default=true": "policy: keep for the namespace oci-apparmor",
		"--set=policy.existingConfigMap=mine,default=true":                        "the ConfigMap mine in the namespace oci-apparmor is not there or cannot be read here",
	} {
		if o := helm("template", "oci-apparmor", chart, "--namespace=oci-apparmor", version, arg); o.Code == 0 || !strings.Contains(o.Stderr, refused) {
			t.Errorf("%s: %+v", arg, o)
		}
	}
}

// With ours as the default runtime, a release whose own pods would run by it is refused, also where its policy is in a ConfigMap that
// the cluster has.
func TestKubernetesChartReadsConfigMap(t *testing.T) {
	k := guesttest.Kubernetes(t)
	k.Namespace(t, "oci-apparmor", "")
	for _, c := range []struct{ policy, refused string }{
		{"version: 1\nassign: [{policy: keep, namespace: [kube-system]}]\n", "policy.yaml of the ConfigMap mine must have a rule with policy: keep for the namespace oci-apparmor"},
		{"version: 1\nassign: [{policy: keep, namespace: oci-apparmor}]\n", ""},
		{"version: 1\nassign: [{policy: keep, namespace: [kube-system, oci-apparmor]}]\n", ""},
		{"version: 1\nassign: [{\n", "must have a rule"},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "policy.yaml"), c.policy)
		k.Kubectl(t, "delete", "configmap", "--namespace=oci-apparmor", "--ignore-not-found", "mine")
		k.MustKubectl(t, "create", "configmap", "--namespace=oci-apparmor", "mine", "--from-file="+filepath.Join(dir, "policy.yaml"))
		cmd := exec.Command("helm", "install", "oci-apparmor", filepath.Join(manifestsDir, "chart"), "--namespace=oci-apparmor", "--dry-run=server",
			"--set=policy.existingConfigMap=mine,default=true,policy.keepsRelease=true")
		cmd.Env = append(os.Environ(), "KUBECONFIG="+k.Kubeconfig("admin"))
		if o := guesttest.RunCommand(t, cmd); (o.Code == 0) != (c.refused == "") || !strings.Contains(o.Stderr, c.refused) {
			t.Errorf("%s: %+v", c.policy, o)
		}
	}
	k.MustKubectl(t, "delete", "configmap", "--namespace=oci-apparmor", "mine")
}

// objectsOf returns the objects of a manifest as YAML, by "KIND NAME", without their own labels, which say who has made them, and
// without the namespace that kustomize gives to kinds of which it does not know that they are in none.
func objectsOf(t *testing.T, manifest string) map[string]string {
	t.Helper()
	objects := map[string]string{}
	for d := yaml.NewDecoder(strings.NewReader(manifest)); ; {
		var o map[string]any
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		metadata := o["metadata"].(map[string]any)
		delete(metadata, "labels")
		if strings.HasPrefix(o["kind"].(string), "ValidatingAdmissionPolicy") {
			delete(metadata, "namespace")
		}
		var text bytes.Buffer
		if err := yaml.NewEncoder(&text).Encode(o); err != nil {
			t.Fatal(err)
		}
		objects[o["kind"].(string)+" "+metadata["name"].(string)] = text.String()
	}
}
