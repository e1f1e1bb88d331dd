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

// Task is a process, or a thread of one, and what confines it.
type Task struct {
	PID   int // of the process, in this process's pid namespace
	TID   int // of the thread; PID for the first of them
	Label Label

	// Pending is what its next execve puts it under; nil where nothing is pending, and on kernels that do not tell it of
	// other tasks (TellsPending).
	Pending *Label
}

// Uses tells whether the task runs under the profile or a child of it, or is about to.
func (t *Task) Uses(name string) bool {
	return t.Label.uses(name) || t.Pending != nil && t.Pending.uses(name)
}

func (l Label) uses(name string) bool {
	return slices.ContainsFunc(l.Components, func(c string) bool {
		rest, ok := strings.CutPrefix(c, name)
		return ok && (rest == "" || strings.HasPrefix(rest, childSeparator))
	})
}

// Tasks gives every process that /proc shows, in the order of their ids, with its label and nothing else: one read for
// each. A process that ends meanwhile is left out.
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

// maxLooks bounds how often Using looks, on a machine where processes come and go all the time.
const maxLooks = 10

// ErrUnsettled tells that a process which was to be looked at had ended each time, and may have left others behind.
var ErrUnsettled = errors.New("processes end faster than they can be looked at: try again")

// Using gives the threads that use a profile, see Task.Uses, of all that /proc shows: a thread can change its label by
// itself.
//
// One that starts another and ends, between being listed and being read, hides the other. So nothing uses the profile only
// where all that were listed could be read: then whatever they started before was read under the label that it came from, or
// is listed itself. As a new process can have an id that the list had passed already, the list is read twice at least.
// Later looks are at what is new, which takes so short that they get to an end on a busy machine. Where none does, the error
// wraps ErrUnsettled.
func (k *Kernel) Using(name string) ([]Task, error) {
	read := make(map[int]bool)
	for look := range maxLooks {
		using, complete, err := k.threads(name, read)
		if err != nil || len(using) > 0 || complete && look > 0 {
			return using, err
		}
	}
	return nil, fmt.Errorf("whether anything uses profile %s cannot be told: %w", oneline.Quote(name), ErrUnsettled)
}

// threads gives the threads that use a profile, of the processes that are not in read, and puts those into it of which it
// could read all. complete tells that these are all that were listed.
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

// labelReader reads many labels: with one buffer, and where the first was found.
type labelReader struct {
	buf  []byte
	attr string
}

func newLabelReader() labelReader {
	return labelReader{buf: make([]byte, maxLabel+1), attr: "/attr/apparmor/"}
}

// read gives a label of the task whose directory is path. ok is false for a task that is gone, and where there is none.
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

// Pending is what the next execve of a process puts it under. ok is false where nothing is pending for it, it is gone, or
// the kernel does not tell.
func (k *Kernel) Pending(pid int) (l Label, ok bool) {
	if !k.TellsPending() {
		return l, false
	}
	r := labelReader{buf: make([]byte, maxLabel+1), attr: "/attr/apparmor/"}
	l, ok, _ = r.read(k.proc()+"/"+strconv.Itoa(pid), "exec")
	return l, ok
}

// TellsPending tells whether the kernel shows what the next execve of another task puts it under, as kernels after 6.1 do:
// 6.1 answers with what is pending for who asks. Where it cannot be tried, as from under a profile, it is false.
func (k *Kernel) TellsPending() bool {
	tid, told := make(chan int), make(chan struct{})
	defer close(told)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with what is pending for it
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

// Command gives what the kernel calls a process: the name of its program, cut to 15 bytes, or whatever the process set
// in its place. Empty where it is gone.
func (k *Kernel) Command(pid int) string {
	name, _ := readWord(k.proc() + "/" + strconv.Itoa(pid) + "/comm")
	return name
}

// Nested tells whether a process is in a pid namespace below the one that procfs shows, as those in most containers are,
// or is gone.
func (k *Kernel) Nested(pid int) bool {
	return len(k.status(pid, "NSpid")) != 1 // its id in every namespace from procfs's down
}

// IsRoot tells whether a process is root and nobody else: by its real, effective, saved and file system user.
func (k *Kernel) IsRoot(pid int) bool {
	return slices.Equal(k.status(pid, "Uid"), []string{"0", "0", "0", "0"})
}

// status gives the fields of a line of a process's status. None where it is gone, or there is no such line.
func (k *Kernel) status(pid int, key string) []string {
	text, err := readWhole(k.proc() + "/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return nil
	}
	_, line, _ := strings.Cut(string(text), "\n"+key+":") // the first line, with the name it chose, has no newline in it
	line, _, _ = strings.Cut(line, "\n")
	return strings.Fields(line)
}

// Cgroup gives the path of a process's control group: that of version 2, or on a node with version 1 only that of the
// first hierarchy which has one. Empty where it is gone or in none.
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

// numbers gives the entries of a directory that are numbers, in their order.
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

// gone tells that an error is that of a process which has ended.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) }
