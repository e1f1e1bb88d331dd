// oci-apparmor-runtime takes the place of runc or crun in a container engine.
//
// It takes their command line, gives the container the AppArmor profile that the node's policy decides, and becomes the
// real runtime. A link to it that is called runc or crun (for example .../cri-o/crun) stands for that runtime. Otherwise it
// stands for runc, or for crun if there is no runc. The directory of the link has the engine's name: containerd, docker,
// podman or cri-o. OCI_APPARMOR_RUNTIME names the real runtime by its absolute path. --version is the real runtime's;
// --oci-apparmor-version prints ours.
package main

import (
	"context"
	"os"
	"runtime"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/hook/counts"
	"github.com/oci-apparmor/oci-apparmor/hook/version"
	"github.com/oci-apparmor/oci-apparmor/shim/wrapper"
)

// The runtime must inherit what an engine set for our main thread: see wrapper.Run.
func init() { runtime.LockOSThread() }

func main() {
	if version.Answer(os.Stdout, "oci-apparmor-runtime", os.Args) {
		return
	}
	os.Exit(wrapper.Run(context.Background(), hook.NewHostOf(counts.Wrapper), os.Args, os.Environ(), os.Stderr))
}
