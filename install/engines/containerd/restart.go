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

// Taken reports whether containerd was started after ours came into its files. The error says that it does not answer, or
// that its CRI plugin does not work.
func (e Engine) Taken(ctx context.Context, h *host.Host) (bool, error) {
	d := wire.NewDraft(h.Tree)
	ctr, args, err := e.of().client(h, d)
	if err != nil {
		return false, err
	}
	out, err := h.Run(ctx, nil, ctr, args("plugins", "ls")...)
	if err != nil {
		return false, err
	}
	if broken := brokenCRI(string(out)); broken != "" {
		return false, fmt.Errorf("containerd answers, and its plugin %s does not work", broken)
	}
	files, err := e.of().files(d)
	if err != nil {
		return false, err
	}
	var i host.Inspection
	(&daemon{Host: h, Distribution: e.of()}).restart(&i, d, files)
	return len(i.Faults) == 0, nil
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

// client returns the ctr beside containerd, and what makes its arguments for that containerd.
func (o *Distribution) client(h *host.Host, d *wire.Draft) (ctr string, args func(...string) []string, err error) {
	ctr = path.Join(path.Dir(o.program(h, d)), "ctr")
	if d.Runnable(ctr) != nil {
		ctr = h.InPath(d, "ctr")
	}
	if ctr == "" {
		return "", nil, fmt.Errorf("there is no program ctr to ask containerd by: %w", host.ErrNoProgram)
	}
	var at []string
	for _, p := range o.processes(h) {
		if address := p.Flag("--address", "-a", "-address"); address != "" {
			at = []string{"--address", address}
			break
		}
	}
	return ctr, func(more ...string) []string { return append(at[:len(at):len(at)], more...) }, nil
}
