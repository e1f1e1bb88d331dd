package containerd

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/engines/compare"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// plugins are the names of the plugin whose table has the runtimes: of a file of version 1, of version 2, and from 3 on.
var plugins = []string{"cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"}

// plugin returns the name for a file's version.
func plugin(version int64) string { return plugins[min(max(version, 1), 3)-1] }

// dropIn is the name of our file in a directory of drop-ins. Digits come before letters: it is read late.
const dropIn = "oci-apparmor.toml"

// Read parses a main file and all that it imports, in the order in which they are found. There are none where the main
// file is missing.
func Read(d *wire.Draft, main string) ([]*tomlfile.File, error) {
	var all []*tomlfile.File
	queue := []string{main}
	for len(queue) > 0 {
		p := queue[0]
		queue = queue[1:]
		if slices.ContainsFunc(all, func(f *tomlfile.File) bool { return f.Path == p }) {
			continue
		}
		f, err := tomlfile.Read(d, p)
		if err != nil {
			return nil, err
		}
		if f == nil {
			continue
		}
		all = append(all, f)
		for _, s := range f.Strings("imports") {
			found, err := d.Glob(fromMain(main, s.Value))
			if err != nil {
				return nil, fmt.Errorf("%s:%d: imports: %w", p, f.Line("imports"), err)
			}
			queue = append(queue, found...)
		}
	}
	return all, nil
}

// fromMain returns a path of imports, which is relative to the main file's directory.
func fromMain(main, p string) string {
	if path.IsAbs(p) {
		return path.Clean(p)
	}
	return path.Join(path.Dir(main), p)
}

// candidate returns the draft's files for a directory in which they are to stand: the absolute paths of imports lead into
// it.
func (o *Distribution) candidate(d *wire.Draft, dir string) (map[string][]byte, error) {
	files, err := o.read(d)
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{}
	for _, f := range files {
		err := f.Replace(f.Strings("imports"), func(p string) string {
			if path.IsAbs(p) {
				return path.Join(dir, p)
			}
			return p
		})
		if err != nil {
			return nil, err
		}
		all[f.Path] = f.Text
	}
	return all, nil
}

// places returns the ways for a configuration, the best first: of files, those that containerd reads.
func (n *daemon) places(ctx context.Context, d *wire.Draft, files []*tomlfile.File, w *Wanted) []Place {
	var all []Place
	if len(files) > 0 && !n.before(2, 0, 0) { // 1.x puts an imported file in the place of its whole CRI section
		main := files[0]
		version, _ := main.Get("version").(int64)
		for _, s := range main.Strings("imports") {
			p := fromMain(n.Config, s.Value)
			if version < 2 || path.Base(p) != "*.toml" || strings.ContainsAny(path.Dir(p), "*?[") {
				continue
			}
			all = append(all, func(d *wire.Draft) error { return w.DropIn(d, path.Dir(p), version) })
		}
	}
	if n.Places != nil {
		all = append(all, n.Places(ctx, n.Host, d, w)...)
	}
	return all
}

// DropIn writes our runtime into a file of its own, in a directory of files of the main file's version: of another one, 2.0 to
// 2.2 drop one of the two without a word.
func (w *Wanted) DropIn(d *wire.Draft, dir string, version int64) error {
	f, err := tomlfile.Parse(path.Join(dir, dropIn), fmt.Appendf(nil, "version = %d\n", version))
	if err == nil {
		err = w.Write(f, version)
	}
	if err != nil {
		return err
	}
	e, err := d.Read(f.Path)
	if err == nil && e != nil {
		err = fmt.Errorf("%s is there already, and is not ours: move it away", f.Path)
	}
	if err != nil {
		return err
	}
	return d.WriteFile(f.Path, f.Text)
}

// Main writes our runtime into the main file, or into what that is made of.
func (w *Wanted) Main(d *wire.Draft, main string) error {
	e, err := d.Read(main)
	if err != nil {
		return err
	}
	var text []byte
	if e != nil {
		text = e.Data
	}
	f, err := tomlfile.Parse(main, text)
	if err != nil {
		return err
	}
	version, _ := f.Get("version").(int64)
	if f.Empty() {
		version = w.before.version
		line := fmt.Sprintf("version = %d\n", version)
		if len(text) == 0 {
			f, err = tomlfile.Parse(main, []byte(line))
		} else {
			err = f.Append(line)
		}
		if err != nil {
			return err
		}
	}
	if runtimes := []string{"plugins", plugin(version), "containerd", "runtimes"}; w.daemon.before(2, 0, 0) && f.Get(runtimes...) == nil {
		lines, err := tableText(append(runtimes, w.baseName), w.before.runtimes[w.baseName], markRunc)
		if err == nil {
			err = f.Append(lines)
		}
		if err != nil {
			return err
		}
	}
	if err := w.Write(f, version); err != nil {
		return err
	}
	return d.WriteFile(main, f.Text)
}

// Write writes our runtime into a file of a version.
func (w *Wanted) Write(f *tomlfile.File, version int64) error {
	containerd := []string{"plugins", plugin(version), "containerd"}
	lines, err := tableText(append(containerd[:3:3], "runtimes", Runtime), w.table, mark)
	if err != nil {
		return err
	}
	if w.isDefault {
		if err := f.SetString(containerd, "default_runtime_name", Runtime); err != nil {
			return err
		}
	}
	return f.Append(lines)
}

// Take writes the runtime of our name that another file has into a file, and makes it the default where the other one does.
func Take(f, from *tomlfile.File) error {
	for _, plugin := range plugins {
		containerd := []string{"plugins", plugin, "containerd"}
		if from.Get(append(containerd, "default_runtime_name")...) == any(Runtime) {
			if err := f.SetString(containerd, "default_runtime_name", Runtime); err != nil {
				return err
			}
		}
		name := append(containerd[:3:3], "runtimes", Runtime)
		if table, ok := from.Get(name...).(map[string]any); ok {
			lines, err := tableText(name, table, mark)
			if err == nil {
				err = f.Append(lines)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// tableText writes a runtime's table, without what is empty in it, below a comment.
func tableText(name []string, table map[string]any, comment string) (string, error) {
	var out strings.Builder
	fmt.Fprintf(&out, "%s\n%s\n", comment, tomlfile.Head(name))
	keys := slices.Sorted(maps.Keys(table))
	first := []string{"runtime_type", "runtime_path", "pod_annotations"}
	slices.SortStableFunc(keys, func(a, b string) int {
		of := func(key string) int { return (slices.Index(first, key) + len(first) + 1) % (len(first) + 1) }
		return of(a) - of(b)
	})
	for _, key := range keys {
		if key == "options" || compare.IsZero(table[key]) || fmt.Sprint(table[key]) == "podsandbox" {
			continue
		}
		v, err := tomlfile.Value(table[key])
		if err != nil {
			return "", fmt.Errorf("%s of %s: %w", key, strings.Join(name, "."), err)
		}
		fmt.Fprintf(&out, "  %s = %s\n", key, v)
	}
	options, _ := table["options"].(map[string]any)
	wrote := false
	for _, key := range slices.Sorted(maps.Keys(options)) {
		if compare.IsZero(options[key]) {
			continue
		}
		v, err := tomlfile.Value(options[key])
		if err != nil {
			return "", fmt.Errorf("%s of %s: %w", key, strings.Join(name, "."), err)
		}
		if !wrote {
			fmt.Fprintf(&out, "  %s\n", tomlfile.Head(append(name[:len(name):len(name)], "options")))
			wrote = true
		}
		fmt.Fprintf(&out, "    %s = %s\n", key, v)
	}
	return out.String(), nil
}
