package kubernetes

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// mirrorDir is the node's directory of the policy. On a node of a cluster the ConfigMap's files are copied there, so that the
// node has its policy also while no pod runs, as at boot.
const mirrorDir = "/etc/oci-apparmor"

// mirrorMark is the file by which a directory of the policy is known as a copy.
const mirrorMark = ".from-configmap"

// maxPolicy is the greatest size of a policy in bytes. etcd takes a megabyte an object, and several may be mounted together.
const maxPolicy = 16 << 20

// A Mirror copies a mounted ConfigMap to the node. A nil Mirror is that of a node with a policy of its own.
type Mirror struct{ root *os.Root }

// OpenMirror opens the directory in which a ConfigMap is mounted. It stays open while this process goes to the node's files. It
// returns nil for an empty path.
func OpenMirror(dir string) (*Mirror, error) {
	if dir == "" {
		return nil, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("the policy's ConfigMap: %w", err)
	}
	return &Mirror{root}, nil
}

// Close closes the directory.
func (m *Mirror) Close() error {
	if m == nil {
		return nil
	}
	return m.root.Close()
}

// to makes dir a copy of the ConfigMap, in one step: a reader sees the old files or the new ones. It reports whether anything has
// changed. It is an error if dir has files that are no copy.
//
// A key of a ConfigMap has no "/", so policy.yaml and tests.yaml stay where they are, other names that end in .yaml are those of policy.d, and
// all others are profiles. Files in directories, as projected volumes have, keep their places.
func (m *Mirror) to(dir string) (changed bool, err error) {
	want, err := m.read()
	if err != nil {
		return false, err
	}
	have, err := readTree(os.DirFS(dir), false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	_, copied := have[mirrorMark]
	delete(have, mirrorMark)
	if len(have) > 0 && !copied {
		return false, fmt.Errorf("%s has a policy that came from no ConfigMap: move it away first", dir)
	}
	next := besides(dir)
	if err := os.RemoveAll(next); err != nil { // of one that was killed
		return false, err
	}
	if copied && same(want, have) {
		return false, nil
	}
	if err := os.Mkdir(next, 0o755); err != nil {
		return false, err
	}
	defer os.RemoveAll(next) // what was there before, once the two have changed places
	want[mirrorMark] = "This directory is a copy of a ConfigMap. Change that, not this.\n"
	for name, data := range want {
		at := filepath.Join(next, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return false, err
		}
		if err := safefile.Replace(at, []byte(data), safefile.Options{Mode: 0o644, Sync: true}); err != nil {
			return false, err
		}
	}
	err = unix.Renameat2(unix.AT_FDCWD, next, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.Rename(next, dir)
	}
	if err != nil {
		return false, err
	}
	return true, safefile.SyncDir(filepath.Dir(dir))
}

// besides returns where a copy is made before it takes the place of dir.
func besides(dir string) string {
	return filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+".new")
}

// read returns the ConfigMap's files by the names that they have in the policy's directory. All are those of one version: the
// kubelet puts a version in a directory of its own, and makes the link "..data" lead to it.
func (m *Mirror) read() (map[string]string, error) {
	root := m.root
	if data, err := root.OpenRoot("..data"); err == nil { // opened, it stays this version, also when the link changes
		defer data.Close()
		root = data
	}
	tree, err := readTree(root.FS(), true)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for name, data := range tree {
		at := place(name)
		if _, twice := files[at]; twice {
			return nil, fmt.Errorf("two of its files would be %s", at)
		}
		files[at] = data
	}
	if _, ok := files["policy.yaml"]; !ok {
		return nil, errors.New("it has no policy.yaml")
	}
	return files, nil
}

// place returns where a file of a ConfigMap is in the policy's directory.
func place(name string) string {
	switch {
	case strings.Contains(name, "/") || name == "policy.yaml" || name == "tests.yaml":
		return name
	case strings.HasSuffix(name, ".yaml"):
		return path.Join("policy.d", name)
	}
	return path.Join("profiles", name)
}

// readTree returns the regular files below a directory by their paths. With mounted it leaves out the kubelet's own, whose names
// begin with "..", and follows links.
func readTree(tree fs.FS, mounted bool) (map[string]string, error) {
	files := map[string]string{}
	size := int64(0)
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if mounted && strings.HasPrefix(path.Base(name), "..") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		f, err := tree.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
			return errors.Join(err, fmt.Errorf("%s is no regular file", name))
		}
		data, err := io.ReadAll(io.LimitReader(f, maxPolicy-size+1))
		if size += int64(len(data)); size > maxPolicy {
			return fmt.Errorf("the files have more than %d bytes", maxPolicy)
		}
		files[name] = string(data)
		return err
	})
	return files, err
}

func same(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for name, data := range a {
		if other, ok := b[name]; !ok || other != data {
			return false
		}
	}
	return true
}
