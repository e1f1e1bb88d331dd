package crio

import (
	"context"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// Inspect has CRI-O read a copy of its configuration, and looks at how that has ours.
func (Engine) Inspect(ctx context.Context, h *host.Host, d *wire.Draft) (i host.Inspection, err error) {
	i.Via = "wrapper"
	n, err := look(h, d)
	if err != nil {
		return i, err
	}
	files, err := read(d)
	if err != nil {
		return i, err
	}
	now := merged(files)
	if h.Live() {
		if now, err = n.dump(ctx, files); err != nil {
			i.Add(host.Refuses, "%v", err)
			return i, nil
		}
	}
	t := now.runtimes[Runtime]
	if !ours(t) {
		i.Add(host.Ignored, "a file of CRI-O has our runtime %s, and CRI-O does not read it so", Runtime)
		return i, nil
	}
	i.Default = now.standard == Runtime
	if at, ok := t["runtime_path"].(string); ok {
		i.Names(h, d, at)
	}
	return i, nil
}
