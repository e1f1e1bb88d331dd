// Package rootfs knows the files of a container's root file system by their names: from a directory, or from an archive of
// an image. It resolves symbolic links as the kernel does for a process in the container, so that they never lead out.
//
// It reads no file's content but that of an archive's own. An image is hostile: names, links, sizes and numbers of files
// are bounded.
package rootfs

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Bounds on what is read.
const (
	maxFiles = 1_000_000
	maxNames = 256 << 20 // bytes of all names
	maxName  = 4096      // bytes of a path, PATH_MAX
	maxLinks = 40        // symbolic links on the way of one path, MAXSYMLINKS
	maxDepth = 256       // directories in one another
)

// A Tree is the files of a root file system. Several goroutines may read it at the same time.
type Tree struct {
	root  *node
	files int
	names int
}

// node is a file or directory.
type node struct {
	entries map[string]*node // of a directory; nil for anything else
	target  string           // of a symbolic link
	inode   *inode           // of a regular file
}

// inode is a regular file, which can have several names.
type inode struct{ names []string }

func newTree() *Tree { return &Tree{root: &node{entries: make(map[string]*node)}} }

func (n *node) isDir() bool { return n.entries != nil }

// errTooMany says that an image has more files than are looked at.
var errTooMany = fmt.Errorf("it has more than %d files, or names of more than %d bytes", maxFiles, maxNames)

// parts returns the names of a path's parts, as from the root directory; nothing leads above that.
func parts(name string) ([]string, error) {
	if len(name) > maxName {
		return nil, fmt.Errorf("a name in it has %d bytes", len(name))
	}
	clean := path.Clean("/" + name)
	if clean == "/" {
		return nil, nil
	}
	all := strings.Split(clean[1:], "/")
	if len(all) > maxDepth {
		return nil, fmt.Errorf("it has directories that are %d deep in one another", len(all))
	}
	return all, nil
}

// put puts a file in a place, whose parent directories are made where there are none. Links on the way to it lead where
// they lead in the tree.
func (t *Tree) put(name string, n *node) error {
	all, err := parts(name)
	if err != nil || len(all) == 0 {
		return err
	}
	dir, err := t.parent(all[:len(all)-1])
	if err != nil {
		return err
	}
	last := all[len(all)-1]
	old := dir.entries[last]
	if old != nil && old.isDir() && n.isDir() {
		return nil // it keeps what is in it
	}
	if old == nil {
		if err := t.count(last); err != nil {
			return err
		}
	}
	dir.entries[last] = n
	return nil
}

func (t *Tree) count(name string) error {
	if t.files, t.names = t.files+1, t.names+len(name); t.files > maxFiles || t.names > maxNames {
		return errTooMany
	}
	return nil
}

// parent returns the directory of these names, which it makes where there is none.
func (t *Tree) parent(names []string) (*node, error) {
	dir, at := t.root, ""
	for _, name := range names {
		at += "/" + name
		next := dir.entries[name]
		if next != nil && !next.isDir() {
			_, next, _ = t.walk(at)
		}
		if next == nil || !next.isDir() {
			if err := t.count(name); err != nil {
				return nil, err
			}
			next = &node{entries: make(map[string]*node)}
			dir.entries[name] = next
		}
		dir = next
	}
	return dir, nil
}

// remove removes what is at a path, or with inside what is in the directory there.
func (t *Tree) remove(name string, inside bool) error {
	all, err := parts(name)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		if inside {
			clear(t.root.entries)
		}
		return nil
	}
	_, dir, ok := t.walk("/" + strings.Join(all[:len(all)-1], "/"))
	if !ok || !dir.isDir() {
		return nil
	}
	last := all[len(all)-1]
	if n := dir.entries[last]; !inside {
		delete(dir.entries, last)
	} else if n != nil && n.isDir() {
		dir.entries[last] = &node{entries: make(map[string]*node)}
	}
	return nil
}

// Real returns the path by which the kernel knows a file, with links resolved inside of the tree. ok is false if there is
// no such file.
func (t *Tree) Real(name string) (real string, ok bool) {
	real, _, ok = t.walk(name)
	return real, ok
}

