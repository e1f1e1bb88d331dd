package guesttest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// call asks the API server as its administrator. It returns the status of HTTP, and 0 where nobody answers. into may be nil.
func (k *ControlPlane) call(t testing.TB, method, path string, into any) int {
	t.Helper()
	request, err := http.NewRequest(method, k.url(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+k.admin.token)
	r, err := k.http.Do(request)
	if err != nil {
		return 0
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err == nil && into != nil && r.StatusCode == http.StatusOK {
		if plain, ok := into.(*string); ok {
			*plain = string(text)
		} else {
			err = json.Unmarshal(text, into)
		}
	}
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return r.StatusCode
}

// Get reads an object of the API server by its path, such as /api/v1/nodes/node. into is a pointer to what encoding/json
// fills, or to a string, which gets the answer as it is.
func (k *ControlPlane) Get(t testing.TB, path string, into any) {
	t.Helper()
	if status := k.call(t, http.MethodGet, path, into); status != http.StatusOK {
		t.Fatalf("GET %s: status %d", path, status)
	}
}

// Patch changes an object by a strategic merge patch, with more headers, such as those that have the administrator act for somebody
// else (https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/). It returns the status of HTTP, and the answer.
func (k *ControlPlane) Patch(t testing.TB, path, patch string, headers http.Header) (status int, answer string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodPatch, k.url(path), strings.NewReader(patch))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = headers.Clone()
	request.Header.Set("Authorization", "Bearer "+k.admin.token)
	request.Header.Set("Content-Type", "application/strategic-merge-patch+json")
	r, err := k.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(text)
}

// KubectlCommand returns a command of kubectl, as the cluster's administrator. The caller runs it.
func (k *ControlPlane) KubectlCommand(args ...string) *exec.Cmd {
	cmd := exec.Command("kubectl", args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+k.Kubeconfig("admin"))
	return cmd
}

// Kubectl runs a command of kubectl, as the cluster's administrator.
func (k *ControlPlane) Kubectl(t testing.TB, args ...string) Outcome {
	t.Helper()
	return RunCommand(t, k.KubectlCommand(args...))
}

// MustKubectl is Kubectl, and fails the test if the command fails. It returns the standard output without the newline at
// its end.
func (k *ControlPlane) MustKubectl(t testing.TB, args ...string) string {
	t.Helper()
	o := k.Kubectl(t, args...)
	if o.Code != 0 {
		t.Fatalf("kubectl %s: exit code %d\nstdout: %s\nstderr: %s", strings.Join(args, " "), o.Code, o.Stdout, o.Stderr)
	}
	return strings.TrimSuffix(o.Stdout, "\n")
}

// TryApply gives a manifest to kubectl apply, with more flags.
func (k *ControlPlane) TryApply(t testing.TB, manifest string, flags ...string) Outcome {
	t.Helper()
	cmd := k.KubectlCommand(append([]string{"apply", "--filename=-"}, flags...)...)
	cmd.Stdin = strings.NewReader(manifest)
	return RunCommand(t, cmd)
}

// Apply applies a manifest, and deletes what it names when the test ends.
func (k *ControlPlane) Apply(t testing.TB, manifest string) {
	t.Helper()
	if o := k.TryApply(t, manifest); o.Code != 0 {
		t.Fatalf("kubectl apply: exit code %d\n%s%s\n%s", o.Code, o.Stdout, o.Stderr, manifest)
	}
	t.Cleanup(func() {
		cmd := k.KubectlCommand("delete", "--ignore-not-found", "--wait=false", "--now", "--filename=-")
		cmd.Stdin = strings.NewReader(manifest)
		RunCommand(t, cmd)
	})
}

// Namespace makes a namespace with labels, in YAML's flow style, and returns when pods can be made in it: each has an account
// and certificates, which controllers make. One of that name that another test has deleted must be gone first. It is deleted when
// the test ends.
func (k *ControlPlane) Namespace(t testing.TB, name, labels string) {
	t.Helper()
	for late := time.Now().Add(patience); k.call(t, http.MethodGet, "/api/v1/namespaces/"+name, nil) != http.StatusNotFound; {
		if time.Sleep(200 * time.Millisecond); time.Now().After(late) {
			t.Fatalf("there still is a namespace %s after %v", name, patience)
		}
	}
	k.Apply(t, fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {%s}}\n", name, labels))
	for late := time.Now().Add(patience); !k.hasAccount(t, name); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("namespace %s has no account after %v", name, patience)
		}
	}
}

func (k *ControlPlane) hasAccount(t testing.TB, namespace string) bool {
	t.Helper()
	path := "/api/v1/namespaces/" + namespace
	return k.call(t, http.MethodGet, path+"/serviceaccounts/default", nil) == http.StatusOK &&
		k.call(t, http.MethodGet, path+"/configmaps/kube-root-ca.crt", nil) == http.StatusOK
}

