package status

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
)

// Container is one of the node's: what is known of it, who it is by, and how it is confined. Names, pods and images are
// the workload's strings.
type Container struct {
	ID        string
	Name      string // what its engine calls it; in a pod, its name there; empty where not known
	Engine    string // its name in the policy file, see engine.Names; empty where not known
	Namespace string // that of its pod; without a pod, containerd's
	Pod       string
	Image     string
	Sandbox   bool   // a pod's pause container
	Root      string // the runtime's directory of its containers; empty where only the processes tell of it
	State     State
	PID       int // of its first process; 0 where there is none

	Decided    bool   // oci-apparmor decided about it
	Policy     string // by which policy
	Reason     string
	Generation uint64
	Label      string // the label that was decided, without a mode; empty where the engine's choice was kept, or stands

	Verdict   Verdict
	Profiles  []ProfileState // those of its label
	Processes []Member
	Problems  []string // sentences: what is not as it should be
	Older     string   // the one of them that says why what runs in it is, or may be, under older content of its label

	record *hook.Record
	waits  bool // it has what its runtime waits at until it is started
}

// State is where a container is in its life.
type State string

const (
	Creating State = "creating" // its runtime is at it
	Created  State = "created"  // it waits to be started
	Running  State = "running"
	Stopped  State = "stopped"
)

// Intended gives the label that a container which is not started will be under, and tells whether that is known: what was
// decided, or where the engine's choice was kept, what its spec says.
func (c *Container) Intended() (label string, known bool) {
	if !c.Decided || c.Label != "" {
		return c.Label, c.Decided
	}
	f, err := hook.NewBundle(c.record.Bundle).Identify(hook.Caller{}, c.ID)
	return f.EngineChoice, err == nil
}

// Member is a process in a container.
type Member struct {
	PID      int
	Label    kernel.Label
	Exe      string // of one that is not confined; else empty
	Confined bool   // by the container's label
}

func (m *Member) profile() string { return strings.Join(m.Label.Components, "//&") }

func (m *Member) mode() string {
	if m.Label.Mode == "" {
		return "unconfined"
	}
	return asMode(m.Label.Mode)
}

// stateDirs returns where runtimes keep their containers, below /run: runc's, crun's and youki's own, those of engines,
// and those of users without root.
func stateDirs() []string {
	return append([]string{"runc", "crun", "youki", "user/*/runc", "user/*/crun"}, engine.Roots()...)
}

// containers finds them all, and judges them.
func (n *Node) containers(tasks []kernel.Task, exes *programs) (all []Container, problems []string) {
	records, err := n.Host.Records()
	if err != nil {
		problems = append(problems, lines(err)...)
	}
	all, errs := n.find(records)
	problems = append(problems, errs...)
	all = place(n.Host.Kernel, n.proc(), all, tasks)
	// Such a directory without a state and without a process is of something else, or of a container that is gone meanwhile.
	all = slices.DeleteFunc(all, func(c Container) bool { return c.State == "" })
	each(len(all), func(i int) { n.name(&all[i]) })
	n.nameByStorage(all)
	nameByRecords(all)

	gen, problem := n.current()
	if problem != "" {
		problems = append(problems, problem)
	}
	problems = append(problems, n.refused(gen)...)
	j := judge{host: n.Host, kernel: n.Host.Kernel, gen: gen, checked: make(map[string]checked), gone: make(map[kernel.Loaded]bool)}
	for i := range all {
		j.judge(&all[i], exes)
	}
	slices.SortFunc(all, func(a, b Container) int {
		return cmp.Or(cmp.Compare(a.Engine, b.Engine), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Pod, b.Pod),
			cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Root, b.Root))
	})
	return all, problems
}

// lines gives the errors that err joins.
func lines(err error) []string {
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		var all []string
		for _, err := range list.Unwrap() {
			all = append(all, lines(err)...)
		}
		return all
	}
	return []string{err.Error()}
}

