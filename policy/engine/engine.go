// Package engine is what is known of container engines, in one table: a row for each. Nothing else of the program has an
// engine's name in it but the readers of formats that one engine writes.
//
// A new engine is a row, its documentation and its tests.
package engine

import (
	"cmp"
	"path"
	"slices"
	"strings"
)

// Other is the name, in the policy file and in messages, of all that starts containers and reports nothing of them that
// can be trusted: ctr, nerdctl, and a runtime that is called by hand.
const Other = "other"

// Fact is what an engine may report of a container. Its name is the key of the policy file that asks for it.
type Fact string

// The facts, by their keys.
const (
	Namespace Fact = "namespace" // of Kubernetes
	Pod       Fact = "pod"
	Container Fact = "container" // every engine reports it: where a container has no name, that is its id
	Image     Fact = "image"
	Label     Fact = "label"
	Sandbox   Fact = "sandbox" // whether it is a pod's pause container
)

// Files are the files in which an engine keeps what it reports of its containers. Package hook reads them.
type Files uint8

// The formats.
const (
	NoFiles        Files = iota
	ContainerFiles       // ROOT/containers/ID/config.v2.json (moby, container/container.go)
	StorageLists         // DRIVER-containers/containers.json and volatile-containers.json (container-libs, storage/containers.go)
)

// Engine is a row of the table.
type Engine struct {
	Name  string // in the policy file, in records, in messages and in the columns of commands
	Title string // as its makers write it

	// Link is the name of the directory of the link through which it calls the runtime wrapper. Where LinkRoot is set, such
	// a call counts only with a --root whose last element it is, and is of Other with any else.
	Link, LinkRoot string

	// Roots are the --root by which a call is known that comes through no link: patterns of path.Match for as many elements
	// at its end. Engines' own are below /run, and those of rootless ones below /run/user.
	Roots []string

	// ContainerdNamespace is the namespace of containerd in which all of its containers are, and nobody else's.
	ContainerdNamespace string

	// Keys are the annotations of a spec by which it reports facts: those that it sets last, so that nothing a workload
	// writes can stand in their place.
	Keys map[Fact]string

	// Files are where it keeps the facts of Filed. A container for which they cannot be read is unverified: it is refused
	// where a rule for one of these facts may be for it.
	Files Files
	Filed []Fact

	Data []string // the directories of these files

	// Withheld are the facts that its containers have and that it keeps where nobody can read them. A container of it is
	// refused where a rule for such a fact may be for it.
	Withheld []Fact

	// Default is the profile that it gives a container for which nobody chose one; at its end, * stands for its version.
	Default string

	// Cgroups are what stands before a container's id in the name of the control group that it makes for one: all of that
	// name where it ends with a slash.
	Cgroups []string

	// Bundles are where the directory of a container's config.json is, with {namespace} for containerd's namespace and {id}
	// for the container's id.
	Bundles []string

	Daemons  []string // names of its programs that run all the time
	Programs []string // those of its others that signal containers, or start what does
	Dirs     []string // where its packages put programs, besides the usual directories
}

