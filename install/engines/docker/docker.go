// Package docker wires Docker: a runtime of ours in daemon.json. dockerd reads a copy first by its own --validate, which
// does not look whether a runtime's program is there; that is looked at here.
package docker

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

// Config is dockerd's configuration, unless --config-file names another.
const Config = "/etc/docker/daemon.json"

// Runtime is the name of our runtime, for docker run --runtime.
const Runtime = engine.Runtime

const (
	wrapper = engine.Wrapper
	shim    = engine.Shim
)

// Engine is Docker.
type Engine struct{}

// Name returns its name, as package policy/engine has it.
func (Engine) Name() string { return "docker" }

// Vias returns the ways in which it reaches us.
func (Engine) Vias() []string { return []string{"wrapper", "shim"} }

// Then returns the command by which Docker forgets ours: by a reload it would keep what stands in the file no more.
func (Engine) Then() string { return "systemctl restart docker" }

// Missing returns why there is nothing to wire; an empty string where there is.
func (Engine) Missing(h *host.Host, d *wire.Draft) (string, error) {
	if h.Program(d, "dockerd") != "" {
		return "", nil
	}
	snap, err := host.StrictSnap(d, "docker") // whose processes are in a mount namespace of its own
	return cmp.Or(snap, "there is no program dockerd"), err
}

// config returns the path of the configuration.
func config(h *host.Host) (string, error) {
	for _, p := range h.Processes("dockerd") {
		if at, err := p.Path("--config-file"); err != nil || at != "" {
			return at, err
		}
	}
	return Config, nil
}

// read reads the configuration. There is an empty file where it is missing.
func read(h *host.Host, d *wire.Draft) (*file, error) {
	at, err := config(h)
	if err != nil {
		return nil, err
	}
	f := &file{path: at}
	e, err := d.Read(f.path)
	if err != nil {
		return nil, err
	}
	if e != nil && !e.IsFile() {
		return nil, fmt.Errorf("%s is no file", f.path)
	}
	if e != nil {
		f.text = e.Data
	}
	return f, f.check()
}

// runtime is a runtime in daemon.json.
type runtime struct {
	Path    string   `json:"path,omitempty"`
	Args    []string `json:"runtimeArgs,omitempty"`
	Type    string   `json:"runtimeType,omitempty"`
	Options any      `json:"options,omitempty"`
}

func (r runtime) ours() bool {
	return host.IsWrapper(r.Path) || path.Base(r.Type) == shim ||
		r.Type == engine.Type
}

// runtime returns a runtime of the file; nil where there is none.
func (f *file) runtime(name string) (*runtime, error) {
	text, err := f.get("runtimes", name)
	if err != nil || text == nil {
		return nil, err
	}
	r := new(runtime)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, f.fault(err, "runtimes", name)
	}
	return r, nil
}

// fault returns an error with the line and column of a member.
func (f *file) fault(err error, names ...string) error {
	return fmt.Errorf("%s: %w", f.place(names...), err)
}

// text returns the string at a path; an empty one where there is none, or something else.
func (f *file) string(names ...string) (string, error) {
	v, err := f.get(names...)
	if err != nil || v == nil {
		return "", err
	}
	var s string
	_ = json.Unmarshal(v, &s) // dockerd says what it thinks of something else
	return s, nil
}

// Clear drafts that what was wired by hand, or by an older oci-apparmor without a record, is gone.
func (Engine) Clear(h *host.Host, d *wire.Draft) (was host.Former, err error) {
	f, err := read(h, d)
	if err != nil {
		return was, err
	}
	r, err := f.runtime(Runtime)
	if err != nil || r == nil || !r.ours() {
		return was, err
	}
	if name, err := f.string("default-runtime"); err != nil {
		return was, err
	} else if name == Runtime {
		was.Default = true
	}
	if len(r.Args) > 0 {
		own, err := json.Marshal(r.Args)
		if err != nil {
			return was, err
		}
		was.Own = string(own)
	}
	if err := cut(f, nil); err != nil {
		return was, err
	}
	was.Files = []string{f.path}
	return was, d.WriteFile(f.path, f.text)
}

// cut takes ours out of a file, and puts the default back that was there before us.
func cut(f, before *file) error {
	if before == nil {
		before = &file{path: f.path}
	}
	r, err := f.runtime(Runtime)
	if err != nil {
		return err
	}
	if r != nil && !r.ours() { // somebody else's of that name
		return nil
	}
	if r != nil {
		if err := dropRuntime(f, before); err != nil {
			return err
		}
	}
	name, err := f.string("default-runtime")
	if err != nil || name != Runtime {
		return err
	}
	was, err := before.string("default-runtime")
	if err != nil {
		return err
	}
	if was == "" || was == Runtime {
		return f.drop("default-runtime")
	}
	return f.set(quote(was), "default-runtime")
}

