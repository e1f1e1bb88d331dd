// containerd-shim-apparmor-v2 is a shim for containerd 1.6 and later. It is containerd's own shim for runc, and gives every
// container the AppArmor profile that the node's policy decides.
//
// It takes the place of containerd-shim-runc-v2 in one of two ways: as runtime_path of a runtime of type
// io.containerd.runc.v2, or by PATH under a type of its own, io.containerd.apparmor.v2. It takes the same options in both
// ways, if containerd sends them. The CRI plugin of containerd 1.6 sends only ConfigPath to a type of our own, and ignores
// runtime_path up to 1.6.20. -v prints the version of containerd's shim that it is, and --oci-apparmor-version ours.
package main

import (
	"context"
	"os"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/hook/counts"
	"github.com/oci-apparmor/oci-apparmor/hook/version"
	"github.com/oci-apparmor/oci-apparmor/shim/containerd"
)

func main() {
	if version.Answer(os.Stdout, "containerd-shim-apparmor-v2", os.Args) {
		return
	}
	os.Exit(containerd.Run(context.Background(), hook.NewHostOf(counts.Shim), os.Args))
}
