package crio

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// socket is where CRI-O listens unless its configuration or a flag says otherwise (pkg/config/config_unix.go).
const socket = "/var/run/crio/crio.sock"

// Main returns CRI-O's process: the one that was started first, as others of that name are short-lived commands.
func (Engine) Main(h *host.Host) (p host.Process, ok bool) {
	all := h.Processes("crio")
	if len(all) == 0 {
		return p, false
	}
	return slices.MinFunc(all, func(a, b host.Process) int { return cmp.Compare(a.Start, b.Start) }), true
}

// status is what a CRI-O that runs says of itself.
type status struct {
	config
	root, runroot string // of its storage
	pauseImage    string
}

// running is a CRI-O that runs.
type running struct {
	*daemon
	process host.Process
}

// asked returns the CRI-O of a host, if it runs.
func asked(h *host.Host) (*running, error) {
	p, ok := Engine{}.Main(h)
	if !ok {
		return nil, errors.New("CRI-O does not run")
	}
	n, err := look(h, wire.NewDraft(h.Tree))
	return &running{n, p}, err
}

// status asks it for the configuration that it has in force.
func (n *running) status(ctx context.Context) (*status, error) {
	out, err := n.Run(ctx, nil, n.program, "status", "--socket", n.socket(), "config")
	if err != nil && strings.Contains(err.Error(), `command "status" not supported`) {
		return nil, fmt.Errorf("this CRI-O cannot be asked what it runs with, as 1.28 and later ones can: %w", host.ErrNoProgram)
	}
	if err != nil {
		return nil, err
	}
	c, err := parseDump(out)
	if err != nil {
		return nil, err
	}
	var values struct {
		Crio struct {
			Root, Runroot string
			Image         struct {
				Pause string `toml:"pause_image"`
			}
		}
	}
	if err := toml.Unmarshal(out, &values); err != nil {
		return nil, err
	}
	return &status{*c, values.Crio.Root, values.Crio.Runroot, values.Crio.Image.Pause}, nil
}

// socket returns where it listens.
func (n *running) socket() string {
	at := socket
	files, _ := read(wire.NewDraft(n.Tree)) // those before one that cannot be read
	for _, f := range files {
		if listen, _ := f.Get("crio", "api", "listen").(string); listen != "" {
			at = listen
		}
	}
	return cmp.Or(n.process.Flag("--listen"), at)
}

// client returns crictl, and what makes its arguments for this CRI-O, which has no client of its own.
func (n *running) client() (crictl string, args func(...string) []string, err error) {
	if crictl = n.InPath(wire.NewDraft(n.Tree), "crictl"); crictl == "" {
		return "", nil, fmt.Errorf("there is no program crictl to ask CRI-O by, which Kubernetes' package cri-tools has: %w", host.ErrNoProgram)
	}
	at := "unix://" + n.socket()
	return crictl, func(more ...string) []string {
		return append([]string{"--runtime-endpoint", at, "--image-endpoint", at, "--timeout", "30s"}, more...)
	}, nil
}
