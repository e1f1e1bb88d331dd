// Package watch waits for changes of files, by inotify(7). It sees what becomes of a path through all links and directories
// that lead there, so that a file may be replaced, removed and made again, and a link may be swapped for another one.
//
// github.com/fsnotify/fsnotify watches a path as it leads now. What is needed here is the other half: which directories make
// up that a path leads where it does, again after each change. It tells each event, with its name, to a goroutine, and keeps
// a string for each watch; here a thousand events are one.
package watch

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// What is told of a directory: of all in it, and of names that only lead on.
const (
	names = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF |
		unix.IN_ONLYDIR
	contents = names | unix.IN_CLOSE_WRITE | unix.IN_MODIFY | unix.IN_ATTRIB
)

// maxLinks is how many links a path may lead through, as for the kernel.
const maxLinks = 40

// maxEntries is how many links in one directory are followed.
const maxEntries = 100_000

// Watch watches paths.
type Watch struct {
	events *os.File
	fd     int // of events, which stays open as long

	mu  sync.Mutex
	of  map[int32]*place // by the kernel's watch descriptors
	buf [16 << 10]byte
}

// place is a directory in which names count.
type place struct {
	names map[string]bool
	all   bool
	mask  uint32
}

// New returns a Watch of nothing.
func New() (*Watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	return &Watch{events: os.NewFile(uintptr(fd), "inotify"), fd: fd, of: make(map[int32]*place)}, nil
}

// Close ends the watch, and a Wait.
func (w *Watch) Close() error { return w.events.Close() }

// Set watches these paths, which are absolute, and nothing else. Of a directory it also watches what is directly in it, and
// where links in it lead. A path need not exist. more reports that a directory is watched now that was not before: what
// changed in it before this call may have been missed.
func (w *Watch) Set(paths ...string) (more bool, err error) {
	places := make(map[string]*place)
	for _, p := range paths {
		follow(places, p)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.of
	w.of = make(map[int32]*place, len(places))
	var errs []error
	for dir, p := range places {
		wd, err := unix.InotifyAddWatch(w.fd, dir, p.mask)
		switch {
		case err == unix.ENOENT || err == unix.ENOTDIR: // removed just now
			more = true
			continue
		case err == unix.ENOSPC:
			err = fmt.Errorf("more directories cannot be watched (sysctl fs.inotify.max_user_watches): %w", err)
			fallthrough
		case err != nil:
			errs = append(errs, &os.PathError{Op: "watch", Path: dir, Err: err})
			continue
		}
		at := int32(wd)
		if before[at] == nil && w.of[at] == nil {
			more = true
		}
		if other := w.of[at]; other != nil { // the same directory by another path
			other.join(p)
			_, _ = unix.InotifyAddWatch(w.fd, dir, other.mask)
			continue
		}
		w.of[at] = p
	}
	for wd := range before {
		if w.of[wd] == nil {
			_, _ = unix.InotifyRmWatch(w.fd, uint32(wd)) // it fails if the directory is gone
		}
	}
	return more, errors.Join(errs...)
}

// SetFile watches one file that is there, and nothing else: its attributes, such as its times, and that it is removed. Nothing that happens
// beside it is told, so it suits a file in a directory where much happens. A link is watched itself.
func (w *Watch) SetFile(path string) error {
	const what = unix.IN_ATTRIB | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_DONT_FOLLOW
	w.mu.Lock()
	defer w.mu.Unlock()
	wd, err := unix.InotifyAddWatch(w.fd, path, what)
	if err != nil {
		return &os.PathError{Op: "watch", Path: path, Err: err}
	}
	for before := range w.of {
		if before != int32(wd) {
			_, _ = unix.InotifyRmWatch(w.fd, uint32(before))
		}
	}
	w.of = map[int32]*place{int32(wd): {all: true}}
	return nil
}

func (p *place) join(other *place) {
	p.all = p.all || other.all
	p.mask |= other.mask
	for name := range other.names {
		p.names[name] = true
	}
}

// add adds a name in a directory, or all names for an empty one.
func add(places map[string]*place, dir, name string, mask uint32) {
	p := places[dir]
	if p == nil {
		p = &place{names: make(map[string]bool)}
		places[dir] = p
	}
	p.mask |= mask
	if name == "" {
		p.all = true
	} else {
		p.names[name] = true
	}
}

// follow adds the places that decide what is at a path.
func follow(places map[string]*place, path string) {
	dir := lead(places, path)
	if dir == "" {
		return
	}
	add(places, dir, "", contents)
	d, err := os.Open(dir)
	if err != nil {
		return // whoever reads it says so
	}
	defer d.Close()
	entries, _ := d.ReadDir(maxEntries)
	for _, e := range entries {
		if e.Type()&os.ModeSymlink != 0 {
			lead(places, filepath.Join(dir, e.Name()))
		}
	}
}

// lead adds the places on the way to a path. It returns where that leads if it is a directory.
func lead(places map[string]*place, path string) (dir string) {
	at, rest, links := "/", strings.Split(path, "/"), 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		var st unix.Stat_t
		err := unix.Lstat(next, &st)
		if err != nil {
			add(places, at, name, names)
			return ""
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			add(places, at, name, names)
			target, err := os.Readlink(next)
			if links++; err != nil || links > maxLinks {
				return ""
			}
			if filepath.IsAbs(target) {
				at = "/"
			}
			rest = append(strings.Split(target, "/"), rest...)
		case unix.S_IFDIR:
			add(places, at, name, names)
			at = next
		default:
			add(places, at, name, contents)
			return ""
		}
	}
	return at
}

// Wait returns when something has changed since the last Wait, or with context.Cause(ctx) when ctx ends. Any other error
// means that nothing can be watched any more.
func (w *Watch) Wait(ctx context.Context) error {
	if err := w.events.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = w.events.SetReadDeadline(time.Now()) })
	defer stop()
	for {
		n, err := w.events.Read(w.buf[:])
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		if w.counts(w.buf[:n]) {
			return nil
		}
	}
}

// counts reports whether one of the events is about a name that is watched.
func (w *Watch) counts(events []byte) (counts bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(events) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(events))
		mask := binary.NativeEndian.Uint32(events[4:])
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		name, _, _ := bytes.Cut(events[unix.SizeofInotifyEvent:size], []byte{0})
		events = events[size:]
		if mask&unix.IN_Q_OVERFLOW != 0 {
			counts = true
			continue
		}
		p := w.of[wd]
		if p == nil { // not watched any more
			continue
		}
		if mask&unix.IN_IGNORED != 0 { // it is gone, and so is the watch
			delete(w.of, wd)
		}
		if len(name) == 0 || p.all || p.names[string(name)] {
			counts = true
		}
	}
	return counts
}
