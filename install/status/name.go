package status

import (
	"path/filepath"
	"sync"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/policy"
)

// name finds out what people call a container, from files that its engine wrote.
func (n *Node) name(c *Container) {
	switch c.Engine {
	case policy.EngineContainerd:
		if space := filepath.Base(c.Root); c.Root != "" && space != "k8s.io" {
			c.Namespace = space
			return
		}
		n.nameByAnnotations(c)
	case policy.EngineCRIO:
		n.nameByAnnotations(c)
	case policy.EngineDocker:
		if !c.takeRecord() {
			c.take(hook.DockerNames(n.Docker, c.ID))
		}
	case policy.EnginePodman:
		c.takeRecord()
	}
}

// takeRecord names a container as Prepare remembered it, if that knew more of it than its id.
func (c *Container) takeRecord() bool {
	r := c.record
	if r == nil || r.Engine != c.Engine || r.Names.Container == "" || r.Names.Container == c.ID {
		return false
	}
	c.take(r.Names)
	return true
}

// nameByAnnotations takes what the engine wrote into the container's spec, by keys that no workload can set: as Prepare
// remembered it, or else from the spec.
func (n *Node) nameByAnnotations(c *Container) {
	if r := c.record; r != nil && r.Engine == c.Engine && r.Names != (hook.Names{}) {
		c.take(r.Names)
		return
	}
	for _, dir := range n.bundles(c) {
		f, err := hook.NewBundle(dir).Identify(hook.Wiring{Engine: c.Engine, Root: c.Root}, c.ID)
		if err != nil {
			continue
		}
		c.take(hook.NamesOf(f))
		return
	}
}

func (c *Container) take(n hook.Names) {
	c.Namespace, c.Pod, c.Image, c.Sandbox = n.Namespace, n.Pod, n.Image, n.Sandbox
	if n.Container != c.ID {
		c.Name = n.Container
	}
}

// bundles gives the directories in which a container's spec may be.
func (n *Node) bundles(c *Container) []string {
	if c.record != nil && c.record.Bundle != "" {
		return []string{c.record.Bundle}
	}
	if c.Engine == policy.EngineContainerd {
		space := "k8s.io"
		if c.Root != "" {
			space = filepath.Base(c.Root)
		}
		const tasks = "containerd/io.containerd.runtime.v2.task"
		return []string{filepath.Join(n.Run, tasks, space, c.ID), filepath.Join(n.Run, "k3s", tasks, space, c.ID)}
	}
	const overlay = "overlay-containers"
	return []string{
		filepath.Join(n.Run, "containers/storage", overlay, c.ID, "userdata"),
		filepath.Join(n.Storage, overlay, c.ID, "userdata"),
	}
}

// nameByStorage names the containers of Podman and CRI-O as their common lists of containers do. Those that go with their
// end, as of `podman run --rm` and quadlets, are in a list of their own beside that of the others (volatile, in
// containers.go of containers/storage). With a transient store, all are below /run.
func (n *Node) nameByStorage(all []Container) {
	const overlay = "overlay-containers"
	byID := sync.OnceValue(func() map[string]hook.Names {
		return hook.StorageNames(filepath.Join(n.Storage, overlay), filepath.Join(n.Run, "containers/storage", overlay))
	})
	for i := range all {
		if c := &all[i]; c.Name == "" && (c.Engine == policy.EnginePodman || c.Engine == policy.EngineCRIO) {
			if names := byID()[c.ID]; c.Engine == policy.EnginePodman {
				c.take(names)
			} else {
				c.Name = names.Container // the rest CRI-O has in the container's spec
			}
		}
	}
}
