package docker

import (
	"context"
	"path"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// Inspect has dockerd check its configuration, and looks at what that check leaves out.
func (Engine) Inspect(ctx context.Context, h *host.Host, d *wire.Draft) (i host.Inspection, err error) {
	f, err := read(h, d)
	if err != nil {
		return i, err
	}
	r, err := f.runtime(Runtime)
	if err != nil || r == nil {
		return i, err
	}
	name, err := f.string("default-runtime")
	if err != nil {
		return i, err
	}
	i.Default = name == Runtime
	program := h.Program(d, "dockerd")
	version, err := major(ctx, h, program)
	if err != nil {
		return i, err
	}
	if err := validate(ctx, h, program, version, f); err != nil {
		i.Add(host.Refuses, "dockerd refuses its configuration: %v", err)
	}
	if r.Type != "" {
		i.Via = "shim"
		if version < 23 {
			i.Add(host.BadVersion, "Docker %d ignores runtimeType, so that containers of our runtime start under no policy", version)
		}
		if r.Options != nil {
			i.Add(host.Ignored, "Docker starts its own runtime in place of ours, because runtime %s in %s has options beside its "+
				"runtimeType", Runtime, f.path)
		}
		if i.Program = h.InPath(d, shim); path.IsAbs(r.Type) {
			i.Names(h, d, r.Type)
		}
	} else {
		i.Via = "wrapper"
		i.Names(h, d, r.Path)
	}
	if name != "" && name != "runc" {
		if r, err := f.runtime(name); err == nil && r == nil && !strings.HasPrefix(name, "io.containerd.") {
			i.Add(host.Refuses, "the default runtime %s in %s is none of its runtimes, so that dockerd does not start", name, f.path)
		}
	}
	for _, p := range h.Processes("dockerd") {
		if flag := p.Flag("--default-runtime"); flag != "" && name != "" {
			i.Add(host.Refuses, "dockerd runs as process %d with --default-runtime, and will not start with default-runtime in %s as well",
				p.PID, f.path)
		}
	}
	return i, nil
}

// Probe starts a container of an image that holds nothing but the program.
func (Engine) Probe(ctx context.Context, h *host.Host, c *host.Throwaway) (*host.Started, func() error, error) {
	d := wire.NewDraft(h.Tree)
	none := func() error { return nil }
	docker, args, err := client(h, d)
	if err != nil {
		return nil, none, err
	}
	archive := path.Join(c.Dir, "rootfs.tar")
	if err := host.Archive(c.Rootfs(), archive); err != nil {
		return nil, none, err
	}
	if _, err := h.Run(ctx, nil, docker, args("import", archive, c.Name)...); err != nil {
		return nil, none, err
	}
	remove := func() error {
		return h.Clean(ctx, docker, args("rm", "--force", c.Name), args("rmi", "--force", c.Name)) // with --force there may be none
	}
	run := append(args("run", "--detach", "--network", "none", "--name", c.Name), c.Annotations("--annotation")...)
	if !c.Stock {
		run = append(run, "--runtime", Runtime)
	}
	id, err := h.Run(ctx, nil, docker, append(append(run, c.Name), c.Args...)...)
	if err != nil {
		return nil, remove, err
	}
	return &host.Started{ID: strings.TrimSpace(string(id)), Exec: func(ctx context.Context) error {
		_, err := h.Run(ctx, nil, docker, append(args("exec", "--detach", c.Name), c.Args...)...)
		return err
	}}, remove, nil
}
