// Package containerd wires containerd: it puts a runtime of ours into the tables of containerd's CRI plugin. Which file
// can take that depends on containerd's version and on what is in its files. So each way is tried on a copy, and read
// back by containerd's own "config dump". The first way that changes nothing but what is ours is taken.
package containerd

import (
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/pelletier/go-toml/v2"

	"github.com/oci-apparmor/oci-apparmor/install/engines/compare"
	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tasks"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

// Config is containerd's main file.
const Config = "/etc/containerd/config.toml"

// Runtime is the name of our runtime, which a RuntimeClass calls its handler.
const Runtime = engine.Runtime

const (
	shim     = engine.Shim
	wrapper  = engine.Wrapper
	stock    = "io.containerd.runc.v2" // the type of containerd's own shim
	pattern  = "oci-apparmor/*"        // of a pod's annotations that come to us
	mark     = "# oci-apparmor install has added this table, and oci-apparmor uninstall takes it out"
	markRunc = "# containerd 1.x forgets its own runtime where the file names only another one"
)

// Engine is a containerd: the node's own, or a distribution's.
type Engine struct{ distribution *Distribution }

// Missing returns why there is nothing to wire; an empty string where there is.
func (e Engine) Missing(h *host.Host, d *wire.Draft) (string, error) {
	o := e.of()
	if o.program(h, d) == "" {
		return o.absent(h), nil
	}
	if o.Missing != nil {
		if absent, err := o.Missing(h, d); err != nil || absent != "" {
			return absent, err
		}
	}
	files, err := o.read(d)
	if err != nil {
		return "", err
	}
	for _, name := range plugins {
		for _, f := range files {
			off, _ := f.Get("disabled_plugins").([]any)
			if slices.Contains(off, any(name)) {
				return fmt.Sprintf("%s:%d turns CRI off, as Docker's package does, and only CRI has runtimes: Docker is wired by itself",
					f.Path, f.Line("disabled_plugins")), nil
			}
		}
	}
	return "", nil
}

// daemon is a containerd with its configuration.
type daemon struct {
	*host.Host
	*Distribution
	program string
	version []int
}

// look finds out about the containerd of a host.
func look(ctx context.Context, h *host.Host, d *wire.Draft, o *Distribution) (*daemon, error) {
	n := &daemon{Host: h, Distribution: o, program: o.program(h, d)}
	err := o.elsewhere(h)
	if err == nil {
		n.version, err = h.VersionOf(ctx, n.program)
	}
	return n, err
}

// before reports whether the version is below another.
func (n *daemon) before(version ...int) bool { return slices.Compare(n.version, version) < 0 }

// ignoresRuntimePath reports whether this containerd starts its own shim whatever runtime_path says.
func (n *daemon) ignoresRuntimePath() bool { return n.before(1, 6, 21) }

// Clear drafts that what was wired by hand, or by an older oci-apparmor without a record, is gone.
func (e Engine) Clear(_ *host.Host, d *wire.Draft) (was host.Former, err error) {
	o := e.of()
	files, err := o.files(d)
	if err != nil {
		return was, err
	}
	for _, f := range files {
		for _, plugin := range plugins {
			if t, ok := f.Get("plugins", plugin, "containerd", "runtimes", Runtime).(map[string]any); ok && ours(t) {
				own, err := toml.Marshal(t)
				if err != nil {
					return was, fmt.Errorf("%s: %w", f.Path, err)
				}
				was.Own = string(own)
			}
			was.Default = was.Default || f.Get("plugins", plugin, "containerd", "default_runtime_name") == any(Runtime)
		}
		changed, err := cut(f, nil)
		if err != nil {
			return was, err
		}
		if !changed {
			continue
		}
		was.Files = append(was.Files, f.Path)
		if err := tomlfile.Put(d, f, f.Path == o.Config || !f.Whole() || !f.Empty("version")); err != nil {
			return was, err
		}
	}
	return was, nil
}

// Strip takes ours out of a file that somebody else has changed since (wire.Stripper).
func (e Engine) Strip(p string, was, now *wire.Entry) ([]byte, error) {
	return tomlfile.Strip(p, was, now, e.of().parse, func(f, before *tomlfile.File) error {
		_, err := cut(f, before)
		return err
	}, func(f *tomlfile.File) bool { return f.Whole() && f.Empty("version") })
}

// Found is what a file has of a runtime of our name.
type Found struct {
	Table   bool // a table of a runtime of that name
	Ours    bool // and that is ours
	Default bool // a default of that name
	Empty   bool // a table that could have the default, with nothing in it or in those below it
}

// Find returns what a file has of a runtime of our name.
func Find(f *tomlfile.File) (found Found) {
	for _, plugin := range plugins {
		containerd := []string{"plugins", plugin, "containerd"}
		table := f.Get(append(containerd, "runtimes", Runtime)...)
		found.Table = found.Table || table != nil
		found.Ours = found.Ours || ours(table)
		found.Default = found.Default || f.Get(append(containerd, "default_runtime_name")...) == any(Runtime)
		all, _ := f.Get(containerd...).(map[string]any)
		found.Empty = found.Empty || all != nil && len(all) == 0
	}
	return found
}

// Cut takes our runtime out of a file.
func Cut(f *tomlfile.File) error {
	_, err := cut(f, nil)
	return err
}

// cut takes our runtime out of a file, and puts the default back that was there before us.
func cut(f, was *tomlfile.File) (changed bool, err error) {
	for _, plugin := range plugins {
		containerd := []string{"plugins", plugin, "containerd"}
		table := append(containerd[:3:3], "runtimes", Runtime)
		if ours(f.Get(table...)) {
			if err := f.Cut(table, mark); err != nil {
				return false, err
			}
			changed = true
		}
		key := append(containerd[:3:3], "default_runtime_name")
		if f.Get(key...) != any(Runtime) || f.Get(table...) != nil {
			continue
		}
		before := any(nil)
		if was != nil {
			before = was.Get(key...)
		}
		if name, ok := before.(string); ok && name != Runtime {
			err = f.SetString(containerd, key[3], name)
		} else if err = f.Drop(key...); err == nil && was == nil {
			err = f.DropEmpty(containerd...)
		}
		if err != nil {
			return false, err
		}
		changed = true
	}
	return changed, nil
}

// ours reports whether a runtime's table is one of ours, of whichever version and wherever our programs are.
func ours(table any) bool {
	t, ok := table.(map[string]any)
	if !ok {
		return false
	}
	at, _ := t["runtime_path"].(string)
	binary, _ := tomlfile.Get(t, "options", "BinaryName").(string)
	return path.Base(at) == shim || t["runtime_type"] == engine.Type || host.IsWrapper(binary)
}

// Wire drafts our runtime.
func (e Engine) Wire(ctx context.Context, h *host.Host, d *wire.Draft, o wire.Options) (*host.Outcome, error) {
	n, err := look(ctx, h, d, e.of())
	if err != nil {
		return nil, err
	}
	if o.Via == "" {
		o.Via = n.Vias[0]
		if n.ignoresRuntimePath() {
			o.Via = n.Vias[len(n.Vias)-1]
		}
	}
	if o.Via == "shim" && n.ignoresRuntimePath() {
		err := fmt.Errorf("containerd %s ignores runtime_path, so that pods would start under no policy", n.release())
		if slices.Contains(n.Vias, "wrapper") {
			err = fmt.Errorf("%w: take --via wrapper", err)
		}
		return nil, err
	}
	files, err := n.read(d)
	if err != nil {
		return nil, err
	}
	before, err := n.dump(ctx, d)
	if err != nil {
		return nil, err
	}
	if before.runtimes[Runtime] != nil {
		written, err := n.files(d)
		if err != nil {
			return nil, err
		}
		if n := namesake(append(written, files...)); n != nil {
			return nil, n.Taken()
		}
		return nil, fmt.Errorf("containerd has a runtime %s that is not ours: give it another name first, or remove it", Runtime)
	}
	name, base, err := before.base()
	if err != nil {
		return nil, err
	}
	own := map[string]any{}
	if err := toml.Unmarshal([]byte(o.Own), &own); err != nil {
		return nil, err
	}
	table, err := n.table(d, o, base, own)
	if err != nil {
		return nil, err
	}
	w := &Wanted{daemon: n, table: table, isDefault: o.Default, before: before, baseName: name}
	var failed error
	for _, place := range n.places(ctx, d, files, w) {
		try := d.Copy()
		if err = place(try); err == nil {
			var after *dump
			if after, err = n.dump(ctx, try); err == nil {
				err = w.proof(after)
			}
		}
		if err == nil {
			*d = *try
			all := notes(o)
			if n.Notes != nil {
				all = append(all, n.Notes(d)...)
			}
			return &host.Outcome{Via: o.Via, Then: n.Then, Notes: all}, nil
		}
		failed = err
	}
	return nil, fmt.Errorf("nothing was found by which containerd would read our runtime and all else as before: %w", failed)
}

func notes(o wire.Options) []string {
	if o.Default {
		return []string{"pods that run already keep the runtime that they were created with; all later ones come to us, those of " +
			"the node itself included"}
	}
	return []string{"pods come to us by a RuntimeClass whose handler is " + Runtime}
}

// merge returns what several tables of a runtime have, without what is empty and what is ours alone: the later ones count.
func merge(tables ...map[string]any) (t, options map[string]any) {
	t, options = map[string]any{}, map[string]any{}
	for _, from := range tables {
		for key, v := range from {
			if !compare.IsZero(v) && key != "options" && key != "runtime_path" && fmt.Sprint(v) != "podsandbox" {
				t[key] = v
			}
		}
		of, _ := from["options"].(map[string]any)
		for key, v := range of {
			binary, _ := v.(string)
			if !compare.IsZero(v) && (key != "BinaryName" || !host.IsWrapper(binary)) && key != "ConfigPath" {
				options[key] = v
			}
		}
	}
	return t, options
}

// table returns our runtime's table: the base's with what ours had before, and our program. A link to the wrapper is
// drafted where it takes one.
func (n *daemon) table(d *wire.Draft, o wire.Options, base, own map[string]any) (map[string]any, error) {
	t, options := merge(base, own)
	t["runtime_type"] = stock
	annotations, _ := t["pod_annotations"].([]any)
	if !slices.Contains(annotations, any(pattern)) {
		t["pod_annotations"] = append(slices.Clone(annotations), pattern)
	}
	if at, _ := base["runtime_path"].(string); at != "" {
		return nil, fmt.Errorf("the runtime that is the default now has a shim of its own, %s: ours cannot stand before that", at)
	}
	if o.Via == "shim" {
		at, err := n.Ours(d, shim)
		t["runtime_path"] = at
		if len(options) > 0 {
			t["options"] = options
		}
		return t, err
	}
	at, err := n.Ours(d, wrapper)
	if err != nil {
		return nil, err
	}
	binary, _ := options["BinaryName"].(string)
	if binary == "" {
		binary = "runc"
	}
	name, ok := host.StandsFor(binary)
	if !ok {
		return nil, fmt.Errorf("the runtime that is the default now calls %s, and our wrapper stands only for a runc or crun in the "+
			"system's directories (--via shim, from containerd 1.6.21 on, stands for any)", binary)
	}
	link := path.Join(n.Lib(), "containerd", name)
	if err := d.Link(link, at); err != nil {
		return nil, err
	}
	options["BinaryName"] = link
	t["options"] = options
	return t, nil
}

// Check reads the draft by containerd's own check, and returns an error where ours is still in it.
func (e Engine) Check(ctx context.Context, h *host.Host, d *wire.Draft) error {
	n, err := look(ctx, h, d, e.of())
	if err != nil {
		return err
	}
	now, err := n.dump(ctx, d)
	if err == nil && ours(now.runtimes[Runtime]) {
		err = fmt.Errorf("containerd would still read our runtime %s", Runtime)
	}
	return err
}

// Needed returns the containers that run by our programs, whichever client has made them. Once it is restarted, containerd 2 executes
// nothing more in those of a runtime that it has no more.
func (e Engine) Needed(ctx context.Context, h *host.Host) (need host.Need, err error) {
	if !h.Live() {
		return need, nil
	}
	need.Why = "run by our programs, which containerd calls to delete them, and containerd 2 executes nothing more in pods once it is restarted " +
		"without our runtime"
	states, unknown := e.of().states(ctx, h, e.of().processes(h))
	need.Unknown = unknown
	tasks.Callers(h, &need, "containerd", states...)
	tasks.Direct(h, &need, states...)
	tasks.Of(h, &need, shim, states...)
	return need, nil
}

// Leave drafts nothing: containers that run need the links alone.
func (Engine) Leave(*host.Host, *wire.Draft) error { return nil }
