package programs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// settles is how long a process can need from the moment in which it has followed the link to the current version to the one
// in which /proc shows its program.
const settles = time.Second

// patience is how long Prune waits for another one, or for install/place.sh. containerd gives a shim's delete, which may become a
// prune, 5 seconds for all.
const patience = 2 * time.Second

// doomed begins the name of a directory that is being removed.
const doomed = ".removed-"

// Prune removes the versions that are not the current one and that no process runs from. Processes that run the command for
// this do not count, because they are about to end. A version that is just being put in place stays, and so does one whose
// directory has files that are not ours.
func (h Home) Prune() error { return h.prune("/proc", settles) }

func (h Home) prune(proc string, settles time.Duration) error {
	if len(h.others()) == 0 {
		return nil
	}
	if _, err := safefile.TrustedPath(h.versions()); err != nil {
		return err
	}
	release, err := h.lock()
	if err != nil {
		return err
	}
	defer release()
	return h.pruneLocked(proc, settles)
}

// pruneLocked is prune by whoever has the lock.
func (h Home) pruneLocked(proc string, settles time.Duration) error {
	switched, err := changed(h.link())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	time.Sleep(min(time.Until(switched.Add(settles)), settles))
	var errs []error
	for _, version := range h.others() {
		at := filepath.Join(h.versions(), version)
		if strings.HasPrefix(version, doomed) {
			errs = append(errs, remove(at))
			continue
		}
		// What was changed after the last switch is for the next one.
		if when, err := changed(at); err != nil || !switched.IsZero() && !when.Before(switched) {
			continue
		}
		if h.current() == version || !isOurs(at) {
			continue
		}
		running, err := runningFrom(proc, at)
		if err == nil && running == 0 {
			// A process may have been started and its parent have ended while the list of processes was read.
			running, err = runningFrom(proc, at)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("whether something runs from %s is not known: %w", at, err))
			continue
		}
		if running > 0 {
			continue
		}
		// In one step, so that there is never a part of it under its name.
		away := filepath.Join(h.versions(), doomed+version)
		if err := os.Rename(at, away); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, remove(away))
	}
	for i, err := range errs {
		if errors.Is(err, fs.ErrNotExist) { // another process has done it
			errs[i] = nil
		}
	}
	if h.current() == "" { // the programs were taken off the node, and this is what is left of them
		_ = os.Remove(h.versions())
		_ = os.Remove(filepath.Dir(h.versions()))
	}
	return errors.Join(errs...)
}

// lock takes the lock under which versions are put in place and removed: flock(2) of the directory of all versions, which
// install/place.sh takes as well.
func (h Home) lock() (release func(), err error) {
	dir, err := os.Open(h.versions())
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err = unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { dir.Close() }, nil
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR || time.Now().After(deadline) {
			dir.Close()
			return nil, &fs.PathError{Op: "flock", Path: h.versions(), Err: err}
		}
	}
}

// others returns the names of the directories that are not the current version.
func (h Home) others() []string {
	entries, err := os.ReadDir(h.versions())
	if err != nil {
		return nil
	}
	current := h.current()
	var all []string
	for _, e := range entries {
		if e.IsDir() && e.Name() != current {
			all = append(all, e.Name())
		}
	}
	return all
}

// changed returns when a file, directory or link was changed on this machine (ctime), whatever an archive says of it.
func changed(path string) (time.Time, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return time.Time{}, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return time.Unix(st.Ctim.Unix()), nil
}

// isOurs reports whether a directory has nothing in it but our programs, and those that are being written there.
func isOurs(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && !slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		name := e.Name()
		if temporary, is := strings.CutPrefix(name, "."); is {
			name = strings.TrimSuffix(temporary, ".new")
		}
		return !e.Type().IsRegular() || !slices.Contains(Names, name)
	})
}

// remove removes a directory of which isOurs was true.
func remove(dir string) error {
	entries, err := os.ReadDir(dir)
	errs := []error{err}
	for _, e := range entries {
		if e.Type().IsRegular() {
			errs = append(errs, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(append(errs, os.Remove(dir))...)
}

// Earlier returns how many processes run from each version that is not the current one.
func (h Home) Earlier() (map[string]int, error) { return h.earlier("/proc") }

func (h Home) earlier(proc string) (map[string]int, error) {
	all := map[string]int{}
	for _, version := range h.others() {
		n, err := runningFrom(proc, filepath.Join(h.versions(), version))
		if err != nil {
			return nil, err
		}
		if n > 0 {
			all[version] = n
		}
	}
	return all, nil
}

// runningFrom returns how many processes run a program of a directory, by the program's path or by the file itself, which
// may have another path in another mount namespace.
func runningFrom(proc, dir string) (running int, err error) {
	var files []fs.FileInfo
	for _, name := range Names {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
			files = append(files, info)
		}
	}
	processes, err := filepath.Glob(filepath.Join(proc, "[0-9]*"))
	if err != nil {
		return 0, err
	}
	for _, p := range processes {
		exe, err := os.Readlink(filepath.Join(p, "exe"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) { // it has ended, or is a thread of the kernel
			continue
		}
		if err != nil {
			return 0, err
		}
		runs, err := os.Stat(filepath.Join(p, "exe"))
		is := err == nil && slices.ContainsFunc(files, func(f fs.FileInfo) bool { return os.SameFile(f, runs) })
		exe = strings.TrimSuffix(exe, " (deleted)") // where the same version was put in place again
		if (is || filepath.Dir(exe) == dir) && !prunes(p, exe) {
			running++
		}
	}
	return running, nil
}

// prunes reports whether a process runs Prune.
func prunes(process, exe string) bool {
	line, err := os.ReadFile(filepath.Join(process, "cmdline"))
	if filepath.Base(exe) != Names[0] || err != nil {
		return false
	}
	args := bytes.Split(line, []byte{0})
	return len(args) > 1 && string(args[1]) == PruneCommand
}
