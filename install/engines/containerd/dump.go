package containerd

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/oci-apparmor/oci-apparmor/install/engines/compare"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// dump is what containerd makes of its configuration.
type dump struct {
	values   map[string]any
	version  int64
	plugin   string                    // whose tables have the runtimes
	runtimes map[string]map[string]any // by their names
	standard string                    // the name of the default one
}

// dump asks containerd what it makes of a draft, by a copy of its files.
func (n *daemon) dump(ctx context.Context, d *wire.Draft) (*dump, error) {
	out, err := n.ask(ctx, d)
	if err != nil {
		return nil, err
	}
	return parseDump(out)
}

// ask returns what containerd prints of a draft.
func (n *daemon) ask(ctx context.Context, d *wire.Draft) ([]byte, error) {
	d, err := n.rendered(d)
	if err != nil {
		return nil, err
	}
	dir, remove, err := n.Candidate(func(dir string) (map[string][]byte, error) { return n.candidate(d, dir) })
	if err != nil {
		return nil, err
	}
	defer remove()
	args := []string{"--config", path.Join(dir, n.Config), "config", "dump"}
	if main, err := d.Read(n.Config); err != nil {
		return nil, err
	} else if main == nil { // 1.x has no dump of a file that is not there
		args = []string{"config", "default"}
	}
	out, err := n.Run(ctx, nil, n.program, args...)
	if err != nil {
		return nil, fmt.Errorf("containerd cannot read its configuration: %w", errors.New(strings.ReplaceAll(err.Error(), dir, "")))
	}
	return out, nil
}

func parseDump(out []byte) (*dump, error) {
	p := &dump{runtimes: map[string]map[string]any{}}
	if err := toml.Unmarshal(out, &p.values); err != nil {
		return nil, fmt.Errorf("containerd config dump: %w", err)
	}
	p.version, _ = p.values["version"].(int64)
	for _, name := range plugins {
		if table, ok := tomlfile.Get(p.values, "plugins", name, "containerd").(map[string]any); ok {
			p.plugin = name
			p.standard, _ = table["default_runtime_name"].(string)
			all, _ := table["runtimes"].(map[string]any)
			for runtime, t := range all {
				if t, ok := t.(map[string]any); ok {
					p.runtimes[runtime] = t
				}
			}
		}
	}
	if p.plugin == "" {
		return nil, errors.New("containerd config dump has no runtimes of CRI")
	}
	return p, nil
}

// base returns the runtime that ours is to stand before: the default, or runc where that is not of containerd's own type.
func (p *dump) base() (string, map[string]any, error) {
	for _, name := range []string{p.standard, "runc"} {
		if t := p.runtimes[name]; t != nil && t["runtime_type"] == stock {
			return name, t, nil
		}
	}
	return "", nil, fmt.Errorf("containerd's default runtime %q is not of the type %s, and neither is one called runc: ours has "+
		"nothing to stand before", p.standard, stock)
}

// Wanted is what containerd is to read.
type Wanted struct {
	daemon    *daemon
	table     map[string]any // of our runtime
	isDefault bool
	before    *dump
	baseName  string
}

// proof compares what containerd reads with what it is to read: our runtime, and all else as before.
func (w *Wanted) proof(after *dump) error {
	was, now := flatten(w.before.values), flatten(after.values)
	// The copies have other directories, and 2.2 to 2.4 print an import that is not in force.
	delete(was, "imports")
	delete(now, "imports")
	containerd := "plugins." + after.plugin + ".containerd."
	if w.isDefault {
		was[containerd+"default_runtime_name"] = Runtime
	}
	for key, value := range flatten(w.table) {
		was[containerd+"runtimes."+Runtime+"."+key] = value
	}
	return compare.Same(was, now)
}

// flatten returns each value by the names that lead to it. What stands for the default is left out: empty values, and a
// sandbox mode of podsandbox, which 1.7 puts in for none.
func flatten(table map[string]any) map[string]string {
	return compare.Flatten(table, func(v any) bool { return compare.IsZero(v) || fmt.Sprint(v) == "podsandbox" })
}
