package wrapper

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/userns"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

// Caller tells which engine speaks, and where the runtime keeps its containers' state, from what the node's
// administrator set up: the path by which the engine calls us and the --root that it gives. Nothing of it comes from a
// container.
//
// See engine.ByCall.
func (a *Args) caller(d Dialect) (hook.Caller, error) {
	root, err := a.root(d)
	if err != nil {
		return hook.Caller{}, err
	}
	return hook.Caller{Engine: engine.ByCall(a.argv[0], root), Root: ResolveRoot(root)}, nil
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
