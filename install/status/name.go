package status

import (
	"path/filepath"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

// name finds out what people call a container, from files that its engine wrote. What is none of an engine's and in a
// namespace of containerd has that.
func (n *Node) name(c *Container) {
	switch e := engine.Named(c.Engine); {
	case len(e.Keys) > 0:
		n.nameByAnnotations(c)
	case e.Files == engine.ContainerFiles:
		for _, dir := range e.Data {
			if c.Name == "" && !c.takeRecord() {
				c.take(hook.FiledNames(n.path(dir), c.ID))
			}
		}
	case e.Files == engine.StorageLists:
		c.takeRecord()
	case n.engineByRoot(c.Root) == engine.Other:
		c.Namespace = filepath.Base(c.Root)
	}
}

// path returns where a path below /run or /var/lib is.
func (n *Node) path(path string) string {
	if rest, ok := strings.CutPrefix(path, "/run/"); ok {
		return filepath.Join(n.Run, rest)
	}
	return filepath.Join(n.Lib, strings.TrimPrefix(path, "/var/lib/"))
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
		f, err := hook.NewBundle(dir).Identify(hook.Caller{Engine: c.Engine, Root: c.Root}, c.ID)
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
	e := engine.Named(c.Engine)
	namespace := e.ContainerdNamespace
	if c.Root != "" {
		namespace = filepath.Base(c.Root)
	}
	var all []string
	for _, pattern := range e.Bundles {
		all = append(all, n.path(strings.NewReplacer("{namespace}", namespace, "{id}", c.ID).Replace(pattern)))
	}
	return all
}

// nameByStorage names containers as the lists of their engine's storage do. Those that go with their end, as of
// `podman run --rm` and quadlets, are in a list of their own beside that of the others (volatile, in containers.go of
// containers/storage). With a transient store, all are below /run.
func (n *Node) nameByStorage(all []Container) {
	names := make(map[*engine.Engine]map[string]hook.Names)
	for i := range all {
		c := &all[i]
		e := engine.Named(c.Engine)
		if c.Name != "" || e.Files != engine.StorageLists {
			continue
		}
		if names[e] == nil {
			var dirs []string
			for _, dir := range e.Data {
				dirs = append(dirs, n.path(dir))
			}
			names[e] = hook.StorageNames(dirs...)
		}
		if known := names[e][c.ID]; len(e.Keys) == 0 {
			c.take(known)
		} else {
			c.Name = known.Container // the rest it has in the container's spec
		}
	}
}

// nameByRecords names the containers of engines that keep their files elsewhere, as by Docker's --data-root: a container's
// record says where its bundle is, and by that where these files are.
func nameByRecords(all []Container) {
	var unnamed []*Container
	var records []*hook.Record
	for i := range all {
		if c := &all[i]; c.Name == "" && c.record != nil {
			unnamed, records = append(unnamed, c), append(records, c.record)
		}
	}
	hook.Name(records...)
	for _, c := range unnamed {
		c.takeRecord()
	}
}
