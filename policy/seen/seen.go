// Package seen remembers of files that they were read and what they were found to be, so that a file need not be read again
// as long as it stays unchanged. A file is unchanged if stat(2) returns the same of it (safefile.Stamp). It is remembered
// only if it was not changed shortly before it was read: a change right after the reading could have the same time.
//
// The package is for files that only this program and root write. What others write is read each time.
package seen

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// Files has the files that are remembered. Its methods may be called concurrently, and on nil, which remembers none.
type Files struct {
	mu     sync.Mutex
	before map[string]file // by path
	now    map[string]file // what Add and Unchanged were called for
}

type file struct {
	stamp safefile.Stamp
	as    string
}

// scheme begins what Bytes returns. Its number is raised when the format changes, and Parse reads no other number.
const scheme = "oci-apparmor seen 1 "

// Parse returns the files that Bytes has written. It returns Files without any if data was cut short or changed.
func Parse(data []byte) *Files {
	f := &Files{before: make(map[string]file), now: make(map[string]file)}
	head, body, _ := bytes.Cut(data, []byte("\n"))
	if string(head) != heading(body) {
		return f
	}
	for line := range strings.Lines(string(body)) {
		if path, one, ok := parseLine(strings.TrimSuffix(line, "\n")); ok {
			f.before[path] = one
		}
	}
	return f
}

func heading(body []byte) string {
	sum := sha256.Sum256(body)
	return scheme + hex.EncodeToString(sum[:])
}

// Bytes returns the files for which Add or Unchanged was called. changed reports whether they are others than those that
// Parse has read.
func (f *Files) Bytes() (data []byte, changed bool) {
	if f == nil {
		return nil, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var body []byte
	for _, path := range slices.Sorted(maps.Keys(f.now)) {
		body = appendLine(body, path, f.now[path])
	}
	return append([]byte(heading(body)+"\n"), body...), !maps.Equal(f.before, f.now)
}

// Add remembers that the file at path was read, and is what as says. st is the stamp that the file had before it was read, and
// at the time of that. A file that is not settled is not remembered.
func (f *Files) Add(path string, st safefile.Stamp, at time.Time, as string) {
	if f == nil || !st.Settled(at) || strings.ContainsAny(path+as, "\t\n") {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now[path] = file{st, as}
}

// Unchanged returns what the file at path was found to be when it was read. ok is false if it has not been read, or has
// changed since. Unchanged does not follow a link at path.
func (f *Files) Unchanged(path string) (as string, ok bool) {
	if f == nil {
		return "", false
	}
	one, ok := f.before[path]
	if !ok {
		return "", false
	}
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil || safefile.StampOf(&st) != one.stamp {
		return "", false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now[path] = one
	return one.as, true
}

// appendLine appends the line of a file: its path, the numbers of its stamp, and what it is, with tabs between them.
func appendLine(b []byte, path string, one file) []byte {
	b = append(b, path...)
	for _, n := range numbers(&one.stamp) {
		b = strconv.AppendInt(append(b, '\t'), n, 10)
	}
	return append(append(append(b, '\t'), one.as...), '\n')
}

func numbers(s *safefile.Stamp) [8]int64 {
	return [8]int64{int64(s.Dev), int64(s.Ino), int64(s.Mode), int64(s.UID), int64(s.GID), s.Size, s.Mtime, s.Ctime}
}

func parseLine(line string) (path string, one file, ok bool) {
	path, rest, _ := strings.Cut(line, "\t")
	var n [8]int64
	for i := range n {
		digits, left, found := strings.Cut(rest, "\t")
		var err error
		if n[i], err = strconv.ParseInt(digits, 10, 64); err != nil || !found {
			return "", one, false
		}
		rest = left
	}
	one.stamp = safefile.Stamp{
		Dev: uint64(n[0]), Ino: uint64(n[1]), Mode: uint32(n[2]), UID: uint32(n[3]), GID: uint32(n[4]),
		Size: n[5], Mtime: n[6], Ctime: n[7],
	}
	one.as = rest
	return path, one, true
}
