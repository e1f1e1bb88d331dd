// Package crio wires CRI-O: a drop-in with a runtime of ours, whose program is a link to our wrapper. CRI-O reads a copy
// first by its own "crio config".
package crio

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/oci-apparmor/oci-apparmor/install/engines/compare"
	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

// Runtime is the name of our runtime, which a RuntimeClass calls its handler.
const Runtime = engine.Runtime

const (
	wrapper = engine.Wrapper
	mark    = "# oci-apparmor install has written this file, and oci-apparmor uninstall removes it\n"
)

// Engine is CRI-O.
type Engine struct{}

// Name returns its name, as package policy/engine has it.
func (Engine) Name() string { return "cri-o" }

// Vias returns the ways in which it reaches us.
func (Engine) Vias() []string { return []string{"wrapper"} }

// Then returns the command by which CRI-O takes its configuration over.
func (Engine) Then() string { return "systemctl restart crio" }

// Missing returns why there is nothing to wire; an empty string where there is.
func (Engine) Missing(h *host.Host, d *wire.Draft) (string, error) {
	if h.Program(d, "crio") == "" {
		return "there is no program crio", nil
	}
	return "", nil
}

// ours reports whether a runtime's table is one of ours.
func ours(table any) bool {
	t, _ := table.(map[string]any)
	at, _ := t["runtime_path"].(string)
	return host.IsWrapper(at)
}

// Clear drafts that what was wired by hand, or by an oci-apparmor without a record, is gone.
func (Engine) Clear(_ *host.Host, d *wire.Draft) (was host.Former, err error) {
	files, err := read(d)
	if err != nil {
		return was, err
	}
	found := slices.ContainsFunc(files, func(f *tomlfile.File) bool { return ours(f.Get(keyOurs()...)) })
	if !found {
		return was, nil
	}
	for _, f := range files {
		if t := f.Get(keyOurs()...); ours(t) {
			own, err := toml.Marshal(t)
			if err != nil {
				return was, fmt.Errorf("%s: %w", f.Path, err)
			}
			was.Own = string(own)
		}
		isDefault := f.Get(keyDefault...) == any(Runtime)
		changed, err := cut(f, nil)
		if err != nil {
			return was, err
		}
		if !changed {
			continue
		}
		was.Files = append(was.Files, f.Path)
		was.Default = was.Default || isDefault
		if err := tomlfile.Put(d, f, f.Path == main || f.Says()); err != nil {
			return was, err
		}
	}
	return was, nil
}

// cut takes our runtime out of a file, and puts the default back that was there before us.
func cut(f, was *tomlfile.File) (changed bool, err error) {
	before := f.Text
	if ours(f.Get(keyOurs()...)) {
		if err := f.Cut(keyOurs(), strings.TrimSpace(mark)); err != nil {
			return false, err
		}
	}
	if f.Get(keyDefault...) != any(Runtime) || f.Get(keyOurs()...) != nil {
		return !bytes.Equal(before, f.Text), nil
	}
	name := ""
	if was != nil {
		name, _ = was.Get(keyDefault...).(string)
	}
	if name != "" && name != Runtime {
		return true, f.SetString(keyDefault[:2], keyDefault[2], name)
	}
	return true, f.Drop(keyDefault...)
}

// Strip takes ours out of a file that somebody else has changed since (wire.Stripper).
func (Engine) Strip(p string, was, now *wire.Entry) ([]byte, error) {
	return tomlfile.Strip(p, was, now, tomlfile.Parse, func(f, before *tomlfile.File) error {
		_, err := cut(f, before)
		return err
	}, func(f *tomlfile.File) bool { return !f.Says() })
}

