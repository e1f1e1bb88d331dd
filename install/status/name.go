package status

import (
	"path/filepath"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

// name sets what people call a container, from files that its engine wrote. A container of no engine gets the name of its
// namespace in containerd, if it has one.
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

// path returns the place of a path below /run or /var/lib.
func (n *Node) path(path string) string {
	if rest, ok := strings.CutPrefix(path, "/run/"); ok {
		return filepath.Join(n.Run, rest)
	}
	return filepath.Join(n.Lib, strings.TrimPrefix(path, "/var/lib/"))
}

// takeRecord sets the names in the container's record, if these are more than its id.
func (c *Container) takeRecord() bool {
	r := c.record
	if r == nil || r.Engine != c.Engine || r.Names.Container == "" || r.Names.Container == c.ID {
		return false
	}
	c.take(r.Names)
	return true
}

// nameByAnnotations sets the names that the engine wrote into the container's spec, by keys that no workload can set. It
// takes them from the record, or else from the spec.
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

// Bundles returns the directories that may have a container's spec, the likeliest first.
func (n *Node) Bundles(c *Container) []string {
	if c.Root != "" {
		if dir := hook.BundleOf(c.Root, c.ID); dir != "" {
			return append([]string{dir}, n.bundles(c)...)
		}
	}
	return n.bundles(c)
}

// bundles returns the directories that may have a container's spec.
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

// nameByStorage sets the names in the lists of their engine's storage. Containers that end with their process, as of
// `podman run --rm` and quadlets, are in a list of their own (volatile, in containers.go of containers/storage). A
// transient store has all its lists below /run.
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

// nameByRecords names the containers of engines that keep their files elsewhere, as with Docker's --data-root. A
// container's record has its bundle, which leads to these files.
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
