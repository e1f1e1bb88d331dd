package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Dir reads the root file system in a directory. It follows no link out of the directory, and leaves out other file systems
// that are mounted there.
func Dir(ctx context.Context, name string) (*Tree, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	top, err := root.Stat(".")
	if err != nil {
		return nil, err
	}
	device := top.Sys().(*syscall.Stat_t).Dev
	t := newTree()
	inodes := make(map[uint64]*inode)
	files := root.FS()
	err = fs.WalkDir(files, ".", func(at string, entry fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && errors.Is(err, fs.ErrNotExist): // removed since
			return nil
		case err != nil:
			return err
		case at == ".":
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return nil
		}
		st := info.Sys().(*syscall.Stat_t)
		n := &node{}
		switch {
		case entry.IsDir():
			n.entries = make(map[string]*node)
		case entry.Type() == fs.ModeSymlink:
			if n.target, err = fs.ReadLink(files, at); err != nil || n.target == "" {
				return nil
			}
		case inodes[st.Ino] != nil:
			n.inode = inodes[st.Ino]
		default:
			n.inode = &inode{}
			inodes[st.Ino] = n.inode
		}
		if err := t.put(at, n); err != nil {
			return err
		}
		if entry.IsDir() && st.Dev != device {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the root file system in %s: %w", name, err)
	}
	t.finish()
	return t, nil
}
