package containerd

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	runccmd "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/hook"
)

// CRIU restores processes under the label that they had when they were saved, unless the runtime's restore gets another one
// by --lsm-profile. go-runc cannot pass that option. So the shim itself is the runtime of a container that is restored under
// a label of ours: it adds the option and becomes the real runtime.

// restorer is the path, below the container's bundle, of a link to the shim. go-runc calls the shim as a runtime by this
// link. A link "runtime" beside it leads to the real runtime.
const restorer = "/oci-apparmor/restore"

func asRuntime() bool { return strings.HasSuffix(os.Args[0], restorer) }

// The runtime must inherit what containerd set for our main thread, such as the signal for the shim's death
// (PR_SET_PDEATHSIG). An execve from another thread would lose it.
func init() {
	if asRuntime() {
		runtime.LockOSThread()
	}
}

// restoreBy makes the links in a bundle for the runtime of that name. It returns the path to call in its place.
func restoreBy(name, bundle string) (string, error) {
	real, err := exec.LookPath(cmp.Or(name, runccmd.DefaultCommand))
	if err != nil {
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	link := filepath.Join(bundle, restorer)
	if err := os.Mkdir(filepath.Dir(link), 0o700); err != nil {
		return "", err
	}
	if err := os.Symlink(real, filepath.Join(filepath.Dir(link), "runtime")); err != nil {
		return "", err
	}
	return link, os.Symlink(self, link)
}

// becomeRuntime is the shim as a runtime that go-runc calls. It returns only if the execve fails.
func becomeRuntime(argv, env []string) error {
	real, err := os.Readlink(filepath.Join(filepath.Dir(argv[0]), "runtime"))
	if err != nil {
		return err
	}
	if argv, err = withLabel(argv); err != nil {
		return err
	}
	argv[0] = filepath.Base(real)
	return fmt.Errorf("executing %s: %w", real, unix.Exec(real, argv, env))
}

// withLabel adds the label that Create wrote into the bundle's config.json to a command line of restore. For such a
// container, no other command line names a bundle. The first "restore" in it is the command: runc's options and paths stand
// before it.
func withLabel(argv []string) ([]string, error) {
	bundle := slices.Index(argv, "--bundle") + 1
	command := slices.Index(argv, "restore")
	if bundle == 0 || bundle == len(argv) || command < 0 {
		return slices.Clone(argv), nil
	}
	facts, err := hook.NewBundle(argv[bundle]).Identify(hook.Caller{}, "")
	if err != nil {
		return nil, err
	}
	return slices.Insert(slices.Clone(argv), command+1, "--lsm-profile", "apparmor:"+facts.EngineChoice), nil
}