// dropRuntime removes our runtime, and the object of runtimes where there was none before us and nothing else is in it.
func dropRuntime(f, before *file) error {
	if err := f.drop("runtimes", Runtime); err != nil {
		return err
	}
	o, _, err := f.find("runtimes", Runtime)
	if err != nil || o == nil || len(o.members) > 0 {
		return err
	}
	switch had, err := before.get("runtimes"); {
	case err != nil:
		return err
	case string(had) == "null":
		return f.set("null", "runtimes")
	case had != nil:
		return nil
	}
	return f.drop("runtimes")
}

// Strip takes ours out of a file that somebody else has changed since (wire.Stripper).
func (Engine) Strip(p string, was, now *wire.Entry) ([]byte, error) {
	f := &file{path: p, text: now.Data}
	if err := f.check(); err != nil {
		return nil, err
	}
	var before *file
	if was != nil {
		before = &file{path: p, text: was.Data}
	}
	if err := cut(f, before); err != nil {
		return nil, err
	}
	if o, err := f.object(0, len(f.text)); was == nil && err == nil && len(o.members) == 0 {
		return nil, nil
	}
	return f.text, nil
}

var versionNumber = regexp.MustCompile(`version v?(\d+)\.`)

// major returns dockerd's major version.
func major(ctx context.Context, h *host.Host, program string) (int, error) {
	out, err := h.Run(ctx, nil, program, "--version")
	if err != nil {
		return 0, err
	}
	m := versionNumber.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("%s --version prints no version: %s", program, strings.TrimSpace(string(out)))
	}
	return strconv.Atoi(string(m[1]))
}

// Wire drafts our runtime.
func (Engine) Wire(ctx context.Context, h *host.Host, d *wire.Draft, o wire.Options) (*host.Outcome, error) {
	program := h.Program(d, "dockerd")
	version, err := major(ctx, h, program)
	if err != nil {
		return nil, err
	}
	if err := flags(h, o); err != nil {
		return nil, err
	}
	f, err := read(h, d)
	if err != nil {
		return nil, err
	}
	if err := validate(ctx, h, program, version, f); err != nil {
		return nil, fmt.Errorf("dockerd refuses its configuration already: %w", err)
	}
	if n, err := f.namesake(); err != nil {
		return nil, err
	} else if n != nil {
		return nil, n.Taken()
	}
	out := &host.Outcome{Via: o.Via, Then: "systemctl reload docker", Reload: true}
	if out.Via == "" {
		out.Via = "wrapper"
	}
	r, note, err := ours(h, d, f, out.Via, o, version)
	if err != nil {
		return nil, err
	}
	if note != "" {
		out.Notes = append(out.Notes, note)
	}
	after := &file{path: f.path, text: slices.Clone(f.text)}
	if err := write(after, r, o.Default); err != nil {
		return nil, err
	}
	if err := onlyOurs(f, after, o.Default); err != nil {
		return nil, err
	}
	if err := validate(ctx, h, program, version, after); err != nil {
		return nil, err
	}
	if err := d.WriteFile(f.path, after.text); err != nil {
		return nil, err
	}
	if drops, err := dropsDefault(h, after); err != nil {
		return nil, err
	} else if version < byReload || drops {
		out.Then, out.Reload = Engine{}.Then(), false
	}
	if o.Default {
		out.Notes = append(out.Notes, "containers that exist keep the runtime that they were made with, and RUN steps of BuildKit "+
			"call plain runc")
	} else {
		out.Notes = append(out.Notes, "containers come to us by docker run --runtime "+Runtime)
	}
	return out, nil
}

// byReload is the first version that takes runtimes over by a reload: some reloads of runtimes end 20.10.
const byReload = 23

// dropsDefault reports whether a file has no default runtime any more, and ours is that on the disk: a reload keeps it.
func dropsDefault(h *host.Host, after *file) (bool, error) {
	now, err := after.string("default-runtime")
	if err != nil || now != "" {
		return false, err
	}
	f, err := read(h, wire.NewDraft(h.Tree))
	if err != nil {
		return false, err
	}
	was, err := f.string("default-runtime")
	return was == Runtime, err
}

