package containerd

import (
	"cmp"
	"context"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/oci-apparmor/oci-apparmor/hook"
)

// runc has two drivers for control groups, and the option SystemdCgroup chooses. What an engine sends in its options
// holds, and what it leaves out of them is the same as for containerd's shim: false. Not every engine can send options to
// a runtime of another type than runc's own, though, and one that cannot still writes the cgroup's path for its driver.

// systemdRuns tells whether systemd is the machine's process 1 (sd_booted(3)).
func systemdRuns() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// systemdByPath tells whether a container of which no option is said is one for runc's systemd driver. sandbox gives what
// the engine said of another container of this shim's.
//
//   - Docker, nerdctl and ctr send no options to a runtime of our type. The first two write a path for systemd where their
//     own driver is systemd's, and nowhere else: so the path is what they say.
//   - CRI sends options, and takes paths for systemd from its clients, whatever its driver is (critest gives one): so what it
//     does not send is not said. Options that are all default it sends for the sandbox only, which speaks for its pod.
//   - CRI of containerd 1.6 drops what its configuration says for a runtime of our type, but for ConfigPath. The path is then
//     all that is known.
func systemdByPath(ctx context.Context, said word, bundle *hook.Bundle, sandbox func(id string) word) (bool, error) {
	annotations, err1 := bundle.Annotations()
	path, err2 := bundle.CgroupsPath()
	if err := cmp.Or(err1, err2); err != nil {
		return false, err
	}
	if ns, _ := namespaces.Namespace(ctx); runsPods(ns) && said == silent {
		if said = sandbox(annotations[sandboxAnnotation]); said != dropped {
			return false, nil
		}
	}
	return strings.Count(path, ":") == 2, nil // SLICE:PREFIX:NAME (runc, docs/systemd.md)
}
