package status

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

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
		var config struct{ Name string }
		if readJSON(filepath.Join(n.Docker, "containers", c.ID, "config.v2.json"), &config) {
			c.Name = strings.TrimPrefix(config.Name, "/")
		}
	}
}

// nameByAnnotations takes what the engine wrote into the container's spec, by keys that no workload can set.
func (n *Node) nameByAnnotations(c *Container) {
	for _, dir := range n.bundles(c) {
		config := readAnnotations(filepath.Join(dir, "config.json"))
		if config == nil {
			continue
		}
		f, err := hook.Identify(config, hook.Wiring{Engine: c.Engine, Root: c.Root}, c.ID)
		if err != nil {
			continue
		}
		c.Namespace, c.Pod, c.Image, c.Sandbox = f.Namespace, f.Pod, f.Image, f.Sandbox
		if f.Container != c.ID {
			c.Name = f.Container
		}
		return
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

// maxSpec bounds the specs that are read, in bytes.
const maxSpec = 16 << 20

// readSpec reads a spec, which is an engine's file in an engine's directory.
func readSpec(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxSpec {
		return nil, fmt.Errorf("%s is no spec", path)
	}
	return os.ReadFile(path)
}

// readAnnotations reads a spec and gives one with its annotations alone; nil where it has none. Engines write them behind the
// mounts and before the filter of system calls, which is most of the file: that is neither read nor parsed, of hundreds.
func readAnnotations(path string) []byte {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	buf := specs.Get().(*[]byte)
	defer specs.Put(buf)
	for spec := (*buf)[:0]; len(spec) < maxSpec; {
		spec = slices.Grow(spec, 4<<10)
		*buf = spec
		n, err := unix.Read(fd, spec[len(spec):cap(spec)])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return nil
		}
		spec = spec[:len(spec)+n]
		if found := annotations(spec); found != nil {
			return slices.Concat([]byte(`{"process":{},"annotations":`), found, []byte("}"))
		}
	}
	return nil
}

var specs = sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }}

// annotations gives the value of the key "annotations" of a spec, or of as much of one as there is; nil where it is not there,
// or not whole.
func annotations(spec []byte) []byte {
	const key = "annotations"
	depth, from := 0, 0
	for i := 0; i < len(spec); i++ {
		switch spec[i] {
		case '"':
			end := stringEnd(spec, i)
			if end < 0 {
				return nil
			}
			if depth == 1 && string(spec[i+1:end]) == key && from == 0 {
				if rest := bytes.TrimLeft(spec[end+1:], " \t\r\n"); len(rest) > 0 && rest[0] == ':' {
					from = len(spec) - len(rest) + 1
				}
			}
			i = end
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 1 && from > 0 {
				return spec[from : i+1]
			}
		case ',':
			if depth == 1 && from > 0 { // it is no object
				return nil
			}
		}
	}
	return nil
}

// stringEnd gives where the string ends that begins at a place; -1 where it does not.
func stringEnd(text []byte, at int) int {
	for i := at + 1; i < len(text); i++ {
		next := bytes.IndexAny(text[i:], `"\`)
		if next < 0 {
			return -1
		}
		if i += next; text[i] == '"' {
			return i
		}
		i++ // what follows a backslash ends nothing
	}
	return -1
}

// nameByStorage names the containers of Podman and CRI-O as their common list of containers does.
func (n *Node) nameByStorage(all []Container) {
	var byID map[string]string
	for i := range all {
		c := &all[i]
		if c.Name != "" || c.Engine != policy.EnginePodman && c.Engine != policy.EngineCRIO {
			continue
		}
		if byID == nil {
			byID = make(map[string]string)
			var list []struct {
				ID    string   `json:"id"`
				Names []string `json:"names"`
			}
			readJSON(filepath.Join(n.Storage, "overlay-containers/containers.json"), &list)
			for _, e := range list {
				if len(e.Names) > 0 {
					byID[e.ID] = e.Names[0]
				}
			}
		}
		c.Name = byID[c.ID]
	}
}

// readJSON reads a file that an engine writes beside others; one that is not there, or unlike what is expected, names
// nothing.
func readJSON(path string, to any) bool {
	data, err := os.ReadFile(path)
	return err == nil && json.Unmarshal(bytes.TrimSpace(data), to) == nil
}
