package guesttest

import (
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// KubernetesBin is the directory of Kubernetes' programs in the guest that has them.
const KubernetesBin = "/usr/local/kubernetes"

// NeedKubernetes skips the test in a guest without Kubernetes. make test builds none, which takes ten minutes.
func NeedKubernetes(t testing.TB) {
	t.Helper()
	Require(t)
	if _, err := os.Stat(KubernetesBin + "/kube-apiserver"); err != nil {
		Leave(t, "make test does not build Kubernetes")
		t.Skip("this guest has no Kubernetes: ", err)
	}
}

// The addresses of the cluster, all on the guest's loopback device. There is no kube-proxy: the API server itself listens at
// the address of the service that pods know it by.
const (
	nodeAddress    = "10.99.0.1"
	serviceAddress = "10.96.0.1"
	serviceRange   = "10.96.0.0/24"
)

// A ControlPlane is etcd, kube-apiserver, kube-controller-manager and kube-scheduler. It has no node until a test calls
// Kubelet. Authorization is by Node and RBAC, and the admission plugins are the usual ones, with NodeRestriction: rights,
// RuntimeClass, PodSecurity and ValidatingAdmissionPolicy are as in clusters. It has no cloud, no storage, no DNS, no Services
// but its own, and evicts nobody.
type ControlPlane struct {
	dir   string // of keys, kubeconfigs and logs
	admin identity
	http  *http.Client
}

// An identity is whom the API server takes somebody for who has a token.
type identity struct {
	name, token, user string
	groups            []string
}

// The node has one name in all tests, as only one kubelet runs at a time.
const nodeName = "node"

var (
	admin      = identity{"admin", "token-of-admin", "admin", []string{"system:masters"}}
	controller = identity{"controller-manager", "token-of-controller-manager", "system:kube-controller-manager",
		[]string{"system:masters"}} // or else each controller would need an account and a token of its own
	scheduler  = identity{"scheduler", "token-of-scheduler", "system:kube-scheduler", nil}
	kubelet    = identity{"kubelet", "token-of-kubelet", "system:node:" + nodeName, []string{"system:nodes"}}
	identities = []identity{admin, controller, scheduler, kubelet}
)

// controllers are those that tests need. Each other one would only take time.
var controllers = []string{
	"namespace-controller", "serviceaccount-controller", "root-ca-certificate-publisher-controller", "garbage-collector-controller",
	"deployment-controller", "replicaset-controller", "daemonset-controller", "job-controller", "disruption-controller",
	"validatingadmissionpolicy-status-controller", "clusterrole-aggregation-controller",
}

// controlPlane is that of all tests of a guest: it takes longer to start than a node.
var controlPlane *ControlPlane

// Kubernetes returns the control plane, which it starts for the first test of a guest that asks for it.
func Kubernetes(t testing.TB) *ControlPlane {
	t.Helper()
	NeedKubernetes(t)
	if controlPlane == nil {
		k := &ControlPlane{dir: "/etc/kubernetes", admin: admin}
		k.start(t)
		controlPlane = k
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
				t.Logf("%s said at last:\n%s", name, lastOf(k8sLog(name), 20))
			}
		}
	})
	return controlPlane
}

func k8sLog(program string) string { return "/var/log/kubernetes/" + program + ".log" }

