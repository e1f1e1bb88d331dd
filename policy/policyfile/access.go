package policyfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// CheckAccess returns an error if others than root and the caller could have written the policy. It checks the
// configuration directory, the policy files, the texts of p's profiles, the tests where p requires them, and the
// directories that have these, after links are resolved. p is what Read returned for the directory path, or ReadFile for the file path.
//
// The error is an Errors if the fault is the owner or the mode of a file.
func CheckAccess(path string, p *policy.Config) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	dir, names := filepath.Dir(path), []string{filepath.Base(path)}
	if info.IsDir() {
		dir = path
		if names, err = policyFiles(dir); err != nil {
			return err
		}
	}
	dirs := []string{".", dropIns, profiles}
	if p.RequireTests { // then they decide what can be applied
		dirs = append(dirs, testsDir)
		more, err := yamlFiles(dir, testsFile, testsDir)
		if err != nil {
			return err
		}
		names = append(names, more...)
	}
	for _, p := range p.Profiles {
		if p.Template == "" {
			names = append(names, p.Source)
		}
	}
	c := accessed{seen: make(map[string]bool), plain: make(map[string]bool), dirs: make(map[string]string)}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	for _, name := range dirs {
		if err := c.check(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, name := range names {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		if err := c.check(name); err != nil {
			return err
		}
		if err := c.directories(real, name); err != nil {
			return err
		}
	}
	if len(c.errs) > 0 {
		return c.errs
	}
	return nil
}

type accessed struct {
	seen  map[string]bool
	plain map[string]bool   // of those seen, what is no link itself
	dirs  map[string]string // without links
	errs  Errors
}

// directories checks the directories above a file: up to dir if the file is below it, and otherwise only the last one. dir
// must have no links in it.
func (c *accessed) directories(dir, file string) error {
	file, err := c.real(file)
	if err != nil {
		return err
	}
	for at := filepath.Dir(file); at != dir; at = filepath.Dir(at) {
		if err := c.check(at); err != nil {
			return err
		}
		if !strings.HasPrefix(at, dir+"/") {
			break
		}
	}
	return nil
}

// real resolves links. It remembers directories, because most files are in the same few.
func (c *accessed) real(file string) (string, error) {
	parent := filepath.Dir(file)
	dir, ok := c.dirs[parent]
	if !ok {
		var err error
		if dir, err = filepath.EvalSymlinks(parent); err != nil {
			return "", err
		}
		c.dirs[parent] = dir
	}
	path := filepath.Join(dir, filepath.Base(file))
	if c.plain[file] {
		return path, nil
	}
	return filepath.EvalSymlinks(path)
}

func (c *accessed) check(path string) error {
	if c.seen[path] {
		return nil
	}
	c.seen[path] = true
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	c.plain[path] = err == nil && st.Mode&unix.S_IFMT != unix.S_IFLNK
	if err == nil && !c.plain[path] {
		err = unix.Stat(path, &st)
	}
	if err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if readOnly(path, &st) {
		st.Mode &^= 0o022
	}
	if err := safefile.TrustedOnTheWay(path, st.Uid, st.Mode); err != nil {
		c.errs.add(place{file: path}, "%v", err)
	}
	return nil
}

// readOnly reports whether a directory is open to others by its mode, and is mounted so that nobody can write to it. The
// kubelet makes the directory of a ConfigMap with mode 0777, which only root can reach, and mounts it so.
func readOnly(path string, st *unix.Stat_t) bool {
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Mode&0o022 == 0 {
		return false
	}
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Flags&unix.ST_RDONLY != 0
}
