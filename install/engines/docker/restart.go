package docker

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// Main returns dockerd's process.
func (Engine) Main(h *host.Host) (p host.Process, ok bool) {
	for _, p := range h.Processes("dockerd") {
		return p, true
	}
	return p, false
}

// info is what dockerd says of itself (moby, api/types/system/info.go).
type info struct {
	Runtimes           map[string]runtime
	DefaultRuntime     string
	LiveRestoreEnabled bool
	ServerErrors       []string // that it could not be asked
}

func ask(ctx context.Context, h *host.Host) (i info, err error) {
	docker, args, err := client(h, wire.NewDraft(h.Tree))
	if err != nil {
		return i, err
	}
	out, err := h.Run(ctx, nil, docker, args("info", "--format", "{{json .}}")...)
	if err != nil {
		return i, err
	}
	if err := json.Unmarshal(out, &i); err != nil {
		return i, fmt.Errorf("docker info: %w", err)
	}
	if len(i.ServerErrors) > 0 {
		return i, fmt.Errorf("docker info: %s", strings.Join(i.ServerErrors, "; "))
	}
	return i, nil
}

// Taken reports whether dockerd has the runtime of ours that its file has, or none where the file has none, and the default.
func (Engine) Taken(ctx context.Context, h *host.Host) (bool, error) {
	f, err := read(h, wire.NewDraft(h.Tree))
	if err != nil {
		return false, err
	}
	wanted, err := f.runtime(Runtime)
	if err != nil {
		return false, err
	}
	name, err := f.string("default-runtime")
	if err != nil {
		return false, err
	}
	i, err := ask(ctx, h)
	if err != nil {
		return false, err
	}
	is, has := i.Runtimes[Runtime]
	if (wanted != nil) != has || wanted != nil && is.Path != wanted.Path {
		return false, nil
	}
	if name == "" { // a flag may name one
		return i.DefaultRuntime != Runtime || flagged(h), nil
	}
	return i.DefaultRuntime == name, nil
}

// flagged reports whether dockerd's command line makes our runtime the default.
func flagged(h *host.Host) bool {
	p, _ := Engine{}.Main(h)
	return p.Flag("--default-runtime") == Runtime
}

// Running returns the ids of the containers that run.
func (Engine) Running(ctx context.Context, h *host.Host) ([]string, error) {
	docker, args, err := client(h, wire.NewDraft(h.Tree))
	if err != nil {
		return nil, err
	}
	out, err := h.Run(ctx, nil, docker, args("ps", "--quiet")...)
	return strings.Fields(string(out)), err
}

// Stops reports whether dockerd stops its containers when it ends. Where it does not answer, that is what its command line or
// its file says.
func (Engine) Stops(ctx context.Context, h *host.Host) (bool, error) {
	i, err := ask(ctx, h)
	if err == nil {
		return !i.LiveRestoreEnabled, nil
	}
	if p, ok := (Engine{}).Main(h); ok && (slices.Contains(p.Args, "--live-restore") || p.Flag("--live-restore") == "true") {
		return false, nil
	}
	f, err := read(h, wire.NewDraft(h.Tree))
	if err != nil {
		return true, err
	}
	live, err := f.get("live-restore")
	return string(live) != "true", err
}

// client returns docker, and what makes its arguments for the node's dockerd: a context that root has chosen may be another
// machine's.
func client(h *host.Host, d *wire.Draft) (docker string, args func(...string) []string, err error) {
	if docker = h.Program(d, "docker"); docker == "" {
		return "", nil, fmt.Errorf("there is no program docker to ask dockerd by: %w", host.ErrNoProgram)
	}
	f, err := read(h, d)
	if err != nil {
		return "", nil, err
	}
	hosts, err := f.get("hosts")
	if err != nil {
		return "", nil, err
	}
	var all []string
	_ = json.Unmarshal(hosts, &all) // there may be none
	at := ""
	if p, ok := (Engine{}).Main(h); ok {
		all = append(all, p.Flag("--host", "-H"))
	}
	for _, address := range all {
		if strings.HasPrefix(address, "unix://") {
			at = address
		}
	}
	at = cmp.Or(at, "unix:///var/run/docker.sock")
	return docker, func(more ...string) []string { return append([]string{"--host", at}, more...) }, nil
}
