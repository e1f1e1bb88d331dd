package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/hook/programs"
	"github.com/oci-apparmor/oci-apparmor/install/apply"
	"github.com/oci-apparmor/oci-apparmor/install/engines"
	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/ocihooks"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Node is the machine that the doctor looks at: this one, or one that a test has made up.
type Node struct {
	*node.Node
	Host  *host.Host
	Build string // of the running kernel, as uname -v prints it

	// Unit returns properties of our unit by their names, as systemctl show prints them. It is nil where systemd does not run.
	Unit func(ctx context.Context) (map[string]string, error)

	// Earlier returns how many of our programs run from each version that an upgrade has replaced. It is nil where the
	// programs have no versions.
	Earlier func() (map[string]int, error)

	// Engines stands in for a look at the engines; nil is that look.
	Engines func(ctx context.Context) ([]engines.State, error)
}

// This returns the machine that this process runs on. bin is the directory of our programs.
func This(n *node.Node, bin string) *Node {
	var u unix.Utsname
	_ = unix.Uname(&u) // fails only for a bad address
	d := &Node{Node: n, Host: host.New("/", bin), Build: unix.ByteSliceToString(u.Version[:])}
	if self, err := os.Executable(); err == nil {
		if home, ok := programs.HomeOf(self); ok {
			d.Earlier = home.Earlier
		}
	}
	if info, err := os.Stat("/run/systemd/system"); err == nil && info.IsDir() { // sd_booted(3)
		d.Unit = showUnit
	}
	return d
}

// unit is the name of our unit for systemd.
const unit = "oci-apparmor.service"

// showUnit asks systemd about our unit.
func showUnit(ctx context.Context) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", "show", "--property=LoadState,UnitFileState,ActiveState", unit).Output()
	if err != nil {
		if e := new(exec.ExitError); errors.As(err, &e) && len(e.Stderr) > 0 {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(e.Stderr))
		}
		return nil, fmt.Errorf("what systemd knows of %s: %w", unit, err)
	}
	all := map[string]string{}
	for line := range bytes.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(string(line)), "=")
		all[key] = value
	}
	return all, nil
}

// exam is one examination. What several checks look at is looked at once, when the first one asks.
type exam struct {
	*Node
	ctx context.Context

	readiness  func() kernel.Readiness
	generation func() (*store.Generation, error)
	policy     func() (*policy.Config, error) // the one in force; nil where there is none, or where it cannot be read
	pending    func() (pending, error)
	loaded     func() ([]loaded, error)
	engines    func() ([]engines.State, error)
	compiler   func() (compiler, error)
	hooks      func() (host.Inspection, error)
	status     func() (*status.Status, error)
	unit       func() (map[string]string, error)
}

// pending is how the policy on disk differs from the one in force.
type pending struct {
	lines   []string
	notes   []error
	refused error // why the one on disk cannot be applied
}

// loaded is a profile of the policy in force, and what the kernel has of it.
type loaded struct {
	policy.Profile
	found   kernel.Found
	earlier bool // it has the content of an earlier policy
	ours    bool // we have loaded it
	err     error
}

// compiler is the parser of this node with what it compiles for.
type compiler struct {
	node.Compiler
	program  string // hash of the parser's program; empty if that is not known
	features []byte
}

// errAsUser says that something can be seen by root alone.
func errAsUser(what string) error {
	return fmt.Errorf("%s: only root can see this: run this as root", what)
}

func newExam(ctx context.Context, n *Node) *exam {
	x := &exam{Node: n, ctx: ctx}
	x.readiness = sync.OnceValue(n.Detect)
	x.generation = sync.OnceValues(func() (*store.Generation, error) {
		if !n.Root {
			return nil, errAsUser("the policy in force")
		}
		return store.Store{Dir: n.Store}.Current()
	})
	x.policy = sync.OnceValues(func() (*policy.Config, error) {
		g, err := x.generation()
		switch {
		case err == nil:
			return g.Index.Config()
		case !n.Root:
			return nil, err
		}
		return nil, nil // which other checks report
	})
	x.pending = sync.OnceValues(x.findPending)
	x.loaded = sync.OnceValues(x.findLoaded)
	x.engines = sync.OnceValues(x.findEngines)
	x.compiler = sync.OnceValues(x.findCompiler)
	x.hooks = sync.OnceValues(func() (host.Inspection, error) {
		i, err := ocihooks.Inspect(n.Host)
		if !n.Root && errors.Is(err, fs.ErrPermission) {
			err = errAsUser("which hooks engines call")
		}
		return i, err
	})
	x.status = sync.OnceValues(x.findStatus)
	x.unit = sync.OnceValues(func() (map[string]string, error) { return n.Unit(ctx) })
	// Engines' programs take as long as all else, and wait for nothing here.
	go x.engines()
	return x
}

func (x *exam) findPending() (p pending, err error) {
	if c, err := x.policy(); err != nil || c == nil {
		return p, err
	}
	p.lines, p.notes, p.refused = apply.Pending(x.ctx, x.Node.Node)
	r := x.readiness()
	if _, err := x.compiler(); p.refused != nil && (err != nil || r == kernel.NoAppArmor || r == kernel.NoSecurityfs) {
		p.refused = nil // nothing can be compiled here, which other checks report
	}
	return p, nil
}

func (x *exam) findLoaded() (all []loaded, err error) {
	c, err := x.policy()
	if err != nil || c == nil || !x.readiness().Usable() {
		return nil, err
	}
	for _, p := range c.Profiles {
		if p.ByHand || len(p.Compiled) == 0 {
			continue
		}
		l := loaded{Profile: p}
		l.found, l.err = x.Kernel.Check(kernel.Profile{Name: p.Name, Compiled: p.Compiled})
		if l.err == nil && l.found.Status == kernel.Drifted {
			l.ours, _ = x.Kernel.Owned(p.Name)
			l.earlier = x.heldEarlier(p.Name)
		}
		all = append(all, l)
	}
	return all, nil
}

// heldEarlier reports whether the kernel's profile of a name has the content of an earlier generation.
func (x *exam) heldEarlier(name string) bool {
	for _, content := range (store.Store{Dir: x.Store}).EarlierOf(name) {
		if found, err := x.Kernel.Check(kernel.Profile{Name: name, Compiled: content}); err == nil && found.Status == kernel.Matches {
			return true
		}
	}
	return false
}

func (x *exam) findCompiler() (compiler, error) {
	c, features, err := x.NewCompiler(x.ctx, "")
	if err != nil {
		return compiler{}, err
	}
	made := compiler{Compiler: c, features: features}
	if inputs, err := c.Inputs(nil); err == nil {
		made.program = inputs.Parser
	} // then an apply compiles everything anew
	return made, nil
}

func (x *exam) findEngines() ([]engines.State, error) {
	if x.Node.Engines != nil {
		return x.Node.Engines(x.ctx)
	}
	b, err := wire.Look(x.Host.Tree)
	if !x.Root && errors.Is(err, fs.ErrPermission) {
		err = errAsUser("what install has wired (" + wire.Dir + ")")
	}
	return engines.Look(x.ctx, b, x.Host), err
}

func (x *exam) findStatus() (*status.Status, error) {
	if !x.Root {
		return nil, errAsUser("the profiles in the kernel, and what runs in containers")
	}
	if r := x.readiness(); r == kernel.NoAppArmor || r == kernel.NoSecurityfs {
		return nil, nil // which other checks report
	}
	return x.State.Gather(true)
}

// isNone reports whether an error says that no policy was ever applied.
func isNone(err error) bool { return errors.Is(err, store.ErrNone) && !errors.Is(err, store.ErrLost) }
