package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// Process is a program that runs.
type Process struct {
	PID     int
	Program string   // its path without links; empty where the file is gone or was replaced
	Args    []string // with the name that it was called by

	// Start is how many clock ticks after the boot it was started (wire.Tick); 0 if that is not known. No other process of its
	// number in this boot has the same.
	Start uint64
}

// Processes returns the node's own processes of a program's name; none of an image. The program's file has that name, or one
// of others: k3s's containerd is a link to k3s. What processes were started with is acted on with root's rights, and anyone
// can start a program under any name. So a process counts only if it is root's, if only root could have written its program,
// and if it is in our namespaces and no container's.
func (h *Host) Processes(name string, others ...string) []Process {
	if !h.Live() {
		return nil
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var all []Process
	for _, dir := range dirs {
		if p, ok := process(dir, name, others...); ok {
			p.PID, _ = strconv.Atoi(filepath.Base(dir))
			all = append(all, p)
		}
	}
	return all
}

// process reads a process by its directory in /proc.
func process(dir, name string, others ...string) (p Process, ok bool) {
	f, err := os.Open(dir) // stays this process's, whoever gets its number next
	if err != nil {
		return p, false
	}
	defer f.Close()
	dir = fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	comm, err := os.ReadFile(dir + "/comm")
	if err != nil || strings.TrimSuffix(string(comm), "\n") != name || !isRoots(dir) || !isOurs(dir) {
		return p, false
	}
	if p.Program, ok = program(dir, append(others, name)); !ok {
		return p, false
	}
	line, err := os.ReadFile(dir + "/cmdline")
	if err != nil || len(line) == 0 { // it has ended
		return p, false
	}
	p.Args = strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
	p.Start = startTicks(dir)
	return p, true
}

// isRoots reports whether the real, the effective, the saved and the file system's user of a process are root. Of a setuid
// program that another user has started, the real one is that user.
func isRoots(dir string) bool {
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		if uids, is := strings.CutPrefix(line, "Uid:"); is {
			return slices.Equal(strings.Fields(uids), []string{"0", "0", "0", "0"})
		}
	}
	return false
}

// isOurs reports whether a process is in our own namespaces, so that its paths and its users are ours.
func isOurs(dir string) bool {
	for _, kind := range []string{"mnt", "pid", "user"} {
		theirs, err := os.Readlink(dir + "/ns/" + kind)
		if err != nil {
			return false
		}
		if ours, err := os.Readlink("/proc/self/ns/" + kind); err != nil || ours != theirs {
			return false
		}
	}
	return true
}

// program returns the path of a process's program: an empty one where something else is there now. It is not ok if the
// program has none of these names, or if others than root could have written it.
func program(dir string, names []string) (at string, ok bool) {
	at, err := os.Readlink(dir + "/exe")
	if err != nil {
		return "", false
	}
	at = strings.TrimSuffix(at, " (deleted)")
	runs, err := os.Stat(dir + "/exe") // by the kernel's link, also if its file is gone
	if err != nil || !slices.Contains(names, path.Base(at)) {
		return "", false
	}
	st := runs.Sys().(*syscall.Stat_t)
	if safefile.Trusted(at, st.Uid, st.Mode) != nil {
		return "", false
	}
	real, err := safefile.TrustedPath(at)
	if errors.Is(err, fs.ErrNotExist) {
		return "", true
	}
	if err != nil {
		return "", false
	}
	if there, err := os.Stat(real); err != nil || !os.SameFile(there, runs) {
		return "", true
	}
	return real, true
}

// Path returns the absolute path that a flag of a process has, by any of the flag's names with their dashes; an empty one
// where it was not given. It is an error if others than root could have written what is there.
func (p Process) Path(names ...string) (string, error) {
	at := p.Flag(names...)
	if !path.IsAbs(at) {
		return "", nil
	}
	if _, err := safefile.TrustedPath(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s runs as process %d with %s %s, which cannot be trusted: %w", p.Args[0], p.PID, names[0], at, err)
	}
	return at, nil
}

// Flag returns the value of a flag of a process, by any of its names with their dashes; an empty one where it was not
// given.
func (p Process) Flag(names ...string) string {
	for i, arg := range p.Args {
		name, value, is := strings.Cut(arg, "=")
		if !slices.Contains(names, name) {
			continue
		}
		if is {
			return value
		}
		if i+1 < len(p.Args) {
			return p.Args[i+1]
		}
	}
	return ""
}

// startTicks returns the start of the process of a directory in /proc.
func startTicks(dir string) uint64 {
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return 0
	}
	// The name in brackets may have blanks and brackets. starttime is the 22nd field, the 20th after the name.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return 0
	}
	after, _ := strconv.ParseUint(fields[19], 10, 63)
	return after
}