// table is in the order in which the names are listed for people.
var table = []Engine{
	{
		// containerd's CRI plugin. It keeps to the namespace k8s.io (internal/cri/constants), which the shim appends to its
		// root for runc. Annotations: internal/cri/annotations/annotations.go (v2.4), set last by container_create.go. A
		// pod's labels are in its database alone. Default: internal/cri/sputil/securityprofile_linux.go.
		Name: "containerd", Title: "containerd",
		Link: "containerd", LinkRoot: "k8s.io",
		Roots:               []string{"containerd/runc/k8s.io"},
		ContainerdNamespace: "k8s.io",
		Keys: map[Fact]string{
			Namespace: "io.kubernetes.cri.sandbox-namespace",
			Pod:       "io.kubernetes.cri.sandbox-name",
			Container: "io.kubernetes.cri.container-name",
			Image:     "io.kubernetes.cri.image-name",
			Sandbox:   "io.kubernetes.cri.container-type",
		},
		Default: "cri-containerd.apparmor.d",
		Cgroups: []string{"cri-containerd-", "cri-containerd:"},
		Bundles: []string{
			"/run/containerd/io.containerd.runtime.v2.task/{namespace}/{id}",
			"/run/k3s/containerd/io.containerd.runtime.v2.task/{namespace}/{id}",
		},
		Daemons:  []string{"containerd"},
		Programs: []string{"containerd-shim", "containerd-shim-runc-v1", "containerd-shim-runc-v2"},
	},
	{
		// Annotations: internal/factory/container/container.go and, for the plain keys, kubelet's labels
		// (pkg/kubelet/kuberuntime/labels.go), which CRI-O writes after the pod's annotations. The labels of the pod are not
		// among them, and in the sandbox's spec the pod's annotations may take their place (server/sandbox_run_linux.go).
		// Default: internal/config/apparmor/apparmor_linux.go.
		Name: "cri-o", Title: "CRI-O",
		Link: "cri-o",
		Keys: map[Fact]string{
			Namespace: "io.kubernetes.pod.namespace",
			Pod:       "io.kubernetes.pod.name",
			Container: "io.kubernetes.container.name",
			Image:     "io.kubernetes.cri-o.ImageName",
			Sandbox:   "io.kubernetes.cri-o.ContainerType",
		},
		Files:   StorageLists,
		Data:    storageData,
		Default: "crio-default",
		Cgroups: []string{"crio-"},
		Bundles: storageBundles,
		Daemons: []string{"crio"},
		Dirs:    []string{"/usr/libexec/crio", "/usr/lib/crio"},
	},
	{
		// Its containers are in containerd's namespace moby (daemon/config, DefaultContainersNamespace). dockerd gives the
		// shim /var/run/docker/runtime-NAME for a root (daemon/daemon_unix.go), if the runtime is of runc's type. Default:
		// daemon/apparmor_default.go.
		Name: "docker", Title: "Docker",
		Link:                "docker",
		Roots:               []string{"containerd/runc/moby", "docker/runtime-*/moby"},
		ContainerdNamespace: "moby",
		Files:               ContainerFiles,
		Data:                []string{"/var/lib/docker"},
		Filed:               []Fact{Container, Image, Label},
		Default:             "docker-default",
		Cgroups:             []string{"docker-", "docker/"},
		Daemons:             []string{"dockerd"},
		Programs:            []string{"docker"},
		Dirs:                []string{"/usr/libexec/docker"},
	},
	{
		// Default: container-libs, common/pkg/apparmor/apparmor.go; Buildah's, too. Labels are in its database alone.
		Name: "podman", Title: "Podman",
		Link:     "podman",
		Files:    StorageLists,
		Data:     storageData,
		Filed:    []Fact{Container, Image},
		Withheld: []Fact{Label},
		Default:  "containers-default-*",
		Cgroups:  []string{"libpod-"},
		Bundles:  storageBundles,
		Programs: []string{"podman", "buildah"},
		Dirs:     []string{"/usr/libexec/podman", "/usr/lib/podman"},
	},
	{
		// Users of containerd itself: anyone who may use ctr or nerdctl chooses the annotations of its containers. Default:
		// nerdctl, pkg/defaults/defaults_linux.go.
		Name: Other, Title: "nerdctl",
		Roots:    []string{"containerd/runc/*"},
		Default:  "nerdctl-default",
		Cgroups:  []string{"nerdctl-"},
		Programs: []string{"ctr", "nerdctl"},
	},
	{
		// No engine: a runtime that is called by hand, and Docker's plugins, of which it reports nothing.
		Name: Other, Title: "no engine",
		Roots: []string{"docker/runtime-*/*"},
	},
}

