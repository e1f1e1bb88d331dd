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

// caller returns which engine calls, and the root of its containers. Both follow from what the node's administrator set up:
// the path by which the engine calls us, and its --root. Nothing of them comes from a container. See engine.ByCall.
func (a *Args) caller(d Dialect) (hook.Caller, error) {
	root, err := a.root(d)
	if err != nil {
		return hook.Caller{}, err
	}
	return hook.Caller{Engine: engine.ByCall(a.argv[0], root), Root: ResolveRoot(root)}, nil
}

// root returns the directory of the runtime's state, absolute. runc makes a relative path absolute by filepath.Abs, which
// takes "link/.." away as text. crun leaves links to the kernel. checkCrun refuses a relative path of crun's.
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

// defaultRoot returns the root of a runtime that is called without --root: see runc's main.go and rootless_linux.go, and
// crun's src/libcrun/status.c.
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

// ResolveRoot resolves the links in an absolute path as far as it exists. So a container has one record, in whichever way
// the engine spells the root.
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
		parent, last := filepath.Split(strings.TrimRight(dir, "/")) // Split does not clean a "link/.." in parent
		dir, missing = parent, filepath.Join(last, missing)
	}
}
