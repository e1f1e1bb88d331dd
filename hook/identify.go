package hook

import (
	"github.com/oci-apparmor/oci-apparmor/policy"
)

// Wiring is the way by which a call reached us. It comes from how the node's administrator set the engine up, never
// from the container.
type Wiring struct {
	Engine string // policy.EngineContainerd and so on
	Root   string // where the runtime keeps its containers' state (its --root), absolute; empty when not known
}

// Keys that engines set last, so that nothing a workload writes can stand in their place.
//
// containerd: internal/cri/annotations/annotations.go (v2.4). CRI-O: internal/factory/container/container.go and, for
// the plain keys, kubelet's labels (pkg/kubelet/kuberuntime/labels.go), which CRI-O writes after the pod's annotations.
var trusted = map[string]struct {
	namespace, pod, container, image, kind string
}{
	policy.EngineContainerd: {
		namespace: "io.kubernetes.cri.sandbox-namespace",
		pod:       "io.kubernetes.cri.sandbox-name",
		container: "io.kubernetes.cri.container-name",
		image:     "io.kubernetes.cri.image-name",
		kind:      "io.kubernetes.cri.container-type",
	},
	policy.EngineCRIO: {
		namespace: "io.kubernetes.pod.namespace",
		pod:       "io.kubernetes.pod.name",
		container: "io.kubernetes.container.name",
		image:     "io.kubernetes.cri-o.ImageName",
		kind:      "io.kubernetes.cri-o.ContainerType",
	},
}

// Identify tells from a container's config.json and from how it reached us what a policy needs to know of it. What its engine
// keeps in files of its own is there after policy.Facts.Read. bundle is the container's directory, absolute; without one,
// files that are found by it are not. The error names a line of config.json.
func Identify(config []byte, w Wiring, id, bundle string) (policy.Facts, error) {
	d, err := parseSpec(config)
	if err != nil {
		return policy.Facts{}, err
	}
	return d.identify(w, id, bundle), nil
}

func (d *document) identify(w Wiring, id, bundle string) policy.Facts {
	f := policy.Facts{
		Engine:       w.Engine,
		ID:           id,
		Container:    id,
		EngineChoice: d.choice,
	}
	f.Privileged, f.PrivilegedBy = d.powers.privilege()
	if keys, ok := trusted[w.Engine]; ok {
		f.Namespace = d.annotations[keys.namespace]
		f.Pod = d.annotations[keys.pod]
		f.Container, f.Image = "", "" // a sandbox has neither, and what stands under their keys there may be its pod's
		if f.Sandbox = d.annotations[keys.kind] == "sandbox"; !f.Sandbox {
			f.Container = d.annotations[keys.container]
			f.Image = d.annotations[keys.image]
		}
	}
	if f.Look = d.looker(w.Engine, bundle); f.Look != nil {
		f.Container, f.Untold = "", policy.ErrUnread
	}
	f.Requested(d.annotations)
	return f
}
