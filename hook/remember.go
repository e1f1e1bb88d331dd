package hook

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sys/unix"
)

// recordPath names a record by a hash: ids are the workload's, and one id may be used under several roots.
func (h *Host) recordPath(w Wiring, id string) string {
	sum := sha256.Sum256([]byte(w.Root + "\x00" + id))
	return filepath.Join(h.Containers, hex.EncodeToString(sum[:16])+".json")
}

// remember writes the record of a container that is about to be created, where there is none of its id: of two that
// are created at once, the runtime lets one live, and it must be the one that is remembered.
func (h *Host) remember(w Wiring, r *Record) error {
	if err := os.MkdirAll(h.Containers, 0o700); err != nil {
		return fmt.Errorf("remembering the container: %w", err)
	}
	unlock, err := h.lock()
	if err != nil {
		return fmt.Errorf("remembering the container: %w", err)
	}
	defer unlock()
	if err := notThere(w, r.ID); err != nil {
		return err
	}
	path := h.recordPath(w, r.ID)
	if other, err := readRecord(path); err == nil && other.creating() && other.PID != r.PID {
		return fmt.Errorf("another container of that id is being created at this moment, by process %d", other.PID)
	}
	tmp := path + "." + strconv.Itoa(os.Getpid())
	err = os.WriteFile(tmp, r.marshal(), 0o600)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
		return fmt.Errorf("remembering the container: %w", err)
	}
	return nil
}

