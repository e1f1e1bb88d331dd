package wrapper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// RuntimeVar is an environment variable that names the real runtime, by its absolute path. It is for the node's
// administrator, who sets it in the environment of the engine; containers have no say in that.
const RuntimeVar = "OCI_APPARMOR_RUNTIME"

// runtimeDirs is where a runtime is looked for, whatever PATH says: engines call their runtime with any PATH or none.
var runtimeDirs = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// runtimeNames tells which runtimes a wrapper of that name stands for: under the name of a runtime that we know, or with
// oci-apparmor- in front of it, for that one; else for runc, and for crun where there is no runc.
func runtimeNames(argv0 string) []string {
	name := strings.TrimPrefix(filepath.Base(argv0), "oci-apparmor-")
	if _, known := dialectOf(name); known {
		return []string{name}
	}
	return []string{"runc", "crun"}
}

// dialectAt tells the dialect of the runtime at path by what it is, whatever links lead to it.
func dialectAt(path string) (d Dialect, err error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Runc, err
	}
	d, known := dialectOf(filepath.Base(real))
	if !known {
		return d, fmt.Errorf("%s is neither a runc nor a crun by its name, so that its command line cannot be read for "+
			"certain: give it a name that begins with the one whose command line it takes", real)
	}
	return d, nil
}

// findRuntime gives the path of the real runtime: named if that is not empty, else the first of names in dirs that can
// be run and is not this program itself, which may be installed under a runtime's name.
func findRuntime(named string, names, dirs []string) (string, error) {
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("looking for the runtime: %w", err)
	}
	if named != "" {
		if !filepath.IsAbs(named) {
			return "", fmt.Errorf("%s=%q is not an absolute path", RuntimeVar, named)
		}
		if err := runnable(named, self); err != nil {
			return "", fmt.Errorf("%s: %w", RuntimeVar, err)
		}
		return named, nil
	}
	for _, name := range names {
		for _, dir := range dirs {
			path := filepath.Join(dir, name)
			if runnable(path, self) == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("no %s found in %s: install it, or set %s to its absolute path",
		strings.Join(names, " or "), strings.Join(dirs, ":"), RuntimeVar)
}

func runnable(path string, self fs.FileInfo) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return &fs.PathError{Op: "run", Path: path, Err: fs.ErrPermission}
	case os.SameFile(info, self):
		return &fs.PathError{Op: "run", Path: path, Err: errors.New("this is oci-apparmor-runtime itself")}
	}
	return nil
}