// find gives the containers that have a directory of state, and those that are being created.
func (n *Node) find(records []*hook.Record) (all []Container, problems []string) {
	type key struct{ root, id string }
	ours := make(map[key]*hook.Record, len(records))
	roots := make(map[string]bool)
	for _, pattern := range stateDirs() {
		found, _ := filepath.Glob(filepath.Join(n.Run, pattern))
		for _, root := range found {
			roots[root] = true
		}
	}
	for _, r := range records {
		ours[key{r.Root, r.ID}] = r
		roots[r.Root] = true
	}
	for root := range roots {
		entries, err := os.ReadDir(root)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, fmt.Sprintf("the containers of a runtime are not known: %v", err))
		}
		for _, e := range entries {
			if e.IsDir() {
				all = append(all, Container{ID: e.Name(), Root: root, record: ours[key{root, e.Name()}]})
				delete(ours, key{root, e.Name()})
			}
		}
	}
	for _, r := range ours {
		if r.Creating() {
			all = append(all, Container{ID: r.ID, Root: r.Root, record: r, State: Creating})
		}
	}
	each(len(all), func(i int) {
		c := &all[i]
		if r := c.record; r != nil {
			c.Decided, c.Policy, c.Reason, c.Generation, c.Label = true, r.Policy, r.Reason, r.Generation, r.Label
			c.Engine = r.Engine
		}
		c.Engine = cmp.Or(c.Engine, n.engineByRoot(c.Root))
		if c.State != Creating {
			c.PID, _ = hook.InitOf(c.Root, c.ID)
			c.PID = max(c.PID, 0)
			_, err := os.Lstat(c.Root + "/" + c.ID + "/exec.fifo") // runc's and crun's, until start
			c.waits = err == nil
			if c.PID == 0 && c.record != nil && c.record.Creating() { // its runtime has made the directory, and no more
				c.State = Creating
			}
		}
	})
	slices.Sort(problems)
	return all, problems
}

// place gives each container its processes, and adds the containers of which only processes are found.
//
// A process is a container's if it is in its control group or below, where that is named by the container's id, or in
// its PID namespace, where that is neither this process's nor another container's. Both hold for processes that were
// executed in it later, whatever their parents are. A container that has neither of the two has one process to us.
func place(k *kernel.Kernel, proc string, all []Container, tasks []kernel.Task) []Container {
	alive := make(map[int]bool, len(tasks))
	for _, t := range tasks {
		alive[t.PID] = true
	}
	byInit := make(map[int]int)
	for i := range all {
		c := &all[i]
		switch {
		case c.State != "" || c.PID == 0:
		case !alive[c.PID]:
			c.State, c.PID = Stopped, 0
		default:
			c.State = Running
			if c.waits {
				c.State = Created
			}
		}
		if alive[c.PID] {
			byInit[c.PID] = i
		}
	}
	groups := readGroups(k, all, byInit, tasks)
	byGroup := make(map[string]int)
	creating := make(map[string]int) // containers of which their runtimes have written no process down yet, by id
	for i := range all {
		if all[i].PID == 0 && all[i].State != Stopped {
			creating[all[i].ID] = i
		}
		if group := own(groups[all[i].PID], all[i].ID); group != "" {
			byGroup[group] = i
		}
	}
	namespaces := pidNamespaces{proc: proc, host: namespace(proc, "self"), inits: byInit}
	for _, t := range tasks {
		i, ok := byInit[t.PID]
		if !ok {
			i, ok = above(byGroup, groups[t.PID])
		}
		if !ok {
			i, ok = namespaces.container(t.PID)
		}
		if !ok {
			id := engine.ContainerID(groups[t.PID])
			if id == "" {
				continue
			}
			if i, ok = creating[id]; ok {
				all[i].PID = t.PID
				if all[i].State == "" {
					all[i].State = unwritten(&all[i])
				}
			} else {
				i = len(all)
				all = append(all, Container{ID: id, PID: t.PID, State: Running})
			}
			byGroup[own(groups[t.PID], id)] = i
		}
		all[i].Processes = append(all[i].Processes, Member{PID: t.PID, Label: t.Label})
	}
	for i := range all {
		c := &all[i]
		// The first process of a container stands first, whatever its id is.
		slices.SortStableFunc(c.Processes, func(a, b Member) int {
			return cmp.Compare(b2i(b.PID == c.PID), b2i(a.PID == c.PID))
		})
		c.setEngine(groups[c.PID])
	}
	return all
}

