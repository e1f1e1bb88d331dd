package kernel

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Label is what confines a process according to the kernel: a profile, or a stack of profiles.
type Label struct {
	// Components are the names in the kernel's order. The order does not matter, because each confines by itself.
	Components []string

	// Mode is "enforce", "complain", "kill", "unconfined", "user", or "mixed" when the components differ. It is empty for
	// a process without any profile, whose only component is "unconfined".
	Mode string
}

// maxLabel bounds a label, in bytes. The kernel gives attr files at most a page.
const maxLabel = 64 << 10

var modes = []string{"enforce", "complain", "kill", "unconfined", "user", "mixed"}

// ParseLabel parses the content of /proc/PID/attr/current: "a//&b (mixed)\n" or "unconfined\n". The mode follows the last "
// (", because names may have blanks and brackets (aa_label_snxprint, security/apparmor/label.c).
func ParseLabel(s string) (Label, error) {
	if len(s) > maxLabel {
		return Label{}, fmt.Errorf("a label of %d bytes: none has more than %d", len(s), maxLabel)
	}
	text := strings.TrimSuffix(s, "\n")
	names, mode := text, ""
	if at := strings.LastIndex(text, " ("); at >= 0 && strings.HasSuffix(text, ")") {
		if m := text[at+len(" (") : len(text)-1]; slices.Contains(modes, m) {
			names, mode = text[:at], m
		}
	}
	// There is no mode only for a namespace's unconfined, and for what another security module prints.
	unconfined := names == "unconfined" || strings.HasPrefix(names, ":") && strings.HasSuffix(names, ":unconfined")
	if mode == "" && !unconfined {
		return Label{}, fmt.Errorf("%s is no label of AppArmor's: it ends with no mode", oneline.Quote(s))
	}
	components := strings.Split(names, "//&")
	if slices.Contains(components, "") || strings.ContainsAny(names, "\x00\n") {
		return Label{}, fmt.Errorf("%s is no label of AppArmor's: it has an empty or a broken name", oneline.Quote(s))
	}
	return Label{Components: components, Mode: mode}, nil
}

// Covers reports whether every one of names confines the process. The label may have more: the kernel and crun add
// "unconfined" and "crun" to a stack. Without names, Covers returns false.
func (l Label) Covers(names ...string) bool {
	for _, name := range names {
		if !slices.Contains(l.Components, name) {
			return false
		}
	}
	return len(names) > 0
}

// String returns the label as the kernel prints it.
func (l Label) String() string {
	s := strings.Join(l.Components, "//&")
	if l.Mode != "" {
		s += " (" + l.Mode + ")"
	}
	return s
}

// Current returns the label of a running process, by its id in this process's pid namespace. The error wraps fs.ErrNotExist
// or ESRCH if there is no such process.
func Current(pid int) (Label, error) { return current("/proc", pid) }

// Label is Current by the procfs at k.Proc.
func (k *Kernel) Label(pid int) (Label, error) { return current(k.proc(), pid) }

func current(proc string, pid int) (Label, error) {
	// attr/current is of the first security module that serves it. attr/apparmor/current is AppArmor's, since 5.8.
	path := proc + "/" + strconv.Itoa(pid) + "/attr/apparmor/current"
	buf := make([]byte, maxLabel+1)
	text, err := readOnce(path, 0, buf)
	if err == unix.ENOENT {
		path = proc + "/" + strconv.Itoa(pid) + "/attr/current"
		text, err = readOnce(path, 0, buf)
	}
	if err != nil {
		err = &os.PathError{Op: "read", Path: path, Err: err}
		if errors.Is(err, unix.EINVAL) {
			return Label{}, &NotReadyError{Readiness: NoAppArmor, Err: err}
		}
		return Label{}, fmt.Errorf("label of process %d: %w", pid, err)
	}
	l, err := ParseLabel(string(text))
	if err != nil {
		return Label{}, fmt.Errorf("label of process %d: %s: %w", pid, path, err)
	}
	return l, nil
}
