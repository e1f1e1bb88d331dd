// Package unload takes profiles out of the kernel without setting anything free: a process that runs under a profile which is
// removed is unconfined from then on, also when the profile is loaded again, and so is one that was about to run under it.
package unload

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/status"
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
	// Unknown is a container that is created and not started, of which this kernel does not tell what it will run under.
	Unknown State = "is created and not started, and this kernel does not tell what it will run under"
)

// InUse is the error for a profile that something uses.
type InUse struct {
	Profile string
	Users   []User
}

func (e *InUse) Error() string {
	return fmt.Sprintf("profile %s is in use: removing it would leave what uses it unconfined for good", e.Profile)
}

// Profile removes a profile unless something uses it: then the error is an *InUse.
//
// Containers of ours cannot come to use it meanwhile: they wait. What other runtimes start in the moment between the last
// look at all tasks and the removal is not seen.
func Profile(ctx context.Context, n *status.Node, name string) error {
	release, err := n.Host.Hold()
	if err != nil {
		return err
	}
	defer release()
	return n.Host.Kernel.Remove(ctx, name, func() error {
		users, err := Users(n, name)
		if err == nil && len(users) > 0 {
			err = &InUse{name, users}
		}
		return err
	})
}

// Users gives what uses a profile, or a child of it.
func Users(n *status.Node, name string) ([]User, error) {
	k := n.Host.Kernel
	if _, err := n.Host.Records(); err != nil {
		return nil, fmt.Errorf("whether a container that is not started yet will run under profile %s cannot be told: %w", name, err)
	}
	s, err := n.Gather(true)
	if err != nil {
		return nil, err
	}
	containers := make(map[int]*status.Container) // by process
	for i := range s.Containers {
		c := &s.Containers[i]
		containers[c.PID] = c
		for _, p := range c.Processes {
			containers[p.PID] = c
		}
	}
	var users []User
	told := true
	for i := range s.Containers {
		c := &s.Containers[i]
		state := Creating
		switch c.State {
		case status.Created:
			state = Created
		case status.Creating:
		default:
			continue
		}
		switch {
		case c.Decided && !uses(c.Label, name):
			continue
		case !c.Decided && state == Created:
			if told = told && k.TellsPending(); told {
				continue
			}
			state = Unknown
		case !c.Decided:
			continue
		}
		users = append(users, User{PID: c.PID, Command: k.Command(c.PID), Container: called(c), State: state})
	}
	threads, err := k.Threads() // last, so that the time to the removal is short
	if err != nil {
		return nil, err
	}
	for i := range threads {
		t := &threads[i]
		if !t.Uses(name) || t.PID == os.Getpid() || slices.ContainsFunc(users, func(u User) bool { return u.PID == t.PID }) {
			continue
		}
		u := User{PID: t.PID, Command: k.Command(t.PID), State: Runs}
		if t.Pending != nil && !(&kernel.Task{Label: t.Label}).Uses(name) {
			u.State = Pending
		}
		if c := containers[t.PID]; c != nil {
			u.Container = called(c)
		} else if id := kernel.ContainerID(k.Cgroup(t.PID)); id != "" {
			u.Container = id
		}
		users = append(users, u)
	}
	slices.SortStableFunc(users, func(a, b User) int { return strings.Compare(a.Container, b.Container) })
	return users, nil
}

// uses tells whether a label of a spec is made of the profile, among others.
func uses(label, name string) bool {
	t := kernel.Task{Label: kernel.Label{Components: strings.Split(label, "//&")}}
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
	if c.Engine != "" {
		name += " (" + c.Engine + ")"
	}
	return name
}
