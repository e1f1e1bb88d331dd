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
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
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
	ServerVersion      string
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

// Taken returns what dockerd has of ours, by what it says of itself. Where it does not answer, that is what it has read when it was
// started: a reload reads a file that has ours as well, and forgets nothing.
func (Engine) Taken(ctx context.Context, h *host.Host, main host.Process, changes wire.Changes) (t host.Taken, err error) {
	d := wire.NewDraft(h.Tree)
	f, err := read(h, d)
	if err != nil {
		return t, err
	}
	wanted, err := f.runtime(Runtime)
	if err != nil {
		return t, err
	}
	foreign := wanted != nil && !wanted.ours()
	if foreign {
		wanted = nil
	}
	name, err := f.string("default-runtime")
	if err != nil {
		return t, err
	}
	i, err := ask(ctx, h)
	has, called := i.Runtimes[Runtime]
	if err == nil && !(foreign && called && has.Path == "") { // it does not say whose shim that is
		return i.taken(f.path, wanted, cmp.Or(name, main.Flag("--default-runtime"))), nil
	}
	var with []string
	if wanted != nil {
		with = []string{f.path}
	}
	changes = wire.Changes{Last: changes.Last} // a reload may have read what was written at any time
	if t, unknown := h.TakenAtStart(main, "dockerd", d, with, changes); unknown == nil && (t.Older == "" || len(with) == 0) {
		return t, nil
	}
	return t, err
}

// taken compares what dockerd says with what its file has: our runtime, nil for none, and the name of the default one, which may
// be a flag's.
func (i *info) taken(file string, wanted *runtime, name string) (t host.Taken) {
	has, ours := i.Runtimes[Runtime]
	t.Ours = ours && (has.Path == "" || has.ours()) // of a shim it says nothing else
	switch {
	case wanted == nil && t.Ours:
		t.Older = fmt.Sprintf("dockerd goes on with our runtime %s, which %s does not have any more", Runtime, file)
		return t
	case i.DefaultRuntime == Runtime && name != Runtime:
		t.Older = fmt.Sprintf("dockerd goes on with our runtime %s as its default, which it is not in %s any more", Runtime, file)
		if name == "" { // of which a reload makes nothing
			return t
		}
	case wanted != nil && !t.Ours:
		t.Older = fmt.Sprintf("dockerd runs without our runtime %s, which %s has", Runtime, file)
	case t.Ours && has.Path != wanted.Path:
		t.Older = fmt.Sprintf("dockerd's runtime %s is another one than in %s", Runtime, file)
	case i.DefaultRuntime != Runtime && name == Runtime:
		t.Older = fmt.Sprintf("dockerd's default runtime is %s, and in %s it is ours", oneline.Name(i.DefaultRuntime), file)
	default:
		return t
	}
	if version, err := host.Version(i.ServerVersion); err == nil && version[0] >= byReload {
		t.Then = "systemctl reload docker"
	}
	return t
}

// Works returns an error unless dockerd answers.
func (Engine) Works(ctx context.Context, h *host.Host) error {
	_, err := ask(ctx, h)
	return err
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