// lastOf returns the last n lines of a file.
func lastOf(file string, n int) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func (k *ControlPlane) start(t testing.TB) {
	for _, dir := range []string{k.dir, filepath.Dir(k8sLog(""))} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.writeKeys(); err != nil {
		t.Fatal("making keys of a cluster: ", err)
	}
	for _, address := range []string{nodeAddress, serviceAddress} {
		MustRun(t, "ip", "address", "add", address+"/32", "dev", "lo")
	}
	began := time.Now()
	run := func(name string, answers func(testing.TB) bool, args ...string) {
		t.Helper()
		program, err := exec.LookPath(filepath.Join(KubernetesBin, name))
		if err != nil {
			program = name
		}
		p := &process{name: program, args: args, env: os.Environ(), log: k8sLog(name), answers: answers}
		p.start(t)
		t.Logf("%s answers %.1f s after the cluster began", name, time.Since(began).Seconds())
	}
	const etcd = "http://127.0.0.1:2379"
	run("etcd", answersOK(http.DefaultClient, etcd+"/health"),
		"--data-dir=/var/lib/etcd", "--unsafe-no-fsync", "--log-level=warn", "--listen-client-urls="+etcd, "--advertise-client-urls="+etcd)
	run("kube-apiserver", answersOK(k.http, k.url("/readyz")),
		"--etcd-servers="+etcd, "--secure-port=443", "--advertise-address="+nodeAddress,
		"--service-cluster-ip-range="+serviceRange, "--endpoint-reconciler-type=none",
		"--tls-cert-file="+k.file("apiserver.crt"), "--tls-private-key-file="+k.file("apiserver.key"), "--client-ca-file="+k.file("ca.crt"),
		"--token-auth-file="+k.file("tokens.csv"), "--authorization-mode=Node,RBAC",
		"--kubelet-certificate-authority="+k.file("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--kubelet-client-certificate="+k.file("client.crt"), "--kubelet-client-key="+k.file("client.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+k.file("accounts.key"), "--service-account-signing-key-file="+k.file("accounts.key"),
		"--enable-admission-plugins=NodeRestriction",
		// The first of these waits for a controller that tests do not run. The others are of objects that tests do not have.
		"--disable-admission-plugins=TaintNodesByCondition,DefaultStorageClass,StorageObjectInUseProtection,PersistentVolumeClaimResize,"+
			"CertificateApproval,CertificateSigning,CertificateSubjectRestriction,DefaultIngressClass",
		"--allow-privileged=true", "--enable-priority-and-fairness=false", "--profiling=false")
	run("kube-scheduler", always, "--kubeconfig="+k.Kubeconfig("scheduler"), "--leader-elect=false", "--secure-port=0")
	hasAccount := func(t testing.TB) bool { return k.hasAccount(t, "default") }
	run("kube-controller-manager", hasAccount, "--kubeconfig="+k.Kubeconfig("controller-manager"), "--leader-elect=false", "--secure-port=0",
		"--controllers="+strings.Join(controllers, ","), "--service-account-private-key-file="+k.file("accounts.key"),
		"--root-ca-file="+k.file("ca.crt"), "--kube-api-qps=200", "--kube-api-burst=400")
}

func always(testing.TB) bool { return true }

// answersOK returns a function that reports whether a URL is answered with success.
func answersOK(client *http.Client, url string) func(testing.TB) bool {
	return func(testing.TB) bool {
		r, err := client.Get(url)
		if err != nil {
			return false
		}
		defer r.Body.Close()
		io.Copy(io.Discard, r.Body)
		return r.StatusCode == http.StatusOK
	}
}

func (k *ControlPlane) file(name string) string { return filepath.Join(k.dir, name) }

func (k *ControlPlane) url(path string) string { return "https://" + serviceAddress + path }

// Kubeconfig returns the path of the configuration by which one of admin, controller-manager, scheduler and kubelet reaches the
// API server.
func (k *ControlPlane) Kubeconfig(name string) string { return k.file(name + ".conf") }

// A Kubelet is a kubelet that runs for one test.
type Kubelet struct {
	*ControlPlane
	Manifests string // directory of static pods
	process   *process
	cri       *CRI
}

// Kubelet starts a kubelet that has the engine at a socket, and returns when its node is ready. When the test ends, the node
// and all pods are removed, and then the kubelet is killed.
func (k *ControlPlane) Kubelet(t testing.TB, socket string) *Kubelet {
	t.Helper()
	const state = "/var/lib/kubelet"
	n := &Kubelet{ControlPlane: k, Manifests: k.file("manifests"), cri: DialCRI(t, socket)}
	t.Cleanup(func() {
		CleanEngine(t, state, "/var/log/pods", "/var/log/containers", n.Manifests)
	})
	if err := os.MkdirAll(n.Manifests, 0o755); err != nil {
		t.Fatal(err)
	}
	config := k.file("kubelet.yaml")
	text := strings.NewReplacer("$SOCKET", "unix://"+socket, "$MANIFESTS", n.Manifests, "$CA", k.file("ca.crt"),
		"$CERT", k.file("kubelet.crt"), "$KEY", k.file("kubelet.key")).Replace(kubeletConfig)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{filepath.Join(KubernetesBin, "kubelet"), "--config=" + config, "--kubeconfig=" + k.Kubeconfig("kubelet"),
		"--hostname-override=" + nodeName, "--node-ip=" + nodeAddress, "--root-dir=" + state}
	if UserMode(t) {
		args = withClock(t, args)
	}
	n.process = &process{name: args[0], args: args[1:], env: os.Environ(), log: k8sLog("kubelet"), answers: n.ready}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the cluster's events:\n%s", k.Kubectl(t, "get", "events", "--all-namespaces", "--sort-by=.metadata.creationTimestamp").Stdout)
			t.Logf("its pods:\n%s", k.Kubectl(t, "get", "pods", "--all-namespaces", "--output=wide").Stdout)
			t.Logf("kubelet said at last:\n%s", lastOf(k8sLog("kubelet"), 60))
		}
		n.removePods(t)
		n.process.stop(t, syscall.SIGKILL)
		k.call(t, http.MethodDelete, "/api/v1/nodes/"+nodeName, nil)
	})
	began := time.Now()
	n.process.start(t)
	t.Logf("the node is ready after %.1f s", time.Since(began).Seconds())
	return n
}

