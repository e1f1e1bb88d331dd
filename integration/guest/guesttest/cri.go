package guesttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A CRI is a client of an engine's Container Runtime Interface, by which the kubelet runs pods.
type CRI struct{ cri.RuntimeServiceClient }

// DialCRI connects to the socket of an engine, and returns when the engine is ready to run pods. The connection ends
// with the test.
func DialCRI(t testing.TB, socket string) *CRI {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &CRI{cri.NewRuntimeServiceClient(conn)}
	c.Ready(t)
	return c
}

// Ready returns when the engine is ready to run pods: also one that has been started anew since DialCRI.
func (c *CRI) Ready(t testing.TB) {
	t.Helper()
	ctx, cancel := patient()
	defer cancel()
	for {
		_, err := c.Status(ctx, &cri.StatusRequest{}) // an error until it listens, and its plugins have been started
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the CRI is not ready: %v", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// patient returns a context for one call.
func patient() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

// A Pod is a running pod.
type Pod struct {
	ID     string
	Config *cri.PodSandboxConfig
	cri    *CRI
}

// podCount gives pods names of their own.
var podCount atomic.Int64

// TryPod runs a pod by one of the engine's runtime handlers. It returns the engine's error if the engine refuses. The
// pod has the host's network and no containers. It ends with the test.
func (c *CRI) TryPod(t testing.TB, handler string, edits ...func(*cri.PodSandboxConfig)) (*Pod, error) {
	t.Helper()
	name := fmt.Sprintf("pod-%d", podCount.Add(1))
	config := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Namespace: "default", Uid: "uid-of-" + name},
		LogDirectory: filepath.Join(bundles, "logs", name),
		DnsConfig:    &cri.DNSConfig{Servers: []string{"127.0.0.1"}}, // or else it copies a resolv.conf that guests have not got
		Annotations:  map[string]string{},
		Linux: &cri.LinuxPodSandboxConfig{
			SecurityContext: &cri.LinuxSandboxSecurityContext{
				NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_CONTAINER},
			},
		},
	}
	for _, edit := range edits {
		edit(config)
	}
	config.Labels = map[string]string{ // as the kubelet has them
		"io.kubernetes.pod.name": config.Metadata.Name, "io.kubernetes.pod.namespace": config.Metadata.Namespace,
		"io.kubernetes.pod.uid": config.Metadata.Uid,
	}
	if err := os.MkdirAll(config.LogDirectory, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(config.LogDirectory) })
	ctx, cancel := patient()
	defer cancel()
	r, err := c.run(ctx, &cri.RunPodSandboxRequest{Config: config, RuntimeHandler: handler})
	if err != nil {
		return nil, err
	}
	p := &Pod{ID: r.PodSandboxId, Config: config, cri: c}
	t.Cleanup(func() { p.Remove(t) })
	return p, nil
}

