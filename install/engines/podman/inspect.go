package podman

import (
	"context"
	"path"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// Inspect has Podman read a copy of its configuration, and looks at how that has ours. What is wrong with hooks, package
// ocihooks says.
func (Engine) Inspect(ctx context.Context, h *host.Host, d *wire.Draft) (i host.Inspection, err error) {
	n, err := look(ctx, h, d)
	if err != nil {
		return i, err
	}
	files, err := n.files(d)
	if err != nil {
		return i, err
	}
	m := merge(files)
	if name := m.text(keyRuntime...); host.IsWrapper(name) { // by hand, as a path in place of a name
		i.Via, i.Default = "wrapper", true
		i.Names(h, d, name)
	} else if paths, ok := tomlfile.Get(m, append(keyRuntimes[:2:2], Runtime)...).(*list); ok && ours(paths.values) {
		i.Via, i.Default = "wrapper", name == Runtime
		for _, p := range paths.values {
			if p, ok := p.(string); ok && host.IsWrapper(p) {
				i.Names(h, d, p)
			}
		}
	} else if slices.Contains(m.hooks(), hooksDir(h)) {
		i.Via, i.Program = "hook", path.Join(h.Bin, hook)
	} else if n := namesake(files); n != nil {
		i.AddNamesake(d, n)
	} else {
		i.Add(host.Ignored, "Podman reads neither our runtime %s nor %s: a later file sets that anew", Runtime, hooksDir(h))
	}
	if !h.Live() {
		return i, nil
	}
	c, err := n.copies()
	if err != nil {
		return i, err
	}
	defer c.remove()
	if _, err := c.info(ctx, m, ""); err != nil {
		i.Add(host.Refuses, "podman refuses its configuration: %v", err)
	}
	return i, nil
}
