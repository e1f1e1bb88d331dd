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
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/quiet"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Container is a container on the node: what is known of it, who decided about it, and how it is confined. Its names, pod
// and image are strings of the workload.
type Container struct {
	ID        string
	Name      string // its engine's name for it, or its name in its pod; empty if not known
	Engine    string // its name in the policy file, see engine.Names; empty if not known
	Namespace string // that of its pod; without a pod, containerd's
	Pod       string
	Image     string
	Sandbox   bool   // a pod's pause container
	Root      string // the runtime's directory of its containers; empty if only processes show the container
	State     State
	PID       int // of its first process; 0 if there is none

	Decided    bool   // oci-apparmor decided about it
	Policy     string // the decided policy
	Reason     string
	Generation uint64
	Label      string // the decided label, without a mode; empty if the engine's choice was kept, or stands

	Verdict   Verdict
	Profiles  []ProfileState // the profiles of its label
	Processes []Member
	Problems  []string // sentences about what is not as it should be
	Older     string   // the problem that its processes run, or may run, under older content; else empty

	record *hook.Record
	waits  bool // it has the file at which its runtime waits for the start
}

// State is a stage in the life of a container.
type State string

const (
	Creating State = "creating" // its runtime is creating it
	Created  State = "created"  // it waits for its start
	Running  State = "running"
	Stopped  State = "stopped"
)

// Intended returns the label that a container will have after its start, and whether that is known. It is the decided label
// or, if the engine's choice was kept, the profile in its spec.
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
	Exe      string // the path of its program if it is not confined; else empty
	Confined bool   // the container's label confines it
}

func (m *Member) profile() string { return strings.Join(m.Label.Components, "//&") }

func (m *Member) mode() string {
	if m.Label.Mode == "" {
		return "unconfined"
	}
	return asMode(m.Label.Mode)
}

// stateDirs returns the directories below /run in which runtimes keep their containers: those of runc, crun and youki, of
// engines, and of users without root.
func stateDirs() []string {
	return append([]string{"runc", "crun", "youki", "user/*/runc", "user/*/crun"}, engine.Roots()...)
}

// containers finds all containers, judges them, and adds them to a status with what is not known of them.
func (n *Node) containers(s *Status, tasks []kernel.Task, exes *programs) {
	all, unread := n.all(tasks)
	s.Unread = unread
	s.Problems = slices.Clone(s.Unread)
	gen, problem := n.current()
	if problem != "" {
		s.Problems = append(s.Problems, problem)
	}
	recorded, err := n.Host.Recordings.Policies()
	if err != nil {
		s.Problems = append(s.Problems, err.Error())
	}
	s.Recorded = recorded
	if s.Quiet, err = n.standings(gen); err != nil {
		s.Problems = append(s.Problems, err.Error())
	}
	s.Refusing = n.refused(gen)
	s.Problems = append(s.Problems, s.Refusing...)
	j := judge{host: n.Host, kernel: n.Host.Kernel, gen: gen, checked: make(map[string]checked), gone: make(map[kernel.Loaded]bool)}
	for i := range all {
		j.judge(&all[i], exes)
	}
	slices.SortFunc(all, func(a, b Container) int {
		return cmp.Or(cmp.Compare(a.Engine, b.Engine), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Pod, b.Pod),
			cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Root, b.Root))
	})
	s.Containers = all
}

// standings returns how the profiles of a generation, which may be nil, stand that are to be enforced once they were quiet.
func (n *Node) standings(gen *store.Generation) ([]quiet.Standing, error) {
	if gen == nil {
		return nil, nil
	}
	c, err := gen.Config()
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(c.Profiles, func(p policy.Profile) bool { return p.EnforceAfter > 0 }) {
		return nil, nil
	}
	state, unread := n.Quiet.Read()
	return quiet.Standings(c, state, unread), nil
}

// all finds all containers with their names and their processes, and judges none. unread are sentences about what is not
// known.
func (n *Node) all(tasks []kernel.Task) (all []Container, unread []string) {
	records, err := n.Host.Records()
	if err != nil {
		unread = lines(err)
	}
	all, problems := n.find(records)
	unread = append(unread, problems...)
	all = place(n.Host.Kernel, n.proc(), all, tasks)
	// A directory without a state and without a process belongs to something else, or its container is gone by now.
	all = slices.DeleteFunc(all, func(c Container) bool { return c.State == "" })
	each(len(all), func(i int) { n.name(&all[i]) })
	n.nameByStorage(all)
	nameByRecords(all)
	return all, unread
}

// lines returns the messages of the errors that err joins.
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

// find returns the containers that have a directory of state, and those that are being created.
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

// place adds its processes to each container, and adds the containers of which only processes are found.
//
// A process belongs to a container if it is in its control group or below, and the group's name has the container's id. It
// also belongs to a container if it is in its PID namespace, and that is neither this process's nor another container's.
// Both hold for processes that were executed in the container later, whatever their parents are. Of a container with
// neither, we see only the first process.
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
	creating := make(map[string]int) // by id, the containers whose runtimes have recorded no process yet
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

// unwritten returns the state of a container that has processes, and a directory of state that names none. It is being
// created, unless its runtime has written a state in a form that we do not know.
func unwritten(c *Container) State {
	for _, file := range []string{"/state.json", "/status"} {
		if _, err := os.Lstat(c.Root + "/" + c.ID + file); err == nil {
			return Running
		}
	}
	return Creating
}

// readGroups returns the control groups of processes. It reads that of a container's first process only if something
// depends on it: on a node with hundreds of containers, most have no other process.
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

// pidNamespaces finds containers by the PID namespaces of their first processes. It reads these only if a process is in
// none of the machine's, and in no control group of a container.
type pidNamespaces struct {
	proc, host string
	inits      map[int]int // containers by their first processes
	known      map[string]int
}

const shared = -1

// container returns the container whose PID namespace a process is in, unless several containers share it.
func (p *pidNamespaces) container(pid int) (i int, ok bool) {
	ns := namespace(p.proc, strconv.Itoa(pid))
	if ns == "" || ns == p.host || len(p.inits) == 0 {
		return 0, false
	}
	if p.known == nil {
		p.read()
	}
	i, ok = p.known[ns]
	return i, ok && i != shared
}

// read reads the namespaces of containers.
func (p *pidNamespaces) read() {
	p.known = make(map[string]int)
	for init, i := range p.inits {
		ns := namespace(p.proc, strconv.Itoa(init))
		if _, ok := p.known[ns]; ok {
			i = shared
		}
		p.known[ns] = i
	}
}

// namespace returns the name of a process's PID namespace, or an empty string if the process is gone.
func namespace(proc, pid string) string {
	ns, _ := os.Readlink(proc + "/" + pid + "/ns/pid")
	return ns
}

// own returns the control group that was made for a container. It is the part of its first process's path that ends with
// the container's id: "/docker/ID", "docker-ID.scope", "cri-containerd:ID". It returns an empty string if no part does.
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

// idsIn returns the container ids that a part of a control group's path may have: the whole part, and what follows an
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

// above looks for a control group, or the next one above it, in a map.
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