// Podman and CRI-O share containers/storage, of which a transient store is below /run.
var (
	storageData    = []string{"/var/lib/containers/storage/overlay-containers", "/run/containers/storage/overlay-containers"}
	storageBundles = []string{
		"/run/containers/storage/overlay-containers/{id}/userdata",
		"/var/lib/containers/storage/overlay-containers/{id}/userdata",
	}
)

// Names are those of the engines in the policy file, each once.
func Names() []string {
	var all []string
	for i := range table {
		if !slices.Contains(all, table[i].Name) {
			all = append(all, table[i].Name)
		}
	}
	return all
}

// Known reports whether a name is one of Names.
func Known(name string) bool { return slices.Contains(Names(), name) }

// Named returns the row of a name. For Other, the empty name and unknown ones that is the row of no engine.
func Named(name string) *Engine {
	for i := range table {
		if table[i].Name == name && name != Other {
			return &table[i]
		}
	}
	return &table[len(table)-1]
}

// ByCall returns the name of the engine that calls the wrapper: argv0 is the path by which it does, and root the absolute
// --root that it sets. Both are what the node's administrator set up.
func ByCall(argv0, root string) string {
	link := path.Base(path.Dir(argv0))
	for i := range table {
		if e := &table[i]; e.Link != "" && e.Link == link {
			if e.LinkRoot != "" && e.LinkRoot != path.Base(path.Clean(root)) {
				return Other
			}
			return e.Name
		}
	}
	return cmp.Or(ByRoot(root), Other)
}

// ByRoot returns the name of the engine that sets its runtime this absolute --root, and the empty name for a root of none.
func ByRoot(root string) string {
	root = path.Clean(root)
	for i := range table {
		for _, pattern := range table[i].Roots {
			if matches(pattern, root) {
				return table[i].Name
			}
		}
	}
	return ""
}

// matches reports whether a pattern of Roots is for a path.
func matches(pattern, root string) bool {
	from := len(root)
	for range strings.Count(pattern, "/") + 1 {
		if from = strings.LastIndexByte(root[:from], '/'); from < 0 {
			return false
		}
	}
	ok, _ := path.Match(pattern, root[from+1:])
	return ok
}

// Roots returns the patterns of all engines' own roots, relative to /run.
func Roots() []string {
	var all []string
	for i := range table {
		all = append(all, table[i].Roots...)
	}
	return all
}

// ByContainerdNamespace returns the name of the engine whose containers are in this namespace of containerd.
func ByContainerdNamespace(namespace string) string {
	for i := range table {
		if e := &table[i]; e.ContainerdNamespace != "" && e.ContainerdNamespace == namespace {
			return e.Name
		}
	}
	return Other
}

// ByDefault returns the title of the engine that gives the profile of this name to a container for which nobody chose
// one. A container that was given the profile by its name cannot be distinguished from these.
func ByDefault(profile string) (title string, is bool) {
	for i := range table {
		e := &table[i]
		if prefix, versioned := strings.CutSuffix(e.Default, "*"); e.Default != "" &&
			(profile == e.Default || versioned && strings.HasPrefix(profile, prefix)) {
			return e.Title, true
		}
	}
	return "", false
}

// Reports reports whether the engine reports a fact of its containers in a place that a workload cannot write.
func (e *Engine) Reports(f Fact) bool {
	_, key := e.Keys[f]
	return f == Container || key || slices.Contains(e.Filed, f)
}

// Reporters are the names of the engines that report a fact; of all where every one does.
func Reporters(f Fact) []string {
	var all []string
	for i := range table {
		if e := &table[i]; e.Reports(f) && !slices.Contains(all, e.Name) {
			all = append(all, e.Name)
		}
	}
	return all
}

// Withholders are the names of the engines whose containers have a fact that nobody can read.
func Withholders(f Fact) []string {
	var all []string
	for i := range table {
		if slices.Contains(table[i].Withheld, f) {
			all = append(all, table[i].Name)
		}
	}
	return all
}
