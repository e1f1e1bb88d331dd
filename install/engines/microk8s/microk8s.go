// Package microk8s wires the containerd of MicroK8s. The snap makes its main file at each start of containerd by sed, from
// args/containerd-template.toml, which imports nothing. So our runtime goes into the template, which is TOML with variables
// of the shell in strings.
package microk8s

import (
	"context"
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/engines/containerd"
	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// Engine is MicroK8s.
var Engine = containerd.Of(&containerd.Distribution{
	Name:     "microk8s",
	Title:    "MicroK8s",
	Config:   data + "/args/containerd.toml",
	State:    "/var/snap/microk8s/common/run/containerd",
	Programs: []string{snap + "/bin/containerd"},
	Ends:     "/args/containerd.toml",
	Vias:     []string{"shim"}, // the wrapper does not find the runc of the snap
	Then:     "snap restart microk8s.daemon-containerd",
	Start:    "snap start microk8s.daemon-containerd",
	// The service's program is a script that becomes containerd.
	Supervisor: host.Supervisor{Title: "MicroK8s", Units: []string{"snap.microk8s.daemon-containerd.service"}},
	Missing:    missing,
	Files: func(d *wire.Draft) ([]*tomlfile.File, error) {
		f, err := tomlfile.Read(d, template)
		if err != nil || f == nil {
			return nil, err
		}
		return []*tomlfile.File{f}, nil
	},
	Render: render,
	Places: func(_ context.Context, _ *host.Host, _ *wire.Draft, w *containerd.Wanted) []containerd.Place {
		return []containerd.Place{func(d *wire.Draft) error { return w.Main(d, template) }}
	},
})

const (
	snap     = "/snap/microk8s/current"
	data     = "/var/snap/microk8s/current"
	template = data + "/args/containerd-template.toml"
)

// missing returns why there is nothing to wire although there is a containerd.
func missing(_ *host.Host, d *wire.Draft) (string, error) {
	f, err := tomlfile.Read(d, template)
	if err != nil {
		return "", err
	}
	if f == nil {
		return fmt.Sprintf("there is no %s", template), nil
	}
	return host.StrictSnap(d, "microk8s")
}

// variables are what the snap puts into its template (wrappers/run-containerd-with-args), as far as containerd's own check
// can see a difference. The snapshotter is another one on ZFS.
var variables = strings.NewReplacer("${SNAP}", snap, "${SNAP_DATA}", data, "${SNAPSHOTTER}", "overlayfs", "${RUNTIME}", "runc",
	"${RUNTIME_TYPE}", "io.containerd.runc.v2")

// render drafts the main file as the next start makes it.
func render(d *wire.Draft) error {
	e, err := d.Read(template)
	if err != nil || !e.IsFile() {
		return err
	}
	return d.WriteFile(data+"/args/containerd.toml", []byte(variables.Replace(string(e.Data))))
}
