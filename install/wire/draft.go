package wire

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
)

// Draft is a tree as it is to become. It reads what is on the disk, and keeps what is written to it in memory.
type Draft struct {
	Tree Tree
	disk map[string]*Entry // what has been read, so that a change of the disk since then is noticed
	now  map[string]*Entry // what is to be, where that was written
}

// NewDraft returns a draft of a tree as it is.
func NewDraft(t Tree) *Draft {
	return &Draft{Tree: t, disk: map[string]*Entry{}, now: map[string]*Entry{}}
}

// Copy returns a draft of its own that has what d has.
func (d *Draft) Copy() *Draft {
	return &Draft{Tree: d.Tree, disk: maps.Clone(d.disk), now: maps.Clone(d.now)}
}

// at returns what a path without links holds.
func (d *Draft) at(p string) (*Entry, error) {
	if e, ok := d.now[p]; ok {
		return e, nil
	}
	if e, ok := d.disk[p]; ok {
		return e, nil
	}
	e, err := d.Tree.lookup(p)
	if err == nil {
		d.disk[p] = e
	}
	return e, err
}

// Resolve returns a path without links in it.
func (d *Draft) Resolve(p string) (string, error) {
	return resolve(p, func(p string) (*Entry, error) {
		if e, ok := d.now[p]; ok {
			return e, nil
		}
		return d.Tree.peek(p)
	})
}

// Read returns what a path holds after its links: a file, a directory, or nil for nothing.
func (d *Draft) Read(p string) (*Entry, error) {
	p, err := d.Resolve(p)
	if err != nil {
		return nil, err
	}
	return d.at(p)
}

// Runnable returns an error that names the path unless it is a program's, after its links.
func (d *Draft) Runnable(p string) error {
	at, err := d.Resolve(p)
	if err != nil {
		return err
	}
	info, err := os.Stat(d.Tree.Real(at)) // not by at: programs are large
	if err == nil && (!info.Mode().IsRegular() || info.Mode()&0o111 == 0) {
		err = &fs.PathError{Op: "run", Path: p, Err: fs.ErrPermission}
	}
	return err
}

// set makes a path without links hold an entry, and makes its directories.
func (d *Draft) set(p string, e *Entry) error {
	if _, err := d.at(p); err != nil { // so that the disk is known
		return err
	}
	if e.kind() == fs.ModeDir && d.disk[p].kind() == fs.ModeDir {
		e = d.disk[p] // it stays, with the mode and the owner that somebody has given it
	}
	if e != nil && p != "/" {
		dir := path.Dir(p)
		above, err := d.at(dir)
		switch {
		case err != nil:
			return err
		case above == nil:
			if err := d.set(dir, &Entry{Mode: fs.ModeDir | 0o755, UID: os.Geteuid(), GID: os.Getegid()}); err != nil {
				return err
			}
		case above.kind() != fs.ModeDir:
			return &fs.PathError{Op: "write", Path: p, Err: syscall.ENOTDIR}
		}
	}
	d.now[p] = e
	return nil
}

// WriteFile makes a path hold a file. One that is there keeps its mode and its owner, and a link to it stays one; a new one
// has mode 0644. Directories that are missing are made.
func (d *Draft) WriteFile(p string, data []byte) error {
	p, err := d.Resolve(p)
	if err != nil {
		return err
	}
	e, err := d.at(p)
	if err != nil {
		return err
	}
	switch {
	case e == nil:
		e = &Entry{Mode: 0o644, UID: os.Geteuid(), GID: os.Getegid()}
	case !e.IsFile():
		return fmt.Errorf("%s is no file", p)
	}
	changed := *e
	changed.Data = data
	return d.set(p, &changed)
}

// Link makes a path hold a symbolic link. A link is replaced, and anything else is an error.
func (d *Draft) Link(p, target string) error {
	dir, err := d.Resolve(path.Dir(p))
	if err != nil {
		return err
	}
	p = path.Join(dir, path.Base(p))
	e, err := d.at(p)
	if err != nil {
		return err
	}
	if e != nil && e.kind() != fs.ModeSymlink {
		return fmt.Errorf("%s is there and is no link: move it away", p)
	}
	if e != nil && string(e.Data) == target {
		return nil
	}
	return d.set(p, &Entry{Mode: fs.ModeSymlink | 0o777, UID: os.Geteuid(), GID: os.Getegid(), Data: []byte(target)})
}

// Remove makes a path hold nothing. What a link leads to stays.
func (d *Draft) Remove(p string) error {
	dir, err := d.Resolve(path.Dir(p))
	if err != nil {
		return err
	}
	return d.set(path.Join(dir, path.Base(p)), nil)
}

// List returns the names in a directory, sorted; none where it is missing.
func (d *Draft) List(dir string) ([]string, error) {
	dir, err := d.Resolve(dir)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(d.Tree.Real(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	for p, e := range d.now {
		if path.Dir(p) == dir && p != "/" {
			names[path.Base(p)] = e != nil
		}
	}
	maps.DeleteFunc(names, func(_ string, there bool) bool { return !there })
	return slices.Sorted(maps.Keys(names)), nil
}

// Glob returns the paths whose last element matches a pattern of path.Match, sorted. The directory is taken by its letters.
func (d *Draft) Glob(pattern string) ([]string, error) {
	dir, last := path.Split(pattern)
	if strings.ContainsAny(dir, "*?[") {
		return nil, fmt.Errorf("%s: a pattern in a directory's name is not understood", pattern)
	}
	names, err := d.List(dir)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, name := range names {
		ok, err := path.Match(last, name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", pattern, err)
		}
		if ok {
			all = append(all, path.Join(dir, name))
		}
	}
	return all, nil
}

// Edits returns what changes on the disk, in the order in which it is to be written.
func (d *Draft) Edits() []Edit { return d.editsFrom(&Draft{now: d.disk}) }

// editsFrom returns the edits that lead from what another draft of the tree has.
func (d *Draft) editsFrom(base *Draft) []Edit {
	var all []Edit
	for p, e := range d.now {
		old, ok := base.now[p]
		if !ok {
			old = d.disk[p]
		}
		if !e.Equal(old) {
			all = append(all, Edit{Path: p, Old: old, New: e})
		}
	}
	inOrder(all)
	return all
}
