package containerd

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// Main returns the process of the containerd that has this main file.
func (e Engine) Main(h *host.Host) (p host.Process, ok bool) {
	for _, p := range e.of().processes(h) {
		return p, true
	}
	return p, false
}

// Taken returns what containerd has of ours: of the files in which people write, those that have a runtime of ours.
func (e Engine) Taken(_ context.Context, h *host.Host, main host.Process, changes wire.Changes) (host.Taken, error) {
	d := wire.NewDraft(h.Tree)
	files, err := e.of().files(d)
	if err != nil {
		return host.Taken{}, err
	}
	var with []string
	for _, f := range files {
		if Find(f).Ours {
			with = append(with, f.Path)
		}
	}
	return h.TakenAtStart(main, "containerd", d, with, changes)
}

// Works returns an error unless one containerd runs with the main file and answers, and its CRI plugin works.
func (e Engine) Works(ctx context.Context, h *host.Host) error {
	if err := single(e.of().processes(h)); err != nil {
		return err
	}
	ctr, args, err := e.of().client(h, wire.NewDraft(h.Tree))
	if err != nil {
		return err
	}
	out, err := h.Run(ctx, nil, ctr, args("plugins", "ls")...)
	if err != nil {
		return err
	}
	if broken := brokenCRI(string(out)); broken != "" {
		return fmt.Errorf("containerd answers, and its plugin %s does not work", broken)
	}
	return nil
}

// single returns an error if several containerds run with the same main file: which one is restarted would be chance.
func single(all []host.Process) error {
	if len(all) < 2 {
		return nil
	}
	return fmt.Errorf("containerd runs twice with the same main file, as processes %d and %d: end one of them", all[0].PID, all[1].PID)
}

// brokenCRI returns the plugin of CRI that "ctr plugins ls" says has failed; an empty string for none. Its columns are TYPE,
// ID, PLATFORMS, STATUS. CRI is io.containerd.grpc.v1 with the id cri, and from 2.0 on also io.containerd.cri.v1.
func brokenCRI(listed string) string {
	for line := range strings.Lines(listed) {
		words := strings.Fields(line)
		if len(words) == 4 && words[3] == "error" && (words[1] == "cri" || strings.HasPrefix(words[0], "io.containerd.cri.")) {
			return words[0] + "." + words[1]
		}
	}
	return ""
}

// Running returns the tasks that run, as NAMESPACE/ID.
func (e Engine) Running(ctx context.Context, h *host.Host) ([]string, error) {
	ctr, args, err := e.of().client(h, wire.NewDraft(h.Tree))
	if err != nil {
		return nil, err
	}
	namespaces, err := h.Run(ctx, nil, ctr, args("namespaces", "list", "--quiet")...)
	if err != nil {
		return nil, err
	}
	var all []string
	for namespace := range strings.FieldsSeq(string(namespaces)) {
		tasks, err := h.Run(ctx, nil, ctr, args("--namespace", namespace, "tasks", "list")...)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(tasks)) { // TASK, PID, STATUS
			if words := strings.Fields(line); len(words) == 3 && words[2] == "RUNNING" {
				all = append(all, namespace+"/"+words[0])
			}
		}
	}
	return all, nil
}

// Stops reports that containers run on without containerd: each has its shim.
func (Engine) Stops(context.Context, *host.Host) (bool, error) { return false, nil }

// client returns ctr, and what makes its arguments for that containerd.
func (o *Distribution) client(h *host.Host, d *wire.Draft) (ctr string, args func(...string) []string, err error) {
	var first []string
	if o.Client != nil {
		ctr, first = o.Client(h, d)
	} else if ctr = path.Join(path.Dir(o.program(h, d)), "ctr"); d.Runnable(ctr) != nil {
		ctr = h.InPath(d, "ctr")
	}
	if ctr == "" {
		return "", nil, fmt.Errorf("there is no program ctr to ask containerd by: %w", host.ErrNoProgram)
	}
	for _, p := range o.processes(h) {
		if address := p.Flag("--address", "-a", "-address"); address != "" {
			first = append(first, "--address", address)
			break
		}
	}
	return ctr, func(more ...string) []string { return append(first[:len(first):len(first)], more...) }, nil
}