// unwritten tells of a container with processes, and with a directory in which no process is named, what its runtime is at:
// it makes it, unless it has written down a state of a form that is not known.
func unwritten(c *Container) State {
	for _, file := range []string{"/state.json", "/status"} {
		if _, err := os.Lstat(c.Root + "/" + c.ID + file); err == nil {
			return Running
		}
	}
	return Creating
}

// readGroups gives the control groups of processes. That of a container's first is only read where something depends on it:
// on a node with hundreds of containers, most have no other.
func readGroups(k *kernel.Kernel, all []Container, byInit map[int]int, tasks []kernel.Task) map[int]string {
	groups := make(map[int]string)
	read := func(pids []int) {
		found := make([]string, len(pids))
		each(len(pids), func(i int) { found[i] = k.Cgroup(pids[i]) })
		for i, pid := range pids {
			groups[pid] = found[i]
		}
	}
	var others, inits []int
	for _, t := range tasks {
		if _, ok := byInit[t.PID]; !ok {
			others = append(others, t.PID)
		}
	}
	read(others)
	named := make(map[string]bool)
	for _, group := range groups {
		for part := range strings.SplitSeq(group, "/") {
			for id := range idsIn(part) {
				named[id] = true
			}
		}
	}
	for pid, i := range byInit {
		if all[i].Engine == "" || named[all[i].ID] {
			inits = append(inits, pid)
		}
	}
	read(inits)
	return groups
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// pidNamespaces finds containers by the PID namespaces of their first processes. It asks for these only when a process
// is in none of the machine's, and in no control group of a container's.
type pidNamespaces struct {
	proc, host string
	inits      map[int]int // containers by their first processes
	known      map[string]int
}

const shared = -1

// container gives the container that a process is in the namespace of, where that is no other container's.
func (p *pidNamespaces) container(pid int) (i int, ok bool) {
	ns := namespace(p.proc, strconv.Itoa(pid))
	if ns == "" || ns == p.host || len(p.inits) == 0 {
		return 0, false
	}
	if p.known == nil {
		p.known = make(map[string]int)
		for init, i := range p.inits {
			ns := namespace(p.proc, strconv.Itoa(init))
			if _, ok := p.known[ns]; ok {
				i = shared
			}
			p.known[ns] = i
		}
	}
	i, ok = p.known[ns]
	return i, ok && i != shared
}

// namespace names the PID namespace of a process; empty where it is gone.
func namespace(proc, pid string) string {
	ns, _ := os.Readlink(proc + "/" + pid + "/ns/pid")
	return ns
}

// own gives the control group that was made for a container: that part of its first process's whose name ends with the
// container's id, as "/docker/ID", "docker-ID.scope", "cri-containerd:ID". Empty where none does.
func own(group, id string) string {
	at := 0
	for part := range strings.SplitSeq(group, "/") {
		at += len(part)
		for of := range idsIn(part) {
			if of == id {
				return group[:at]
			}
		}
		at += len("/")
	}
	return ""
}

// idsIn gives the ids of containers that a part of a control group's path may be made for: all of it, and what follows an
// engine's name in it.
func idsIn(part string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for name, more := strings.TrimSuffix(part, ".scope"), true; more && yield(name); {
			at := strings.IndexAny(name, "-:")
			more = at >= 0
			name = name[at+1:]
		}
	}
}

// above finds a control group, or the next one above it, in a map.
func above(groups map[string]int, group string) (i int, ok bool) {
	for group != "" {
		if i, ok = groups[group]; ok {
			return i, true
		}
		group = group[:strings.LastIndexByte(group, '/')]
	}
	return 0, false
}

// setEngine sets the engine of a container whose record and root do not show it, by the name of its control group.
func (c *Container) setEngine(group string) {
	if c.Engine = cmp.Or(c.Engine, engine.ByCgroup(group)); c.Engine == "" && c.Root != "" {
		c.Engine = engine.Other
	}
}

// engineByRoot returns the name of the engine that sets this root, or an empty string.
func (n *Node) engineByRoot(root string) string {
	if rest, below := strings.CutPrefix(root, n.Run+"/"); below {
		root = "/run/" + rest
	}
	return engine.ByRoot(root)
}
