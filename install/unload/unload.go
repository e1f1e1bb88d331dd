// Package unload takes profiles out of the kernel without setting anything free: a process that runs under a profile which is
// removed is unconfined from then on, also when the profile is loaded again, and so is one that was about to run under it.
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

// User is something that removing a profile would set free. Names are the workload's strings.
type User struct {
	PID       int    // of a process; 0 for a container that has none yet
	Command   string // what the kernel calls it
	Container string // the container that it is in, or is: its name or id, and its engine; empty where there is none
	State     State
}

// State says how a user uses a profile.
type State string

const (
	Runs     State = "runs under it"
	Pending  State = "is about to run under it"
	Created  State = "is created and not started"
	Creating State = "is being created"
	// Unknown is a container of which neither this kernel nor its spec tells it.
	Unknown State = "is not started, and what it will run under cannot be told"
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

// Profiles removes profiles unless something uses one of them: then the error is an InUse, and none is removed. It gives those
// that were removed, also with another error. Of a profile and its child, name the profile alone.
//
// Containers of ours cannot come to use them meanwhile: they wait. What other runtimes start in the moment between the last
// look at all tasks and the removal is not seen.
func Profiles(ctx context.Context, n *status.Node, names ...string) (removed []string, err error) {
	// To look takes long on a busy machine. Starts wait for the look that may end in a removal, and for no other.
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

// Idle gives an InUse where something uses one of the profiles, or a child of it.
func Idle(n *status.Node, names []string) error {
	if _, err := n.Host.Records(); err != nil {
		return fmt.Errorf("whether a container that is not started yet will run under profile %s cannot be told: %w",
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

// using gives the threads under a profile, but for our own.
func using(n *status.Node, name string) ([]kernel.Task, error) {
	threads, err := n.Host.Kernel.Using(name)
	return slices.DeleteFunc(threads, func(t kernel.Task) bool { return t.PID == os.Getpid() }), err
}

// users gives what uses a profile: threads, and those of the containers that are not started yet.
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
	told := true
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
			if told = told && k.ShowsPending(); told {
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

// uses tells whether a label as a spec names it is made of the profile, among others. The kernel takes a name also with a
// namespace before it, ":NAMESPACE:name", and where it is this one finds the same profile.
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

// called gives what a person knows a container by.
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
