// oci-apparmor-runtime stands where a container engine looks for runc or crun.
//
// It takes their command line, gives the container the AppArmor profile that the node's policy decides, and becomes
// the real runtime. Under the name runc or crun (a link, for one .../cri-o/crun) it stands for that one, else for
// runc, and for crun where there is no runc. The directory of the link tells the engine: containerd, docker, podman or
// cri-o. OCI_APPARMOR_RUNTIME names the real runtime by its absolute path.
package main

import (
	"context"
	"os"
	"runtime"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/shim/wrapper"
)

// What an engine set for our thread must hold for the runtime: see wrapper.Run.
func init() { runtime.LockOSThread() }

func main() {
	os.Exit(wrapper.Run(context.Background(), hook.NewHost(), os.Args, os.Environ(), os.Stderr))
}
