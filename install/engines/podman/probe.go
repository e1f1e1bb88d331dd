package podman

import (
	"context"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// Probe starts a container of a directory.
func (Engine) Probe(ctx context.Context, h *host.Host, c *host.Throwaway) (*host.Started, func() error, error) {
	d := wire.NewDraft(h.Tree)
	none := func() error { return nil }
	n, err := look(ctx, h, d)
	if err != nil {
		return nil, none, err
	}
	files, err := n.files(d)
	if err != nil {
		return nil, none, err
	}
	run := []string{"run", "--detach", "--network", "none", "--name", c.Name}
	if tomlfile.Get(merge(files), append(keyRuntimes[:2:2], Runtime)...) != nil && !c.Stock {
		run = append([]string{"--runtime", Runtime}, run...)
	}
	run = append(run, c.Annotations("--annotation")...)
	remove := func() error {
		return h.Clean(ctx, n.program, []string{"rm", "--force", "--ignore", "--time", "0", c.Name})
	}
	id, err := h.Run(ctx, nil, n.program, append(append(run, "--rootfs", c.Rootfs()), c.Args...)...)
	if err != nil {
		return nil, remove, err
	}
	return &host.Started{ID: strings.TrimSpace(string(id)), Exec: func(ctx context.Context) error {
		_, err := h.Run(ctx, nil, n.program, append([]string{"exec", "--detach", c.Name}, c.Args...)...)
		return err
	}}, remove, nil
}
