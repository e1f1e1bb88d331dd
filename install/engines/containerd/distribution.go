package containerd

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tasks"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

// Distribution is a containerd by where it keeps its files and by what writes them: the node's own, or the one that a
// distribution of Kubernetes brings along. Most distributions write containerd's main file anew at each start, from files in
// which people may write.
type Distribution struct {
	Name  string // of the engine
	Title string // as its makers write it

	Config   string   // containerd's main file
	State    string   // the directory in which containerd keeps what it knows of running tasks
	Programs []string // the paths of containerd, the first that is there being taken; none stands for a PATH
	File     string   // the name of containerd's file, where containerd is a link to it
	Ends     string   // what the main file's path ends with also where a flag puts it elsewhere; empty for none
	Vias     []string // the ways in which it reaches us, the best first
	Then     string   // the command by which it takes a change over; empty where it does so by itself
	Start    string   // the command that starts it; empty where the service has different names

	// Supervisor is what starts containerd. Its zero value is systemd, by a service whose main process containerd is.
	Supervisor host.Supervisor

	// Client returns the program and the first arguments of ctr. Where it is nil, that is the program ctr beside containerd, or
	// in the PATH.
	Client func(h *host.Host, d *wire.Draft) (program string, args []string)

	// Missing returns why there is nothing to wire although containerd is there. It may be nil.
	Missing func(h *host.Host, d *wire.Draft) (string, error)

	// Files returns the files in which people write, and which may have ours. Where it is nil, these are the main file and
	// what that imports.
	Files func(d *wire.Draft) ([]*tomlfile.File, error)

	// Parse parses one of Files. Where it is nil, that is a file in TOML.
	Parse func(p string, text []byte) (*tomlfile.File, error)

	// Render drafts the files that containerd reads, as the distribution will make them of those in which people write. Where
	// it is nil, they are the same files.
	Render func(d *wire.Draft) error

	// Places returns the ways to write our runtime where there is no directory of imports that can take it, the best first.
	// Where it is nil, there is none.
	Places func(ctx context.Context, h *host.Host, d *wire.Draft, w *Wanted) []Place

	// Notes returns sentences for whoever wires it, of a draft that has ours. It may be nil.
	Notes func(d *wire.Draft) []string

	beside []func(h *host.Host, config string) bool // see Own
}

// A Place is a way to write our runtime into a draft.
type Place func(d *wire.Draft) error

// own is the node's own containerd.
var own = &Distribution{
	Name:   "containerd",
	Title:  engine.Named("containerd").Title,
	Config: Config,
	State:  tasks.State,
	Vias:   []string{"shim", "wrapper"},
	Then:   "systemctl restart containerd",
	Start:  "systemctl start containerd",
	Places: func(_ context.Context, _ *host.Host, _ *wire.Draft, w *Wanted) []Place {
		return []Place{func(d *wire.Draft) error { return w.Main(d, Config) }}
	},
}

// Own returns the node's own containerd. beside report whether a main file is that of a containerd which another engine runs.
func Own(beside ...func(h *host.Host, config string) bool) Engine {
	o := *own
	o.beside = beside
	return Engine{&o}
}

// isOwn reports whether it is the node's own containerd.
func (o *Distribution) isOwn() bool { return o.Name == own.Name }

// Of returns the engine that is a distribution's containerd.
func Of(d *Distribution) Engine { return Engine{d} }

// of returns what is known of the containerd.
func (e Engine) of() *Distribution {
	if e.distribution == nil {
		return own
	}
	return e.distribution
}

// Name returns the name of the engine: that of containerd, as package policy/engine has it, or of a distribution.
func (e Engine) Name() string { return e.of().Name }

// Title returns the name as its makers write it.
func (e Engine) Title() string { return e.of().Title }

// Vias returns the ways in which it reaches us.
func (e Engine) Vias() []string { return e.of().Vias }

// Then returns the command by which it takes its configuration over.
func (e Engine) Then() string { return e.of().Then }

// Start returns the command that starts it.
func (e Engine) Start() string { return e.of().Start }

// Supervisor returns what starts containerd.
func (e Engine) Supervisor() host.Supervisor { return e.of().Supervisor }

