// Package status reports the state of AppArmor on this node: the profiles in the kernel, the processes under them, and for
// every container whether it is confined as decided. It reads the kernel's files, the runtimes' state directories and the
// records of package hook. It runs no program, asks no engine, and changes nothing.
package status

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/quiet"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Node is the machine that status looks at.
type Node struct {
	Host *hook.Host
	Run  string // the directory of runtimes' states: /run
	Lib  string // the directory of engines' files: /var/lib

	Programs string // the root of the paths of engines' programs; empty for /

	Quiet quiet.Dir // what is shown of profiles that are to be enforced once they were quiet
}

// NewNode returns the node that we run on.
func NewNode() *Node {
	return &Node{Host: hook.NewHost(), Run: "/run", Lib: "/var/lib", Quiet: quiet.Node}
}

// Status is the result of Gather. Problems are sentences about what is not known.
type Status struct {
	Profiles   []Profile
	Processes  []Process
	Containers []Container // nil unless asked for
	Problems   []string

	// These are among Problems. Unread are about what is kept of containers, and Refusing about profiles that do not take
	// signals from engines' programs.
	Unread, Refusing []string

	Recorded []string // policies that are recorded now; nil unless containers were asked for

	// Quiet are the profiles of the policy in force that are to be enforced once they were quiet for a time, and those that
	// are since; nil unless containers were asked for.
	Quiet []quiet.Standing
}

// Recorded returns a sentence about a policy that is recorded.
func Recorded(policy string) string {
	return fmt.Sprintf("policy %s is being recorded: a container of it that starts now runs under a profile that denies nothing, in the place of "+
		"the policy's", policy)
}

// Profile is a profile that the kernel holds.
type Profile struct {
	Name string // with its namespace, as the kernel writes it, ":NAMESPACE:NAME"
	Mode string // see Modes
}

// Process is a process that runs under a profile, or that is unconfined although a profile has its program's path for a
// name.
type Process struct {
	PID     int
	Profile string // or a stack of profiles, "a//&b"
	Mode    string // see Modes; "unconfined" also for a process without a profile
	Exe     string // path of its program
}

// Modes are the modes of profiles and processes, by aa-status's names and in its order. The kernel's "user" is "prompt".
// Only processes can be "mixed".
var Modes = []string{"enforce", "complain", "prompt", "kill", "unconfined", "mixed"}

// asMode returns aa-status's name of a mode.
func asMode(mode string) string {
	if mode == "user" {
		return "prompt"
	}
	return mode
}

// Gather looks at the profiles and the processes of the node and, if containers is set, at its containers. The error is
// about the profiles or about /proc. It is a *kernel.NotReadyError if AppArmor is the reason.
func (n *Node) Gather(containers bool) (*Status, error) {
	listed, err := n.Host.Kernel.List()
	if err != nil {
		return nil, err
	}
	s := &Status{Profiles: make([]Profile, len(listed))}
	names := make(map[string]bool)
	for i, l := range listed {
		name := l.Name
		if l.Namespace != "" {
			name = ":" + l.Namespace + ":" + name
		}
		s.Profiles[i] = Profile{name, asMode(l.Mode)}
		if strings.HasPrefix(name, "/") {
			names[name] = true
		}
	}
	tasks, err := n.Host.Kernel.Tasks()
	if err != nil {
		return nil, err
	}
	exes := programs{proc: n.proc(), known: make(map[string]string)}
	s.Processes = exes.defined(tasks, names)
	if containers {
		n.containers(s, tasks, &exes)
		if err := n.Host.Kernel.Enforced([]profile.Compiled{{Mode: profile.Enforce}}); err != nil {
			s.Problems = append(s.Problems, "whatever labels say, no container is confined: "+err.Error())
		}
	}
	return s, nil
}

func (n *Node) proc() string {
	if n.Host.Kernel.Proc != "" {
		return n.Host.Kernel.Proc
	}
	return "/proc"
}

// programs finds the paths of processes' programs.
type programs struct {
	proc  string
	known map[string]string // resolved paths of links
}

// defined returns the processes that have a profile defined. paths has the profiles that are named by a path.
func (p *programs) defined(tasks []kernel.Task, paths map[string]bool) []Process {
	var all []Process
	for _, t := range tasks {
		if t.Label.Mode == "" && len(paths) == 0 {
			continue
		}
		exe := p.of(t.PID)
		switch {
		case exe == "": // it has ended, or is a thread of the kernel
		case t.Label.Mode != "":
			all = append(all, Process{t.PID, strings.Join(t.Label.Components, "//&"), asMode(t.Label.Mode), exe})
		case paths[exe]:
			all = append(all, Process{t.PID, exe, "unconfined", exe})
		}
	}
	return all
}

// of returns the path of a process's program, or an empty string if it has none. It resolves links as far as they lead
// somewhere on this machine, whatever the process's own root is.
func (p *programs) of(pid int) string {
	link, err := os.Readlink(p.proc + "/" + strconv.Itoa(pid) + "/exe")
	if err != nil {
		return ""
	}
	path, ok := p.known[link]
	if !ok {
		if path, err = filepath.EvalSymlinks(link); err != nil || !filepath.IsAbs(link) {
			path = link
		}
		p.known[link] = path
	}
	return path
}

// current returns the policy in force, or nil if there is none. problem is a sentence if that is not known.
func (n *Node) current() (gen *store.Generation, problem string) {
	gen, err := n.Host.Store.Current()
	switch {
	case err == nil:
		return gen, ""
	case errors.Is(err, store.ErrNone) && !errors.Is(err, store.ErrLost):
		return nil, ""
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Sprintf("%v: run this as root", err)
	}
	return nil, err.Error()
}

// each calls f with 0 to n-1, several at a time.
func each(n int, f func(i int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	all.Wait()
}
