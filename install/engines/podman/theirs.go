package podman

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// What is here is about runtimes that somebody else has written: of our name and not ours, or ours and not of our name.

// Namesake returns the runtime in Podman's files that has the name of ours and is not ours; nil where there is none.
func (Engine) Namesake(h *host.Host, d *wire.Draft) (*host.Namesake, error) {
	files, err := (&podman{Host: h, version: []int{5}}).files(d) // root has a file of its own from 5 on
	if err != nil {
		return nil, err
	}
	return namesake(files), nil
}

// namesake returns the runtime in files that has the name of ours and is not ours, where the last one that has it counts; nil
// where there is none.
func namesake(files []*tomlfile.File) (n *host.Namesake) {
	key := append(keyRuntimes[:2:2], Runtime)
	for _, f := range files {
		paths := f.Get(key...)
		if paths == nil {
			continue
		}
		if n = nil; !ours(paths) {
			n = &host.Namesake{Name: Runtime, Program: fmt.Sprint(paths), Place: fmt.Sprintf("%s:%d", f.Path, f.Line(key...))}
			if all := f.Strings(key...); len(all) == 1 {
				n.Program = all[0].Value
			}
		}
	}
	return n
}

// ByHand returns the runtimes of ours by other names, and those that a file has as the default which Clear leaves: the vendor's, and
// root's own.
func (Engine) ByHand(h *host.Host, d *wire.Draft) (all []host.ByHand, err error) {
	files, err := (&podman{Host: h, version: []int{5}}).files(d) // root has a file of its own from 5 on
	if err != nil {
		return nil, err
	}
	users, err := with(d, rootless)
	if err != nil {
		return nil, err
	}
	more, err := tomlfile.ReadAll(d, users)
	for _, f := range append(files, more...) {
		place := func(key []string) string { return fmt.Sprintf("%s:%d", f.Path, f.Line(key...)) }
		cleared := strings.HasPrefix(f.Path, "/etc/containers/")
		runtimes, _ := f.Get(keyRuntimes...).(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(runtimes)) {
			if paths, _ := runtimes[name].([]any); ours(paths) && !(cleared && name == Runtime) {
				all = append(all, host.ByHand{Name: name, Program: fmt.Sprint(paths...), Place: place(append(keyRuntimes[:2:2], name))})
			}
		}
		if at, _ := f.Get(keyRuntime...).(string); host.IsWrapper(at) && !cleared {
			all = append(all, host.ByHand{Name: at, Program: at, Place: place(keyRuntime)})
		}
	}
	return all, err
}
