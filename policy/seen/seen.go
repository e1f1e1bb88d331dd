// Package seen remembers of files that they were read and what they were found to be, so that a file need not be read again
// as long as it stays unchanged. A file is unchanged if stat(2) returns the same of it (safefile.Stamp). It is remembered
// only if it was not changed shortly before it was read: a change right after the reading could have the same time.
//
// The package is for files that only this program and root write. What others write is read each time. What a file was found
// to be counts only for the same program: another version may find out something else.
package seen

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// Files has the files that are remembered. Its methods may be called concurrently, and on nil, which remembers none.
type Files struct {
	program string

	mu     sync.Mutex
	before map[string]string // by path: the rest of the line that Parse has read
	now    map[string]string // those of the files that Add, Unchanged or Is was called for
}

// A Kind is what is remembered of a file. Each is for one caller: what one remembers of a file means nothing to another.
type Kind string

// The kinds, and what as has of a file (Files.Add).
const (
	Blob    Kind = "blob"    // of the store: nothing, because its name is the hash of its content
	Service Kind = "service" // for AppArmor's service, that attaches to no program: apparmord.As
	Text    Kind = "text"    // of a profile: profile.Digest
	Program Kind = "program" // apparmor_parser: its sha256, in hexadecimal
	Policy  Kind = "policy"  // of a policy's files: a hash of what all of them say (policyfile.Reader)
)

// scheme begins what Bytes returns. Its number is raised when the format changes, and Parse reads no other number.
const scheme = "oci-apparmor seen 2 "

// Parse returns the files that Bytes has written. It returns Files without any if data was cut short or changed, or was
// written by another program.
func Parse(data []byte) *Files { return parse(data, thisProgram()) }

// parse is Parse for a program that is recognized by a string. It is empty for one that is not recognized.
func parse(data []byte, program string) *Files {
	head, body, _ := strings.Cut(string(data), "\n")
	if program == "" || head != heading(program, body) {
		body = ""
	}
	n := strings.Count(body, "\n")
	f := &Files{program: program, before: make(map[string]string, n), now: make(map[string]string, n)}
	for line := range strings.Lines(body) {
		path, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		f.before[path] = rest
	}
	return f
}

// thisProgram returns the stamp of this program's file. No other program has the same one.
var thisProgram = sync.OnceValue(func() string {
	var st unix.Stat_t
	if unix.Stat("/proc/self/exe", &st) != nil {
		return ""
	}
	stamp := safefile.StampOf(&st)
	return string(stamped(Program, &stamp))
})

func heading(program, body string) string {
	sum := sha256.Sum256([]byte(program + "\n" + body))
	return scheme + hex.EncodeToString(sum[:])
}

// Changed reports whether the files for which Add, Unchanged or Is was called are others than those that Parse has read.
func (f *Files) Changed() bool {
	if f == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return !maps.Equal(f.before, f.now)
}

// Bytes returns the files for which Add, Unchanged or Is was called, as Parse reads them.
func (f *Files) Bytes() []byte {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var body strings.Builder
	size := 0
	for path, rest := range f.now {
		size += len(path) + len(rest) + len("\t\n")
	}
	body.Grow(size)
	for path, rest := range f.now {
		body.WriteString(path)
		body.WriteByte('\t')
		body.WriteString(rest)
		body.WriteByte('\n')
	}
	return []byte(heading(f.program, body.String()) + "\n" + body.String())
}

// Add remembers that the file at path was read, and is what as says. st is the stamp that the file had before it was read, and
// at the time of that. A file that is not settled is not remembered. If a file is added twice, the second time counts.
func (f *Files) Add(kind Kind, path string, st safefile.Stamp, at time.Time, as string) {
	if f == nil || !st.Settled(at) || strings.ContainsAny(path+as, "\t\n") {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now[path] = string(stamped(kind, &st)) + as
}

// Unchanged returns what the file at path was found to be when it was read. ok is false if it has not been read for this
// kind, or has changed since. Unchanged does not follow a link at path.
func (f *Files) Unchanged(kind Kind, path string) (as string, ok bool) {
	return f.Is(kind, path, func(st *unix.Stat_t) error { return unix.Lstat(path, st) })
}

// Is is Unchanged for a caller that looks at the file by itself: stat is lstat(2) of it, in another form.
func (f *Files) Is(kind Kind, path string, stat func(st *unix.Stat_t) error) (as string, ok bool) {
	if f == nil {
		return "", false
	}
	line, ok := f.before[path]
	if !ok {
		return "", false
	}
	var st unix.Stat_t
	if stat(&st) != nil {
		return "", false
	}
	stamp := safefile.StampOf(&st)
	as, ok = strings.CutPrefix(line, string(stamped(kind, &stamp)))
	if !ok {
		return "", false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now[path] = line
	return as, true
}

// stamped returns what a line has between a file's path and what the file is, with tabs between them: its kind, and the
// numbers of its stamp.
func stamped(kind Kind, s *safefile.Stamp) []byte {
	b := append(make([]byte, 0, 128), kind...)
	for _, n := range [...]int64{
		int64(s.Dev), int64(s.Ino), int64(s.Mode), int64(s.UID), int64(s.GID), s.Size, s.Mtime, s.Ctime,
	} {
		b = strconv.AppendInt(append(b, '\t'), n, 10)
	}
	return append(b, '\t')
}