// Wire drafts our runtime.
func (Engine) Wire(ctx context.Context, h *host.Host, d *wire.Draft, o wire.Options) (*host.Outcome, error) {
	n, err := look(h, d)
	if err != nil {
		return nil, err
	}
	files, err := read(d)
	if err != nil {
		return nil, err
	}
	if n := namesake(files); n != nil {
		return nil, n.Taken()
	}
	for _, f := range files {
		if f.Path == dropIn {
			return nil, fmt.Errorf("%s is there already, and is not ours: give it another name first", dropIn)
		}
	}
	out := &host.Outcome{Via: "wrapper", Then: Engine{}.Then()}
	before, err := n.dump(ctx, files)
	asked := err == nil
	if !asked {
		if h.Live() {
			return nil, err
		}
		before = merged(files)
		out.Notes = append(out.Notes, "crio could not be asked in this image, so its files were read by this program alone: "+err.Error())
	}
	table, note, err := n.table(d, before, o.Own)
	if err != nil {
		return nil, err
	}
	if note != "" {
		out.Notes = append(out.Notes, note)
	}
	text, err := tableText(table, o.Default)
	if err != nil {
		return nil, err
	}
	if err := d.WriteFile(dropIn, []byte(text)); err != nil {
		return nil, err
	}
	if files, err = read(d); err != nil {
		return nil, err
	}
	if err := last(files, o.Default); err != nil {
		return nil, err
	}
	if asked {
		after, err := n.dump(ctx, files)
		if err == nil {
			err = proof(before, after, table, o.Default)
		}
		if err != nil {
			return nil, err
		}
	}
	if o.Default {
		out.Notes = append(out.Notes, "all later pods come to us, those of the node itself included, and so does what is started later in pods "+
			"that run already, because CRI-O keeps no runtime of a pod that names none")
	} else {
		out.Notes = append(out.Notes, "pods come to us by a RuntimeClass whose handler is "+Runtime)
	}
	return out, nil
}

// table returns our runtime's table: that of the default one, with a link to our wrapper, which is drafted. One that was wired
// by hand keeps what it has, and calls the runtime that it called, because pods run by that. note says what is not as in the
// default one.
func (n *daemon) table(d *wire.Draft, c *config, own string) (table map[string]any, note string, err error) {
	base, name := c.runtimes[c.standard], c.standard
	if own != "" {
		base, name = map[string]any{}, Runtime
		if err := toml.Unmarshal([]byte(own), &base); err != nil {
			return nil, "", err
		}
		if base["runtime_path"] = path.Base(fmt.Sprint(base["runtime_path"])); base["runtime_path"] == wrapper {
			base["runtime_path"] = "runc" // which a wrapper takes that is called by its own name
		}
	}
	if base == nil {
		return nil, "", fmt.Errorf("the default runtime %q is nowhere", c.standard)
	}
	base = maps.Clone(base)
	if base["runtime_type"] == pod && own == "" {
		if note, err = n.monitored(d, name, base); err != nil {
			return nil, "", err
		}
	}
	if err := n.standsBefore(name, base); err != nil {
		return nil, "", err
	}
	binary, _ := base["runtime_path"].(string)
	if binary == "" {
		binary = c.standard // CRI-O looks for it in its PATH
	}
	link, err := n.Before(d, "cri-o", binary)
	if err != nil {
		return nil, "", err
	}
	t := map[string]any{}
	for key, v := range base {
		if !compare.IsZero(v) && key != "inherit_default_runtime" {
			t[key] = v
		}
	}
	t["runtime_path"] = link
	return t, note, nil
}

// Types of runtimes (pkg/config/config.go). CRI-O calls one of the type oci through conmon, a process for each container, and
// one of the type pod through conmon-rs, a process for each pod.
const (
	oci = "oci"
	pod = "pod"
)

// monitored makes of the table of a runtime of the type pod that of one of the type oci, with the conmon that CRI-O's packages
// have beside conmon-rs, or one in the PATH.
func (n *daemon) monitored(d *wire.Draft, name string, table map[string]any) (note string, err error) {
	monitor, _ := table["monitor_path"].(string)
	conmon := path.Join(path.Dir(monitor), "conmon")
	if !path.IsAbs(conmon) || d.Runnable(conmon) != nil {
		conmon = n.InPath(d, "conmon")
	}
	if conmon == "" {
		return "", fmt.Errorf("%s: runtime_type of the runtime %s, which ours would call, is %q, and for ours, which is of the type %q, "+
			"there is no program conmon: install that", n.where(name, "runtime_type"), name, pod, oci)
	}
	table["runtime_type"], table["monitor_path"] = oci, conmon
	return fmt.Sprintf("%s: the default runtime %s is of the type %s, and ours of the type %s: its containers have %s as their monitor",
		n.where(name, "runtime_type"), name, pod, oci, conmon), nil
}

