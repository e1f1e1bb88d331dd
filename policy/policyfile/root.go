package policyfile

import (
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// root is the configuration directory. What is opened in it by a relative path stays in it.
type root struct {
	*os.Root
	dir *os.File

	mu   sync.Mutex
	dirs map[string]int // directories in it that stat has opened, by their relative paths
}

func openRoot(dir string) (*root, error) {
	r, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	f, err := r.Open(".")
	if err != nil {
		r.Close()
		return nil, err
	}
	return &root{Root: r, dir: f, dirs: make(map[string]int)}, nil
}

func (r *root) close() {
	for _, fd := range r.dirs {
		unix.Close(fd)
	}
	r.dir.Close()
	r.Root.Close()
}

// stat is lstat(2) of a file that can be read as readText does: a relative path stays in the directory.
func (r *root) stat(path string, st *unix.Stat_t) error {
	if filepath.IsAbs(path) {
		return unix.Lstat(path, st)
	}
	parent, name := filepath.Split(path)
	dir, err := r.open(parent)
	if err != nil {
		return err
	}
	return unix.Fstatat(dir, name, st, unix.AT_SYMLINK_NOFOLLOW)
}

// open opens a directory in r for stat. It opens each only once, because most texts are in the same few.
func (r *root) open(path string) (int, error) {
	if path == "" {
		return int(r.dir.Fd()), nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if fd, ok := r.dirs[path]; ok {
		return fd, nil
	}
	fd, err := unix.Openat2(int(r.dir.Fd()), path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH,
	})
	if err == nil {
		r.dirs[path] = fd
	}
	return fd, err
}

// readFast reads a regular file of at most maxText bytes, in few system calls: a policy may have a thousand texts. ok is false
// if that fails. The caller then tries readRegular, which returns the reason. stamp is the one that the file had before.
func (r *root) readFast(path string) (text []byte, stamp safefile.Stamp, ok bool) {
	fd, err := unix.Openat2(int(r.dir.Fd()), path, &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: unix.RESOLVE_BENEATH})
	if err != nil {
		return nil, stamp, false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > maxText {
		return nil, stamp, false
	}
	text = make([]byte, st.Size+1) // with the byte more it is seen that a file grows
	for n := 0; n < len(text); {
		m, err := unix.Read(fd, text[n:])
		if err != nil {
			return nil, stamp, false
		}
		if m == 0 {
			return text[:n], safefile.StampOf(&st), true
		}
		n += m
	}
	return nil, stamp, false
}
