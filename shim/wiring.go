package shim

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/moby/sys/userns"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/policy"
)

// Wiring tells which engine speaks, and where the runtime keeps its containers' state, from what the node's
// administrator set up: the path by which the engine calls us and the --root that it gives. Nothing of it comes from a
// container.
//
// An engine is known by the directory through which it calls us, the link .../cri-o/crun for one. Where that says
// nothing, containerd and Docker are known by their roots. Containers of containerd that are not in the namespace of
// Kubernetes carry annotations that prove nothing: anyone who may use ctr or nerdctl chooses them.
func (a *Args) wiring(d Dialect) (hook.Wiring, error) {
	root, err := a.root(d)
	if err != nil {
		return hook.Wiring{}, err
	}
	return hook.Wiring{Engine: engine(a.argv[0], path.Clean(root)), Root: ResolveRoot(root)}, nil
}

func engine(argv0, root string) string {
	// containerd's CRI plugin keeps to the namespace k8s.io (internal/cri/constants), which the shim appends to its root
	// for runc.
	kubernetes := path.Base(root) == "k8s.io"
	switch path.Base(path.Dir(argv0)) {
	case "containerd":
		if kubernetes {
			return policy.EngineContainerd
		}
		return policy.EngineOther
	case "docker":
		return policy.EngineDocker
	case "podman":
		return policy.EnginePodman
	case "cri-o":
		return policy.EngineCRIO
	}
	return EngineOf(root)
}

// EngineOf tells which engine gives its runtime this root: containerd's CRI plugin or Docker, and EngineOther for every
// other root. It is how calls are told that come through no engine's link.
func EngineOf(root string) string {
	root = path.Clean(root)
	if strings.HasSuffix(root, "/containerd/runc/k8s.io") {
		return policy.EngineContainerd
	}
	// Docker's containers are in containerd's namespace moby. dockerd gives the shim /var/run/docker/runtime-NAME for a
	// root (moby, daemon/daemon_unix.go), if the runtime is of runc's type.
	if strings.HasSuffix(root, "/containerd/runc/moby") {
		return policy.EngineDocker
	}
	for _, run := range []string{"/run", "/var/run"} {
		if ok, _ := path.Match(run+"/docker/runtime-*/moby", root); ok {
			return policy.EngineDocker
		}
	}
	return policy.EngineOther
}

// root gives the directory in which the runtime keeps its state, absolute. runc makes it so by filepath.Abs, which takes
// "link/.." away as text; crun leaves it to the kernel. A relative one of crun's does not come here, see checkCrun.
func (a *Args) root(d Dialect) (string, error) {
	root, ok := a.option("root")
	if !ok {
		root = defaultRoot(d)
	}
	if d == Crun && filepath.IsAbs(root) {
		return root, nil
	}
	return filepath.Abs(root)
}

// defaultRoot is the root of a runtime that is called without one: runc's main.go and rootless_linux.go, and crun's
// src/libcrun/status.c.
func defaultRoot(d Dialect) string {
	xdg := os.Getenv("XDG_RUNTIME_DIR")
	if d == Crun {
		if xdg != "" {
			return xdg + "/crun"
		}
		return "/run/crun"
	}
	if xdg != "" && runcHonoursXDG() {
		return filepath.Join(xdg, "runc")
	}
	return "/run/runc"
}

// runcHonoursXDG is runc's shouldHonorXDGRuntimeDir.
func runcHonoursXDG() bool {
	if os.Geteuid() != 0 {
		return true
	}
	if !userns.RunningInUserNS() {
		return false
	}
	user, ok := os.LookupEnv("USER")
	return !ok || user != "root"
}

// ResolveRoot follows the links in an absolute root as far as it exists, so that a container is known again whichever
// way its runtime's root is spelled.
func ResolveRoot(path string) string {
	dir, missing := path, ""
	for {
		real, err := filepath.EvalSymlinks(dir)
		if err == nil {
			return filepath.Join(real, missing)
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == "/" {
			return filepath.Clean(path)
		}
		parent, last := filepath.Split(strings.TrimRight(dir, "/")) // which leaves a link/.. in parent as it is
		dir, missing = parent, filepath.Join(last, missing)
	}
}
