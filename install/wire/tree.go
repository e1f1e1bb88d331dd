package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// maxFile bounds what is read of a file, in bytes. Engines' files have some kilobytes.
const maxFile = 8 << 20

// Tree is the files below a directory: a node's, where that is "/", or an image's.
type Tree struct {
	Root string

	// Step is called before every change of the disk with what comes next, and an error of it prevents the change. Tests
	// make faults by it, and end the process in it. It is nil otherwise.
	Step func(what string) error
}

// Entry is what a path holds: a file, a directory, or a symbolic link. A nil *Entry stands for nothing.
type Entry struct {
	Mode fs.FileMode `json:"mode"` // the type and the permissions, as Go has them
	UID  int         `json:"uid"`
	GID  int         `json:"gid"`
	Data []byte      `json:"data,omitempty"` // the content of a file, the target of a link
}

// Equal reports whether both are the same to the last byte.
func (e *Entry) Equal(o *Entry) bool {
	if e == nil || o == nil {
		return e == o
	}
	return e.Mode == o.Mode && e.UID == o.UID && e.GID == o.GID && bytes.Equal(e.Data, o.Data)
}

// kind returns the type of what the entry holds; fs.ModeIrregular for nothing.
func (e *Entry) kind() fs.FileMode {
	if e == nil {
		return fs.ModeIrregular
	}
	return e.Mode.Type()
}

// IsFile reports whether there is a file.
func (e *Entry) IsFile() bool { return e.kind() == 0 }

// IsLink reports whether there is a symbolic link.
func (e *Entry) IsLink() bool { return e.kind() == fs.ModeSymlink }

// IsDir reports whether there is a directory.
func (e *Entry) IsDir() bool { return e.kind() == fs.ModeDir }

// Real returns where a path of the tree is on this machine.
func (t Tree) Real(p string) string { return filepath.Join(t.Root, path.Clean("/"+p)) }

// staysInside returns an error if a link of an image leads what was written down of a path to another place. The book is the
// image's own, and this machine is not to be changed by it.
func (t Tree) staysInside(p string) error {
	if t.Root == "/" {
		return nil
	}
	dir, err := resolve(path.Dir(p), t.peek)
	if err == nil && dir != path.Dir(p) {
		err = fmt.Errorf("%s was written down, and a link leads to %s from its directory now: put that back, or edit the file by hand", p, dir)
	}
	return err
}

// lookup returns what the path itself holds, a link being one. Its directories have no links in them. The error names the
// path, and is for what is neither file, directory nor link, too.
func (t Tree) lookup(p string) (*Entry, error) {
	e, err := t.peek(p)
	if err == nil && e.IsFile() {
		e.Data, err = readFile(t.Real(p))
	}
	return e, err
}

// peek is lookup without the content of a file.
func (t Tree) peek(p string) (*Entry, error) {
	real := t.Real(p)
	info, err := os.Lstat(real)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	st := info.Sys().(*syscall.Stat_t)
	e := &Entry{Mode: info.Mode(), UID: int(st.Uid), GID: int(st.Gid)}
	switch e.Mode.Type() {
	case fs.ModeDir:
		return e, nil
	case fs.ModeSymlink:
		target, err := os.Readlink(real)
		e.Data = []byte(target)
		return e, err
	case 0:
		return e, nil
	}
	return nil, fmt.Errorf("%s is neither a file, a directory nor a link", real)
}

// readFile returns the content of a regular file.
func readFile(real string) ([]byte, error) {
	f, err := os.OpenFile(real, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", real, maxFile)
	}
	return data, err
}

// resolve returns the path without links: where what has the path really is. A link's absolute target begins at the tree's
// root. lookup returns what a path without links holds.
func resolve(p string, lookup func(string) (*Entry, error)) (string, error) {
	const most = 40 // as the kernel follows
	rest, done, links := strings.Split(p, "/"), "/", 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			done = path.Dir(done)
			continue
		}
		at := path.Join(done, name)
		e, err := lookup(at)
		if err != nil {
			return "", err
		}
		if e.kind() != fs.ModeSymlink {
			done = at
			continue
		}
		if links++; links > most {
			return "", &fs.PathError{Op: "follow", Path: p, Err: syscall.ELOOP}
		}
		target := string(e.Data)
		if path.IsAbs(target) {
			done = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return done, nil
}

// temp is the name beside a path under which it is written before it is renamed.
func temp(p string) string { return "." + path.Base(p) + ".oci-apparmor" }

func (t Tree) step(what string) error {
	if t.Step == nil {
		return nil
	}
	return t.Step(what)
}

// put makes a path hold an entry, at once and on the disk.
func (t Tree) put(p string, e *Entry) error {
	real := t.Real(p)
	owner := func(path string) error {
		if err := os.Lchown(path, e.UID, e.GID); err != nil && os.Geteuid() == 0 {
			return err
		}
		return nil
	}
	var err error
	switch e.kind() {
	case fs.ModeIrregular:
		if err = t.step("remove " + p); err == nil {
			err = os.Remove(real)
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	case fs.ModeDir:
		if err = t.step("make " + p); err == nil {
			err = os.Mkdir(real, 0o700)
		}
		if err == nil {
			err = errors.Join(owner(real), os.Chmod(real, e.Mode))
		}
	case fs.ModeSymlink:
		beside := filepath.Join(filepath.Dir(real), temp(p))
		_ = os.Remove(beside)
		if err = t.step("link " + p); err == nil {
			err = os.Symlink(string(e.Data), beside)
		}
		if err == nil {
			err = owner(beside)
		}
		if err == nil {
			if err = t.step("rename to " + p); err == nil {
				err = os.Rename(beside, real)
			}
		}
		if err != nil {
			_ = os.Remove(beside)
		}
	default:
		err = safefile.Replace(real, e.Data, safefile.Options{Mode: e.Mode, Exact: true, Owner: &safefile.Owner{UID: e.UID, GID: e.GID},
			Sync: true, Step: t.Step, Temp: temp(p)})
	}
	if err != nil {
		return err
	}
	return safefile.SyncDir(filepath.Dir(real))
}

// Edit is a path that changes, without a link in it, and what it holds before and after.
type Edit struct {
	Path string `json:"path"`
	Old  *Entry `json:"old,omitempty"`
	New  *Entry `json:"new,omitempty"`
}

// invert returns the edits that take these back, in their order.
func invert(edits []Edit) []Edit {
	back := make([]Edit, len(edits))
	for i, e := range edits {
		back[i] = Edit{e.Path, e.New, e.Old}
	}
	inOrder(back)
	return back
}

// inOrder sorts edits such that an engine that starts between two of them finds what its configuration names: directories
// and links are made before the files that name them, and removed after these.
func inOrder(edits []Edit) {
	rank := func(e Edit) int {
		switch {
		case e.New.kind() == fs.ModeDir:
			return 0
		case e.New.kind() == fs.ModeSymlink:
			return 1
		case e.New != nil:
			return 2
		case e.Old.kind() == fs.ModeSymlink:
			return 4
		case e.Old.kind() == fs.ModeDir:
			return 5
		}
		return 3
	}
	slices.SortStableFunc(edits, func(a, b Edit) int {
		if by := rank(a) - rank(b); by != 0 {
			return by
		}
		if rank(a) == 5 { // the inner ones first
			a, b = b, a
		}
		return strings.Compare(a.Path, b.Path)
	})
}
