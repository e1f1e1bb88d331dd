package hook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// recordPath returns the path of a container's record, in Host.Containers. Its name is a hash, because a workload may choose
// its id, and one id may be in use under several roots.
func (h *Host) recordPath(c Caller, id string) string {
	sum := sha256.Sum256([]byte(c.Root + "\x00" + id))
	return filepath.Join(h.Containers, hex.EncodeToString(sum[:16])+".json")
}

// recordPaths returns the paths of all records.
func (h *Host) recordPaths() ([]string, error) {
	return filepath.Glob(filepath.Join(h.Containers, "*.json"))
}

// readRecord reads a record into a buffer, or into a larger one if the record needs that. Its errors name the file, and wrap
// fs.ErrNotExist if there is none.
func readRecord(path string, buf []byte) (*Record, error) {
	data, err := safefile.ReadSmall(path, buf)
	r := new(Record)
	if err == nil {
		err = r.parse(data, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// recordSize is what a record's buffer should hold, in bytes. A label of ten profiles needs 4 KiB.
const recordSize = 16 << 10

// Recall returns a container's record. The error wraps fs.ErrNotExist if Prepare wrote none.
func (h *Host) Recall(c Caller, id string) (*Record, error) {
	return readRecord(h.recordPath(c, id), make([]byte, recordSize))
}

// Records returns the records of all containers, in no order. Some of the containers may be gone and not yet swept. Records
// leaves out a record that it cannot read, and names that one in the error.
func (h *Host) Records() ([]*Record, error) {
	paths, err := h.recordPaths()
	if err != nil {
		return nil, err
	}
	read, errs := make([]*Record, len(paths)), make([]error, len(paths))
	var next atomic.Int64
	var readers sync.WaitGroup
	for range min(len(paths), runtime.GOMAXPROCS(0)) {
		readers.Go(func() {
			buf := make([]byte, recordSize)
			for i := int(next.Add(1)) - 1; i < len(paths); i = int(next.Add(1)) - 1 {
				read[i], errs[i] = readRecord(paths[i], buf)
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
		case !errors.Is(err, fs.ErrNotExist): // else it was removed meanwhile
			faults = append(faults, err)
		}
	}
	return records, errors.Join(faults...)
}

// lockRecords stops other processes from writing records until unlock is called. That takes a few microseconds.
func (h *Host) lockRecords() (unlock func(), err error) {
	return safefile.Lock(context.Background(), safefile.Cwd, filepath.Join(h.Containers, "lock"), 0)
}

// Hold makes every Prepare wait before it writes the container's record, and so before the spec names a profile. They wait
// until release is called. Because containers then do not start, a caller checks first whether it needs this.
func (h *Host) Hold() (release func(), err error) {
	if err = os.MkdirAll(h.Containers, 0o700); err == nil {
		release, err = h.lockRecords()
	}
	if err != nil {
		return nil, fmt.Errorf("stopping starts: %w", err)
	}
	return release, nil
}

// remember writes the record of a container that is about to be created, unless another one of its id is being created: of
// two that are created at once, the runtime lets one live, and the record must be that one's.
func (h *Host) remember(c Caller, r *Record) error {
	if err := os.MkdirAll(h.Containers, 0o700); err != nil {
		return fmt.Errorf("remembering the container: %w", err)
	}
	unlock, err := h.lockRecords()
	if err != nil {
		return fmt.Errorf("remembering the container: %w", err)
	}
	defer unlock()
	if err := notThere(c, r.ID); err != nil {
		return err
	}
	if other, err := h.Recall(c, r.ID); err == nil {
		if other.Creating() && other.PID != r.PID {
			return Because(notice.Exists, fmt.Errorf("another container of that id is being created at this moment, by process %d",
				other.PID))
		}
		h.bury(h.recordPath(c, r.ID), Ended{Record: *other})
	}
	return h.write(c, r)
}

// rewrite writes the record of a container anew that remember has written.
func (h *Host) rewrite(c Caller, r *Record) error {
	unlock, err := h.lockRecords()
	if err != nil {
		return fmt.Errorf("remembering the container: %w", err)
	}
	defer unlock()
	return h.write(c, r)
}

// write writes a record. The caller holds lockRecords.
func (h *Host) write(c Caller, r *Record) error {
	if err := safefile.Replace(h.recordPath(c, r.ID), r.marshal(), safefile.Options{}); err != nil {
		return fmt.Errorf("remembering the container: %w", err)
	}
	return nil
}

// Forget takes away the record of a container that the runtime is about to delete or has deleted, and keeps it among those
// of Ended. ran are processes that ran in the container, as far as the caller knows any; else Forget takes the first one
// from the runtime's state.
//
// The record stays while the container's process is alive, because the runtime may fail to delete the container, and
// processes may start in it. Sweep takes away such a record later. The record also stays if another process is creating a
// new container of the same id.
func (h *Host) Forget(c Caller, id string, ran ...Ran) {
	h.forget(c, id, ran, func(r *Record) bool { return r.Creating() && r.PID != os.Getpid() })
}

// Drop is Forget for a container that its engine has given up. No container of its id can be in creation then, although the
// process that created it may be alive: a shim serves all containers of a pod.
func (h *Host) Drop(c Caller, id string) { h.forget(c, id, nil, func(*Record) bool { return false }) }

func (h *Host) forget(c Caller, id string, ran []Ran, spare func(*Record) bool) {
	path := h.recordPath(c, id)
	r, err := readRecord(path, make([]byte, recordSize))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var last Ended
	if err == nil {
		last = r.last()
	}
	if h.take(c, id, last, ran, spare) {
		h.thin(time.Now())
		h.unrecord(&last.Record)
	}
}

// take is forget for a container of which the last is known. It reports whether the record is gone.
func (h *Host) take(c Caller, id string, last Ended, ran []Ran, spare func(*Record) bool) bool {
	unlock, err := h.lockRecords()
	if err != nil {
		return false
	}
	defer unlock()
	r, readErr := h.Recall(c, id)
	if readErr == nil && spare(r) {
		return false
	}
	if readErr == nil && !last.Created.Equal(r.Created) { // a new one of that id came and went
		last = Ended{Record: *r}
	}
	pid, there := InitOf(c.Root, id)
	if there && (pid < 0 || processAlive(pid, "")) {
		if readErr == nil && pid > 0 { // who takes the record away later finds no runtime's state
			last.Init = pid
			_ = safefile.Replace(h.recordPath(c, id), last.Record.marshal(), safefile.Options{})
		}
		return false
	}
	if readErr != nil {
		os.Remove(h.recordPath(c, id))
		return true
	}
	if last.Processes = ran; len(ran) == 0 && pid > 0 {
		last.Processes = []Ran{{PID: pid}}
	}
	h.bury(h.recordPath(c, id), last)
	return true
}

// Sweep takes away the records of containers below c.Root that their runtime no longer knows, and keeps them among those of
// Ended. It takes none if the root itself cannot be seen from here.
func (h *Host) Sweep(c Caller) {
	if info, err := os.Stat(c.Root); err != nil || !info.IsDir() {
		return
	}
	paths, _ := h.recordPaths()
	buf := make([]byte, recordSize)
	gone := func(path string) *Record {
		r, err := readRecord(path, buf)
		if err != nil || r.Root != c.Root || r.Creating() || isThere(r.Root, r.ID) {
			return nil
		}
		return r
	}
	for _, path := range paths {
		r := gone(path)
		if r == nil {
			continue
		}
		last := r.last()
		unlock, err := h.lockRecords()
		if err != nil {
			return
		}
		if r := gone(path); r != nil && r.Created.Equal(last.Created) { // still, and not the record of a new container of that id
			h.bury(path, last)
		}
		unlock()
		h.unrecord(&last.Record)
	}
}

// Creating reports whether the process that creates the container is still running.
func (r *Record) Creating() bool { return processAlive(r.PID, r.Started) }
