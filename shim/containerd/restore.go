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

// CRIU gives restored processes the label that they had when they were saved, unless the runtime's restore is told
// another by --lsm-profile, for which go-runc has no place. So the runtime of a container that is restored under a label
// of ours is the shim itself, which adds that and becomes the real one.

// restorer is a link to the shim in the container's bundle, under which it is called as a runtime. Beside it stands the
// link runtime, to the real one.
const restorer = "/oci-apparmor/restore"

func asRuntime() bool { return strings.HasSuffix(os.Args[0], restorer) }

// What containerd set for our thread must hold for the runtime, such as the signal that it gets when the shim dies
// (PR_SET_PDEATHSIG); an execve from another thread would lose it.
func init() {
	if asRuntime() {
		runtime.LockOSThread()
	}
}

// restoreBy makes the links in a bundle for the runtime of that name, and gives what to call in its place.
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

// becomeRuntime is the shim as a runtime, called by go-runc. It returns only when that fails.
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

// withLabel adds the label in the bundle's config.json, which Create wrote, to a command line of restore, the only one
// for such a container that names a bundle. The first "restore" in it is the command: what stands before are options of
// runc's, and paths.
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
