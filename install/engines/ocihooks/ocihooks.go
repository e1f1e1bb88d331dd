// Package ocihooks reads the directories in which files in JSON name hooks of containers (oci-hooks(5)). Podman, CRI-O and
// Buildah share some of them.
package ocihooks

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/podman"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// shared are the directories that more than one engine reads.
var shared = []string{"/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d"}

// precreate is the stage in which Podman lets a hook change a container. No other engine knows it, and all others fail.
const precreate = "precreate"

const program = "oci-apparmor-hook"

// hook is what a file says of a hook.
type hook struct {
	file string
	Hook struct {
		Path string   `json:"path"`
		Args []string `json:"args"`
	} `json:"hook"`
	Stages []string `json:"stages"`
}

func (h *hook) ours() bool { return path.Base(h.Hook.Path) == program }

// Inspect returns what is wrong with the hooks of a host. A file that is not understood is none of ours.
func Inspect(h *host.Host) (host.Inspection, error) {
	d := wire.NewDraft(h.Tree)
	var i host.Inspection
	read, wrapped, err := podman.Hooks(h, d)
	if err != nil {
		return i, err
	}
	dirs := slices.Clone(shared)
	for _, dir := range read {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	var alone []string // files of our hook, by which alone Podman comes to us
	for _, dir := range dirs {
		hooks, err := readDir(d, dir)
		if err != nil {
			return i, err
		}
		for _, k := range hooks {
			early := slices.Contains(k.Stages, precreate)
			if early && slices.Contains(shared, dir) {
				i.Add(host.Breaks, "%s has the stage %s in a directory that CRI-O and Buildah read as well: CRI-O does not start with it, "+
					"and podman build fails", k.file, precreate)
			}
			if !k.ours() {
				continue
			}
			if err := d.Runnable(k.Hook.Path); errors.Is(err, fs.ErrNotExist) {
				i.Add(host.HookGone, "%s names %s, which is missing: engines skip such a hook without a word", k.file,
					oneline.Name(k.Hook.Path))
			}
			if early && slices.Contains(read, dir) {
				alone = append(alone, k.file)
			}
		}
	}
	if len(alone) > 0 && !wrapped && h.Program(d, "podman") != "" {
		i.Add(host.ExecEscapes, "Podman comes to us by the hook %s alone: what podman exec and health checks start in a container is "+
			"under the profile that Podman chose", strings.Join(alone, ", "))
	}
	return i, nil
}

// readDir reads the hooks of a directory; none where it is missing.
func readDir(d *wire.Draft, dir string) ([]hook, error) {
	files, err := d.Glob(path.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var all []hook
	for _, file := range files {
		e, err := d.Read(file)
		if err != nil {
			return nil, err
		}
		k := hook{file: file}
		if e.IsFile() && json.Unmarshal(e.Data, &k) == nil {
			all = append(all, k)
		}
	}
	return all, nil
}
