// Package probe starts a throw-away container through an engine, executes a process in it, and reads the labels of both from
// outside. The doctor reports what it finds, and install --restart takes an engine's change back by it.
package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/engines"
	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Kind is what a probe can find wrong. Its value is the identifier of the doctor's finding.
type Kind string

// The kinds.
const (
	Failed    Kind = "probe-failed"    // no container starts, or nothing can be executed in it
	Uncovered Kind = "probe-uncovered" // its start did not come to us
	Label     Kind = "probe-label"     // its first process is not under the label that was decided
	Exec      Kind = "probe-exec"      // what was executed in it is not under the container's label
	Left      Kind = "probe-left"      // not all that the probe made is gone
)

// Fault is something that is wrong.
type Fault struct {
	Kind Kind
	What string // a sentence without the engine
}

// Seen is what was seen of a throw-away container.
type Seen struct {
	Engine   string `json:"engine"`
	Policy   string `json:"policy"`   // that was decided; empty if nothing was
	Label    string `json:"label"`    // of its first process
	Executed string `json:"executed"` // of the process that was executed in it
}

// Engine is an engine to start a container by.
type Engine struct {
	Name   string
	Via    string // the way in which it reaches us
	Prober engines.Prober
}

// Options are those of a probe.
type Options struct {
	Program string // that waits in the container; it is linked statically
	Args    []string
	Policy  string // the policy that the container asks for; empty for none

	// Stock starts the container by the runtime that the engine takes where nobody asks for another. Then no label is looked
	// at, and nothing is seen.
	Stock bool
}

// patience is how long one engine's container may take to start, and the processes in it to come.
const patience = time.Minute

// Run starts a container, executes a process in it, looks at both, and removes it. The error says why nothing could be
// tried. What was seen is nil where the container did not start.
func Run(ctx context.Context, n *status.Node, h *host.Host, e Engine, o Options) (seen *Seen, faults []Fault, err error) {
	tell := func(k Kind, format string, args ...any) {
		faults = append(faults, Fault{k, fmt.Sprintf(format, args...)})
	}
	dir, err := makeRoot(o.Program)
	if dir != "" {
		defer os.RemoveAll(dir)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("a root file system for a throw-away container cannot be made: %w", err)
	}
	c := &host.Throwaway{
		Name: fmt.Sprintf("oci-apparmor-probe-%d", os.Getpid()), Dir: dir, Args: append([]string{inside}, o.Args...), Stock: o.Stock,
	}
	if o.Policy != "" {
		c.Annotation = map[string]string{"oci-apparmor/policy": o.Policy}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not done after %v", patience))
	defer cancel()
	started, remove, err := e.Prober.Probe(ctx, h, c)
	defer func() {
		if err := remove(); err != nil {
			tell(Left, "not all of the throw-away container %s is gone: %v", c.Name, err)
		}
	}()
	switch {
	case errors.Is(err, host.ErrNoProgram):
		return nil, nil, err
	case err != nil:
		tell(Failed, "a throw-away container does not start: %s", saidBy(err))
		return nil, faults, nil
	}
	execErr := started.Exec(ctx)
	if !o.Stock {
		if seen, err = look(ctx, n, e, started.ID, execErr == nil, tell); err != nil {
			tell(Failed, "a throw-away container was started, and is not to be seen: %v", err)
			return nil, faults, nil
		}
	}
	switch {
	case execErr != nil:
		tell(Failed, "nothing can be executed in a throw-away container: %s", saidBy(execErr))
	case seen != nil && seen.Executed == "":
		tell(Failed, "the process that was executed in a throw-away container has ended at once, or was not started")
	}
	return seen, faults, nil
}

// look reads the labels of a container's first process and of the one that was executed in it.
func look(ctx context.Context, n *status.Node, e Engine, id string, executed bool,
	tell func(Kind, string, ...any)) (*Seen, error) {
	c, err := await(ctx, n, id, executed)
	if err != nil {
		return nil, err
	}
	s := &Seen{Engine: e.Name, Policy: clean(c.Policy)}
	for i, m := range c.Processes[:min(len(c.Processes), 2)] {
		label := clean(m.Label.String())
		right := m.Confined || c.Label == "" && covers(m.Label, c.Processes[0].Label)
		if i == 0 {
			s.Label = label
			if c.Decided && !right {
				tell(Label, "the container's process is under %s, and not under %s", label, oneline.Name(c.Label))
			}
			continue
		}
		s.Executed = label
		if !right {
			tell(Exec, "a process that was executed in it is under %s, and the container's first one under %s", label, s.Label)
		}
	}
	if !c.Decided && e.Via != "hook" { // of which there is no record
		tell(Uncovered, "a throw-away container was started through it under %s, and did not come to us", s.Label)
	}
	return s, nil
}

// exitStatus is where in the error of a program what it said begins, after its command line.
var exitStatus = regexp.MustCompile(`: exit status \d+: `)

// saidBy returns what a program said that has failed, or the whole error.
func saidBy(err error) string {
	s := err.Error()
	if at := exitStatus.FindStringIndex(s); at != nil {
		return s[at[1]:]
	}
	return s
}

// clean makes a name or a label fit for a line: it may be hostile.
func clean(s string) string { return oneline.Whole(oneline.Printable(s)) }

// covers reports whether a label has every component of another: the kernel and crun stack more on what a process gets
// later.
func covers(l, of kernel.Label) bool { return l.Covers(of.Components...) }

// inside is the path of the program in the container.
const inside = "/oci-apparmor-probe"

// makeRoot makes a directory with a root file system that has nothing but a program. It returns the directory with an error,
// too. Every user can read it, since the container's may be another than root.
func makeRoot(program string) (dir string, err error) {
	if dir, err = os.MkdirTemp("/var/tmp", "oci-apparmor-probe-"); err != nil { // /tmp may be small, or without execution
		return "", err
	}
	root := filepath.Join(dir, "rootfs")
	err = errors.Join(os.Chmod(dir, 0o755), os.Mkdir(root, 0o755))
	for _, name := range []string{"dev", "proc", "sys", "etc", "run", "tmp"} { // over which engines mount
		err = errors.Join(err, os.Mkdir(filepath.Join(root, name), 0o755))
	}
	if err != nil {
		return dir, err
	}
	from, err := os.Open(program)
	if err != nil {
		return dir, err
	}
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(root, inside), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return dir, err
	}
	_, err = io.Copy(to, from)
	return dir, errors.Join(err, to.Close())
}

// await looks at a container until it has a process that was executed in it, or for a while. With executed unset, it waits
// for none.
func await(ctx context.Context, n *status.Node, id string, executed bool) (*status.Container, error) {
	const most = 10 * time.Second
	for end := time.Now().Add(most); ; time.Sleep(100 * time.Millisecond) {
		s, err := n.Gather(true)
		if err != nil {
			return nil, err
		}
		for i := range s.Containers {
			c := &s.Containers[i]
			if c.ID != id || len(c.Processes) == 0 {
				continue
			}
			if len(c.Processes) > 1 || !executed || time.Now().After(end) {
				return c, nil
			}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("no container %s runs after %v", oneline.Word(strings.TrimSpace(id)), most)
		}
	}
}
