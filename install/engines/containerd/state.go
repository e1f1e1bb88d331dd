package containerd

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/pelletier/go-toml/v2"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tasks"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// States is the directories in which the node's own containerd may keep what it knows of running tasks, of whichever client.
// unknown says that one that runs has none where it should.
func States(ctx context.Context, h *host.Host) (all, unknown []string) {
	return own.states(ctx, h, own.processes(h))
}

// states returns the directories in which containerd may keep what it knows of running tasks: that of each process which
// runs, by its flag or by the configuration, and the usual one. unknown says that a process has none where it should.
func (o *Distribution) states(ctx context.Context, h *host.Host, running []host.Process) (all, unknown []string) {
	add := func(state string) {
		if path.IsAbs(state) && !slices.Contains(all, path.Clean(state)) {
			all = append(all, path.Clean(state))
		}
	}
	configured := o.configuredState(ctx, h)
	add(o.State)
	add(configured)
	for _, p := range running {
		state := cmp.Or(p.Flag("--state", "-state"), configured)
		add(state)
		if dir := tasks.Dir(state); !path.IsAbs(state) || !h.HasDir(dir) {
			unknown = append(unknown, fmt.Sprintf("containerd runs as process %d, and there is no %s, in which it keeps its tasks by "+
				"its flags and its configuration", p.PID, dir))
		}
	}
	return all, unknown
}

// configuredState returns the directory of the state that containerd takes where no flag names one. Distributions give it a
// flag. Where containerd cannot be asked, that is what its files say.
func (o *Distribution) configuredState(ctx context.Context, h *host.Host) string {
	d := wire.NewDraft(h.Tree)
	program := o.program(h, d)
	if !o.isOwn() || program == "" {
		return o.State
	}
	var said struct{ State string }
	out, err := (&daemon{Host: h, Distribution: o, program: program}).ask(ctx, d)
	if err == nil {
		err = toml.Unmarshal(out, &said)
	}
	if err == nil {
		return cmp.Or(said.State, o.State)
	}
	state := o.State
	files, _ := o.read(d) // those before one that cannot be read
	for _, f := range files {
		if named, _ := f.Get("state").(string); named != "" {
			state = named
		}
	}
	return state
}
