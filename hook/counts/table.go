package counts

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// The file has a table of slots, in the byte order of the machine, and then a key for each of them. The first slot is the
// header: magic, and the number of counts that found no slot. Every other one is a counter: the hash of its key, which is 0
// for a free slot, and its number. A key is text, and zeros after it.
//
// A slot is taken by a compare-and-swap of its hash. Then its key is written, then the hash is marked, then the number is
// raised. Whoever finds the hash of his own key without the mark comes after somebody who was killed, or who is just writing
// the key, and writes the same key himself. So nobody waits for anybody, and no counter is lost.
//
// Only the slots are mapped, because the first access to each part of a mapping costs more than all the rest. The kernel
// maps 64 KiB by one such fault (Documentation/admin-guide/mm, fault_around_bytes).
const (
	slots     = 1024
	slotSize  = 16
	tableSize = slots * slotSize
	keySize   = 304
	size      = tableSize + slots*keySize // of the file, in bytes

	longestKey = keySize - 1
	magic      = 0x3173746e756f6361 // "acounts1" in little-endian order
	mark       = 1                  // the bit of a slot's hash that says that its key is written
)

// region is a range of slots. Names from the policy file have one of their own, so that they cannot take all.
type region struct{ first, end int }

var (
	closed = region{1, slots / 2}
	opened = region{slots / 2, slots}
)

// ErrForeign is the error for a file in the place of the counters that is none of ours.
var ErrForeign = errors.New("it is no file of counters, or somebody has cut it")

// mapping is an open file of counters, with its slots in memory.
type mapping struct {
	fd       int
	writable bool
	slots    []byte
	st       unix.Stat_t
}

// mapping returns the file that has the table's path now. If write is set, it makes one if that is missing or none of ours.
// It keeps what it has mapped: to take memory away from a process interrupts all its processors.
func (t *Table) mapping(write bool) (*mapping, error) {
	var st unix.Stat_t
	if m := t.mapped; m != nil {
		if (m.writable || !write) && unix.Lstat(t.path, &st) == nil && st.Dev == m.st.Dev && st.Ino == m.st.Ino && st.Size == size && st.Mode == m.st.Mode &&
			m.isOurs() {
			return m, nil
		}
		m.close()
		t.mapped = nil
	}
	m, err := open(t.path, true)
	switch {
	case write && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrForeign)):
		if err = create(t.path); err == nil {
			m, err = open(t.path, true)
		}
	case !write && (errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES)):
		m, err = open(t.path, false)
	}
	if err == nil {
		t.mapped = m
	}
	return m, err
}