// run is RunPodSandbox when the engine knows its image. containerd tells its CRI by an event what ctr has imported, and one
// that has not heard of it yet tries to pull it.
func (c *CRI) run(ctx context.Context, r *cri.RunPodSandboxRequest) (*cri.RunPodSandboxResponse, error) {
	for {
		pod, err := c.RunPodSandbox(ctx, r)
		if err == nil || !strings.Contains(err.Error(), "failed to pull image") {
			return pod, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Pod is TryPod, and fails the test if the pod does not run.
func (c *CRI) Pod(t testing.TB, handler string, edits ...func(*cri.PodSandboxConfig)) *Pod {
	t.Helper()
	p, err := c.TryPod(t, handler, edits...)
	if err != nil {
		t.Fatalf("a pod through %s: %v", handler, err)
	}
	return p
}

// Annotated returns an edit that adds annotations to a pod. The arguments are keys and values in turn.
func Annotated(keysAndValues ...string) func(*cri.PodSandboxConfig) {
	return func(c *cri.PodSandboxConfig) {
		for i := 0; i < len(keysAndValues); i += 2 {
			c.Annotations[keysAndValues[i]] = keysAndValues[i+1]
		}
	}
}

// NetworkPods makes engines give a network to pods that do not use the host's, until the test ends. It uses the plugins
// of Debian's containernetworking-plugins, and puts their configuration where engines look for it. The first file counts:
// Podman brings one of its own, which needs a firewall.
func NetworkPods(t testing.TB) {
	t.Helper()
	const plugins, config = "/opt/cni/bin", "/etc/cni/net.d/00-pods.conflist"
	const network = `{"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "subnet": "10.88.0.0/16", "routes": [{"dst": "0.0.0.0/0"}]}}]}`
	err := errors.Join(os.MkdirAll(filepath.Dir(plugins), 0o755), os.MkdirAll(filepath.Dir(config), 0o755))
	if err == nil {
		err = errors.Join(os.Symlink("/usr/lib/cni", plugins), os.WriteFile(config, []byte(network), 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		os.Remove(plugins)
		os.Remove(config)
	})
}

// Pid returns the host's process id of the pause container.
func (p *Pod) Pid(t testing.TB) int {
	t.Helper()
	ctx, cancel := patient()
	defer cancel()
	r, err := p.cri.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: p.ID, Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	return pidIn(t, r.Info)
}

// pidIn reads what containerd or CRI-O says beside a verbose status.
func pidIn(t testing.TB, info map[string]string) int {
	t.Helper()
	var i struct{ Pid int }
	if err := json.Unmarshal([]byte(info["info"]), &i); err != nil || i.Pid == 0 {
		t.Fatalf("no pid in the status: %v: %v", err, info)
	}
	return i.Pid
}

// Remove stops and removes the pod with all of its containers. It does nothing if the pod is gone already.
func (p *Pod) Remove(t testing.TB) {
	t.Helper()
	ctx, cancel := patient()
	defer cancel()
	_, err := p.cri.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: p.ID})
	if status.Code(err) == codes.NotFound { // so says containerd 1.6, and others say nothing
		return
	}
	if err != nil {
		t.Errorf("stopping pod %s: %v", p.ID, err)
	}
	if _, err := p.cri.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: p.ID}); err != nil {
		t.Errorf("removing pod %s: %v", p.ID, err)
	}
}

// A PodContainer is a container of a pod.
type PodContainer struct {
	ID  string
	Pod *Pod
	log string
}

// TryStart creates and starts a container of ProbeImage in the pod. It returns the engine's error if the engine
// refuses. The container's first process runs the commands of probe, one after another, and then goes on. Answers
// returns their results. commands must not be empty.
func (p *Pod) TryStart(t testing.TB, name string, commands []string, edits ...func(*cri.ContainerConfig)) (*PodContainer, error) {
	t.Helper()
	config := &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: name},
		Image:    &cri.ImageSpec{Image: ProbeImage},
		Command:  []string{"/bin/sh", "-c", "exec /bin/probe hold <<.\n" + strings.Join(commands, "\n") + "\n.\n"},
		LogPath:  name + ".log",
		Linux: &cri.LinuxContainerConfig{
			Resources: &cri.LinuxContainerResources{},
			SecurityContext: &cri.LinuxContainerSecurityContext{
				NamespaceOptions: p.Config.Linux.SecurityContext.NamespaceOptions,
			},
		},
	}
	config.Labels = maps.Clone(p.Config.Labels)
	config.Labels["io.kubernetes.container.name"] = name
	for _, edit := range edits {
		edit(config)
	}
	ctx, cancel := patient()
	defer cancel()
	r, err := p.cri.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: p.ID, Config: config, SandboxConfig: p.Config})
	if err != nil {
		return nil, err
	}
	if _, err := p.cri.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: r.ContainerId}); err != nil {
		return nil, err
	}
	return &PodContainer{ID: r.ContainerId, Pod: p, log: filepath.Join(p.Config.LogDirectory, config.LogPath)}, nil
}

// Start is TryStart, and fails the test if the container does not start.
func (p *Pod) Start(t testing.TB, name string, commands []string, edits ...func(*cri.ContainerConfig)) *PodContainer {
	t.Helper()
	c, err := p.TryStart(t, name, commands, edits...)
	if err != nil {
		t.Fatalf("container %s of pod %s: %v", name, p.ID, err)
	}
	return c
}

