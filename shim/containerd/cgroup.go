package containerd

import (
	"cmp"
	"context"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/oci-apparmor/oci-apparmor/hook"
)

// runc has two drivers for control groups, and the option SystemdCgroup chooses one. If an engine sends options, these
// count, and the default is that of containerd's shim: false. Some engines cannot send options to a runtime whose type is
// not runc's own. But they still write the cgroup's path for their driver.

// systemdRuns reports whether systemd is the machine's process 1 (sd_booted(3)).
func systemdRuns() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// byPath is what the path of a container's control group says of the driver.
type byPath struct {
	systemd bool // it is one for runc's systemd driver
	dropped bool // the engine may have been told otherwise, and have dropped that
}

// systemdByPath returns which driver a container without options is for. sandbox returns what the engine sent for another
// container of this shim.
//
//   - Docker, nerdctl and ctr send no options to a runtime of our type. Docker and nerdctl write a path for systemd exactly if
//     their own driver is systemd's. So the path counts.
//   - CRI sends options. It takes paths for systemd from its clients, whatever its driver is (critest sends one). So the path
//     does not count. CRI sends options that are all default only for the sandbox, and these are for the whole pod.
//   - CRI of containerd 1.6 drops what its configuration says for a runtime of our type, except ConfigPath. Then only the path
//     is known.
func systemdByPath(ctx context.Context, said sentOptions, bundle *hook.Bundle, sandbox func(id string) sentOptions) (byPath,
	error) {
	annotations, err1 := bundle.Annotations()
	path, err2 := bundle.CgroupsPath()
	if err := cmp.Or(err1, err2); err != nil {
		return byPath{}, err
	}
	ns, _ := namespaces.Namespace(ctx)
	if runsPods(ns) && said == sentNone {
		if said = sandbox(annotations[sandboxAnnotation]); said != sentEmpty {
			return byPath{}, nil
		}
	}
	systemd := strings.Count(path, ":") == 2 // SLICE:PREFIX:NAME (runc, docs/systemd.md)
	return byPath{systemd: systemd, dropped: systemd && runsPods(ns)}, nil
}

// driverGuessed is the warning where the path decides although the engine may have been told otherwise.
const driverGuessed = "containerd sent none of the runtime's options, so systemd makes its control group, because the group's " +
	"path is one for systemd: to choose the driver, write SystemdCgroup = true or false into a file, and name the file by " +
	"ConfigPath in the options of the runtime in containerd's configuration"
