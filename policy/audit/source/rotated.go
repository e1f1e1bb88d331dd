package source

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/audit"
)

// A rotated log is the path of one that is renamed when it is large: audit.log.1 by auditd, audit.log.2.gz or
// audit.log-20261130.zst by logrotate.
type rotated string

// An inode tells files apart, whatever their names are. A file system gives the number of a file that was removed to a new
// one, but not its time.
type inode struct {
	major, minor uint32
	ino          uint64
	born         unix.StatxTimestamp // zero if the file system does not know it
}

// inodeOf returns the inode of a file by its path, or of the open one dir with an empty path, and when it was written to last.
func inodeOf(dir int, path string) (i inode, changed time.Time, err error) {
	var st unix.Statx_t
	err = unix.Statx(dir, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_MTIME|unix.STATX_BTIME, &st)
	if err != nil {
		return i, changed, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	i = inode{major: st.Dev_major, minor: st.Dev_minor, ino: st.Ino}
	if st.Mask&unix.STATX_BTIME != 0 {
		i.born = st.Btime
	}
	return i, time.Unix(st.Mtime.Sec, int64(st.Mtime.Nsec)), nil
}

// inodeOfOpen returns the inode of an open file.
func inodeOfOpen(f *os.File) (i inode, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return i, err
	}
	other := raw.Control(func(fd uintptr) { i, _, err = inodeOf(int(fd), "") })
	return i, errors.Join(err, other)
}

// A logFile is one file of a rotated log.
type logFile struct {
	path string
	inode
	changed time.Time // when it was written to last
	number  int       // 0 for the file that is written to, and for dates
	packed  bool
	live    bool
}

// packedSuffixes are the ends of names of files that are compressed.
var packedSuffixes = []string{".gz", ".zst", ".bz2", ".xz"}

// files returns the files of the log, the oldest first.
func (r rotated) files() (files []logFile, err error) {
	dir, base := filepath.Split(string(r))
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range names {
		f, ok := r.named(base, entry.Name())
		if !ok {
			continue
		}
		f.path = dir + entry.Name()
		if f.inode, f.changed, err = inodeOf(unix.AT_FDCWD, f.path); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b logFile) int {
		switch {
		case a.live != b.live:
			return compareBool(a.live, b.live)
		case !a.changed.Equal(b.changed):
			return a.changed.Compare(b.changed)
		}
		return cmp.Or(cmp.Compare(b.number, a.number), cmp.Compare(a.path, b.path))
	})
	return files, nil
}

// compareBool sorts false first.
func compareBool(a, b bool) int {
	if a == b {
		return 0
	}
	if b {
		return -1
	}
	return 1
}

// named reports whether a name is that of a file of the log.
func (r rotated) named(base, name string) (f logFile, ok bool) {
	if name == base {
		return logFile{live: true}, true
	}
	rest, ok := strings.CutPrefix(name, base)
	if !ok {
		return f, false
	}
	for _, suffix := range packedSuffixes {
		if cut, is := strings.CutSuffix(rest, suffix); is {
			rest, f.packed = cut, true
		}
	}
	if len(rest) < 2 || rest[0] != '.' && rest[0] != '-' || strings.Trim(rest[1:], "0123456789-") != "" {
		return f, false
	}
	if rest[0] == '.' {
		f.number, _ = strconv.Atoi(rest[1:])
	}
	return f, true
}

// moved reports whether an open file is not the one any more that is written to.
func (r rotated) moved(f *os.File) bool {
	open, err1 := f.Stat()
	there, err2 := os.Lstat(string(r))
	return err1 == nil && (err2 != nil || !os.SameFile(open, there))
}

const (
	seekStep  = 64 << 10         // what is less is read, not searched
	seekSlack = 10 * time.Second // records of several processors are not quite in order
)

// seek goes to a line of an auditd's log before which all records are of before a time, and returns where it is.
func seek(f *os.File, size int64, since time.Time) (at int64, err error) {
	if since.IsZero() {
		return 0, nil
	}
	since = since.Add(-seekSlack)
	buf := make([]byte, seekStep/2)
	low, high := int64(0), size // at low begins a line before which all are too old
	for high-low > seekStep {
		middle := low + (high-low)/2
		n, err := f.ReadAt(buf, middle)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		line, when, ok := firstStamp(buf[:n])
		if !ok || !when.Before(since) {
			high = middle
			continue
		}
		low = middle + int64(line)
	}
	_, err = f.Seek(low, io.SeekStart)
	return low, err
}

// firstStamp returns where the first line begins whose begin can be seen, and the time of its record.
func firstStamp(b []byte) (line int, at time.Time, ok bool) {
	for line = bytes.IndexByte(b, '\n') + 1; line > 0 && line < len(b); {
		end := bytes.IndexByte(b[line:], '\n') + 1
		if end == 0 {
			break
		}
		if i := bytes.Index(b[line:line+end], []byte("msg=audit(")); i >= 0 {
			if at, _, ok = audit.Stamp(b[line+i+len("msg="):]); ok {
				return line, at, true
			}
		}
		line += end
	}
	return 0, at, false
}