// standsBefore returns an error if ours cannot stand before a runtime, by what its table says of how CRI-O calls it.
func (n *daemon) standsBefore(name string, table map[string]any) error {
	var key, why string
	if kind, _ := table["runtime_type"].(string); kind != "" && kind != oci {
		key, why = "runtime_type", fmt.Sprintf("is %q, and ours can stand only before one of the type %q", kind, oci)
	}
	if paths, _ := table["platform_runtime_paths"].(map[string]any); len(paths) > 0 {
		key, why = "platform_runtime_paths", "has several programs, and ours can stand only before one"
	}
	if key == "" {
		return nil
	}
	return fmt.Errorf("%s: %s of the runtime %s, which ours would call, %s: change that, or have default_runtime name another one first",
		n.where(name, key), key, name, why)
}

// where returns the file and the line by which a runtime has a key, as FILE:LINE: a later table replaces an earlier one.
func (n *daemon) where(runtime, key string) string {
	files, _ := read(wire.NewDraft(n.Tree)) // those before one that cannot be read
	for _, f := range slices.Backward(files) {
		if keys := append(keyRuntimes[:3:3], runtime, key); f.Get(keys...) != nil {
			return fmt.Sprintf("%s:%d", f.Path, f.Line(keys...))
		}
	}
	return "crio config"
}

// tableText writes our file.
func tableText(table map[string]any, isDefault bool) (string, error) {
	var text strings.Builder
	text.WriteString(mark)
	if isDefault {
		fmt.Fprintf(&text, "%s\n%s = %q\n\n", tomlfile.Head(keyDefault[:2]), keyDefault[2], Runtime)
	}
	text.WriteString(tomlfile.Head(keyOurs()) + "\n")
	var tables []string
	for _, key := range slices.Sorted(maps.Keys(table)) {
		if _, ok := table[key].(map[string]any); ok {
			tables = append(tables, key)
			continue
		}
		v, err := tomlfile.Value(table[key])
		if err != nil {
			return "", fmt.Errorf("%s of the default runtime: %w", key, err)
		}
		fmt.Fprintf(&text, "%s = %s\n", key, v)
	}
	for _, name := range tables { // default_annotations
		text.WriteString("\n" + tomlfile.Head(append(keyOurs(), name)) + "\n")
		sub, _ := table[name].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(sub)) {
			v, err := tomlfile.Value(sub[key])
			if err != nil {
				return "", fmt.Errorf("%s of the default runtime: %w", name, err)
			}
			fmt.Fprintf(&text, "%s = %s\n", strings.Trim(tomlfile.Head([]string{key}), "[]"), v)
		}
	}
	return text.String(), nil
}

// last returns an error if a file that is read after ours takes its place.
func last(files []*tomlfile.File, isDefault bool) error {
	for _, f := range slices.Backward(files) {
		if f.Path == dropIn {
			return nil
		}
		if isDefault && f.Get(keyDefault...) != nil {
			return fmt.Errorf("%s:%d: default_runtime is set there, and is read after ours: take it out, or give that file a name before %s", f.Path,
				f.Line(keyDefault...), path.Base(dropIn))
		}
	}
	return fmt.Errorf("%s is not read", dropIn)
}

// proof compares what CRI-O reads with what it is to read: our runtime, and all else as before.
func proof(before, after *config, table map[string]any, isDefault bool) error {
	was, now := maps.Clone(before.values), maps.Clone(after.values)
	name := strings.Join(keyDefault, ".")
	if isDefault {
		was[name] = Runtime
	}
	for key, value := range compare.Flatten(table, compare.IsZero) {
		was[strings.Join(keyOurs(), ".")+"."+key] = value
	}
	if err := compare.Same(was, now); err != nil {
		return fmt.Errorf("crio config: %w", err)
	}
	return nil
}

// Check reads the draft by CRI-O's own check, and returns an error where ours is still in it.
func (Engine) Check(ctx context.Context, h *host.Host, d *wire.Draft) error {
	n, err := look(h, d)
	if err != nil {
		return err
	}
	files, err := read(d)
	if err != nil {
		return err
	}
	now, err := n.dump(ctx, files)
	if err == nil && ours(now.runtimes[Runtime]) {
		err = fmt.Errorf("crio would still read our runtime %s", Runtime)
	}
	return err
}

// Leave drafts the drop-in without what sends new pods to us.
func (Engine) Leave(h *host.Host, d *wire.Draft) error {
	now, err := wire.NewDraft(h.Tree).Read(dropIn)
	if err != nil || !now.IsFile() {
		return err
	}
	f, err := tomlfile.Parse(dropIn, now.Data)
	if err != nil || f.Get(keyOurs()...) == nil {
		return err
	}
	if err := f.Drop(keyDefault...); err != nil {
		return err
	}
	return d.WriteFile(dropIn, f.Text)
}
