package crio

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

// Keys of a sandbox's annotations (pkg/annotations/internal.go).
const (
	handler     = "io.kubernetes.cri-o.RuntimeHandler"
	sandboxName = "io.kubernetes.cri-o.SandboxName"
	kind        = "io.kubernetes.cri-o.ContainerType"
)

// Needed returns the pods that were made with our runtime. CRI-O cannot stop or remove those that name it once it has it no
// more. Of those that name none it keeps no runtime: once it is restarted it executes in them by its default.
func (Engine) Needed(ctx context.Context, h *host.Host) (need host.Need, err error) {
	if !h.Live() {
		return need, nil
	}
	need.Why = "were made with our runtime. Without it CRI-O cannot stop or remove those that name it, and once it is restarted, what it " +
		"executes in those that have it by default is not under the policy"
	dirs, unknown := containers(ctx, h, h.Processes("crio"))
	need.Unknown = unknown
	pods(&need, dirs, served(h))
	return need, nil
}

// served returns the ids of the containers whose conmon has called our wrapper to create them. It runs as long as they do.
func served(h *host.Host) map[string]bool {
	ids := map[string]bool{}
	for _, p := range h.Processes("conmon") {
		if host.IsWrapper(p.Flag("-r", "--runtime")) {
			ids[p.Flag("-c", "--cid")] = true
		}
	}
	return ids
}

// pods adds the pods that were made with our runtime, by the config.json of containers in these directories: those whose
// sandbox names it, and those with a container that is served by it.
func pods(need *host.Need, dirs []string, served map[string]bool) {
	named, byDefault := map[string]bool{}, map[string]bool{}
	for _, dir := range dirs {
		for _, id := range need.List(dir) {
			file := path.Join(dir, id, "userdata/config.json")
			text, err := os.ReadFile(file)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) { // storage keeps files beside the containers'
				continue
			}
			var spec struct{ Annotations map[string]string }
			if err == nil {
				err = json.Unmarshal(text, &spec)
			}
			if err != nil {
				need.Unknown = append(need.Unknown, fmt.Sprintf("%s: %v", file, err))
				continue
			}
			switch name := cmp.Or(spec.Annotations[sandboxName], id); {
			case spec.Annotations[handler] == Runtime && spec.Annotations[kind] == "sandbox":
				named[name] = true
			case served[id]:
				byDefault[name] = true
			}
		}
	}
	need.Containers = append(need.Containers, slices.Sorted(maps.Keys(named))...)
	for _, name := range slices.Sorted(maps.Keys(byDefault)) {
		if !named[name] {
			need.Containers = append(need.Containers, name+" (by default)")
		}
	}
}

// containers returns the directories in which CRI-O may keep its containers' files, as paths of this machine: those of its
// storage, by what it says of itself or by its configuration, and the usual ones. unknown says that one that runs has none where it
// should.
func containers(ctx context.Context, h *host.Host, processes []host.Process) (all, unknown []string) {
	for _, dir := range engine.Named("cri-o").Data {
		all = append(all, h.Tree.Real(dir))
	}
	n := &daemon{Host: h, program: h.Program(wire.NewDraft(h.Tree), "crio")}
	if n.program == "" {
		return all, nil
	}
	s := n.configured(ctx)
	for _, p := range processes {
		said, err := (&running{n, p}).status(ctx)
		if err == nil {
			s = storage{said.root, said.runroot}
		} else {
			s = storage{cmp.Or(p.Flag("--root", "-r"), s.root), cmp.Or(p.Flag("--runroot"), s.runroot)}
		}
		if len(s.dirs(h)) == 0 {
			unknown = append(unknown, fmt.Sprintf("crio runs as process %d, and has no directory for containers in its storage %s", p.PID, s.root))
		}
	}
	for _, dir := range s.dirs(h) {
		if !slices.Contains(all, dir) {
			all = append(all, dir)
		}
	}
	return all, unknown
}

// storage is where CRI-O keeps what it has of containers (containers-storage.conf(5)).
type storage struct{ root, runroot string }

// dirs returns the directories of containers, which begin with the name of the storage's driver. The storage makes one in its
// root when it is opened for the first time.
func (s storage) dirs(h *host.Host) (all []string) {
	for _, dir := range []string{s.root, s.runroot} {
		if path.IsAbs(dir) {
			found, _ := filepath.Glob(path.Join(h.Tree.Real(dir), "*-containers"))
			all = append(all, found...)
		}
	}
	return all
}

// storageLine is a line of "crio config". One that has the default is a comment, and that may be of the file storage.conf.
var storageLine = regexp.MustCompile(`(?m)^(?:# )?(root|runroot) = "([^"\n]*)"$`)

// configured returns the storage of CRI-O's configuration. Where CRI-O cannot be asked, it is what its files say.
func (n *daemon) configured(ctx context.Context) storage {
	said := map[string]string{}
	files, _ := read(wire.NewDraft(n.Tree)) // those before one that cannot be read
	out, err := n.ask(ctx, files)
	for _, m := range storageLine.FindAllSubmatch(out, -1) {
		if key := string(m[1]); err == nil && said[key] == "" {
			said[key] = string(m[2])
		}
	}
	for _, f := range files {
		for _, key := range []string{"root", "runroot"} {
			if at, _ := f.Get("crio", key).(string); err != nil && at != "" {
				said[key] = at
			}
		}
	}
	return storage{said["root"], said["runroot"]}
}
