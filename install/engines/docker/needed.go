package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/install/engines/containerd"
	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tasks"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

// Needed returns the containers that were made with our runtime, and those whose shim calls our wrapper. Docker's own
// files tell the first ones. The second ones are under the node's containerd, or under one that dockerd has started.
func (Engine) Needed(ctx context.Context, h *host.Host) (need host.Need, err error) {
	if !h.Live() {
		return need, nil
	}
	need.Why = "were made with our runtime: they run on, and cannot be started again without it"
	data := slices.Clone(engine.Named("docker").Data)
	states, unknown := containerd.States(ctx, h)
	need.Unknown = unknown
	supervised, err := supervised(h)
	for _, dir := range supervised {
		states = append(states, path.Join(dir, "daemon"))
	}
	roots, err2 := directories(h, "data-root", "--data-root", "--graph", "-g")
	tasks.Callers(h, &need, "docker", states...)
	names := []string{Runtime}
	byHand, _ := Engine{}.ByHand(h, wire.NewDraft(h.Tree)) // whoever asks for ties is told the error by that
	for _, b := range byHand {
		names = append(names, b.Name)
	}
	made(&need, append(data, roots...), names...)
	return need, errors.Join(err, err2)
}

// supervised returns the directories in which a containerd that dockerd has started may have its main file, and its state in
// daemon below (libcontainerd/supervisor, remote_daemon.go).
func supervised(h *host.Host) ([]string, error) {
	exec, err := directories(h, "exec-root", "--exec-root")
	var all []string
	for _, dir := range append(exec, "/run/docker", "/var/run/docker") {
		all = append(all, path.Join(dir, "containerd"))
	}
	return all, err
}

// RunsContainerd reports whether a containerd with this main file is one that dockerd has started.
func RunsContainerd(h *host.Host, config string) bool {
	dirs, _ := supervised(h) // what is not known of is none
	return path.Base(config) == "containerd.toml" && slices.Contains(dirs, path.Dir(path.Clean(config)))
}

// directories returns the absolute paths that a key of the configuration and a flag of dockerd have.
func directories(h *host.Host, key string, flags ...string) (all []string, err error) {
	for _, p := range h.Processes("dockerd") {
		if at := p.Flag(flags...); path.IsAbs(at) {
			all = append(all, at)
		}
	}
	f, err := read(h, wire.NewDraft(h.Tree))
	if err != nil {
		return all, err
	}
	at, err := f.string(key)
	if path.IsAbs(at) {
		all = append(all, at)
	}
	return all, err
}

// made adds the containers below Docker's roots that were made with our runtime, by one of its names or as a path or type of
// containerd's in place of a name. With userns-remap a root has another one
// below it, of the name UID.GID.
func made(need *host.Need, roots []string, names ...string) {
	for _, root := range roots {
		remapped, _ := filepath.Glob(path.Join(root, "[0-9]*.[0-9]*"))
		for _, root := range append(remapped, root) {
			dir := path.Join(root, "containers")
			for _, id := range need.List(dir) {
				var c struct{ Runtime string }
				file := path.Join(dir, id, "hostconfig.json")
				data, err := os.ReadFile(file)
				if errors.Is(err, fs.ErrNotExist) { // it was removed
					continue
				}
				if err == nil {
					err = json.Unmarshal(data, &c)
				}
				if err != nil {
					need.Unknown = append(need.Unknown, fmt.Sprintf("container %s: %s: %v", shortID(id), file, err))
				}
				if ours := slices.Contains(names, c.Runtime) || (runtime{Path: c.Runtime, Type: c.Runtime}).ours(); err == nil && ours && !slices.Contains(need.Containers, shortID(id)) {
					need.Containers = append(need.Containers, shortID(id))
				}
			}
		}
	}
}

// shortID returns a container's id as docker ps prints it. A directory that is none of Docker's may have a shorter name.
func shortID(id string) string { return id[:min(12, len(id))] }
