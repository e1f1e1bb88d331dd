package hook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Records gives what is remembered of every container, in no order: also of such as are gone and not yet swept. One
// that cannot be read is left out and told of in the error.
func (h *Host) Records() ([]*Record, error) {
	paths, err := filepath.Glob(filepath.Join(h.Containers, "*.json"))
	if err != nil {
		return nil, err
	}
	read, errs := make([]*Record, len(paths)), make([]error, len(paths))
	var next atomic.Int64
	var readers sync.WaitGroup
	for range min(len(paths), runtime.GOMAXPROCS(0)) {
		readers.Go(func() {
			buf := make([]byte, 16<<10)
			for i := int(next.Add(1)) - 1; i < len(paths); i = int(next.Add(1)) - 1 {
				read[i], errs[i] = readRecordInto(paths[i], buf)
			}
		})
	}
	readers.Wait()
	records := make([]*Record, 0, len(paths))
	var faults []error
	for i, err := range errs {
		switch {
		case err == nil:
			records = append(records, read[i])
		case !errors.Is(err, fs.ErrNotExist): // that one was forgotten meanwhile
			faults = append(faults, fmt.Errorf("%s: %w", paths[i], err))
		}
	}
	return records, errors.Join(faults...)
}

// readRecordInto reads a record by way of a buffer.
func readRecordInto(path string, buf []byte) (*Record, error) {
	data, err := readSmall(path, buf)
	if err != nil {
		return nil, err
	}
	r := new(Record)
	return r, r.parse(data)
}

// Creating tells whether the process that creates the container is still at it.
func (r *Record) Creating() bool { return r.creating() }

// InitOf gives the pid of the init process of the container that a runtime keeps below root: -1 where the container is
// there and its pid cannot be told.
func InitOf(root, id string) (pid int, there bool) {
	var buf [1024]byte // the pid stands near the beginning of many kilobytes
	for _, name := range []string{"state.json", "status"} {
		if n, err := readStart(root+"/"+id+"/"+name, buf[:]); err == nil {
			if pid = pidIn(buf[:n]); pid >= 0 {
				return pid, true
			}
			break
		}
	}
	return initOf(Wiring{Root: root}, id)
}

// readSmall reads a file that is likely to fit buf, with few system calls: status reads hundreds.
func readSmall(path string, buf []byte) ([]byte, error) {
	n, err := readStart(path, buf)
	if err == nil && n == len(buf) {
		return os.ReadFile(path)
	}
	return buf[:n], err
}

// readStart reads a file as far as it fits buf.
func readStart(path string, buf []byte) (n int, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	for n < len(buf) {
		m, err := unix.Read(fd, buf[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, err
		}
		want := len(buf) - n
		if n += m; m < want { // of a regular file that is its end
			break
		}
	}
	return n, nil
}
