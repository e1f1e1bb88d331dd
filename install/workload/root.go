package workload

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// root is the root file system of a container, in which whoever is in the container may change what he likes while it is
// read. No link leads out of it.
type root struct{ dir *os.Root }

// openRoot opens the root file system in a directory. It stays open as long as the program runs.
func openRoot(dir string) (*root, error) {
	r, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("the files of the image: %w", err)
	}
	return &root{r}, nil
}

// maxLinks is how many links the kernel follows in one path (MAXSYMLINKS).
const maxLinks = 40

// Real returns the path by which the kernel knows a file of the container. Links are resolved as for a process in it.
func (r *root) Real(name string) (real string, ok bool) {
	todo, done := strings.Split(path.Clean("/" + name)[1:], "/"), "/"
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done = path.Dir(done)
			continue
		}
		next := path.Join(done, part)
		info, err := r.dir.Lstat(next[1:])
		if err != nil {
			return "", false
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			done = next
			continue
		}
		to, err := r.dir.Readlink(next[1:])
		if links++; err != nil || links > maxLinks {
			return "", false
		}
		if path.IsAbs(to) {
			done = "/"
		}
		todo = append(strings.Split(to, "/"), todo...)
	}
	return done, true
}

// Start reads the beginning of a regular file, whose path has no links in it. It opens nothing else: to open a device can
// have an effect.
func (r *root) Start(name string, buf []byte) (int, error) {
	at, err := r.dir.OpenFile(strings.TrimPrefix(name, "/"), unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return 0, err
	}
	defer at.Close()
	if info, err := at.Stat(); err != nil || !info.Mode().IsRegular() {
		return 0, fmt.Errorf("%s is no regular file", name)
	}
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", at.Fd()))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := io.ReadFull(f, buf)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}
