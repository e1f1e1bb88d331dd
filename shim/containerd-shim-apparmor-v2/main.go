// containerd-shim-apparmor-v2 is a shim for containerd 1.6 and later: containerd's own shim for runc, which gives every
// container the AppArmor profile that the node's policy decides.
//
// It takes the place of containerd-shim-runc-v2, as runtime_path of a runtime of type io.containerd.runc.v2, or is found
// in PATH under a type of its own, io.containerd.apparmor.v2. It takes the same options either way, where containerd sends
// them: the CRI plugin of 1.6 sends none but ConfigPath to a type of our own, and ignores runtime_path up to 1.6.20.
package main

import (
	"context"
	"os"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/shim/containerd"
)

func main() { os.Exit(containerd.Run(context.Background(), hook.NewHost(), os.Args)) }
