// Package k0s wires the containerd of k0s by a file in /etc/k0s/containerd.d. From 1.36 on, containerd imports that directory.
// Before that, k0s itself merges those files of it that are about CRI into one, /run/k0s/containerd-cri.toml, and has
// containerd import that. Either restarts containerd some seconds after a file there has changed.
package k0s

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/engines/containerd"
	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// Engine is k0s.
var Engine = containerd.Of(&containerd.Distribution{
	Name:     "k0s",
	Title:    "k0s",
	Config:   config,
	State:    "/run/k0s/containerd",
	Programs: []string{"/var/lib/k0s/bin/containerd"},
	Vias:     []string{"shim"}, // the wrapper does not find the runc that it brings along
	Start:    "k0s start",      // of a controller's service and of a worker's
	// k0s sends containerd a SIGHUP when three seconds have passed since a change, by which that ends, and starts it again
	// (pkg/component/worker/containerd).
	Supervisor: host.Supervisor{Title: "k0s", Follows: 5 * time.Second},
	Client: func(h *host.Host, d *wire.Draft) (string, []string) { // k0s has a ctr in itself
		return h.Program(d, "k0s"), []string{"ctr"}
	},
	Missing: missing,
	Files:   files,
	Render:  render,
	Places: func(_ context.Context, _ *host.Host, _ *wire.Draft, w *containerd.Wanted) []containerd.Place {
		return []containerd.Place{func(d *wire.Draft) error { // k0s merges this, whatever containerd makes of imports
			version, err := versionOf(d)
			if err == nil {
				err = w.DropIn(d, dropIns, version)
			}
			return err
		}}
	},
	Notes: notes,
})

const (
	config  = "/etc/k0s/containerd.toml"
	dropIns = "/etc/k0s/containerd.d"
	merged  = "containerd-cri.toml" // in k0s's directory below /run

	managed = "# k0s_managed=true" // the first line of a main file that k0s writes
)

// missing returns why there is nothing to wire although there is a containerd.
func missing(_ *host.Host, d *wire.Draft) (string, error) {
	e, err := d.Read(config)
	switch {
	case err != nil:
		return "", err
	case e == nil:
		return fmt.Sprintf("there is no %s: k0s writes it at its first start", config), nil
	case strings.TrimRight(strings.SplitN(string(e.Data), "\n", 2)[0], "\r") != managed:
		return fmt.Sprintf("%s does not begin with %q, so that k0s leaves it as it is and reads nothing in %s: add the runtime to it by hand",
			config, managed, dropIns), nil
	}
	return "", nil
}

// files returns the files in which people write.
func files(d *wire.Draft) ([]*tomlfile.File, error) {
	paths, err := d.Glob(dropIns + "/*.toml")
	if err != nil {
		return nil, err
	}
	return tomlfile.ReadAll(d, paths)
}

// versionOf returns the version of the main file.
func versionOf(d *wire.Draft) (int64, error) {
	f, err := tomlfile.Read(d, config)
	if err != nil || f == nil {
		return 0, err
	}
	version, _ := f.Get("version").(int64)
	return version, nil
}

// render drafts the file that k0s merges: as it is now, without what is ours in it, and with what there is of ours in the
// files that people write.
func render(d *wire.Draft) error {
	main, err := tomlfile.Read(d, config)
	if err != nil || main == nil {
		return err
	}
	for _, s := range main.Strings("imports") {
		if path.Base(s.Value) != merged {
			continue
		}
		f, err := tomlfile.Read(d, s.Value)
		if err != nil {
			return err
		}
		if f == nil {
			return fmt.Errorf("there is no %s: k0s writes it when it starts", s.Value)
		}
		if err := containerd.Cut(f); err != nil {
			return err
		}
		from, err := files(d)
		if err != nil {
			return err
		}
		for _, drop := range from {
			if found := containerd.Find(drop); found.Ours || found.Default {
				if err := containerd.Take(f, drop); err != nil {
					return err
				}
			}
		}
		return d.WriteFile(f.Path, f.Text)
	}
	return nil
}

func notes(d *wire.Draft) []string {
	all := []string{"k0s restarts its containerd by itself within seconds, and containers run on"}
	if version, err := versionOf(d); err == nil && version == 2 {
		all = append(all, "k0s 1.36 does not start with files of version 2 in "+dropIns+": uninstall before that upgrade, and install after it")
	}
	return all
}
