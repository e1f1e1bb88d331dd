// Package agent is a process that looks after a node: that the policy on disk is the one in force, that the kernel's
// profiles have the policy's content, and that engines go on to come to us. No container's start depends on it.
//
// Each of these is a Part. A part waits for the kernel to say that something has changed, looks, does something about it,
// and writes down what it found in the State, which others read. Nothing here runs by the clock, unless a part has failed; only in a
// cluster a throw-away container is started once an hour.
// What takes memory, as compiling a policy does, is done by a child process.
package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/hook/version"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// A Part looks after one thing. Watch and Act run at the same time, each in one goroutine.
type Part interface {
	// Name is the word for the part in the log and in the state.
	Name() string

	// Watch calls changed after each change of what it watches, and returns when ctx ends. Any other return is a failure, after
	// which it is called again.
	Watch(ctx context.Context, changed func()) error

	// Act looks, does what is to be done, and reports by r. It is called at the start, and after changes. After an error it
	// is called again later, also without a change.
	Act(ctx context.Context, r *Reporter) error
}

// Pace is how a part follows changes.
type Pace struct {
	Quiet time.Duration // it acts when nothing has changed for so long
	Most  time.Duration // or so long after the first change, if it never gets quiet
	Rest  time.Duration // it does not act again before so long after it has acted
}

// Options are those of an agent.
type Options struct {
	Dir    string                  // of the state, its lock, and the socket: Dir
	Listen string                  // "unix:PATH" or a loopback "ADDRESS:PORT"; empty for nothing
	Public bool                    // Listen may be an address that other machines reach
	Serve  map[string]http.Handler // what is served there, by paths, besides the state
	Log    func(line string)       // takes lines for people
	Warn   func(line string)       // takes those that the node's log is to have as well; nil for Log
}

// Dir is the directory of the agent's files on a node.
const Dir = "/run/oci-apparmor"

// Agent is the process. New makes one.
type Agent struct {
	o     Options
	parts []paced

	mu      sync.Mutex
	state   State
	unsaved error           // why the state could not be written
	saving  *time.Timer     // after which that is tried again
	tries   int             // how often in a row that was in vain
	heard   []chan struct{} // of those who wait for changes of the state
}

type paced struct {
	Part
	Pace
}

// New returns an agent without parts.
func New(o Options) *Agent {
	if o.Warn == nil {
		o.Warn = o.Log
	}
	return &Agent{o: o, state: State{Version: stateVersion, Program: version.String(), PID: os.Getpid()}}
}

// Add adds a part. It must be called before Run.
func (a *Agent) Add(p Part, pace Pace) { a.parts = append(a.parts, paced{p, pace}) }

// ErrRuns is the error of Run if another agent runs.
var ErrRuns = errors.New("another oci-apparmor agent runs on this node")

// Run runs the parts until ctx ends. It fails at once if another agent runs.
func (a *Agent) Run(ctx context.Context) error {
	if a.o.Listen != "" {
		if err := CheckListen(a.o.Listen, a.o.Public); err != nil {
			return err
		}
		a.Add(listener{a}, Pace{})
	}
	if err := ready(a.o.Dir); err != nil {
		return err
	}
	release, err := safefile.Lock(ctx, safefile.Cwd, filepath.Join(a.o.Dir, lockFile), time.Nanosecond)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w, %s: it holds %s", ErrRuns, processOf(a.o.Dir), filepath.Join(a.o.Dir, lockFile))
	}
	if err != nil {
		return err
	}
	defer release()
	a.state.Started = time.Now().UTC()
	a.update(func(*State) {})
	var all sync.WaitGroup
	for _, p := range a.parts {
		all.Go(func() { a.run(ctx, p) })
	}
	a.logf("agent %s looks after %s", version.String(), a.names())
	all.Wait()
	a.ended()
	a.logf("agent ends")
	return nil
}

func (a *Agent) names() string {
	var names []string
	for _, p := range a.parts {
		if _, is := p.Part.(listener); !is {
			names = append(names, p.Name())
		}
	}
	return oneline.And(names)
}

// ready makes the directory, and refuses one that somebody else could have written to.
func ready(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("%s is no directory", dir)
	}
	return safefile.Trusted(dir, st.Uid, st.Mode)
}

// processOf returns words for the agent that runs.
func processOf(dir string) string {
	if s, _, err := Read(dir); err == nil {
		return fmt.Sprintf("process %d", s.PID)
	}
	return "whose state cannot be read"
}

func (a *Agent) logf(format string, args ...any) {
	a.o.Log(oneline.Printable(fmt.Sprintf(format, args...)))
}

// State returns the state as it is now. What it refers to must not be changed.
func (a *Agent) State() State {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state
}

// Changed returns a channel that has something after each change of the state from now on.
func (a *Agent) Changed() <-chan struct{} {
	heard := make(chan struct{}, 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.heard = append(a.heard, heard)
	return heard
}

// update changes the state, writes it for others, and tells those who wait for it. change must not change what the state
// refers to: it replaces that.
func (a *Agent) update(change func(*State)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.state)
	a.save()
	for _, heard := range a.heard {
		select {
		case heard <- struct{}{}:
		default:
		}
	}
}

// save writes the state. Where that fails, it is tried again later and later, so that others see the state as it is once there is room
// for it, also if nothing happens any more. The caller holds a.mu.
func (a *Agent) save() {
	err := a.state.write(a.o.Dir)
	switch {
	case err == nil && a.unsaved != nil:
		a.logf("the agent's state is written again")
	case err != nil && (a.unsaved == nil || a.unsaved.Error() != err.Error()):
		a.logf("the agent's state cannot be written, and others see an old one: %v", err)
	}
	a.unsaved = err
	switch {
	case err == nil:
		a.forget()
		a.tries = 0
	case a.saving == nil:
		a.saving = time.AfterFunc(backoff(a.tries), a.again)
	}
}

// forget stops what save has begun. The caller holds a.mu.
func (a *Agent) forget() {
	if a.saving != nil {
		a.saving.Stop()
		a.saving = nil
	}
}

// again writes the state that could not be written, unless the agent has ended.
func (a *Agent) again() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.saving != nil {
		a.saving = nil
		a.tries++
		a.save()
	}
}

// ended removes the state, which nothing writes again.
func (a *Agent) ended() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forget()
	_ = os.Remove(filepath.Join(a.o.Dir, stateFile))
}

// Reporter takes what a part reports.
type Reporter struct {
	agent *Agent
	part  string
}

// Update changes the state. change must replace what the state refers to, and not change it, because others read it.
func (r *Reporter) Update(change func(*State)) { r.agent.update(change) }

// State returns the state as it is now.
func (r *Reporter) State() State { return r.agent.State() }

// Logf writes a line for people.
func (r *Reporter) Logf(format string, args ...any) {
	r.agent.logf("%s: %s", r.part, strings.TrimRight(fmt.Sprintf(format, args...), "\n"))
}

// Warnf writes a line for people that the node's log is to have as well, as it is about what is in force.
func (r *Reporter) Warnf(format string, args ...any) {
	r.agent.o.Warn(oneline.Printable(fmt.Sprintf("%s: %s", r.part, strings.TrimRight(fmt.Sprintf(format, args...), "\n"))))
}
