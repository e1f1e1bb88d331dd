package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Task is a thread, and what confines it.
type Task struct {
	PID   int // of the process, in this process's pid namespace
	TID   int // of the thread; PID for the first thread
	Label Label

	// Pending is the label that it gets by its next execve. It is nil if none is pending, and on kernels that do not show
	// that of other tasks (ShowsPending).
	Pending *Label
}

// Uses reports whether the task runs under the profile or a child of it, or will do so after its next execve.
func (t *Task) Uses(name string) bool {
	return t.Label.uses(name) || t.Pending != nil && t.Pending.uses(name)
}

func (l Label) uses(name string) bool {
	return slices.ContainsFunc(l.Components, func(c string) bool {
		rest, ok := strings.CutPrefix(c, name)
		return ok && (rest == "" || strings.HasPrefix(rest, childSeparator))
	})
}

// Tasks returns every process that /proc shows, in the order of their ids, with its label only. It needs one read for each.
// It leaves out a process that ends meanwhile.
func (k *Kernel) Tasks() ([]Task, error) {
	proc := k.proc()
	r := newLabelReader()
	pids, err := numbers(proc)
	if err != nil {
		return nil, err
	}
	all := make([]Task, 0, len(pids))
	for _, pid := range pids {
		l, ok, err := r.read(proc+"/"+strconv.Itoa(pid), "current")
		if err != nil {
			return nil, err
		}
		if ok {
			all = append(all, Task{PID: pid, TID: pid, Label: l})
		}
	}
	return all, nil
}

// maxLooks is how often Using looks, on a machine where processes start and end all the time.
const maxLooks = 10

// ErrUnsettled is wrapped by the error if at each look a process ended before it was read. Such a process may have started
// others.
var ErrUnsettled = errors.New("processes end faster than they can be looked at: try again")

// Using returns the threads that use a profile, see Task.Uses, of all that /proc shows. It looks at threads because a
// thread can change its label by itself.
//
// A thread may start another and end after it was listed and before it was read. Then the other one is hidden. So the
// result is empty only if all listed threads could be read: whatever they started before had the label that was read, or is
// listed itself. A new process can have an id that the list had passed already, so Using reads the list at least twice.
// Later looks read only what is new, which is so fast that they end on a busy machine, too. If they do not, the error wraps
// ErrUnsettled.
func (k *Kernel) Using(name string) ([]Task, error) {
	read := make(map[int]bool)
	for look := range maxLooks {
		using, complete, err := k.threads(name, read)
		if err != nil || len(using) > 0 || complete && look > 0 {
			return using, err
		}
	}
	return nil, fmt.Errorf("whether anything uses profile %s is not known: %w", oneline.Quote(name), ErrUnsettled)
}

// threads returns the threads that use a profile, of the processes that are not in read. It adds to read the processes of
// which it could read all threads. complete reports whether that was all listed processes.
func (k *Kernel) threads(name string, read map[int]bool) (using []Task, complete bool, err error) {
	proc := k.proc()
	r := newLabelReader()
	pids, err := numbers(proc)
	if err != nil {
		return nil, false, err
	}
	complete = true
	for _, pid := range pids {
		if read[pid] {
			continue
		}
		path := proc + "/" + strconv.Itoa(pid)
		tids, err := numbers(path + "/task")
		if err != nil && !gone(err) {
			return nil, false, err
		}
		all := err == nil && len(tids) > 0 // a process that ends has none for a moment
		for _, tid := range tids {
			path := path + "/task/" + strconv.Itoa(tid)
			t := Task{PID: pid, TID: tid}
			var ok bool
			if t.Label, ok, err = r.read(path, "current"); err != nil {
				return nil, false, err
			}
			if !ok {
				all = false
				continue
			}
			if pending, ok, err := r.read(path, "exec"); err == nil && ok {
				t.Pending = &pending
			}
			if t.Uses(name) {
				using = append(using, t)
			}
		}
		read[pid] = all
		complete = complete && all
	}
	return using, complete, nil
}

// labelReader reads many labels. It uses one buffer, and remembers in which directory it found the first one.
type labelReader struct {
	buf  []byte
	attr string
}

func newLabelReader() labelReader {
	return labelReader{buf: make([]byte, maxLabel+1), attr: "/attr/apparmor/"}
}

