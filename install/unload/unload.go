// Package unload removes profiles from the kernel without setting anything free. A process whose profile is removed is
// unconfined from then on, even if the profile is loaded again. The same is true for a process that is about to run under
// it.
package unload

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
)

// User is a process or a container that would be unconfined without the profile. Its names are strings of the workload.
type User struct {
	PID       int    // of the process; 0 for a container that has none yet
	Command   string // the kernel's name of the process
	Container string // the container's name or id, and its engine; empty for a process outside of containers
	State     State
}

// State is how a user uses a profile.
type State string

const (
	Runs     State = "runs under it"
	Pending  State = "is about to run under it"
	Created  State = "is created and not started"
	Creating State = "is being created"
	// Unknown is a container for which neither this kernel nor its spec shows the profile.
	Unknown State = "is not started, and what it will run under is not known"
)

// Use is a profile that something uses.
type Use struct {
	Profile string
	Users   []User
}

// InUse is the error for profiles that are in use.
type InUse []Use

func (e InUse) Error() string {
	var names []string
	for _, u := range e {
		names = append(names, u.Profile)
	}
	return "in use, so that removing it would leave what uses it unconfined for good: " + strings.Join(names, ", ")
}

// Profiles removes profiles, unless something uses one of them. In that case it removes none, and the error is an InUse. It
// returns the removed profiles, also with another error. For a profile and its child, name only the profile.
//
// Containers of ours cannot begin to use the profiles meanwhile, because they wait. Profiles does not see what other
// runtimes start between its last look at all tasks and the removal.
func Profiles(ctx context.Context, n *status.Node, names ...string) (removed []string, err error) {
	// A look takes long on a busy machine. Starts wait only for the look that may end in a removal.
	if err := Idle(n, names); err != nil {
		return nil, err
	}
	release, err := n.Host.Hold()
	if err != nil {
		return nil, err
	}
	defer release()
	if err := Idle(n, names); err != nil {
		return nil, err
	}
	for _, name := range names {
		err := n.Host.Kernel.Remove(ctx, name, func() error {
			threads, err := using(n, name)
			if err == nil && len(threads) > 0 {
				err = InUse{{name, users(n, threads, nil, name)}}
			}
			return err
		})
		if err != nil {
			return removed, err
		}
		removed = append(removed, name)
	}
	return removed, nil
}

// Idle returns an InUse if something uses one of the profiles or a child of it, and nil if nothing does.
func Idle(n *status.Node, names []string) error {
	if _, err := n.Host.Records(); err != nil {
		return fmt.Errorf("whether a container that is not started yet will run under profile %s is not known: %w",
			strings.Join(names, ", "), err)
	}
	s, err := n.Gather(true)
	if err != nil {
		return err
	}
	var busy InUse
	for _, name := range names {
		threads, err := using(n, name) // after the containers, so that the time to the removal is short
		if err != nil {
			return err
		}
		if u := users(n, threads, s.Containers, name); len(u) > 0 {
			busy = append(busy, Use{name, u})
		}
	}
	if busy != nil {
		return busy
	}
	return nil
}

// using returns the threads under a profile, without our own.
func using(n *status.Node, name string) ([]kernel.Task, error) {
	threads, err := n.Host.Kernel.Using(name)
	return slices.DeleteFunc(threads, func(t kernel.Task) bool { return t.PID == os.Getpid() }), err
}

// users returns what uses a profile: threads, and containers that are not started yet.
func users(n *status.Node, threads []kernel.Task, all []status.Container, name string) []User {
	k := n.Host.Kernel
	containers := make(map[int]*status.Container) // by process
	for i := range all {
		c := &all[i]
		containers[c.PID] = c
		for _, p := range c.Processes {
			containers[p.PID] = c
		}
	}
	var users []User
	shows := true
	for i := range all {
		c := &all[i]
		state := Creating
		switch c.State {
		case status.Created:
			state = Created
		case status.Creating:
		default:
			continue
		}
		label, known := c.Intended()
		switch {
		case known && !uses(label, name):
			continue
		case known:
		case state == Created:
			if shows = shows && k.ShowsPending(); shows {
				continue
			}
			fallthrough
		default:
			state = Unknown
		}
		users = append(users, User{PID: c.PID, Command: k.Command(c.PID), Container: called(c), State: state})
	}
	for i := range threads {
		t := &threads[i]
		if slices.ContainsFunc(users, func(u User) bool { return u.PID == t.PID }) {
			continue
		}
		u := User{PID: t.PID, Command: k.Command(t.PID), State: Runs}
		if t.Pending != nil && !(&kernel.Task{Label: t.Label}).Uses(name) {
			u.State = Pending
		}
		if c := containers[t.PID]; c != nil {
			u.Container = called(c)
		} else if id := engine.ContainerID(k.Cgroup(t.PID)); id != "" {
			u.Container = id
		}
		users = append(users, u)
	}
	slices.SortStableFunc(users, func(a, b User) int { return strings.Compare(a.Container, b.Container) })
	return users
}

// uses reports whether a label, as a spec has it, has the profile as a component. The kernel also takes a name with a
// namespace, ":NAMESPACE:name". If that namespace is this one, it finds the same profile.
func uses(label, name string) bool {
	t := kernel.Task{Label: kernel.Label{Components: strings.Split(label, "//&")}}
	for i, c := range t.Label.Components {
		c = strings.TrimPrefix(c, "&")
		if strings.HasPrefix(c, ":") {
			c = strings.TrimPrefix(c[strings.LastIndexByte(c, ':')+1:], "//")
		}
		t.Label.Components[i] = c
	}
	return t.Uses(name)
}

// called returns the name by which people know a container.
func called(c *status.Container) string {
	name := c.Name
	if name == "" {
		name = c.ID
	}
	if c.Pod != "" {
		name += " of pod " + c.Namespace + "/" + c.Pod
	}
	by := c.Engine
	if by == engine.Other && c.Root != "" && engine.ByRoot(c.Root) == "" {
		by = filepath.Base(c.Root) // the runtime's name, where it was called by hand
	}
	if by != "" {
		name += " (" + by + ")"
	}
	return name
}