// flags returns an error where dockerd's command line has what the file is to have: it would not start, or lose it at a
// reload.
func flags(h *host.Host, o wire.Options) error {
	for _, p := range h.Processes("dockerd") {
		if p.Flag("--default-runtime") != "" && o.Default {
			return fmt.Errorf("dockerd runs as process %d with --default-runtime, and would not start with one in its file as well: "+
				"take that flag out of its unit first", p.PID)
		}
		if p.Flag("--add-runtime") != "" {
			return fmt.Errorf("dockerd runs as process %d with --add-runtime, and would forget these runtimes at a reload, once its file "+
				"has some: move them into its file first", p.PID)
		}
	}
	return nil
}

// ours returns our runtime: before the one that is the default now, as far as ours can stand before that.
func ours(h *host.Host, d *wire.Draft, f *file, via string, o wire.Options, version int) (r runtime, note string, err error) {
	if o.Own != "" {
		if err := json.Unmarshal([]byte(o.Own), &r.Args); err != nil {
			return r, "", err
		}
	}
	name, err := f.string("default-runtime")
	if err != nil {
		return r, "", err
	}
	base, err := f.runtime(name)
	if err != nil {
		return r, "", err
	}
	program := "runc"
	if base != nil {
		last, stands := host.StandsFor(base.Path)
		simple := base.Type == "" && stands
		switch {
		case simple && via == "wrapper":
			program = last
			if r.Args == nil {
				r.Args = base.Args
			}
		case o.Default:
			return r, "", f.fault(fmt.Errorf("the default runtime is %s, and ours, by the %s, would call plain runc in its place",
				name, via), "default-runtime")
		default:
			note = fmt.Sprintf("ours calls plain runc, and not the default runtime %s", name)
		}
	}
	if via == "shim" {
		if version < 23 {
			return r, "", errors.New("this version ignores runtimeType and would start plain runc: take --via wrapper")
		}
		r.Args = nil
		r.Type, err = h.Ours(d, shim)
		return r, note, err
	}
	if r.Path, err = h.Ours(d, wrapper); err != nil || program == "runc" {
		return r, note, err
	}
	link := path.Join(h.Lib(), "docker", program)
	err = d.Link(link, r.Path)
	r.Path = link
	return r, note, err
}

// write writes our runtime into a file.
func write(f *file, r runtime, isDefault bool) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := f.set(strings.NewReplacer(`":`, `": `, `,"`, `, "`).Replace(string(text)), "runtimes", Runtime); err != nil {
		return err
	}
	if isDefault {
		return f.set(quote(Runtime), "default-runtime")
	}
	return nil
}

// onlyOurs compares what two files say: all but ours is to be the same.
func onlyOurs(before, after *file, isDefault bool) error {
	said := func(f *file) (map[string]any, error) {
		v := map[string]any{}
		if f.blank() {
			return v, nil
		}
		return v, json.Unmarshal(bytes.TrimPrefix(f.text, bom), &v)
	}
	was, err := said(before)
	if err != nil {
		return err
	}
	now, err := said(after)
	if err != nil {
		return err
	}
	runtimes, _ := now["runtimes"].(map[string]any)
	if _, ok := runtimes[Runtime]; !ok {
		return fmt.Errorf("%s: our runtime is not in it", after.path)
	}
	runtimes = maps.Clone(runtimes)
	delete(runtimes, Runtime)
	now["runtimes"] = runtimes
	if was["runtimes"] == nil && len(runtimes) == 0 { // null is none as well
		delete(now, "runtimes")
		delete(was, "runtimes")
	}
	if isDefault {
		delete(now, "default-runtime")
		delete(was, "default-runtime")
	}
	if !reflect.DeepEqual(was, now) {
		return fmt.Errorf("%s: something else than ours would change", after.path)
	}
	return nil
}

// validate has dockerd read a copy of a file.
func validate(ctx context.Context, h *host.Host, program string, version int, f *file) error {
	if version < 23 || f.blank() { // 20.10 cannot, and reads an empty file only in its place
		return nil
	}
	dir, remove, err := h.Candidate(func(string) (map[string][]byte, error) {
		return map[string][]byte{"daemon.json": f.text}, nil
	})
	if err != nil {
		return err
	}
	defer remove()
	if _, err := h.Run(ctx, nil, program, "--validate", "--config-file", path.Join(dir, "daemon.json")); err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	return nil
}

// Check has dockerd read what is left.
func (Engine) Check(ctx context.Context, h *host.Host, d *wire.Draft) error {
	f, err := read(h, d)
	if err != nil {
		return err
	}
	program := h.Program(d, "dockerd")
	version, err := major(ctx, h, program)
	if err != nil {
		return err
	}
	return validate(ctx, h, program, version, f)
}

// Leave drafts nothing: containers that run need the links alone.
func (Engine) Leave(*host.Host, *wire.Draft) error { return nil }