// open maps a file of counters, to write or only to read.
func open(path string, write bool) (*mapping, error) {
	mode := unix.O_RDONLY
	if write {
		mode = unix.O_RDWR
	}
	fd, err := safefile.IgnoringEINTR(func() (int, error) {
		return unix.Open(path, mode|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	})
	if err == unix.ELOOP || err == unix.EISDIR || err == unix.ENXIO {
		return nil, fmt.Errorf("%s: %w", path, ErrForeign)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	m := &mapping{fd: fd, writable: write}
	if err := m.check(path); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *mapping) check(path string) error {
	if err := unix.Fstat(m.fd, &m.st); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if m.st.Mode&unix.S_IFMT != unix.S_IFREG || m.st.Size != size || safefile.Trusted(path, m.st.Uid, m.st.Mode) != nil {
		return fmt.Errorf("%s: %w", path, ErrForeign)
	}
	prot := unix.PROT_READ
	if m.writable {
		prot |= unix.PROT_WRITE
	}
	var err error
	if m.slots, err = unix.Mmap(m.fd, 0, tableSize, prot, unix.MAP_SHARED); err != nil {
		return &fs.PathError{Op: "map", Path: path, Err: err}
	}
	if !m.isOurs() {
		return fmt.Errorf("%s: %w", path, ErrForeign)
	}
	return nil
}

// isOurs reports whether the mapping begins with magic. It is the first access to it, and it is to read: only then does the
// kernel map more than the one page.
func (m *mapping) isOurs() (ours bool) {
	return m.guarded(func() { ours = m.word(0).Load() == magic }) && ours
}

func (m *mapping) close() {
	if m.slots != nil {
		_ = unix.Munmap(m.slots)
	}
	unix.Close(m.fd)
}

// create makes a file of counters. It is written whole before it has a name, so that its memory is there: to touch memory
// that a full disk cannot give would end the program. If another process makes it first, create leaves that one.
func create(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := room(dir); err != nil {
		return &fs.PathError{Op: "create", Path: path, Err: err}
	}
	fd, err := safefile.IgnoringEINTR(func() (int, error) { return unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600) })
	if err != nil {
		return &fs.PathError{Op: "create", Path: path, Err: err}
	}
	defer unix.Close(fd)
	data := make([]byte, size)
	binary.NativeEndian.PutUint64(data, magic)
	n, err := safefile.IgnoringEINTR(func() (int, error) { return unix.Pwrite(fd, data, 0) })
	if err == nil && n < size {
		err = unix.ENOSPC
	}
	if err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	name := func() error {
		return unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	}
	if err = name(); err == unix.EEXIST {
		m, there := open(path, true)
		if there == nil {
			m.close()
			return nil
		}
		if !errors.Is(there, ErrForeign) {
			return there
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err = name(); err == unix.EEXIST {
			return nil
		}
	}
	if err != nil {
		return &fs.PathError{Op: "link", Path: path, Err: err}
	}
	return nil
}

// room returns an error if a file system has not several times the room for the file: to fill it, if only until the write
// fails, could keep another process from writing a container's record.
func room(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return err
	}
	if st.Blocks > 0 && st.Bavail*uint64(st.Bsize) < 4*size { // a tmpfs without a limit has no blocks
		return unix.ENOSPC
	}
	return nil
}

// guarded calls f, which touches the mapping. It returns false if the memory is gone, because somebody has cut the file
// since it was mapped: without this, that would end the program by a signal.
func (m *mapping) guarded(f func()) (ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if fault := recover(); fault != nil {
			if _, is := fault.(interface{ Addr() uintptr }); !is {
				panic(fault) // a mistake of ours
			}
			ok = false
		}
	}()
	f()
	return true
}

// Make makes the file if it is missing or none of ours.
func (t *Table) Make() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.mapping(true)
	return err
}

// Tell lets those know who watch the file that something was counted that they want to hear of at once: the file's times change, which
// inotify(7) tells as IN_ATTRIB. What is added to mapped memory changes none.
func (t *Table) Tell() {
	if t != nil {
		_ = unix.UtimesNanoAt(unix.AT_FDCWD, t.path, nil, unix.AT_SYMLINK_NOFOLLOW) // who watches reads the counters at the next change
	}
}

// Path returns the path of the file.
func (t *Table) Path() string { return t.path }

// word returns eight bytes of the slots, at an offset that is a multiple of eight.
func (m *mapping) word(at int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&m.slots[at : at+8][0]))
}

func (m *mapping) hash(slot int) *atomic.Uint64   { return m.word(slot * slotSize) }
func (m *mapping) number(slot int) *atomic.Uint64 { return m.word(slot*slotSize + 8) }

// lost is the number of counts that found no slot.
func (m *mapping) lost() *atomic.Uint64 { return m.number(0) }

// tryAdd adds to the counter of a key. It returns false if the key is too long, or if it has no slot and none is free.
func (m *mapping) tryAdd(r region, key []byte, by uint64) bool {
	if len(key) > longestKey {
		return false
	}
	hash, n := hashOf(key), r.end-r.first
	for i := range n {
		slot := r.first + int((hash>>1+uint64(i))%uint64(n))
		word := m.hash(slot)
		has := word.Load()
		if has == 0 {
			word.CompareAndSwap(0, hash)
			has = word.Load()
		}
		if has == hash && m.writeKey(slot, key) == nil {
			word.Store(hash | mark)
		}
		if has|mark == hash|mark {
			m.number(slot).Add(by)
			return true
		}
	}
	return false
}

// writeKey writes the key of a slot. Its place is on the disk already.
func (m *mapping) writeKey(slot int, key []byte) error {
	n, err := safefile.IgnoringEINTR(func() (int, error) { return unix.Pwrite(m.fd, key, int64(tableSize+slot*keySize)) })
	if err == nil && n < len(key) {
		err = unix.EIO
	}
	return err
}

// hashOf returns the 64-bit FNV-1a hash of a key without the bit of the mark. It is never 0.
func hashOf(key []byte) uint64 {
	hash := uint64(14695981039346656037)
	for _, c := range key {
		hash = (hash ^ uint64(c)) * 1099511628211
	}
	return max(hash&^mark, 2)
}
