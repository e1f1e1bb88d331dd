package containerd

import (
	"fmt"
	"maps"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// What is here is about runtimes that somebody else has written: of our name and not ours, or ours and not of our name.

// Namesake returns the runtime in containerd's files that has the name of ours and is not ours; nil where there is none.
func (e Engine) Namesake(_ *host.Host, d *wire.Draft) (*host.Namesake, error) {
	files, err := e.of().files(d)
	return namesake(files), err
}

// namesake returns the runtime in files that has the name of ours and is not ours; nil where there is none.
func namesake(files []*tomlfile.File) *host.Namesake {
	for _, f := range files {
		for _, plugin := range plugins {
			key := []string{"plugins", plugin, "containerd", "runtimes", Runtime}
			table, _ := f.Get(key...).(map[string]any)
			if table == nil || ours(table) {
				continue
			}
			return &host.Namesake{Name: Runtime, Program: called(table), Place: fmt.Sprintf("%s:%d", f.Path, f.Line(key...))}
		}
	}
	return nil
}

// ByHand returns the runtimes of ours by other names.
func (e Engine) ByHand(_ *host.Host, d *wire.Draft) (all []host.ByHand, err error) {
	files, err := e.of().files(d)
	for _, f := range files {
		for _, plugin := range plugins {
			containerd := []string{"plugins", plugin, "containerd"}
			keys := [][]string{append(containerd[:3:3], "default_runtime"), append(containerd[:3:3], "untrusted_workload_runtime")}
			runtimes, _ := f.Get(append(containerd[:3:3], "runtimes")...).(map[string]any)
			for _, name := range slices.Sorted(maps.Keys(runtimes)) {
				if name != Runtime {
					keys = append(keys, append(containerd[:3:3], "runtimes", name))
				}
			}
			for _, key := range keys {
				if table, _ := f.Get(key...).(map[string]any); ours(table) {
					all = append(all, host.ByHand{Name: key[len(key)-1], Program: called(table), Place: fmt.Sprintf("%s:%d", f.Path, f.Line(key...))})
				}
			}
		}
	}
	return all, err
}

// called returns what a runtime's table calls: a runtime, a shim by its path, or one by its type.
func called(table map[string]any) (program string) {
	for _, key := range [][]string{{"options", "BinaryName"}, {"runtime_path"}, {"runtime_type"}} {
		if at, _ := tomlfile.Get(table, key...).(string); program == "" {
			program = at
		}
	}
	return program
}
