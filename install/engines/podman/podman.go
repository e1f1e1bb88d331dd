// Package podman wires Podman: by a drop-in of containers.conf with a runtime of ours, or with a directory that has a hook of
// the stage precreate. Podman has no daemon: it reads its files at each call, and so do quadlets, which call it. It reads
// copies first, and what it says of these is compared.
package podman

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

// Runtime is the name of our runtime, for podman --runtime.
const Runtime = engine.Runtime

const (
	wrapper = engine.Wrapper
	hook    = "oci-apparmor-hook"
	mark    = "# oci-apparmor install has written this file, and oci-apparmor uninstall removes it\n"
)

// Engine is Podman.
type Engine struct{}

// Name returns its name, as package policy/engine has it.
func (Engine) Name() string { return "podman" }

// Vias returns the ways in which it reaches us.
func (Engine) Vias() []string { return []string{"wrapper", "hook"} }

// Then returns an empty string: there is no daemon.
func (Engine) Then() string { return "" }

// Missing returns why there is nothing to wire; an empty string where there is.
func (Engine) Missing(h *host.Host, d *wire.Draft) (string, error) {
	if h.Program(d, "podman") == "" {
		return "there is no program podman", nil
	}
	return "", nil
}

// hooksDir is the directory of our hook. It is ours alone, because CRI-O and Buildah fail where they find one of this stage.
func hooksDir(h *host.Host) string { return path.Join(h.Lib(), hooksName) }

const hooksName = "podman-hooks.d"

func hookFile(h *host.Host) string { return path.Join(hooksDir(h), "oci-apparmor.json") }

// ours reports whether the paths of a runtime are ours.
func ours(paths any) bool {
	all, _ := paths.([]any)
	return slices.ContainsFunc(all, func(p any) bool {
		s, _ := p.(string)
		return host.IsWrapper(s)
	})
}

// Clear drafts that what was wired by hand, or by an oci-apparmor without a record, is gone.
func (Engine) Clear(h *host.Host, d *wire.Draft) (was host.Former, err error) {
	var paths []string
	for _, main := range []string{system, rootless} {
		all, err := with(d, main)
		if err != nil {
			return was, err
		}
		paths = append(paths, all...)
	}
	files, err := tomlfile.ReadAll(d, paths)
	if err != nil {
		return was, err
	}
	named := slices.ContainsFunc(files, func(f *tomlfile.File) bool { return ours(f.Get(append(keyRuntimes[:2:2], Runtime)...)) })
	for _, f := range files {
		if paths := f.Strings(append(keyRuntimes[:2:2], Runtime)...); len(paths) > 0 && host.IsWrapper(paths[0].Value) {
			was.Own = path.Base(paths[0].Value)
		}
		name, _ := f.Get(keyRuntime...).(string)
		isDefault := named && name == Runtime || host.IsWrapper(name)
		changed, err := cut(f, isDefault)
		if err != nil {
			return was, err
		}
		if !changed {
			continue
		}
		was.Files = append(was.Files, f.Path)
		was.Default = was.Default || isDefault
		if err := tomlfile.Put(d, f, f.Path != dropIn && f.Path != rootlessDropIn || f.Says()); err != nil {
			return was, err
		}
	}
	e, err := d.Read(hookFile(h))
	if err == nil && e.IsFile() && bytes.Contains(e.Data, []byte(hook)) {
		was.Files = append(was.Files, hookFile(h))
		err = d.Remove(hookFile(h))
	}
	return was, err
}

// cut takes ours out of a file, and the default if that is ours.
func cut(f *tomlfile.File, isDefault bool) (changed bool, err error) {
	before := f.Text
	var drop [][]string
	if key := append(keyRuntimes[:2:2], Runtime); ours(f.Get(key...)) {
		drop = append(drop, key, append(keyFlags[:2:2], Runtime))
	}
	if isDefault {
		drop = append(drop, keyRuntime)
	}
	switch f.Path {
	case rootlessDropIn:
		if bytes.HasPrefix(f.Text, []byte(mark)) {
			drop = append(drop, keyRuntime, keyHooks)
		}
	case dropIn:
		for _, key := range [][]string{keyJSON, keyNoCgroup} {
			if slices.ContainsFunc(f.Strings(key...), func(s tomlfile.String) bool { return s.Value == Runtime }) {
				drop = append(drop, key)
			}
		}
		if err := cutHooks(f); err != nil {
			return false, err
		}
	}
	for _, key := range drop {
		if err := f.Drop(key...); err != nil {
			return false, err
		}
		if f.Get(key...) != nil {
			return false, fmt.Errorf("%s:%d: %s is written in a way that is not understood here: take it out by hand", f.Path,
				f.Line(key...), strings.Join(key, "."))
		}
	}
	return !bytes.Equal(before, f.Text), nil
}

// cutHooks takes our directory of hooks out of our file, and the whole list if nobody else has added to it.
func cutHooks(f *tomlfile.File) error {
	ours := func(dir string) bool { return strings.HasSuffix(path.Clean(dir), "/lib/oci-apparmor/"+hooksName) }
	all := f.Strings(keyHooks...)
	if !slices.ContainsFunc(all, func(s tomlfile.String) bool { return ours(s.Value) }) {
		return nil
	}
	if !slices.ContainsFunc(all, func(s tomlfile.String) bool { return !ours(s.Value) && !slices.Contains(implicitHooks, s.Value) }) {
		return f.Drop(keyHooks...)
	}
	return f.DropStrings(ours, keyHooks...)
}