// Server returns the URL of the API server, as the agent takes it.
func (k *ControlPlane) Server() string { return k.url("") }

// Account returns a directory with the files of a service account, as a pod that runs on a Node has them. The token says which Node
// that is, by being bound to it.
func (k *ControlPlane) Account(t testing.TB, namespace, name, node string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	ca, err := os.ReadFile(k.file("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	token := k.MustKubectl(t, "create", "token", name, "--namespace="+namespace, "--bound-object-kind=Node", "--bound-object-name="+node)
	for file, data := range map[string]string{"ca.crt": string(ca), "token": token} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// DryRun has the API server check a manifest, and admit what is in it, without keeping it (kubectl apply --dry-run=server).
// What its namespaces, its custom resources and the like would be must be there already. Fields that the API server does
// not know are errors.
func (k *ControlPlane) DryRun(t testing.TB, manifest string) Outcome {
	t.Helper()
	return k.TryApply(t, manifest, "--dry-run=server", "--validate=strict")
}

// A PodStatus is what the API server has of a pod.
type PodStatus struct {
	Metadata struct {
		Name, Namespace, UID string
	}
	Spec struct {
		NodeName string
		Overhead map[string]string
	}
	Status struct {
		Phase                      string
		InitContainerStatuses      []ContainerStatus
		ContainerStatuses          []ContainerStatus
		EphemeralContainerStatuses []ContainerStatus
		Conditions                 []struct{ Type, Status, Reason, Message string }
	}
}

// A ContainerStatus is a part of a PodStatus.
type ContainerStatus struct {
	Name, ContainerID string
	Ready             bool
	RestartCount      int
	State, LastState  struct {
		Waiting    *struct{ Reason, Message string }
		Running    *struct{ StartedAt time.Time }
		Terminated *struct {
			Reason, Message string
			ExitCode        int
		}
	}
}

// Container returns the status of the container of that name, and whether the API server has one.
func (p *PodStatus) Container(name string) (ContainerStatus, bool) {
	all := slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses)
	i := slices.IndexFunc(all, func(c ContainerStatus) bool { return c.Name == name })
	if i < 0 {
		return ContainerStatus{}, false
	}
	return all[i], true
}

// Ready reports whether the pod is ready.
func (p *PodStatus) Ready() bool {
	for _, c := range p.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True"
		}
	}
	return false
}

// WaitPod waits until a pod is as it must be, and returns it. namespaced is NAMESPACE/NAME.
func (k *ControlPlane) WaitPod(t testing.TB, namespaced string, what string, is func(p *PodStatus) bool) *PodStatus {
	t.Helper()
	namespace, name, _ := strings.Cut(namespaced, "/")
	var last PodStatus
	for late := time.Now().Add(2 * patience); ; time.Sleep(300 * time.Millisecond) {
		var p PodStatus
		if k.call(t, http.MethodGet, fmt.Sprintf("/api/v1/namespaces/%s/pods/%s", namespace, name), &p) == http.StatusOK {
			if last = p; is(&p) {
				return &p
			}
		}
		if time.Now().After(late) {
			said, _ := json.MarshalIndent(last, "", " ")
			t.Fatalf("waited %v for pod %s to be %s:\n%s\n%s", 2*patience, namespaced, what, said,
				k.Kubectl(t, "describe", "pod", "--namespace="+namespace, name).Stdout)
		}
	}
}

// Log returns what a pod's container has written, as kubectl logs does. It is empty where the kubelet does not know the pod, as just
// after it has begun.
func (k *ControlPlane) Log(t testing.TB, namespaced, container string) string {
	t.Helper()
	namespace, name, _ := strings.Cut(namespaced, "/")
	var text string
	path := fmt.Sprintf("/api/v1/namespaces/%s/pods/%s/log?container=%s", namespace, name, container)
	if status := k.call(t, http.MethodGet, path, &text); status != http.StatusOK && status != http.StatusNotFound {
		t.Fatalf("GET %s: status %d", path, status)
	}
	return text
}

// Pods returns the names of a namespace's pods that have a label, as NAMESPACE/NAME.
func (k *ControlPlane) Pods(t testing.TB, namespace, label string) (names []string) {
	t.Helper()
	var list struct {
		Items []struct{ Metadata struct{ Name string } }
	}
	k.Get(t, "/api/v1/namespaces/"+namespace+"/pods?labelSelector="+strings.ReplaceAll(label, "=", "%3D"), &list)
	for _, item := range list.Items {
		names = append(names, namespace+"/"+item.Metadata.Name)
	}
	return names
}
