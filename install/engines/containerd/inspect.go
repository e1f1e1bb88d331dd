package containerd

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// annotation is one of a pod's that our runtime must get.
const annotation = "oci-apparmor/policy"

// Inspect has containerd read its configuration, and compares that with what the files say.
func (e Engine) Inspect(ctx context.Context, h *host.Host, d *wire.Draft) (i host.Inspection, err error) {
	n, err := look(ctx, h, d, e.of())
	if err != nil {
		return i, err
	}
	read, err := n.read(d)
	if err != nil {
		return i, err
	}
	n.versions(&i, read)
	reads, err := n.dump(ctx, d)
	if err != nil {
		i.Add(host.Refuses, "%v", err)
		return i, nil
	}
	table := reads.runtimes[Runtime]
	i.Default = reads.standard == Runtime
	if !ours(table) {
		i.Add(host.Ignored, "containerd reads no runtime %s of ours from its files, although it stands there", Runtime)
		return i, nil
	}
	if annotations, _ := table["pod_annotations"].([]any); !slices.ContainsFunc(annotations, func(v any) bool {
		pattern, _ := v.(string)
		matches, _ := path.Match(pattern, annotation)
		return matches
	}) {
		i.Add(host.Dropped, "containerd's runtime %s has no pattern %s among its pod_annotations, so that no pod can ask for a policy",
			Runtime, pattern)
	}
	at, _ := table["runtime_path"].(string)
	binary, _ := tomlfile.Get(table, "options", "BinaryName").(string)
	switch {
	case host.IsWrapper(binary):
		i.Via = "wrapper"
		i.Names(h, d, binary)
	case at != "":
		i.Via = "shim"
		i.Names(h, d, at)
		if n.ignoresRuntimePath() {
			i.Add(host.BadVersion, "containerd %s ignores runtime_path, so that pods of our runtime start under no policy", n.release())
		}
	default: // the type names the shim, which containerd finds in its PATH
		i.Via, i.Program = "shim", h.InPath(d, shim)
	}
	return i, nil
}

func (n *daemon) release() string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(n.version), " ", "."), "[]")
}

// versions adds a fault if an imported file has another version than the main one, and this containerd makes too much of that.
func (n *daemon) versions(i *host.Inspection, files []*tomlfile.File) {
	if len(files) == 0 {
		return
	}
	main, _ := files[0].Get("version").(int64)
	for _, f := range files[1:] {
		version, _ := f.Get("version").(int64)
		switch {
		case version > main && !n.before(2, 3, 0) && n.before(2, 3, 5):
			i.Add(host.BadVersion, "containerd %s does not start where an imported file has a higher version than the main one, and %s "+
				"has %d beside %d", n.release(), f.Path, version, main)
		case version != main && version > 0 && !n.before(2, 0, 0) && n.before(2, 3, 0):
			i.Add(host.BadVersion, "containerd %s drops settings without a word where an imported file has another version than the main "+
				"one, and %s has %d beside %d", n.release(), f.Path, version, main)
		}
	}
}

// Probe starts a container by ctr, in a namespace of containerd's of its own, by the program that our runtime has.
func (e Engine) Probe(ctx context.Context, h *host.Host, c *host.Throwaway) (*host.Started, func() error, error) {
	d := wire.NewDraft(h.Tree)
	none := func() error { return nil }
	ctr, ask, err := e.of().client(h, d)
	if err != nil {
		return nil, none, err
	}
	n, err := look(ctx, h, d, e.of())
	if err != nil {
		return nil, none, err
	}
	reads, err := n.dump(ctx, d)
	if err != nil {
		return nil, none, err
	}
	runtime := reads.ctrFlags(c.Stock)
	args := func(more ...string) []string { return ask(append([]string{"--namespace", c.Name}, more...)...) }
	remove := func() error {
		_ = h.Clean(ctx, ctr, args("tasks", "kill", "--all", "--signal", "SIGKILL", c.Name), // there may be none
			args("tasks", "delete", "--force", c.Name), args("containers", "delete", c.Name))
		return h.Clean(ctx, ctr, args("namespaces", "remove", c.Name)) // fails where something is left
	}
	run := append(args("run", "--detach", "--rootfs"), runtime...)
	run = append(run, c.Annotations("--annotation")...)
	run = append(append(run, c.Rootfs(), c.Name), c.Args...)
	if _, err := h.Run(ctx, nil, ctr, run...); err != nil {
		return nil, remove, err
	}
	return &host.Started{ID: c.Name, Exec: func(ctx context.Context) error {
		_, err := h.Run(ctx, nil, ctr, append(args("tasks", "exec", "--detach", "--exec-id", "again", c.Name), c.Args...)...)
		return err
	}}, remove, nil
}

// ctrFlags returns the flags by which ctr starts a container by our runtime, or by the one that ours stands before.
func (p *dump) ctrFlags(isStock bool) []string {
	table := p.runtimes[Runtime]
	if isStock {
		if _, base, err := p.base(); err == nil {
			table = base
		} else { // others would start it in a virtual machine
			table = map[string]any{"runtime_type": stock}
		}
	}
	flags := []string{"--runtime", stock}
	binary, _ := tomlfile.Get(table, "options", "BinaryName").(string)
	if at, _ := table["runtime_path"].(string); at != "" {
		flags[1] = at // every version of ctr takes a shim's path for a type
	} else if kind, _ := table["runtime_type"].(string); kind != stock {
		flags[1] = kind
	} else if binary != "" { // ctr takes it for this type alone
		flags = append(flags, "--runc-binary", binary)
	}
	return flags
}