// kubeletConfig has beside what every kubelet has no limits at which a small disk evicts pods, and no firewall. A changed ConfigMap is
// in pods after seconds, and not after a minute.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: $SOCKET
staticPodPath: $MANIFESTS
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: $CA}}
authorization: {mode: AlwaysAllow}
tlsCertFile: $CERT
tlsPrivateKeyFile: $KEY
cgroupDriver: cgroupfs
failSwapOn: false
syncFrequency: 5s
resolvConf: ""
makeIPTablesUtilChains: false
localStorageCapacityIsolation: false
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 10Mi, nodefs.available: "1%", nodefs.inodesFree: "1%", imagefs.available: "1%"}
`

// withClock gives the command a mount namespace in which /proc/cpuinfo has the processor's clock. cAdvisor, which is a part of
// the kubelet, ends where it has none (GetClockSpeed in machine/machine.go), and a kernel in user mode knows none.
func withClock(t testing.TB, command []string) []string {
	t.Helper()
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	const file = "/run/cpuinfo-with-clock"
	text := strings.TrimRight(string(info), "\n") + "\ncpu MHz\t\t: 2000.000\n\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	const script = `mount --make-private /proc && mount --bind ` + file + ` /proc/cpuinfo && exec "$@"`
	return append([]string{"unshare", "--mount", "--propagation", "unchanged", "sh", "-c", script, "kubelet"}, command...)
}

// ready reports whether the kubelet answers, and its node is ready.
func (n *Kubelet) ready(t testing.TB) bool {
	var node struct {
		Status struct {
			Conditions []struct{ Type, Status string }
		}
	}
	if n.call(t, http.MethodGet, "/api/v1/nodes/"+nodeName, &node) != http.StatusOK {
		return false
	}
	for _, c := range node.Status.Conditions {
		if c.Type == "Ready" && c.Status == "True" {
			return answersOK(http.DefaultClient, "http://127.0.0.1:10248/healthz")(t)
		}
	}
	return false
}

// Restart stops the kubelet as systemd does, and starts it again. Its pods go on.
func (n *Kubelet) Restart(t testing.TB) {
	t.Helper()
	n.process.restart(t)
}

// Stop stops the kubelet as systemd does.
func (n *Kubelet) Stop(t testing.TB) {
	t.Helper()
	n.process.stop(t, syscall.SIGTERM)
}

// Start starts the kubelet again after Stop.
func (n *Kubelet) Start(t testing.TB) {
	t.Helper()
	n.process.start(t)
}

// removePods removes all pods from the API server at once, with what would make new ones, and does not wait for the kubelet.
func (n *Kubelet) removePods(t testing.TB) {
	const now = "?gracePeriodSeconds=0&propagationPolicy=Background"
	var list struct {
		Items []struct {
			Metadata struct{ Name, Namespace string }
		}
	}
	n.call(t, http.MethodGet, "/api/v1/namespaces", &list)
	for _, item := range list.Items {
		name := item.Metadata.Name
		for _, kind := range []string{"apis/apps/v1/namespaces/NAME/deployments", "apis/apps/v1/namespaces/NAME/daemonsets",
			"apis/apps/v1/namespaces/NAME/replicasets", "apis/batch/v1/namespaces/NAME/jobs", "api/v1/namespaces/NAME/pods"} {
			n.call(t, http.MethodDelete, "/"+strings.Replace(kind, "NAME", name, 1)+now, nil)
		}
	}
}

// Sandbox returns the pod's sandbox that is ready, as the engine has it.
func (n *Kubelet) Sandbox(t testing.TB, namespaced string) *Pod {
	t.Helper()
	namespace, name, _ := strings.Cut(namespaced, "/")
	ctx, cancel := patient()
	defer cancel()
	r, err := n.cri.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{Filter: &cri.PodSandboxFilter{
		State:         &cri.PodSandboxStateValue{State: cri.PodSandboxState_SANDBOX_READY},
		LabelSelector: map[string]string{"io.kubernetes.pod.namespace": namespace, "io.kubernetes.pod.name": name},
	}})
	if err != nil || len(r.Items) != 1 {
		t.Fatalf("pod %s has %d sandboxes that are ready (%v)", namespaced, len(r.GetItems()), err)
	}
	return &Pod{ID: r.Items[0].Id, cri: n.cri}
}

// Pid returns the host's process id of the first process of a pod's container that runs.
func (n *Kubelet) Pid(t testing.TB, c ContainerStatus) int {
	t.Helper()
	_, id, ok := strings.Cut(c.ContainerID, "://")
	if !ok {
		t.Fatalf("container %s has no id: %+v", c.Name, c)
	}
	return (&PodContainer{ID: id, Pod: &Pod{cri: n.cri}}).Pid(t)
}

// Handlers returns the names of the engine's runtime handlers, as the node has them.
func (k *ControlPlane) Handlers(t testing.TB) []string {
	t.Helper()
	var node struct {
		Status struct{ RuntimeHandlers []struct{ Name string } }
	}
	k.Get(t, "/api/v1/nodes/"+nodeName, &node)
	names := map[string]bool{}
	for _, h := range node.Status.RuntimeHandlers {
		names[h.Name] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// Node is the name of the node.
func (n *Kubelet) Node() string { return nodeName }
