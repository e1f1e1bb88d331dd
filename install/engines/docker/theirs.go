package docker

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// What is here is about runtimes that somebody else has written: of our name and not ours, or ours and not of our name.

// Namesake returns the runtime in daemon.json that has the name of ours and is not ours; nil where there is none.
func (Engine) Namesake(h *host.Host, d *wire.Draft) (*host.Namesake, error) {
	f, err := read(h, d)
	if err != nil {
		return nil, err
	}
	return f.namesake()
}

// namesake returns the runtime that has the name of ours and is not ours; nil where there is none.
func (f *file) namesake() (*host.Namesake, error) {
	r, err := f.runtime(Runtime)
	if err != nil || r == nil || r.ours() {
		return nil, err
	}
	return &host.Namesake{Name: Runtime, Program: cmp.Or(r.Path, r.Type), Place: f.place("runtimes", Runtime)}, nil
}

// ByHand returns the runtimes of ours by other names, of daemon.json and of dockerd's command line.
func (Engine) ByHand(h *host.Host, d *wire.Draft) (all []host.ByHand, err error) {
	for _, p := range h.Processes("dockerd") {
		all = append(all, added(p)...)
	}
	f, err := read(h, d)
	if err != nil {
		return all, err
	}
	o, _, err := f.find("runtimes", "")
	if err != nil || o == nil {
		return all, err
	}
	for _, m := range o.members {
		if m.name == Runtime {
			continue
		}
		r, err := f.runtime(m.name)
		if err != nil {
			return all, err
		}
		if r != nil && r.ours() {
			all = append(all, host.ByHand{Name: m.name, Program: cmp.Or(r.Path, r.Type), Place: f.placeOf(m.start)})
		}
	}
	return all, nil
}

// added returns the runtimes of ours of a dockerd's command line, each as --add-runtime NAME=PATH.
func added(p host.Process) (all []host.ByHand) {
	for i, arg := range p.Args {
		if arg == "--add-runtime" && i+1 < len(p.Args) {
			arg += "=" + p.Args[i+1]
		}
		value, is := strings.CutPrefix(arg, "--add-runtime=")
		if name, at, _ := strings.Cut(value, "="); is && (runtime{Path: at}).ours() {
			all = append(all, host.ByHand{Name: name, Program: at, Place: fmt.Sprintf("dockerd's flag --add-runtime, as process %d", p.PID)})
		}
	}
	return all
}
