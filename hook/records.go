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

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// recordPath returns where a container's record is, below Host.Containers. It is named by a hash: ids are the workload's, and
// one id may be used under several roots.
func (h *Host) recordPath(w Caller, id string) string {
	sum := sha256.Sum256([]byte(w.Root + "\x00" + id))
	return filepath.Join(h.Containers, hex.EncodeToString(sum[:16])+".json")
}

// recordPaths returns where all records are.
func (h *Host) recordPaths() ([]string, error) {
	return filepath.Glob(filepath.Join(h.Containers, "*.json"))
}

// readRecord reads a record by way of a buffer, whatever its size. Its errors name the file; they wrap fs.ErrNotExist where
// there is none.
func readRecord(path string, buf []byte) (*Record, error) {
	data, err := safefile.ReadSmall(path, buf)
	r := new(Record)
	if err == nil {
		err = r.parse(data)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// recordSize is what a record's buffer should hold, in bytes. A label of ten profiles needs 4 KiB.
const recordSize = 16 << 10

// Recall returns what is remembered of a container. The error wraps fs.ErrNotExist for one that Prepare did not decide upon.
func (h *Host) Recall(w Caller, id string) (*Record, error) {
	return readRecord(h.recordPath(w, id), make([]byte, recordSize))
}

// Records returns what is remembered of every container, in no order: also of such as are gone and not yet swept. It leaves
// out what it cannot read, and names that in the error.
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
		case !errors.Is(err, fs.ErrNotExist): // that one was forgotten meanwhile
			faults = append(faults, err)
		}
	}
	return records, errors.Join(faults...)
}

// lockRecords keeps others from writing records, for the few microseconds that it takes to look and write.
func (h *Host) lockRecords() (unlock func(), err error) {
	return safefile.Lock(context.Background(), safefile.Cwd, filepath.Join(h.Containers, "lock"), 0)
}

// Hold stops every container that is about to be created by Prepare before it is remembered, and so before its spec names a
// profile, until release is called. Starts wait: who holds them looks first whether there is a reason to.
func (h *Host) Hold() (release func(), err error) {
	if err = os.MkdirAll(h.Containers, 0o700); err == nil {
		release, err = h.lockRecords()
	}
	if err != nil {
		return nil, fmt.Errorf("stopping starts: %w", err)
	}
	return release, nil
}

// remember writes the record of a container that is about to be created, where there is none of its id: of two that
// are created at once, the runtime lets one live, and it must be the one that is remembered.
func (h *Host) remember(w Caller, r *Record) error {
	if err := os.MkdirAll(h.Containers, 0o700); err != nil {
		return fmt.Errorf("remembering the container: %w", err)
	}
	unlock, err := h.lockRecords()
	if err != nil {
		return fmt.Errorf("remembering the container: %w", err)
	}
	defer unlock()
	if err := notThere(w, r.ID); err != nil {
		return err
	}
	if other, err := h.Recall(w, r.ID); err == nil && other.Creating() && other.PID != r.PID {
		return fmt.Errorf("another container of that id is being created at this moment, by process %d", other.PID)
	}
	if err := safefile.Replace(h.recordPath(w, r.ID), r.marshal(), safefile.Options{}); err != nil {
		return fmt.Errorf("remembering the container: %w", err)
	}
	return nil
}

// Forget drops what is remembered of a container that the runtime is about to delete. While its process is alive it
// is kept, since the runtime may fail to delete it, and processes may be started in it: Sweep sees to it later. It is
// kept also when it is another process that is creating the container: one of the same id, which has come after it.
func (h *Host) Forget(w Caller, id string) {
	h.forget(w, id, func(r *Record) bool { return r.Creating() && r.PID != os.Getpid() })
}

// Drop is Forget for a container that its engine has given up, so that none of its id can be in the making. What created
// it may live: a shim serves all of a pod's containers.
func (h *Host) Drop(w Caller, id string) { h.forget(w, id, func(*Record) bool { return false }) }

func (h *Host) forget(w Caller, id string, keep func(*Record) bool) {
	unlock, err := h.lockRecords()
	if err != nil {
		return
	}
	defer unlock()
	if r, err := h.Recall(w, id); err == nil && keep(r) {
		return
	}
	if pid, there := InitOf(w.Root, id); !there || pid >= 0 && !processAlive(pid, "") {
		os.Remove(h.recordPath(w, id))
	}
}

// Sweep forgets the containers below w.Root that their runtime no longer knows. A root that cannot be seen from here
// proves nothing.
func (h *Host) Sweep(w Caller) {
	if info, err := os.Stat(w.Root); err != nil || !info.IsDir() {
		return
	}
	paths, _ := h.recordPaths()
	buf := make([]byte, recordSize)
	gone := func(path string) bool {
		r, err := readRecord(path, buf)
		return err == nil && r.Root == w.Root && !r.Creating() && !isThere(r.Root, r.ID)
	}
	for _, path := range paths {
		if !gone(path) {
			continue
		}
		unlock, err := h.lockRecords()
		if err != nil {
			return
		}
		if gone(path) { // and not the record of a new container of that id, which has come since
			os.Remove(path)
		}
		unlock()
	}
}

// Creating reports whether the process that creates the container is still at it.
func (r *Record) Creating() bool { return processAlive(r.PID, r.Started) }
