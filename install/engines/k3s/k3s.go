// Package k3s wires the containerd of K3s and of RKE2. Both write its main file anew at each start: from a template of their
// own, or from one of the node's administrator beside it, in which {{ template "base" . }} stands for theirs. Newer ones
// have it import a directory (k3s-io/k3s#13680, of 2026). So our runtime goes into a file in that directory, and where there
// is none, to the end of the template.
package k3s

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/engines/containerd"
	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// The engines.
var (
	K3s = kind{name: "k3s", title: "K3s", program: "data/current/bin/containerd", file: "k3s", units: "k3s*.service"}.engine()

	RKE2 = kind{name: "rke2", title: "RKE2", program: "bin/containerd", units: "rke2-*.service"}.engine()
)

// kind is one of the two.
type kind struct {
	name, title string
	program     string // containerd, below the data directory
	file        string // the name of containerd's file, if containerd is a link to it
	units       string // a pattern of systemd's units: of a server, of an agent, and of those with a name of their own
}

// data returns the usual data directory. Another one, by --data-dir, is not known here.
func (k kind) data() string { return "/var/lib/rancher/" + k.name }

// dir returns the directory of the main file and of all that it is made of.
func (k kind) dir() string { return path.Join(k.data(), "agent/etc/containerd") }

// config returns containerd's main file.
func (k kind) config() string { return path.Join(k.dir(), "config.toml") }

// templates are the names of the administrator's templates, by the version of what is made of them. With containerd 2, that
// of version 3 counts where there are both.
var templates = map[int64]string{2: "config.toml.tmpl", 3: "config-v3.toml.tmpl"}

// base stands in a template for the one that is built in.
const base = "{{ template \"base\" . }}\n"

func (k kind) engine() containerd.Engine {
	return containerd.Of(&containerd.Distribution{
		Name:     k.name,
		Title:    k.title,
		Config:   k.config(),
		State:    "/run/k3s/containerd", // of RKE2 as well
		Programs: []string{path.Join(k.data(), k.program)},
		File:     k.file,
		Ends:     "/agent/etc/containerd/config.toml",
		Vias:     []string{"shim"}, // the wrapper does not find the runc that they bring along
		Then:     "systemctl try-restart '" + k.units + "'",
		// Each starts containerd as a process of its own, which ends with it, and whose shims run on, as the units have
		// KillMode=process (k3s.service of k3s-io/k3s, rke2-server.service of rancher/rke2). A server is up when Kubernetes answers.
		Supervisor: host.Supervisor{Title: k.title, Units: []string{k.units}, Slow: true},
		Missing:    k.missing,
		Files:      k.files,
		Parse:      parse,
		Render:     k.render,
		Places:     k.places,
	})
}

// missing returns why there is nothing to wire although there is a containerd.
func (k kind) missing(_ *host.Host, d *wire.Draft) (string, error) {
	e, err := d.Read(k.config())
	if err == nil && e == nil {
		return fmt.Sprintf("there is no %s: %s writes it at its first start", k.config(), k.title), nil
	}
	return "", err
}

// files returns the templates, and what the main file imports.
func (k kind) files(d *wire.Draft) ([]*tomlfile.File, error) {
	var all []*tomlfile.File
	for _, version := range []int64{2, 3} {
		f, err := k.template(d, version)
		if err != nil {
			return nil, err
		}
		if f != nil {
			all = append(all, f)
		}
	}
	read, err := containerd.Read(d, k.config())
	if err != nil {
		return nil, err
	}
	return append(all, slices.DeleteFunc(read, func(f *tomlfile.File) bool { return f.Path == k.config() })...), nil
}

// template parses the administrator's template of a version; nil if there is none.
func (k kind) template(d *wire.Draft, version int64) (*tomlfile.File, error) {
	p := path.Join(k.dir(), templates[version])
	e, err := d.Read(p)
	if err != nil || !e.IsFile() {
		return nil, err
	}
	return parse(p, e.Data)
}

// render drafts the main file as the next start will make it: as it is now, without what an earlier start has made of ours,
// and with what the template has of ours. The template is expected to be the one of the last start but for that.
func (k kind) render(d *wire.Draft) error {
	main, err := tomlfile.Read(d, k.config())
	if err != nil || main == nil {
		return err
	}
	if err := containerd.Cut(main); err != nil {
		return err
	}
	version, _ := main.Get("version").(int64)
	if f, err := k.template(d, version); err != nil {
		return err
	} else if f != nil {
		if err := main.Append(ours(f.Text)); err != nil {
			return fmt.Errorf("%s makes this of %s: %w", k.title, f.Path, err)
		}
	}
	return d.WriteFile(main.Path, main.Text)
}

// places returns the way by the template.
func (k kind) places(ctx context.Context, h *host.Host, _ *wire.Draft, w *containerd.Wanted) []containerd.Place {
	return []containerd.Place{func(d *wire.Draft) error {
		main, err := tomlfile.Read(d, k.config())
		if err != nil {
			return err
		}
		version, _ := main.Get("version").(int64)
		if templates[version] == "" {
			return fmt.Errorf("%s is of version %d, and there are templates for 2 and 3 alone", k.config(), version)
		}
		f, err := k.template(d, version)
		if err != nil {
			return err
		}
		if f == nil {
			if err := k.hasBase(ctx, h, d); err != nil {
				return err
			}
			if f, err = parse(path.Join(k.dir(), templates[version]), []byte(base)); err != nil {
				return err
			}
		}
		if err := w.Write(f, version); err != nil {
			return err
		}
		if strings.Contains(ours(f.Text), "{{") {
			return errors.New("what the runtime has that is the default now would be read as a template's action")
		}
		return d.WriteFile(f.Path, f.Text)
	}}
}

// firstBase are the patch releases of Kubernetes' minor ones from which on a template can name the built-in one: those of
// September 2023 (docs.k3s.io, advanced).
var firstBase = map[int]int{24: 17, 25: 13, 26: 8, 27: 5, 28: 1}

// hasBase returns an error unless it is known that a template can name the built-in one. Without that, it would not start.
func (k kind) hasBase(ctx context.Context, h *host.Host, d *wire.Draft) error {
	program := h.InPath(d, k.name)
	if program == "" {
		return fmt.Errorf("there is no program %s, so that it is not known whether a template can name the built-in one", k.name)
	}
	version, err := h.VersionOf(ctx, program)
	if err != nil {
		return err
	}
	first, listed := firstBase[version[1]]
	if version[0] == 1 && (!listed && version[1] < 24 || listed && (len(version) < 3 || version[2] < first)) {
		return fmt.Errorf("in this version of %s a template cannot name the built-in one: upgrade it first", k.title)
	}
	return nil
}
