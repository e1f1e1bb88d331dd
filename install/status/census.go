package status

import (
	"bytes"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

// Census is the containers of the node at a moment. It finds the container of a process, also of one that came later.
type Census struct {
	Containers []Container // without verdicts, in no order
	Unread     []string    // sentences about what is not known

	node       *Node
	groups     map[string]int // the control groups that were made for containers
	ids        map[string]int // containers whose ids tell an engine's group
	inits      map[int]first  // the first processes of containers
	there      map[int]bool   // processes that there were
	namespaces pidNamespaces
}

// first is the first process of a container.
type first struct {
	container int
	start     time.Time
}

// Census finds the containers of the node. The error is about /proc, or about AppArmor.
func (n *Node) Census() (*Census, error) {
	there, err := n.processes()
	if err != nil {
		return nil, err
	}
	tasks, err := n.Host.Kernel.Tasks()
	if err != nil {
		return nil, err
	}
	c := &Census{node: n, there: there, groups: make(map[string]int), ids: make(map[string]int), inits: make(map[int]first)}
	c.Containers, c.Unread = n.all(tasks)
	inits := make(map[int]int)
	for i := range c.Containers {
		one := &c.Containers[i]
		c.ids[one.ID] = i
		if one.PID == 0 {
			continue
		}
		inits[one.PID] = i
		if start, ok := n.Started(one.PID); ok {
			c.inits[one.PID] = first{i, start}
		}
		if group := own(n.Host.Kernel.Cgroup(one.PID), one.ID); group != "" {
			c.groups[group] = i
		}
	}
	c.namespaces = pidNamespaces{proc: n.proc(), host: namespace(n.proc(), "self"), inits: inits}
	c.namespaces.read()
	return c, nil
}

// There reports whether there was a process of that pid when the census was begun.
func (c *Census) There(pid int) bool { return c.there[pid] }

// processes returns the pids of the processes that there are.
func (n *Node) processes() (map[int]bool, error) {
	dir, err := os.Open(n.proc())
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	there := make(map[int]bool, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			there[pid] = true
		}
	}
	return there, err
}

// Groups yields the paths of the control groups that were made for containers.
func (c *Census) Groups() iter.Seq2[string, *Container] {
	return func(yield func(string, *Container) bool) {
		for group, i := range c.groups {
			if !yield(group, &c.Containers[i]) {
				return
			}
		}
	}
}

// Place is where a process is.
type Place uint8

const (
	Gone    Place = iota // it has ended
	Inside               // in a container of the census
	Outside              // in no container of the census, but maybe in a newer one
)

// Where returns where a process is, and its container. start is when the process started; see Node.Started.
func (c *Census) Where(pid int) (at Place, container *Container, start time.Time) {
	start, ok := c.node.Started(pid)
	if !ok {
		return Gone, nil, start
	}
	i, inside := c.of(pid, start)
	if again, ok := c.node.Started(pid); !ok || again.Sub(start).Abs() > tick {
		return Gone, nil, start // what was read meanwhile may be of another process
	}
	if !inside {
		return Outside, nil, start
	}
	return Inside, &c.Containers[i], start
}

// of returns the container of a process that started at that time.
func (c *Census) of(pid int, start time.Time) (i int, ok bool) {
	if init, ok := c.inits[pid]; ok && start.Sub(init.start).Abs() <= tick {
		return init.container, true
	}
	// A group that only happens to have a container's id for its name is not the container's: a workload may choose its id.
	group := c.node.Host.Kernel.Cgroup(pid)
	if i, ok = above(c.groups, group); ok {
		return i, true
	}
	if id := engine.ContainerID(group); id != "" {
		if i, ok = c.ids[id]; ok {
			return i, true
		}
	}
	return c.namespaces.container(pid)
}

// tick is the unit of processes' start times, one hundredth of a second on every machine (USER_HZ).
const tick = time.Second / 100

// Started returns when a process started, by the clock of the node as it is now, to about a hundredth of a second. ok is
// false if there is no such process.
func (n *Node) Started(pid int) (start time.Time, ok bool) {
	stat, err := os.ReadFile(n.proc() + "/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return time.Time{}, false
	}
	// "PID (COMM) STATE ...": COMM may hold anything, so look from its end. The start time is the 22nd of all fields
	// (proc_pid_stat(5)), and counts from the boot, suspends included.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return time.Time{}, false
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil || ticks < 0 {
		return time.Time{}, false
	}
	return booted().Add(time.Duration(ticks) * tick), true
}

// booted returns when the machine was booted, by the clock as it is now.
func booted() time.Time {
	var up unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &up) // it fails only for a clock that does not exist
	return time.Now().Round(0).Add(-time.Duration(up.Nano()))
}

// Created returns when the container was created. It is zero if no program of ours did it.
func (c *Container) Created() time.Time {
	if c.record == nil {
		return time.Time{}
	}
	return c.record.Created
}

// Names returns the names of all profiles that the container's processes are known to be under, or that were decided.
func (c *Container) Names() (profiles []string) {
	label, _ := c.Intended()
	profiles = strings.Split(label, "//&")
	for _, p := range c.Processes {
		profiles = append(profiles, p.Label.Components...)
	}
	slices.Sort(profiles)
	return slices.DeleteFunc(slices.Compact(profiles), func(name string) bool { return name == "" || name == "unconfined" })
}
