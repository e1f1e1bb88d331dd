package containerd

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/hook/programs"
)

// containerd's shim puts containers into groups, and one server serves a group. An annotation names the group. The shim
// takes whatever listens at the group's address for its server (manager_linux.go). If that is another shim, it creates the
// container, and none of our code runs.

// The annotations that name a group; the first one counts (containerd, manager_linux.go, groupLabels).
const (
	groupAnnotation   = "io.containerd.runc.v2.group"
	sandboxAnnotation = "io.kubernetes.cri.sandbox-id"
)

// inPod reports, by a container's bundle, whether it belongs to a pod whose sandbox exists already. It returns an error if
// the pod asks for a group: CRI groups by the sandbox, with a key that it sets last.
func inPod(ctx context.Context, bundle *hook.Bundle, id string) (bool, error) {
	if ns, _ := namespaces.Namespace(ctx); !runsPods(ns) {
		return false, nil
	}
	annotations, err := bundle.Annotations()
	if err != nil {
		return false, err
	}
	if group, ok := annotations[groupAnnotation]; ok {
		return false, fmt.Errorf("its annotation %s: %q would put it into another pod's shim: take the annotation from the "+
			"pod, and let pod_annotations name oci-apparmor/* only", groupAnnotation, group)
	}
	sandbox := annotations[sandboxAnnotation]
	return sandbox != "" && sandbox != id, nil
}

// childless reports whether this process has no child process.
func childless() bool {
	return unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == unix.ECHILD
}

// wantOurs returns an error unless a shim of ours, of any version, serves at an address.
func wantOurs(ctx context.Context, address, id string) error {
	const patience = 30 * time.Second
	conn, err := shim.AnonDialer(address, patience)
	if err != nil {
		return fmt.Errorf("the shim that serves its group: %w", err)
	}
	client := ttrpc.NewClient(conn)
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	const elsewhere = "start it in a group of its own, or with the same runtime as the others of its group"
	server, err := taskapi.NewTTRPCTaskClient(client).Connect(ctx, &taskapi.ConnectRequest{ID: id})
	if err != nil { // containerd's own shims up to 1.7 do not know this version of the call
		return fmt.Errorf("its group is served by another shim, it seems, which would give it no policy (%w): %s", err,
			elsewhere)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	link := fmt.Sprintf("/proc/%d/exe", server.ShimPid)
	exe, err := os.Readlink(link)
	if err != nil {
		return fmt.Errorf("the shim that serves its group: %w", err)
	}
	if !sameProgram(link, exe, self) {
		return fmt.Errorf("its group is served by another shim, %s (process %d), which would give it no policy: %s", exe,
			server.ShimPid, elsewhere)
	}
	return nil
}

// sameProgram reports whether a process runs the program at the path self, of whichever version, or the one that an upgrade
// replaced there. exe is where the process's link in /proc leads. The program's name does not count, because ours may be
// installed under the name of containerd's shim.
func sameProgram(link, exe, self string) bool {
	if programs.Called(strings.TrimSuffix(exe, " (deleted)")) == programs.Called(self) {
		return true
	}
	theirs, err1 := os.Stat(link)
	ours, err2 := os.Stat("/proc/self/exe")
	return err1 == nil && err2 == nil && os.SameFile(theirs, ours)
}