// Strip takes ours out of a file that somebody else has changed since (wire.Stripper).
func (Engine) Strip(p string, was, now *wire.Entry) ([]byte, error) {
	if path.Ext(p) == ".json" { // our hook, whatever it has become
		return nil, nil
	}
	return tomlfile.Strip(p, was, now, tomlfile.Parse, func(f, _ *tomlfile.File) error {
		_, err := cut(f, f.Get(keyRuntime...) == any(Runtime))
		return err
	}, func(f *tomlfile.File) bool { return !f.Says() })
}

// Wire drafts our runtime or our hook.
func (Engine) Wire(ctx context.Context, h *host.Host, d *wire.Draft, o wire.Options) (*host.Outcome, error) {
	n, err := look(ctx, h, d)
	if err != nil {
		return nil, err
	}
	files, err := n.files(d)
	if err != nil {
		return nil, err
	}
	if err := free(d, files); err != nil {
		return nil, err
	}
	out := &host.Outcome{Via: cmp.Or(o.Via, "wrapper")}
	w := &wanted{podman: n, draft: d, isDefault: o.Default, own: o.Own, before: merge(files)}
	var c *copied
	var info *info
	if h.Live() {
		if c, err = n.copies(); err != nil {
			return nil, err
		}
		defer c.remove()
		if info, err = c.info(ctx, w.before, ""); err != nil {
			return nil, fmt.Errorf("podman refuses its configuration already: %w", err)
		}
		w.base = base{info.runtime.Name, info.runtime.Path}
	} else if w.base, err = n.read(d, w.before); err != nil {
		return nil, err
	} else {
		out.Notes = append(out.Notes, "Podman does not run in an image: its files were read by this program alone")
	}
	if out.Via == "hook" {
		err = w.hook()
	} else {
		err = w.runtime()
	}
	if err != nil {
		return nil, err
	}
	if files, err = n.files(d); err != nil {
		return nil, err
	}
	if err := w.onlyOurs(files); err != nil {
		return nil, err
	}
	if c != nil {
		if err := c.proof(ctx, info, merge(files), w); err != nil {
			return nil, err
		}
	}
	out.Notes = append(out.Notes, w.notes...)
	return out, nil
}

// free returns an error where what we write would take somebody else's place.
func free(d *wire.Draft, files []*tomlfile.File) error {
	if n := namesake(files); n != nil {
		return n.Taken()
	}
	for _, p := range []string{dropIn, rootlessDropIn} {
		if e, err := d.Read(p); err != nil {
			return err
		} else if e != nil {
			return fmt.Errorf("%s is there already, and is not ours: give it another name first", p)
		}
	}
	return nil
}

// Check has Podman read what is left, and returns an error where ours is still in it.
func (Engine) Check(ctx context.Context, h *host.Host, d *wire.Draft) error {
	if h.Program(d, "podman") == "" || !h.Live() {
		return host.ErrNoProgram
	}
	n, err := look(ctx, h, d)
	if err != nil {
		return err
	}
	files, err := n.files(d)
	if err != nil {
		return err
	}
	c, err := n.copies()
	if err != nil {
		return err
	}
	defer c.remove()
	now, err := c.info(ctx, merge(files), "")
	if err == nil && host.IsWrapper(now.runtime.Path) {
		err = fmt.Errorf("podman would still start containers by %s", now.runtime.Path)
	}
	return err
}

// Needed returns the containers whose runtime is ours: Podman cannot stop or remove one whose runtime it has no more.
func (Engine) Needed(ctx context.Context, h *host.Host) (need host.Need, err error) {
	d := wire.NewDraft(h.Tree)
	program := h.Program(d, "podman")
	if !h.Live() || program == "" {
		return need, nil
	}
	names := []string{Runtime}
	byHand, err := Engine{}.ByHand(h, d)
	if err != nil {
		return need, err
	}
	for _, b := range byHand {
		names = append(names, b.Name)
	}
	return needed(ctx, h, program, names)
}

// needed is Needed, by a program of Podman's and the names that it has our runtime by.
func needed(ctx context.Context, h *host.Host, program string, names []string) (need host.Need, err error) {
	need.Why = "were made with our runtime, and Podman cannot stop or remove them without it"
	out, err := h.Run(ctx, nil, program, "ps", "--all", "--quiet", "--no-trunc")
	ids := strings.Fields(string(out))
	if err != nil || len(ids) == 0 {
		return need, err
	}
	const format = "{{.ID}} {{.Name}} {{.OCIRuntime}}"
	out, err = h.Run(ctx, nil, program, append([]string{"inspect", "--type", "container", "--format", format}, ids...)...)
	if err != nil { // such as for one that was removed just now
		return need, err
	}
	for line := range strings.Lines(string(out)) {
		c := strings.Fields(line)
		if len(c) == 3 && (slices.Contains(names, c[2]) || host.IsWrapper(c[2])) {
			need.Containers = append(need.Containers, c[0][:min(12, len(c[0]))]+" ("+c[1]+")")
		}
	}
	return need, nil
}

// Leave drafts the drop-in without what sends new containers to us.
func (Engine) Leave(h *host.Host, d *wire.Draft) error {
	now, err := wire.NewDraft(h.Tree).Read(dropIn)
	if err != nil || !now.IsFile() {
		return err
	}
	f, err := tomlfile.Parse(dropIn, now.Data)
	if err != nil {
		return err
	}
	if f.Get(append(keyRuntimes[:2:2], Runtime)...) == nil {
		return nil
	}
	if err := errors.Join(f.Drop(keyRuntime...), f.Drop(keyHooks...)); err != nil {
		return err
	}
	return d.WriteFile(dropIn, f.Text)
}
