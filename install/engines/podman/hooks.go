package podman

import (
	"path"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// Hooks returns the directories of hooks that Podman reads for root's containers, by the files alone, and whether it has a
// runtime that is our wrapper. It reads the files that Podman 5 reads. The error names the file that cannot be parsed, and
// its line.
func Hooks(h *host.Host, d *wire.Draft) (dirs []string, wrapped bool, err error) {
	files, err := (&podman{Host: h, version: []int{5}}).files(d)
	if err != nil {
		return nil, false, err
	}
	m := merge(files)
	for _, dir := range m.hooks() {
		dirs = append(dirs, path.Clean(dir))
	}
	wrapped = host.IsWrapper(m.text(keyRuntime...))
	runtimes, _ := tomlfile.Get(m, keyRuntimes...).(map[string]any)
	for _, paths := range runtimes {
		l, ok := paths.(*list)
		wrapped = wrapped || ok && slices.ContainsFunc(l.values, func(v any) bool {
			at, _ := v.(string)
			return host.IsWrapper(at)
		})
	}
	return dirs, wrapped, nil
}
