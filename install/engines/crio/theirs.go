package crio

import (
	"fmt"
	"maps"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// What is here is about runtimes that somebody else has written: of our name and not ours, or ours and not of our name.

// Namesake returns the runtime in CRI-O's files that has the name of ours and is not ours; nil where there is none.
func (Engine) Namesake(_ *host.Host, d *wire.Draft) (*host.Namesake, error) {
	files, err := read(d)
	return namesake(files), err
}

// namesake returns the runtime in files that has the name of ours and is not ours, where the last one that has it counts; nil
// where there is none.
func namesake(files []*tomlfile.File) (n *host.Namesake) {
	for _, f := range files {
		table, _ := f.Get(keyOurs()...).(map[string]any)
		if table == nil {
			continue
		}
		if n = nil; !ours(table) {
			at, _ := table["runtime_path"].(string)
			n = &host.Namesake{Name: Runtime, Program: at, Place: fmt.Sprintf("%s:%d", f.Path, f.Line(keyOurs()...))}
		}
	}
	return n
}

// ByHand returns the runtimes of ours by other names.
func (Engine) ByHand(_ *host.Host, d *wire.Draft) (all []host.ByHand, err error) {
	files, err := read(d)
	for _, f := range files {
		if f == nil {
			continue
		}
		runtimes, _ := f.Get(keyRuntimes...).(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(runtimes)) {
			if t, _ := runtimes[name].(map[string]any); name != Runtime && ours(t) {
				at, _ := t["runtime_path"].(string)
				place := fmt.Sprintf("%s:%d", f.Path, f.Line(append(keyRuntimes[:3:3], name)...))
				all = append(all, host.ByHand{Name: name, Program: at, Place: place})
			}
		}
	}
	return all, err
}
