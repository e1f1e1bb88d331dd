// Package engine has what is known of container engines, in one table: a row for each. Nothing else in the program has an
// engine's name, except the readers of formats that one engine writes.
//
// A new engine is a row, its documentation and its tests.
package engine

import (
	"cmp"
	"path"
	"slices"
	"strings"
)

// Other is the name, in the policy file and in messages, of everything that starts containers and reports nothing that can
// be trusted: ctr, nerdctl, and a runtime that is called by hand.
const Other = "other"

// Fact is what an engine may report about a container. Its value is the key of the policy file that asks for it.
type Fact string

// The facts, by their keys.
const (
	Namespace Fact = "namespace" // of Kubernetes
	Pod       Fact = "pod"
	Container Fact = "container" // every engine reports it: a container without a name has its id
	Image     Fact = "image"
	Label     Fact = "label"
	Sandbox   Fact = "sandbox" // whether it is a pod's pause container
)

// Files are the format of the files in which an engine keeps what it reports. Package hook reads them.
type Files uint8

// The formats.
const (
	NoFiles        Files = iota
	ContainerFiles       // ROOT/containers/ID/config.v2.json (moby, container/container.go)
	StorageLists         // DRIVER-containers/[volatile-]containers.json (container-libs, storage/containers.go)
)

// Engine is a row of the table.
type Engine struct {
	Name  string // in the policy file, in records, in messages and in the columns of commands
	Title string // as its makers write it

	Called []string // what people write for the name, besides it, Title and the names of its programs

	// Link is the name of a directory. The engine calls the runtime wrapper through a link in a directory of that name. If
	// LinkRoot is set, the call is the engine's only if LinkRoot is the last element of --root. Else it is Other's.
	Link, LinkRoot string

	// Roots are patterns of path.Match. A call without a link is the engine's if a pattern matches the end of --root and
	// --root is below /run. Roots of rootless engines are below /run/user. A daemon with another directory for its state,
	// such as dockerd's --exec-root, needs a link.
	Roots []string

	// ContainerdNamespace is the namespace of containerd that has all of its containers, and no others.
	ContainerdNamespace string

	// Keys are the annotations of a spec by which it reports facts. It sets these last, so that a workload cannot write
	// them.
	Keys map[Fact]string

	// Files is the format of the files that have the facts of Filed. A container whose files cannot be read is refused if
	// such a fact decides whether a rule is for it.
	Files Files
	Filed []Fact

	Data []string // the directories of these files

	// Withheld are facts that its containers have and that nobody can read. A container is refused if such a fact decides
	// whether a rule is for it.
	Withheld []Fact

	// Default is the profile of a container for which nobody chose one. A * at its end stands for the engine's version.
	Default string

	// Capabilities are those of a container for which nobody chose others, as far as the engine's descriptions of containers
	// do not have them.
	Capabilities []string

	// Cgroups are what stands before a container's id in the name of its control group. If one ends with a slash, it is
	// the name of the group above, and the container's id alone is the name of its group.
	Cgroups []string

	// Bundles are the directories of a container's config.json, with {namespace} for containerd's namespace and {id} for
	// the container's id.
	Bundles []string

	// Sockets are where its programs take orders by default. Who can write to one of them is root of the node.
	Sockets []string

	Daemons  []string // names of its programs that run all the time
	Service  string   // of systemd's, that has the daemon, as the packages of the engine call it
	Programs []string // names of its other programs that signal containers, or that start such a program
	Dirs     []string // where its packages put programs, besides the usual directories
	Runtimes []string // where its packages put a runtime, which it calls rather than one in RuntimeDirs
}

