// Package safefile writes, locks and checks files: the spec of a container, its record, the store, the kernel's state
// directory, and the profiles of AppArmor's service.
//
// A file is replaced in one step: a reader sees the old file or the new one, also after a crash. Locks are flock(2) on a
// file that stays. A file that others than root could have written is not trusted. If callers need one of these things in
// different ways, the difference is a parameter.
//
// github.com/moby/sys/atomicwriter replaces files, too. But it always waits for the disk. That costs a container's start
// milliseconds, although a crash of the machine ends the container anyway. It also keeps no owner, and it resolves the
// whole path anew, where we have opened and checked the directory.
package safefile

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Cwd is the working directory, for functions that take an open directory.
const Cwd = unix.AT_FDCWD

// Options are the ways to write a file. The zero value writes a file of mode 0600 and does not wait for the disk.
type Options struct {
	Dir   int                     // the open directory that the name is relative to; 0 for Cwd
	Mode  fs.FileMode             // permissions, whatever the umask is; 0 means 0600, unless Exact is set
	Exact bool                    // Mode counts even if it is 0
	Owner *Owner                  // nil for the process's user and group
	New   bool                    // fail with fs.ErrExist if there is a file of that name
	Sync  bool                    // wait until the content is on the disk before the rename; see SyncDir for the name
	Step  func(what string) error // called before each change of the disk; its error prevents the change; may be nil

	// Temp is the name of the new file until the rename, in the same directory. It is for a caller that must find the file
	// after the process was killed. A file of that name is removed first. Empty means a random name.
	Temp string
}

// Owner is a user and a group by their numbers.
type Owner struct{ UID, GID int }

// Staged is a new file beside its place. If the disk is full, Stage fails before anything depends on the file.
type Staged struct {
	name, temp string
	o          Options
}

// Replace writes a file and puts it in place of the file of that name, if there is one and Options.New is not set.
func Replace(name string, data []byte, o Options) error {
	s, err := Stage(name, data, o)
	if err != nil {
		return err
	}
	if err := s.Commit(); err != nil {
		s.Drop()
		return err
	}
	return nil
}

// Stage writes a new file beside the place name, under a name that begins with a dot unless Options.Temp sets one. Commit
// puts it in place. Drop removes it.
func Stage(name string, data []byte, o Options) (*Staged, error) {
	if o.Dir == 0 {
		o.Dir = Cwd
	}
	if err := o.step("write " + name); err != nil {
		return nil, err
	}
	dir, base := filepath.Split(name)
	for {
		temp := o.Temp
		if temp == "" {
			temp = "." + base + "." + strconv.FormatUint(rand.Uint64(), 36)
		} else {
			_ = unix.Unlinkat(o.Dir, dir+temp, 0) // what cannot be removed is met again below
		}
		s := &Staged{name: name, temp: dir + temp, o: o}
		fd, err := openat(o.Dir, s.temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
		if err == unix.EEXIST && o.Temp == "" {
			continue
		}
		if err != nil {
			return nil, &fs.PathError{Op: "create", Path: name, Err: err} // the same for each try, and the name that people know
		}
		if err := errors.Join(fill(fd, data, o), unix.Close(fd)); err != nil {
			s.Drop()
			return nil, &fs.PathError{Op: "write", Path: name, Err: err}
		}
		return s, nil
	}
}

// fill writes the content, the owner and the mode of an open file.
func fill(fd int, data []byte, o Options) error {
	for len(data) > 0 {
		n, err := IgnoringEINTR(func() (int, error) { return unix.Write(fd, data) })
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		data = data[n:]
	}
	if o.Owner != nil {
		// Only root may give files away. Another user's file becomes the writer's own.
		if err := unix.Fchown(fd, o.Owner.UID, o.Owner.GID); err != nil && os.Geteuid() == 0 {
			return err
		}
	}
	if o.Mode != 0 || o.Exact {
		if err := unix.Fchmod(fd, bits(o.Mode)); err != nil {
			return err
		}
	}
	if o.Sync {
		return unix.Fsync(fd)
	}
	return nil
}

// bits returns the permissions of a mode as chmod(2) takes them.
func bits(mode fs.FileMode) uint32 {
	b := uint32(mode.Perm())
	if mode&fs.ModeSetuid != 0 {
		b |= unix.S_ISUID
	}
	if mode&fs.ModeSetgid != 0 {
		b |= unix.S_ISGID
	}
	if mode&fs.ModeSticky != 0 {
		b |= unix.S_ISVTX
	}
	return b
}

// Commit puts the file in place.
func (s *Staged) Commit() error {
	if err := s.o.step("rename to " + s.name); err != nil {
		return err
	}
	if s.o.New { // a hard link replaces nothing
		if err := unix.Linkat(s.o.Dir, s.temp, s.o.Dir, s.name, 0); err != nil {
			return &os.LinkError{Op: "link", Old: s.temp, New: s.name, Err: err}
		}
		s.Drop()
		s.temp = ""
		return nil
	}
	if err := unix.Renameat(s.o.Dir, s.temp, s.o.Dir, s.name); err != nil {
		return &os.LinkError{Op: "rename", Old: s.temp, New: s.name, Err: err}
	}
	s.temp = ""
	return nil
}

// Drop removes the file, unless it was put in place.
func (s *Staged) Drop() {
	if s.temp != "" {
		_ = unix.Unlinkat(s.o.Dir, s.temp, 0)
	}
}

func (o Options) step(what string) error {
	if o.Step == nil {
		return nil
	}
	return o.Step(what)
}

// SyncDir waits until the names in a directory are on the disk: new names, and the result of renames.
func SyncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func openat(dir int, name string, flags int, mode uint32) (int, error) {
	return IgnoringEINTR(func() (int, error) { return unix.Openat(dir, name, flags|unix.O_CLOEXEC, mode) })
}

// IgnoringEINTR calls f until its error is another one than EINTR. A Go program gets signals by which system calls fail so:
// the runtime interrupts threads by SIGURG.
func IgnoringEINTR(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}
