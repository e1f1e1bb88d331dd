// Package statustest is a node of files for tests: its kernel, the processes, the states of runtimes, and containers that
// oci-apparmor has decided about. It does not import package status, whose own tests use it.
package statustest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Machine is such a node, in the directory Dir. A status.Node of it has Decides for its Host, the directory run below Dir for its Run,
// and Dir for its Lib.
type Machine struct {
	Dir     string
	Kernel  kerneltest.Machine
	Decides *hook.Host

	t testing.TB
}

// New returns a node without a policy and without a process.
func New(t testing.TB) *Machine {
	t.Helper()
	m := &Machine{Dir: t.TempDir(), Kernel: kerneltest.New(t), t: t}
	k := m.Kernel.Kernel()
	k.Proc = m.path("proc")
	m.Decides = &hook.Host{Store: store.Store{Dir: m.path("store")}, Kernel: k, Containers: m.path("records")}
	m.Link("proc/self/ns/pid", "pid:[1]")
	return m
}

func (m *Machine) path(name string) string { return filepath.Join(m.Dir, name) }

// Apply puts a policy in force, of which profiles are compiled as kerneltest.Texts does.
func (m *Machine) Apply(p *policy.Config) {
	m.t.Helper()
	m.ApplyBy(kerneltest.Texts{}, p)
}

// ApplyBy is Apply with another compiler.
func (m *Machine) ApplyBy(c store.Compiler, p *policy.Config) {
	m.t.Helper()
	if _, _, err := m.Decides.Store.Apply(m.t.Context(), p, c, store.Manifest{}, nil); err != nil {
		m.t.Fatal(err)
	}
}

// Write writes a file below Dir.
func (m *Machine) Write(name, text string) {
	m.t.Helper()
	m.above(name)
	if err := os.WriteFile(m.path(name), []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// Link makes a symbolic link below Dir, in the place of what is there.
func (m *Machine) Link(name, to string) {
	m.t.Helper()
	m.above(name)
	_ = os.Remove(m.path(name)) // most often there is none
	if err := os.Symlink(to, m.path(name)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *Machine) above(name string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.path(name)), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// Remove removes a file or a directory below Dir.
func (m *Machine) Remove(name string) {
	m.t.Helper()
	if err := os.RemoveAll(m.path(name)); err != nil {
		m.t.Fatal(err)
	}
}

// Program is the path of each process's program.
const Program = "/nowhere/bin/server"

// A Process is one of the node's.
type Process struct {
	PID        int
	Label      string        // as the kernel writes it: "web (enforce)"
	Group      string        // its control group
	Namespace  string        // of PIDs: "pid:[2]"; empty for the node's own
	StartedAgo time.Duration // less than 0 for one that is still to start
}

// Start makes a process.
func (m *Machine) Start(p Process) {
	m.t.Helper()
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		m.t.Fatal(err)
	}
	if p.Namespace == "" {
		p.Namespace = "pid:[1]"
	}
	dir := fmt.Sprintf("proc/%d/", p.PID)
	m.Write(dir+"attr/apparmor/current", p.Label+"\n")
	m.Write(dir+"cgroup", "0::"+p.Group+"\n")
	m.Write(dir+"stat", fmt.Sprintf("%d (a) b) S%s %d 0\n", p.PID, strings.Repeat(" 0", 18),
		(time.Duration(up.Nano())-p.StartedAgo)/(10*time.Millisecond)))
	m.Link(dir+"ns/pid", p.Namespace)
	m.Link(dir+"exe", Program)
}

// End makes a process end.
func (m *Machine) End(pid int) {
	m.t.Helper()
	m.Remove(fmt.Sprint("proc/", pid))
}

// State makes the state of a container of runc's, whose root is below the directory run.
func (m *Machine) State(root, id string, pid int) {
	m.t.Helper()
	m.Write(fmt.Sprintf("run/%s/%s/state.json", root, id), fmt.Sprintf(`{"id":%q,"init_process_pid":%d}`, id, pid))
}

// Prepare has oci-apparmor decide about a container, for which its engine has chosen a profile. more is what else its spec has, as
// JSON that stands behind the process: `, "annotations": {}`.
func (m *Machine) Prepare(c hook.Caller, id, chosen, more string) hook.Outcome {
	m.t.Helper()
	m.Write("bundles/"+id+"/config.json",
		fmt.Sprintf(`{"ociVersion": "1.0.2", "process": {"args": ["true"], "apparmorProfile": %q}%s}`, chosen, more))
	out, err := m.Decides.Prepare(m.t.Context(), c, id, hook.NewBundle(m.path("bundles/"+id)))
	if err != nil {
		m.t.Fatal(err)
	}
	return out
}