// lock keeps others from writing records, for the few microseconds that it takes to look and write.
func (h *Host) lock() (unlock func(), err error) {
	fd, err := unix.Open(filepath.Join(h.Containers, "lock"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(fd, unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return func() { unix.Close(fd) }, nil
}

// notThere gives an error when the runtime has a container of that id. It would refuse the new one itself, but only
// after we had taken the running one's label for the new one's.
func notThere(w Wiring, id string) error {
	dir := filepath.Join(w.Root, id)
	if _, err := os.Lstat(dir); err == nil {
		return fmt.Errorf("a container with that id exists already: %s", dir)
	}
	return nil
}

// Recall gives what is remembered of a container; fs.ErrNotExist for one that Prepare did not decide upon.
func (h *Host) Recall(w Wiring, id string) (*Record, error) { return readRecord(h.recordPath(w, id)) }

func readRecord(path string) (*Record, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(Record)
	if err := r.parse(data); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Forget drops what is remembered of a container that the runtime is about to delete. While its process is alive it
// is kept, since the runtime may fail to delete it, and processes may be started in it: Sweep sees to it later. It is
// kept also when it is another process that is creating the container: one of the same id, which has come after it.
func (h *Host) Forget(w Wiring, id string) {
	h.forget(w, id, func(r *Record) bool { return r.creating() && r.PID != os.Getpid() })
}

// Drop is Forget for a container that its engine has given up, so that none of its id can be in the making. What created
// it may live: a shim serves all of a pod's containers.
func (h *Host) Drop(w Wiring, id string) { h.forget(w, id, func(*Record) bool { return false }) }

func (h *Host) forget(w Wiring, id string, keep func(*Record) bool) {
	unlock, err := h.lock()
	if err != nil {
		return
	}
	defer unlock()
	path := h.recordPath(w, id)
	if r, err := readRecord(path); err == nil && keep(r) {
		return
	}
	if pid, there := initOf(w, id); !there || pid >= 0 && !processAlive(pid, "") {
		os.Remove(path)
	}
}

// Sweep forgets the containers below w.Root that their runtime no longer knows. A root that cannot be seen from here
// proves nothing.
func (h *Host) Sweep(w Wiring) {
	if info, err := os.Stat(w.Root); err != nil || !info.IsDir() {
		return
	}
	paths, _ := filepath.Glob(filepath.Join(h.Containers, "*.json"))
	for _, path := range paths {
		if !gone(path, w.Root) {
			continue
		}
		unlock, err := h.lock()
		if err != nil {
			return
		}
		if gone(path, w.Root) { // and not the record of a new container of that id, which has come since
			os.Remove(path)
		}
		unlock()
	}
}

// gone tells of a record that it is of a container below root which the runtime no longer knows.
func gone(path, root string) bool {
	r, err := readRecord(path)
	if err != nil || r.Root != root || r.creating() {
		return false
	}
	_, err = os.Lstat(filepath.Join(r.Root, r.ID))
	return errors.Is(err, fs.ErrNotExist)
}

// creating tells whether the process that creates the container is still at it.
func (r *Record) creating() bool { return processAlive(r.PID, r.Started) }

// initOf gives the pid of a container's init process, from where runtimes keep it: state.json (runc: init_process_pid)
// or status (crun: pid); -1 where the container is there and its pid cannot be told.
func initOf(w Wiring, id string) (pid int, there bool) {
	data, err := stateOf(w, id)
	if err != nil {
		_, err := os.Lstat(filepath.Join(w.Root, id))
		return -1, !errors.Is(err, fs.ErrNotExist)
	}
	return pidIn(data), true
}

// initAndBundle gives the pid of a container's init process, -1 where it cannot be told, and its bundle, empty where
// that cannot.
func initAndBundle(w Wiring, id string) (pid int, bundle string) {
	data, err := stateOf(w, id)
	if err != nil {
		return -1, ""
	}
	return pidIn(data), bundleIn(data)
}

// stateOf reads a runtime's state of a container.
func stateOf(w Wiring, id string) ([]byte, error) {
	dir := filepath.Join(w.Root, id)
	data, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if err != nil {
		data, err = os.ReadFile(filepath.Join(dir, "status"))
	}
	return data, err
}

// pidIn gives the pid in a runtime's state, or in the beginning of one; -1 where there is none.
func pidIn(data []byte) (pid int) {
	pid = -1
	d := document{data: data}
	err := d.parse(func(dec *jsontext.Decoder) error {
		_, err := object(dec, nil, func(key string) error {
			if key != "init_process_pid" && key != "pid" {
				return dec.SkipValue()
			}
			v, _, err := value(dec)
			if err == nil {
				if pid, err = strconv.Atoi(string(v)); err == nil {
					err = errFound // what else there is may be long
				}
			}
			return err
		})
		return err
	})
	if !errors.Is(err, errFound) {
		return -1
	}
	return pid
}

// bundleIn gives the bundle in a runtime's state: crun's bundle, or in runc's config.labels the last that says
// "bundle=DIR", since annotations become labels before it (specconv.CreateLibcontainerConfig). Empty where there is none.
func bundleIn(data []byte) (bundle string) {
	d := document{data: data}
	label := func(dec *jsontext.Decoder) error {
		v, _, err := value(dec)
		if dir, ok := strings.CutPrefix(unquote(v), "bundle="); ok && err == nil {
			bundle = dir
		}
		return err
	}
	labels := func(key string, dec *jsontext.Decoder) error {
		if key != "labels" || dec.PeekKind() != '[' {
			return dec.SkipValue()
		}
		_, err := dec.ReadToken()
		for err == nil && dec.PeekKind() != ']' {
			err = label(dec)
		}
		if err == nil {
			_, err = dec.ReadToken()
		}
		return err
	}
	err := d.parse(func(dec *jsontext.Decoder) error {
		_, err := object(dec, nil, func(key string) error {
			switch {
			case key == "bundle" && dec.PeekKind() == '"':
				v, _, err := value(dec)
				bundle = unquote(v)
				return err
			case key == "config" && dec.PeekKind() == '{':
				_, err := object(dec, nil, func(key string) error { return labels(key, dec) })
				return err
			}
			return dec.SkipValue()
		})
		return err
	})
	if err != nil || !filepath.IsAbs(bundle) {
		return ""
	}
	return bundle
}

var errFound = errors.New("found")

// processAlive tells whether a process exists and is no zombie, and, unless started is empty, is the one that started
// then.
func processAlive(pid int, started string) bool {
	at, alive := startOf(pid)
	return alive && (started == "" || at == started)
}

// startOf gives when a process started, in clock ticks since boot, and whether it is there and no zombie (proc(5),
// /proc/pid/stat).
func startOf(pid int) (started string, alive bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if pid <= 0 || err != nil {
		return "", false
	}
	// "PID (COMM) STATE ...": COMM may hold anything, so look from its end. The start time is the 22nd of all fields.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return "", false
	}
	return fields[19], true
}