func (t *Tree) walk(name string) (real string, n *node, ok bool) {
	if len(name) > maxName {
		return "", nil, false
	}
	todo := strings.Split(name, "/")
	var done []string
	dirs := []*node{t.root} // the root, and those of done
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		here := dirs[len(dirs)-1]
		switch {
		case !here.isDir():
			return "", nil, false
		case part == "" || part == ".":
			continue
		case part == "..":
			if len(done) > 0 {
				done, dirs = done[:len(done)-1], dirs[:len(dirs)-1]
			}
			continue
		}
		next := here.entries[part]
		switch {
		case next == nil:
			return "", nil, false
		case next.target == "":
			done, dirs = append(done, part), append(dirs, next)
			if len(done) > maxDepth {
				return "", nil, false
			}
		default:
			if links++; links > maxLinks || len(todo) > maxName {
				return "", nil, false
			}
			if strings.HasPrefix(next.target, "/") {
				done, dirs = nil, dirs[:1]
			}
			todo = append(strings.Split(next.target, "/"), todo...)
		}
	}
	return "/" + strings.Join(done, "/"), dirs[len(dirs)-1], true
}

// Has reports whether there is something at a path.
func (t *Tree) Has(name string) bool {
	_, ok := t.Real(name)
	return ok
}

// HardLinks returns the names, sorted, of each file that has more than one.
func (t *Tree) HardLinks() (all [][]string) {
	t.each(func(at string, n *node) bool {
		if n.inode != nil && len(n.inode.names) > 1 && n.inode.names[0] == at {
			all = append(all, n.inode.names)
		}
		return true
	})
	return all
}

// finish notes the names of the files that are left.
func (t *Tree) finish() {
	t.each(func(at string, n *node) bool {
		if n.inode != nil {
			n.inode.names = append(n.inode.names, at)
		}
		return true
	})
}

// each calls visit for everything in the tree, by its own path, in the order of the names, until visit returns false.
func (t *Tree) each(visit func(at string, n *node) bool) {
	var walk func(at string, dir *node) bool
	walk = func(at string, dir *node) bool {
		for _, name := range slices.Sorted(maps.Keys(dir.entries)) {
			n := dir.entries[name]
			if !visit(at+"/"+name, n) || n.isDir() && !walk(at+"/"+name, n) {
				return false
			}
		}
		return true
	}
	walk("", t.root)
}

// An Alias is a path that leads over a symbolic link, and the path by which the kernel knows the file.
type Alias struct {
	Path, Real string
	Dir        bool // it is a directory: what a container makes in there later has two such paths as well
}

// maxAliases is how many aliases Aliases returns at most, and maxSteps how many files it looks at for them. An image of
// Debian has some 5,000.
const (
	maxAliases = 500_000
	maxSteps   = 10_000_000
)

// Aliases returns a path for each symbolic link, and for each file below a link to a directory, which comes before them.
// whole is false if there are more than it returns.
func (t *Tree) Aliases() (all []Alias, whole bool) {
	f := finder{tree: t}
	t.each(func(at string, n *node) bool {
		if n.target == "" {
			return true
		}
		real, to, ok := t.walk(at)
		switch {
		case !ok:
			return f.step()
		case !to.isDir():
			return f.add(Alias{Path: at, Real: real})
		}
		return f.under(at, strings.TrimSuffix(real, "/"), to)
	})
	return f.all, !f.full
}

// finder finds aliases. Its functions return false if there are too many.
type finder struct {
	tree  *Tree
	all   []Alias
	steps int
	full  bool
}

func (f *finder) step() bool {
	f.steps++
	f.full = f.full || f.steps > maxSteps || len(f.all) == maxAliases
	return !f.full
}

func (f *finder) add(a Alias) bool {
	if !f.step() {
		return false
	}
	f.all = append(f.all, a)
	return true
}

// under adds a link to a directory, and the files below it.
func (f *finder) under(link, real string, dir *node) bool {
	if link == real || strings.HasPrefix(link, real+"/") { // a link to a directory around it, as /usr/bin/X11 is
		return f.step()
	}
	return f.add(Alias{link, real, true}) && f.below(link, real, dir)
}

// below adds the files below a link to a directory.
func (f *finder) below(link, real string, dir *node) bool {
	for _, name := range slices.Sorted(maps.Keys(dir.entries)) {
		n, ok := dir.entries[name], true
		switch {
		case n.isDir():
			ok = f.step() && f.below(link+"/"+name, real+"/"+name, n)
		case n.target == "":
			ok = f.add(Alias{Path: link + "/" + name, Real: real + "/" + name})
		default:
			to, n, there := f.tree.walk(real + "/" + name)
			if ok = f.step(); ok && there {
				ok = f.add(Alias{link + "/" + name, to, n.isDir()})
			}
		}
		if !ok {
			return false
		}
	}
	return true
}
