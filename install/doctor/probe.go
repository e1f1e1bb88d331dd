package doctor

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

// probeChecks have no function: Examine starts no container, and AddProbes makes their findings.
var probeChecks = []Check{
	{
		ID: "probe-failed", Severity: Error,
		Looks: "With --probe: whether a throw-away container starts through each engine that is wired, and a process can be executed in it.",
		Do:    "See oci-apparmor log for a refusal of ours, and the engine's own log for all else.",
	},
	{
		ID: "probe-uncovered", Severity: Error,
		Looks: "With --probe: whether the start of that container came to us.",
		Do:    "Restart the engine, and run oci-apparmor install for it again.",
	},
	{
		ID: "probe-label", Severity: Error,
		Looks: "With --probe: whether that container's first process is under the label that was decided.",
		Do:    "See oci-apparmor status and oci-apparmor log.",
	},
	{
		ID: "probe-exec", Severity: Error,
		Looks: "With --probe: whether a process that is executed in that container is under the container's label.",
		Do:    "Have the engine call the runtime wrapper or the shim, and no hook alone.",
	},
	{
		ID: "probe-left", Severity: Warning,
		Looks: "With --probe: whether all that it made is gone afterwards.",
		Do:    "Remove what it names; its process ends by itself.",
	},
}

// Probe is what was seen of a throw-away container.
type Probe struct {
	Engine   string `json:"engine"`
	Policy   string `json:"policy"`   // that was decided; empty if nothing was
	Label    string `json:"label"`    // of its first process
	Executed string `json:"executed"` // of the process that was executed in it
}

// ProbeOptions are those of a probe.
type ProbeOptions struct {
	Program string // that waits in the container; it is linked statically
	Args    []string
	Policy  string // the policy that the container asks for; empty for none
}

// probeTime is how long one engine's container may take to start, and the processes in it to come.
const probeTime = time.Minute

// AddProbes starts a throw-away container through each engine that is wired, executes a process in it, reads the labels of both
// from outside, and removes it. It adds to a report what it finds.
func (r *Report) AddProbes(ctx context.Context, n *Node, o ProbeOptions) {
	if !n.Root {
		r.unseen(errAsUser("whether a container comes to us"))
		return
	}
	if !n.Detect().Usable() {
		return // no container starts under a policy that has profiles, and other findings say why
	}
	states, err := newExam(ctx, n).engines()
	if err != nil {
		return // wiring-interrupted
	}
	for i := range states {
		s := &states[i]
		if !s.Wired() || s.Err != nil {
			continue
		}
		if s.Prober == nil {
			r.unseen(fmt.Errorf("%s: there is no way to start a throw-away container through it", s.Title))
			continue
		}
		r.probe(ctx, n, s, o)
	}
	r.sort()
}

func (r *Report) probe(ctx context.Context, n *Node, s *engines.State, o ProbeOptions) {
	tell := func(id, format string, args ...any) {
		r.add(check(id), found{what: s.Title + ": " + fmt.Sprintf(format, args...)})
	}
	dir, err := makeRoot(o.Program)
	if dir != "" {
		defer os.RemoveAll(dir)
	}
	if err != nil {
		r.unseen(fmt.Errorf("a root file system for a throw-away container cannot be made: %w", err))
		return
	}
	c := &host.Throwaway{Name: fmt.Sprintf("oci-apparmor-probe-%d", os.Getpid()), Dir: dir, Args: append([]string{inside}, o.Args...)}
	if o.Policy != "" {
		c.Annotation = map[string]string{"oci-apparmor/policy": o.Policy}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, probeTime, fmt.Errorf("not done after %v", probeTime))
	defer cancel()
	started, remove, err := s.Prober.Probe(ctx, n.Host, c)
	defer func() {
		if err := remove(); err != nil {
			tell("probe-left", "not all of the throw-away container %s is gone: %v", c.Name, err)
		}
	}()
	switch {
	case errors.Is(err, host.ErrNoProgram):
		r.unseen(fmt.Errorf("%s: %w", s.Title, err))
		return
	case err != nil:
		tell("probe-failed", "a throw-away container does not start: %s", saidBy(err))
		return
	}
	execErr := started.Exec(ctx)
	seen, err := await(ctx, n, started.ID, execErr == nil)
	if err != nil {
		tell("probe-failed", "a throw-away container was started, and is not to be seen: %v", err)
		return
	}
	p := Probe{Engine: s.Name, Policy: clean(seen.Policy)}
	want := seen.Label
	for i, m := range seen.Processes[:min(len(seen.Processes), 2)] {
		label := clean(m.Label.String())
		right := m.Confined || want == "" && covers(m.Label, seen.Processes[0].Label)
		if i == 0 {
			p.Label = label
			if seen.Decided && !right {
				tell("probe-label", "the container's process is under %s, and not under %s", label, oneline.Name(want))
			}
			continue
		}
		p.Executed = label
		if !right {
			tell("probe-exec", "a process that was executed in it is under %s, and the container's first one under %s", label, p.Label)
		}
	}
	if !seen.Decided && s.Via != "hook" { // of which there is no record
		tell("probe-uncovered", "a throw-away container was started through it under %s, and did not come to us", p.Label)
	}
	switch {
	case execErr != nil:
		tell("probe-failed", "nothing can be executed in a throw-away container: %s", saidBy(execErr))
	case p.Executed == "":
		tell("probe-failed", "the process that was executed in a throw-away container has ended at once, or was not started")
	}
	r.Probes = append(r.Probes, p)
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

// covers reports whether a label has every component of another: the kernel and crun stack more on what a process gets later.
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

// await looks at a container until it has a process that was executed in it, or for a while. With executed unset, it waits for
// none.
func await(ctx context.Context, n *Node, id string, executed bool) (*status.Container, error) {
	const patience = 10 * time.Second
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		s, err := n.State.Gather(true)
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
			return nil, fmt.Errorf("no container %s runs after %v", oneline.Word(strings.TrimSpace(id)), patience)
		}
	}
}
