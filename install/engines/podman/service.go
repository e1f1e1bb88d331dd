package podman

import (
	"context"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// Main returns the process of "podman system service", if one runs: Podman itself has no daemon, and reads its files each time.
func (Engine) Main(h *host.Host) (p host.Process, ok bool) {
	for _, p := range h.Processes("podman") {
		if isService(p.Args) {
			return p, true
		}
	}
	return p, false
}

// isService reports whether the arguments are those of "podman [OPTION...] system service [OPTION...]".
func isService(args []string) bool {
	return strings.Contains(strings.Join(args, "\x00")+"\x00", "\x00system\x00service\x00")
}

// Taken returns what the service has of ours: what its files had when it was started.
func (e Engine) Taken(_ context.Context, h *host.Host, main host.Process, changes wire.Changes) (host.Taken, error) {
	d := wire.NewDraft(h.Tree)
	was, err := e.Clear(h, d.Copy())
	if err != nil {
		return host.Taken{}, err
	}
	return h.TakenAtStart(main, "podman system service", d, was.Files, changes)
}