// Answers waits until the container's first process has run n commands, and returns their answers, a line each.
func (c *PodContainer) Answers(t testing.TB, n int) []string {
	t.Helper()
	var text []byte
	for late := time.Now().Add(patience); time.Now().Before(late); time.Sleep(20 * time.Millisecond) {
		var err error
		if text, err = os.ReadFile(c.log); err != nil {
			t.Fatal(err)
		}
		var answers []string
		ends := 0
		for line := range strings.Lines(string(text)) {
			// A time, the stream and a mark for whole lines stand before what was said (kubernetes/design-proposals,
			// kubelet-cri-logging.md).
			if fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4); len(fields) == 4 {
				switch said := fields[3]; said {
				case "ready":
				case ".":
					ends++
				default:
					answers = append(answers, said)
				}
			}
		}
		if ends == n {
			return answers
		}
	}
	t.Fatalf("container %s did not run all of its %d commands; its log:\n%s", c.ID, n, text)
	return nil
}

// Pid returns the host's process id of the container's first process.
func (c *PodContainer) Pid(t testing.TB) int {
	t.Helper()
	ctx, cancel := patient()
	defer cancel()
	r, err := c.Pod.cri.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: c.ID, Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	return pidIn(t, r.Info)
}

// ExecSync runs a program in the container, as the kubelet does for an exec probe.
func (c *PodContainer) ExecSync(t testing.TB, args ...string) Outcome {
	t.Helper()
	ctx, cancel := patient()
	defer cancel()
	r, err := c.Pod.cri.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: c.ID, Cmd: args})
	if err != nil {
		t.Fatalf("ExecSync of %q in container %s: %v", args, c.ID, err)
	}
	return Outcome{Stdout: string(r.Stdout), Stderr: string(r.Stderr), Code: int(r.ExitCode)}
}

// Remove stops and removes the container.
func (c *PodContainer) Remove(t testing.TB) {
	t.Helper()
	ctx, cancel := patient()
	defer cancel()
	if _, err := c.Pod.cri.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: c.ID}); err != nil {
		t.Errorf("stopping container %s: %v", c.ID, err)
	}
	if _, err := c.Pod.cri.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: c.ID}); err != nil {
		t.Errorf("removing container %s: %v", c.ID, err)
	}
	os.Remove(c.log) // the next one of its name begins another
}

// WithAppArmor returns an edit that sets AppArmor in a container's security context: "runtime/default", "unconfined" or
// "localhost/PROFILE". It sets both a field, which newer engines read (Kubernetes 1.19), and a string, which older ones
// read.
func WithAppArmor(profile string) func(*cri.ContainerConfig) {
	kind, ref := cri.SecurityProfile_Localhost, strings.TrimPrefix(profile, "localhost/")
	switch profile {
	case "runtime/default":
		kind, ref = cri.SecurityProfile_RuntimeDefault, ""
	case "unconfined":
		kind, ref = cri.SecurityProfile_Unconfined, ""
	}
	return func(c *cri.ContainerConfig) {
		s := c.Linux.SecurityContext
		//lint:ignore SA1019 the kubelet sets both, and containerd 1.6 knows no other
		s.ApparmorProfile, s.Apparmor = profile, &cri.SecurityProfile{ProfileType: kind, LocalhostRef: ref}
	}
}

// Privileged is an edit that makes a container privileged. Its pod must be privileged, too.
func Privileged(c *cri.ContainerConfig) { c.Linux.SecurityContext.Privileged = true }

// PrivilegedPod is an edit that makes a pod privileged.
func PrivilegedPod(c *cri.PodSandboxConfig) { c.Linux.SecurityContext.Privileged = true }

// Ended waits until the container's first process has ended, and returns what it printed, and its exit code.
func (c *PodContainer) Ended(t testing.TB) (output string, code int32) {
	t.Helper()
	for late := time.Now().Add(patience); time.Now().Before(late); time.Sleep(100 * time.Millisecond) {
		ctx, cancel := patient()
		r, err := c.Pod.cri.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: c.ID})
		cancel()
		// It may be what restarts the engine.
		if err != nil || r.Status.State != cri.ContainerState_CONTAINER_EXITED {
			continue
		}
		text, err := os.ReadFile(c.log)
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		for line := range strings.Lines(string(text)) {
			if fields := strings.SplitN(line, " ", 4); len(fields) == 4 {
				said.WriteString(fields[3])
			}
		}
		return said.String(), r.Status.ExitCode
	}
	t.Fatalf("container %s did not end", c.ID)
	return "", 0
}
