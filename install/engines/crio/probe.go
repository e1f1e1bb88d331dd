package crio

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
)

// The configuration of a pod and of a container, as far as a probe has it (k8s.io/cri-api, pkg/apis/runtime/v1/api.proto).
type (
	podConfig struct {
		Metadata    metadata          `json:"metadata"`
		Logs        string            `json:"log_directory"`
		DNS         dns               `json:"dns_config"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
		Linux       linux             `json:"linux"`
	}
	containerConfig struct {
		Metadata metadata          `json:"metadata"`
		Image    image             `json:"image"`
		Command  []string          `json:"command"`
		Mounts   []mount           `json:"mounts"`
		Labels   map[string]string `json:"labels"`
		Log      string            `json:"log_path"`
		Linux    linux             `json:"linux"`
	}
	metadata struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace,omitempty"`
		UID       string `json:"uid,omitempty"`
	}
	image struct {
		Image string `json:"image"`
	}
	dns struct {
		Servers []string `json:"servers"`
	}
	mount struct {
		Container string `json:"container_path"`
		Host      string `json:"host_path"`
		ReadOnly  bool   `json:"readonly"`
	}
	linux struct {
		Security security `json:"security_context"`
	}
	security struct {
		Namespaces namespaces `json:"namespace_options"`
	}
	namespaces struct {
		Network int `json:"network"`
		PID     int `json:"pid"`
	}
)

// What a namespace is shared with (NamespaceMode).
const (
	container = 1
	node      = 2
)

// namespace is the one of Kubernetes' that a probe's pod says that it is of.
const namespace = "oci-apparmor"

// probeFiles writes the configuration of a throw-away pod and its container. The container has the image of the pod's sandbox, as
// CRI-O has that on every node that has run a pod, and executes the probe's own program, which is mounted. The pod has the node's
// network, so that it needs none.
func probeFiles(c *host.Throwaway, pauseImage string) (inPod, inContainer string, err error) {
	const name = "probe"
	labels := func(more ...string) map[string]string { // as the kubelet's, by which policies know namespaces
		all := map[string]string{
			"io.kubernetes.pod.name": c.Name, "io.kubernetes.pod.namespace": namespace, "io.kubernetes.pod.uid": c.Name,
		}
		for i := 0; i+1 < len(more); i += 2 {
			all[more[i]] = more[i+1]
		}
		return all
	}
	shared := linux{security{namespaces{Network: node, PID: container}}}
	logs := path.Join(c.Dir, "logs")
	inPod, inContainer = path.Join(c.Dir, "pod.json"), path.Join(c.Dir, "container.json")
	return inPod, inContainer, errors.Join(os.Mkdir(logs, 0o755),
		writeJSON(inPod, podConfig{
			Metadata: metadata{Name: c.Name, Namespace: namespace, UID: c.Name}, Logs: logs, DNS: dns{[]string{"127.0.0.1"}},
			Labels: labels(), Annotations: c.Annotation, Linux: shared,
		}),
		writeJSON(inContainer, containerConfig{
			Metadata: metadata{Name: name}, Image: image{pauseImage}, Command: c.Args,
			Mounts: []mount{{Container: c.Args[0], Host: path.Join(c.Rootfs(), c.Args[0]), ReadOnly: true}},
			Labels: labels("io.kubernetes.container.name", name), Log: name + ".log", Linux: shared,
		}))
}

func writeJSON(p string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(p, text, 0o600)
}

// Probe starts a pod with a container by crictl.
func (Engine) Probe(ctx context.Context, h *host.Host, c *host.Throwaway) (*host.Started, func() error, error) {
	n, err := asked(h)
	if err != nil {
		return nil, func() error { return nil }, err
	}
	return n.probe(ctx, c)
}

func (n *running) probe(ctx context.Context, c *host.Throwaway) (started *host.Started, remove func() error, err error) {
	remove = func() error { return nil }
	crictl, args, err := n.client()
	if err != nil {
		return nil, remove, err
	}
	s, err := n.status(ctx)
	if err != nil {
		return nil, remove, err
	}
	podFile, containerFile, err := probeFiles(c, s.pauseImage)
	if err != nil {
		return nil, remove, err
	}
	run := func(more ...string) (string, error) {
		out, err := n.Run(ctx, nil, crictl, args(more...)...)
		return strings.TrimSpace(string(out)), err
	}
	var sandbox, id string
	remove = func() error {
		if sandbox == "" { // it may come yet, where crictl has not waited
			sandbox = n.podOf(ctx, crictl, args("pods", "--quiet", "--name", "^"+c.Name+"$"))
		}
		if id != "" {
			_ = n.Clean(ctx, crictl, args("stop", "--timeout", "0", id)) // with the pod it has some seconds to end
		}
		if sandbox == "" {
			return nil
		}
		return n.Clean(ctx, crictl, args("rmp", "--force", sandbox))
	}
	start := []string{"runp"}
	if !c.Stock {
		start = append(start, "--runtime", Runtime)
	}
	if sandbox, err = run(append(start, podFile)...); err == nil {
		id, err = run("create", sandbox, containerFile, podFile)
	}
	if err == nil {
		_, err = run("start", id)
	}
	if err != nil {
		return nil, remove, err
	}
	return &host.Started{ID: id, Exec: func(ctx context.Context) error {
		return execute(ctx, n.Host, crictl, args(append([]string{"exec", "--sync", id}, c.Args...)...))
	}}, remove, nil
}

// podOf returns what a command of crictl prints that lists one pod, whether ctx has ended or not; an empty string for none.
func (n *running) podOf(ctx context.Context, crictl string, args []string) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	out, _ := n.Run(ctx, nil, crictl, args...)
	return strings.TrimSpace(string(out))
}

// begun is how long what is executed in a container may take to fail. crictl returns when it ends.
const begun = 2 * time.Second

// execute runs a command of crictl that executes a program which waits. It ends with the container.
func execute(ctx context.Context, h *host.Host, crictl string, args []string) error {
	ended := make(chan error, 1)
	go func() {
		_, err := h.Run(ctx, nil, crictl, args...)
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-time.After(begun):
		return nil
	}
}
