package hook

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/hook/internal/jsonread"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// Bundle is a container's directory, as an engine hands it to a runtime. The first method that needs config.json reads it,
// and the others use what that one read. So Prepare decides by the content that the caller has seen.
type Bundle struct {
	dir  func() (string, error)
	spec func() (*specFile, error)
}

// NewBundle returns the bundle in the directory dir. It reads nothing yet.
func NewBundle(dir string) *Bundle {
	b := &Bundle{dir: sync.OnceValues(func() (string, error) { return bundleDir(dir) })}
	b.spec = sync.OnceValues(func() (*specFile, error) {
		dir, err := b.dir()
		if err != nil {
			return nil, err
		}
		return readSpec(filepath.Join(dir, "config.json"))
	})
	return b
}

// Dir returns the bundle's directory, absolute and without links. The error wraps fs.ErrNotExist if there is none.
func (b *Bundle) Dir() (string, error) { return b.dir() }

// Identify returns what a policy needs to know of the container id: see the function Identify. Its errors name config.json,
// and wrap fs.ErrNotExist if there is none.
func (b *Bundle) Identify(c Caller, id string) (policy.Facts, error) {
	spec, err := b.spec()
	if err != nil {
		return policy.Facts{}, err
	}
	return spec.identify(c, id, filepath.Dir(spec.path)), nil
}

// Annotations returns the annotations in config.json. The caller must not change the map.
func (b *Bundle) Annotations() (map[string]string, error) {
	spec, err := b.spec()
	if err != nil {
		return nil, err
	}
	return spec.annotations, nil
}

// CgroupsPath returns linux.cgroupsPath of config.json, or an empty string if there is none.
func (b *Bundle) CgroupsPath() (string, error) {
	spec, err := b.spec()
	if err != nil {
		return "", err
	}
	return spec.cgroupsPath, nil
}

// bundleDir returns a bundle's directory, absolute and without links. Runtimes go there by chdir(2), which resolves
// "link/.." to the parent of the link's target. Package filepath cuts both elements away as text, and os.Getwd believes
// $PWD: with these we would read another config.json than the runtime.
func bundleDir(dir string) (string, error) {
	if !filepath.IsAbs(dir) {
		wd, err := unix.Getwd()
		if err != nil {
			return "", fmt.Errorf("the working directory: %w", err)
		}
		dir = wd + "/" + dir
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", fmt.Errorf("the bundle's directory: %w", err)
	}
	return dir, nil
}

// specFile is a bundle's config.json.
type specFile struct {
	*document
	path string
	stat os.FileInfo
}

// readSpec reads a config.json. Its errors name the file.
func readSpec(path string) (*specFile, error) {
	// O_NONBLOCK: opening a FIFO must not hang; regular files do not mind.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !stat.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	data, err := ReadSpec(f)
	if err != nil {
		return nil, err
	}
	d, err := parseSpec(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &specFile{document: d, path: path, stat: stat}, nil
}

// setProfile rewrites the file with label as its profile. It writes the new file beside the old one, with the same mode and
// owner, and renames it, so that a crash leaves the old file or the new one. A file that names the label already stays.
func (s *specFile) setProfile(label string) error {
	if s.profile != (jsonread.Span{}) && s.choice == label {
		return nil
	}
	data, err := s.withProfile(label)
	if err != nil {
		return err
	}
	owner := s.stat.Sys().(*syscall.Stat_t)
	err = safefile.Replace(s.path, data, safefile.Options{
		Mode: s.stat.Mode(), Exact: true, Owner: &safefile.Owner{UID: int(owner.Uid), GID: int(owner.Gid)},
	})
	if err != nil {
		return fmt.Errorf("rewriting %s: %w", s.path, err)
	}
	return nil
}