// read returns a label of the task whose directory is path. ok is false if the task is gone, or if it has no such label.
func (r *labelReader) read(path, name string) (l Label, ok bool, err error) {
	text, err := readOnce(path+r.attr+name, 0, r.buf)
	if err == unix.ENOENT && r.attr != "/attr/" { // the directory apparmor came with 5.8
		if text, err = readOnce(path+"/attr/"+name, 0, r.buf); err == nil {
			r.attr = "/attr/"
		}
	}
	if err == unix.ENOENT || err == unix.ESRCH || len(text) == 0 && err == nil {
		return l, false, nil
	}
	if err != nil {
		err = &os.PathError{Op: "read", Path: path + r.attr + name, Err: err}
		if errors.Is(err, unix.EINVAL) && name == "current" {
			return l, false, &NotReadyError{Readiness: NoAppArmor, Err: err}
		}
		return l, false, err
	}
	l, err = ParseLabel(string(text))
	return l, err == nil, err
}

// Pending returns the label that a process gets by its next execve. ok is false if none is pending, if the process is gone,
// or if the kernel does not show it.
func (k *Kernel) Pending(pid int) (l Label, ok bool) {
	if !k.ShowsPending() {
		return l, false
	}
	r := labelReader{buf: make([]byte, maxLabel+1), attr: "/attr/apparmor/"}
	l, ok, _ = r.read(k.proc()+"/"+strconv.Itoa(pid), "exec")
	return l, ok
}

// ShowsPending reports whether the kernel shows the pending label of another task, as kernels after 6.1 do. 6.1 shows that
// of the reading task instead. ShowsPending returns false if this process cannot try it, as under a profile.
func (k *Kernel) ShowsPending() bool {
	tid, told := make(chan int), make(chan struct{})
	defer close(told)
	go func() {
		runtime.LockOSThread() // and never unlocked, so that the thread ends, and its pending label with it
		f, err := os.OpenFile(k.proc()+"/thread-self/attr/exec", os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString("exec unconfined")
			f.Close()
		}
		if err != nil {
			tid <- 0
			return
		}
		tid <- unix.Gettid()
		<-told
	}()
	id := <-tid
	if id == 0 {
		return false
	}
	var buf [256]byte
	text, err := readOnce(k.proc()+"/self/task/"+strconv.Itoa(id)+"/attr/exec", 0, buf[:])
	return err == nil && strings.TrimSpace(string(text)) == "unconfined"
}

// Command returns the kernel's name of a process: the name of its program, cut to 15 bytes, or what the process set
// instead. It returns an empty string if the process is gone.
func (k *Kernel) Command(pid int) string {
	name, _ := readWord(k.proc() + "/" + strconv.Itoa(pid) + "/comm")
	return name
}

// Nested reports whether a process is in a pid namespace below that of procfs, as in most containers, or is gone.
func (k *Kernel) Nested(pid int) bool {
	return len(k.status(pid, "NSpid")) != 1 // its id in every namespace from procfs's down
}

// IsRoot reports whether the real, effective, saved and file system user of a process are all root.
func (k *Kernel) IsRoot(pid int) bool {
	return slices.Equal(k.status(pid, "Uid"), []string{"0", "0", "0", "0"})
}

// status returns the fields of a line of a process's status. It returns nil if the process is gone, or if there is no such
// line.
func (k *Kernel) status(pid int, key string) []string {
	text, err := readWhole(k.proc() + "/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return nil
	}
	_, line, _ := strings.Cut(string(text), "\n"+key+":") // the first line, with the name it chose, has no newline in it
	line, _, _ = strings.Cut(line, "\n")
	return strings.Fields(line)
}

// Cgroup returns the path of a process's control group: that of version 2 or, on a node with version 1 only, of the first
// hierarchy that has one. It returns an empty string if the process is gone or in no group.
func (k *Kernel) Cgroup(pid int) string {
	file := k.proc() + "/" + strconv.Itoa(pid) + "/cgroup"
	var buf [1024]byte
	text, err := readOnce(file, 0, buf[:])
	if len(text) == len(buf) {
		text, err = readWhole(file)
	}
	if err != nil {
		return ""
	}
	path := ""
	for line := range strings.Lines(string(text)) { // "0::/PATH", or "4:memory:/PATH"
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) == 3 && f[2] != "/" && (path == "" || f[0] == "0") {
			path = f[2]
		}
	}
	return path
}

func (k *Kernel) proc() string {
	if k.Proc != "" {
		return k.Proc
	}
	return "/proc"
}

// numbers returns the entries of a directory that are numbers, sorted.
func numbers(path string) ([]int, error) {
	var all []int
	err := list(path, func(name string) (bool, error) {
		if n, err := strconv.Atoi(name); err == nil && n > 0 {
			all = append(all, n)
		}
		return true, nil
	})
	slices.Sort(all)
	return all, err
}

// gone reports whether an error says that a process has ended.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) }
