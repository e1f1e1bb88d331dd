package wrapper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// RuntimeVar is the environment variable that names the real runtime by its absolute path. The node's administrator sets it
// in the engine's environment. Containers cannot set it.
const RuntimeVar = "OCI_APPARMOR_RUNTIME"

// runtimeNames returns the names of the runtimes that a wrapper of this name stands for. A runtime's name stands for that
// runtime, with or without "oci-apparmor-" in front. Any other name stands for runc, or for crun if there is no runc.
func runtimeNames(argv0 string) []string {
	name := strings.TrimPrefix(filepath.Base(argv0), "oci-apparmor-")
	if _, known := dialectOf(name); known {
		return []string{name}
	}
	return []string{"runc", "crun"}
}

// dialectAt returns the dialect of the runtime at path. It resolves links, so that only the program's own name counts.
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

// findRuntime returns the path of the real runtime. That is named, if it is not empty. Else it is the first of names in
// dirs that can be executed and is not this program itself, which may be installed under a runtime's name.
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