// commands are those of containerd's that start no daemon (cmd/containerd/command).
var commands = []string{"config", "publish", "oci-hook", "help", "h", "--version", "-v"}

// daemons returns the containerds that run, and whose program has that name or another one.
func daemons(h *host.Host, file string) []host.Process {
	return slices.DeleteFunc(h.Processes("containerd", file), isCommand)
}

func isCommand(p host.Process) bool {
	return slices.ContainsFunc(p.Args, func(arg string) bool { return slices.Contains(commands, arg) })
}

// processes returns the containerds that run with this main file.
func (o *Distribution) processes(h *host.Host) (all []host.Process) {
	for _, p := range daemons(h, o.File) {
		if config := mainFile(p); config == "" && o.isOwn() || o.reads(config) {
			all = append(all, p)
		}
	}
	return all
}

// reads reports whether a main file is its own.
func (o *Distribution) reads(config string) bool {
	return config != "" && (config == o.Config || sameFile(config, o.Config))
}

// Runs reports whether a containerd with this main file is the engine's, also where that is at another place than the usual one.
func (e Engine) Runs(_ *host.Host, config string) bool {
	o := e.of()
	return o.reads(config) || o.Ends != "" && strings.HasSuffix(config, o.Ends)
}

// mainFile returns the main file that a containerd was started with; an empty path for its default.
func mainFile(p host.Process) string { return p.Flag("--config", "-c", "-config") }

// sameFile reports whether two paths of this machine are the same file's: a snap's data are below the number of its revision,
// and by a link.
func sameFile(a, b string) bool {
	of, errA := os.Stat(a)
	other, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(of, other)
}

// program returns the path of containerd: that of the process which runs, or else where it should be. It is empty where there
// is none.
func (o *Distribution) program(h *host.Host, d *wire.Draft) string {
	for _, p := range o.processes(h) {
		if p.Program != "" {
			return path.Join(path.Dir(p.Program), "containerd")
		}
	}
	if o.isOwn() {
		return h.InPath(d, "containerd")
	}
	for _, p := range o.Programs {
		if d.Runnable(p) == nil {
			return p
		}
	}
	return ""
}

// elsewhere returns an error if the containerd that runs is the node's own, and has another main file.
func (o *Distribution) elsewhere(h *host.Host) error {
	if !o.isOwn() || len(o.processes(h)) > 0 {
		return nil
	}
	for _, p := range daemons(h, "") {
		config := mainFile(p)
		if !slices.ContainsFunc(o.beside, func(runs func(*host.Host, string) bool) bool { return runs(h, config) }) {
			return fmt.Errorf("containerd runs as process %d with --config %s, and only %s can be changed here", p.PID, config, o.Config)
		}
	}
	return nil
}

// absent returns why there is no containerd to wire, where its program is not where it should be.
func (o *Distribution) absent(h *host.Host) string {
	if o.isOwn() {
		return "there is no program containerd"
	}
	for _, p := range daemons(h, o.File) {
		config := mainFile(p)
		if o.Ends != "" && strings.HasSuffix(config, o.Ends) && (p.Program == "" || path.Base(p.Program) == cmp.Or(o.File, "containerd")) {
			return fmt.Sprintf("containerd runs as process %d with --config %s, and only %s is known here", p.PID, config, o.Config)
		}
	}
	return "it is not on this node"
}

// read parses the main file and all that it imports.
func (o *Distribution) read(d *wire.Draft) ([]*tomlfile.File, error) { return Read(d, o.Config) }

// files parses the files in which people write.
func (o *Distribution) files(d *wire.Draft) ([]*tomlfile.File, error) {
	if o.Files != nil {
		return o.Files(d)
	}
	return o.read(d)
}

// parse parses one of the files in which people write.
func (o *Distribution) parse(p string, text []byte) (*tomlfile.File, error) {
	if o.Parse != nil {
		return o.Parse(p, text)
	}
	return tomlfile.Parse(p, text)
}

// rendered returns a draft with the files that containerd reads of another draft.
func (o *Distribution) rendered(d *wire.Draft) (*wire.Draft, error) {
	if o.Render == nil {
		return d, nil
	}
	d = d.Copy()
	return d, o.Render(d)
}
