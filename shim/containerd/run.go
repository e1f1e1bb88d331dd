// Package containerd is the shim that containerd starts for containers: containerd's own shim for runc, with our work
// around four calls of its task service.
//
// Create prepares the bundle before runc reads it. Start checks what was prepared. Exec puts the container's label into the
// spec of another process. Delete removes the record. Package hook does the work in this process, and no program is run for
// it. All other calls, the events, the containers' output and the shim's own life are containerd's code unchanged.
//
// One build serves containerd from 1.6 on. See start.go for the two protocols that start a shim, and task_v2.go for the two
// versions of the task service.
package containerd

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	"github.com/containerd/containerd/v2/pkg/shim"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/hook/programs"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/shim/wrapper"
)

// RuntimeType is the type under which containerd finds the program containerd-shim-apparmor-v2 in PATH.
const RuntimeType = engine.Type

// Run is the shim. argv is its command line, which begins with its name. Run returns the exit status. If containerd's code
// fails, it ends the process itself, with status 1 and a line on standard error.
func Run(ctx context.Context, host wrapper.Host, argv []string) int {
	if asRuntime() {
		err := becomeRuntime(argv, os.Environ())
		fmt.Fprintln(os.Stderr, "oci-apparmor:", err)
		// go-runc's command lines end with the container's id.
		host.Note(hook.Caller{}, notice.Notice{Level: notice.Refusal, Command: "restore", ID: argv[len(argv)-1],
			Reason: notice.Runtime, Message: err.Error()},
			hook.Outcome{})
		return 1
	}
	m := &shimManager{Shim: manager.NewShimManager(RuntimeType), host: host}
	c, err := parseCall(argv)
	if err == nil && c.action == "start" {
		served, err := c.serveOldStart(ctx, m)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %s\n", RuntimeType, err)
			return 1
		}
		if served {
			return 0
		}
	}
	registerTask(host)
	shim.RunShim(ctx, m)
	switch {
	case err != nil:
	case c.serves:
		programs.Leave()
	case c.action == "delete": // of a container whose shim may have been killed
		programs.LeaveOthers()
	}
	return 0
}