// table has the engines in the order in which people see their names.
var table = []Engine{
	{
		// containerd's CRI plugin, also as distributions of Kubernetes bring it along. It keeps to the namespace k8s.io (internal/cri/constants), which the shim appends to its
		// root for runc. Annotations: internal/cri/annotations/annotations.go (v2.4), set last by container_create.go. A
		// pod's labels are in its database alone. Default: internal/cri/sputil/securityprofile_linux.go.
		Name: "containerd", Title: "containerd",
		Called: append([]string{"cri-containerd", "k3s", "rke2", "k0s", "microk8s"}, kubernetes...),
		Link:   "containerd", LinkRoot: "k8s.io",
		Roots:               []string{"containerd/runc/k8s.io"},
		ContainerdNamespace: "k8s.io",
		Keys: map[Fact]string{
			Namespace: "io.kubernetes.cri.sandbox-namespace",
			Pod:       "io.kubernetes.cri.sandbox-name",
			Container: "io.kubernetes.cri.container-name",
			Image:     "io.kubernetes.cri.image-name",
			Sandbox:   "io.kubernetes.cri.container-type",
		},
		Withheld:     []Fact{Label},
		Default:      "cri-containerd.apparmor.d",
		Capabilities: usualCapabilities, // pkg/oci, defaultUnixCaps
		Cgroups:      []string{"cri-containerd-", "cri-containerd:"},
		Bundles: []string{
			"/run/containerd/io.containerd.runtime.v2.task/{namespace}/{id}",
			"/run/k3s/containerd/io.containerd.runtime.v2.task/{namespace}/{id}", // of RKE2 as well
			"/run/k0s/containerd/io.containerd.runtime.v2.task/{namespace}/{id}",
			"/var/snap/microk8s/common/run/containerd/io.containerd.runtime.v2.task/{namespace}/{id}",
		},
		Sockets: []string{"/run/containerd/containerd.sock", "/run/containerd/containerd.sock.ttrpc", "/run/k3s/containerd/containerd.sock",
			"/run/k0s/containerd.sock", "/var/snap/microk8s/common/run/containerd.sock"},
		Daemons:  []string{"containerd"},
		Service:  "containerd.service",
		Programs: []string{"containerd-shim", "containerd-shim-runc-v1", "containerd-shim-runc-v2"},
	},
	{
		// Annotations: internal/factory/container/container.go and, for the plain keys, kubelet's labels
		// (pkg/kubelet/kuberuntime/labels.go), which CRI-O writes after the pod's annotations. The labels of the pod are not
		// among them, and in the sandbox's spec the pod's annotations may take their place (server/sandbox_run_linux.go).
		// Default: internal/config/apparmor/apparmor_linux.go.
		Name: "cri-o", Title: "CRI-O",
		Called: kubernetes,
		Link:   "cri-o",
		Keys: map[Fact]string{
			Namespace: "io.kubernetes.pod.namespace",
			Pod:       "io.kubernetes.pod.name",
			Container: "io.kubernetes.container.name",
			Image:     "io.kubernetes.cri-o.ImageName",
			Sandbox:   "io.kubernetes.cri-o.ContainerType",
		},
		Files:    StorageLists,
		Data:     storageData,
		Withheld: []Fact{Label},
		Default:  "crio-default",
		Cgroups:  []string{"crio-"},
		Bundles:  storageBundles,
		Sockets:  []string{"/run/crio/crio.sock"},
		Daemons:  []string{"crio"},
		Service:  "crio.service",
		Dirs:     []string{"/usr/libexec/crio", "/usr/lib/crio"},
		Runtimes: []string{"/usr/libexec/crio"},
	},
	{
		// Its containers are in containerd's namespace moby (daemon/config, DefaultContainersNamespace). dockerd gives the
		// shim /var/run/docker/runtime-NAME for a root (daemon/daemon_unix.go), if the runtime is of runc's type. Default:
		// daemon/apparmor_default.go.
		Name: "docker", Title: "Docker",
		Called:              []string{"moby"},
		Link:                "docker",
		Roots:               []string{"containerd/runc/moby", "docker/runtime-*/moby"},
		ContainerdNamespace: "moby",
		Files:               ContainerFiles,
		Data:                []string{"/var/lib/docker"},
		Filed:               []Fact{Container, Image, Label},
		Default:             "docker-default",
		Capabilities:        usualCapabilities, // daemon/pkg/oci/caps
		Cgroups:             []string{"docker-", "docker/"},
		Sockets:             []string{"/run/docker.sock", "/run/docker/containerd/containerd.sock", "/run/cri-dockerd.sock"},
		Daemons:             []string{"dockerd"},
		Service:             "docker.service",
		Programs:            []string{"docker"},
		Dirs:                []string{"/usr/libexec/docker"},
	},
	{
		// Default: container-libs, common/pkg/apparmor/apparmor.go; Buildah's, too. Labels are in its database alone.
		Name: "podman", Title: "Podman",
		Called:   []string{"libpod"},
		Link:     "podman",
		Files:    StorageLists,
		Data:     storageData,
		Filed:    []Fact{Container, Image},
		Withheld: []Fact{Label},
		Default:  "containers-default-*",
		Cgroups:  []string{"libpod-"},
		Bundles:  storageBundles,
		Sockets:  []string{"/run/podman/podman.sock"},
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

// usualCapabilities are the capabilities that Docker and containerd give to a container.
var usualCapabilities = []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"}

// kubernetes is what people write for either engine of a kubelet.
var kubernetes = []string{"kubernetes", "k8s", "kubelet", "cri"}

// Podman and CRI-O share containers/storage. A transient store of it is below /run.
var (
	storageData    = []string{"/var/lib/containers/storage/overlay-containers", "/run/containers/storage/overlay-containers"}
	storageBundles = []string{
		"/run/containers/storage/overlay-containers/{id}/userdata",
		"/var/lib/containers/storage/overlay-containers/{id}/userdata",
	}
)

// Names returns the names of the engines in the policy file, each once.
func Names() []string {
	var all []string
	for i := range table {
		if !slices.Contains(all, table[i].Name) {
			all = append(all, table[i].Name)
		}
	}
	return all
}

// Sockets returns where engines take orders by default.
func Sockets() (all []string) {
	for i := range table {
		all = append(all, table[i].Sockets...)
	}
	return all
}

// Data returns the directories of engines' files.
func Data() (all []string) {
	for i := range table {
		all = append(all, table[i].Data...)
	}
	return all
}

// Meant returns the names of the engines that a word means that is none of Names: Kubernetes has two, and dockerd is
// Docker's. Small and large letters are the same.
func Meant(word string) []string {
	var all []string
	for i := range table {
		e := &table[i]
		for _, called := range slices.Concat(e.Called, e.Daemons, e.Programs, []string{e.Title}) {
			if strings.EqualFold(word, called) && !slices.Contains(all, e.Name) {
				all = append(all, e.Name)
			}
		}
	}
	return all
}

// Known reports whether a name is one of Names.
func Known(name string) bool { return slices.Contains(Names(), name) }

// Named returns the row of the engine of that name. For Other, an empty or an unknown name it returns the row of no engine.
func Named(name string) *Engine {
	for i := range table {
		if table[i].Name == name && name != Other {
			return &table[i]
		}
	}
	return &table[len(table)-1]
}

// ByCall returns the name of the engine that calls the wrapper. argv0 is the path by which it calls, and root is its
// --root, absolute. Both are what the node's administrator set up.
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

// ByRoot returns the name of the engine that sets this absolute --root, or an empty string if no engine does.
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

// matches reports whether a pattern of Roots matches a path.
func matches(pattern, root string) bool {
	if !strings.HasPrefix(root, "/run/") && !strings.HasPrefix(root, "/var/run/") {
		return false
	}
	from := len(root)
	for range strings.Count(pattern, "/") + 1 {
		if from = strings.LastIndexByte(root[:from], '/'); from < 0 {
			return false
		}
	}
	ok, _ := path.Match(pattern, root[from+1:])
	return ok
}

// Roots returns the patterns of the roots of all engines. They are relative to /run.
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

// ByDefault returns the title of the engine whose default is this profile. If somebody chose that profile by its name,
// nobody can see the difference.
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

// Reports reports whether the engine reports a fact about its containers in a place that a workload cannot write.
func (e *Engine) Reports(f Fact) bool {
	_, key := e.Keys[f]
	return f == Container || key || slices.Contains(e.Filed, f)
}

// Reporters returns the names of the engines that report a fact.
func Reporters(f Fact) []string {
	var all []string
	for i := range table {
		if e := &table[i]; e.Reports(f) && !slices.Contains(all, e.Name) {
			all = append(all, e.Name)
		}
	}
	return all
}

// Withholders returns the names of the engines whose containers have a fact that nobody can read.
func Withholders(f Fact) []string {
	var all []string
	for i := range table {
		if slices.Contains(table[i].Withheld, f) {
			all = append(all, table[i].Name)
		}
	}
	return all
}
