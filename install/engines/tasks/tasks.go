// Package tasks reads what a containerd keeps of its running tasks: the node's own, and one that dockerd has started.
package tasks

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

// State is the directory of the state of the node's containerd, unless its configuration names another.
const State = "/run/containerd"

// below is where the directories of tasks are in a state, by namespace and id (core/runtime/v2/task_manager.go).
const below = "io.containerd.runtime.v2.task"

// Dir returns the directory of a containerd's tasks in its state. It makes that when it starts.
func Dir(state string) string { return path.Join(state, below) }

// Callers adds to a need the tasks, as NAMESPACE/ID, whose shim calls our wrapper by an engine's link. A shim keeps its
// options beside the task's config.json (cmd/containerd-shim-runc-v2/runc/container.go).
func Callers(h *host.Host, need *host.Need, engine string, states ...string) {
	link := path.Join(h.Lib(), engine) + "/"
	find(h, need, states, "options.json", func(_, content string) bool { return strings.Contains(content, link) })
}

// Direct adds to a need the tasks, as NAMESPACE/ID, whose shim calls our wrapper by its own name, as one is told to by ctr's
// --runc-binary. Those of an engine that knows its own containers are left to that.
func Direct(h *host.Host, need *host.Need, states ...string) {
	find(h, need, states, "options.json", func(namespace, content string) bool {
		return engine.ByContainerdNamespace(namespace) != "docker" && strings.Contains(content, "/"+engine.Wrapper+`"`)
	})
}

// Of adds to a need the tasks, as NAMESPACE/ID, whose shim is a program of this name (core/runtime/v2/shim_manager.go). containerd
// calls it to delete them, whichever client has made them.
func Of(h *host.Host, need *host.Need, shim string, states ...string) {
	find(h, need, states, "shim-binary-path", func(_, content string) bool { return path.Base(strings.TrimSpace(content)) == shim })
}

func find(h *host.Host, need *host.Need, states []string, file string, is func(namespace, content string) bool) {
	for _, state := range states {
		top := h.Tree.Real(Dir(state))
		for _, namespace := range need.List(top) {
			for _, id := range need.List(path.Join(top, namespace)) {
				data, err := os.ReadFile(path.Join(top, namespace, id, file))
				name := namespace + "/" + id
				switch {
				case errors.Is(err, fs.ErrNotExist): // it has ended, or its shim keeps none
				case err != nil && slices.Contains(need.Unknown, err.Error()):
				case err != nil:
					need.Unknown = append(need.Unknown, err.Error())
				case is(namespace, string(data)) && !slices.Contains(need.Containers, name):
					need.Containers = append(need.Containers, name)
				}
			}
		}
	}
}
