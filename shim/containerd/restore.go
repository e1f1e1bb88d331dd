package containerd

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/runc"
	runccmd "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/oci-apparmor/oci-apparmor/hook"
	wrapper "github.com/oci-apparmor/oci-apparmor/shim"
)

// CRIU gives restored processes the label that they had when they were saved, unless the runtime's restore is told
// another by --lsm-profile, for which go-runc has no place. So the runtime of a restored container is the shim itself,
// which adds that and becomes the real one.

// asRuntime is the path by which the shim calls itself as a runtime. The kernel takes it to the program of the process
// that makes the call.
const asRuntime = "/proc/self/exe"

// What containerd set for our thread must hold for the runtime, such as the signal that it gets when the shim dies
// (PR_SET_PDEATHSIG); an execve from another thread would lose it.
func init() {
	if os.Args[0] == asRuntime {
		runtime.LockOSThread()
	}
}

// createRestored is Create for a container from a checkpoint that gets a label of ours. Its restore comes with Start.
func (s *service) createRestored(ctx context.Context, r *taskapi.CreateTaskRequest, opts *options.Options) (
	*taskapi.CreateTaskResponse, error) {
	real, err := exec.LookPath(cmp.Or(opts.BinaryName, runccmd.DefaultCommand))
	if err != nil {
		return nil, refusal("create", r.ID, err)
	}
	if err := os.Setenv(wrapper.RuntimeVar, real); err != nil { // all containers of a shim have the same
		return nil, refusal("create", r.ID, err)
	}
	named := opts.BinaryName
	opts.BinaryName = asRuntime
	if r.Options, err = anypb.New(opts); err != nil {
		return nil, refusal("create", r.ID, err)
	}
	resp, err := s.TTRPCTaskService.Create(ctx, r)
	if err != nil {
		return nil, err
	}
	// Whoever deletes the container after this shim has died has not our environment.
	opts.BinaryName = named
	if err := runc.WriteOptions(r.Bundle, opts); err != nil {
		return nil, refusal("create", r.ID, err)
	}
	if err := runc.WriteRuntime(r.Bundle, named); err != nil {
		return nil, refusal("create", r.ID, err)
	}
	return resp, nil
}

// becomeRuntime is the shim as a runtime, called by go-runc. It returns only when that fails.
func becomeRuntime(argv, env []string) error {
	real := os.Getenv(wrapper.RuntimeVar)
	argv, err := withLabel(argv)
	if err != nil {
		return err
	}
	argv[0] = filepath.Base(real)
	return fmt.Errorf("executing %s: %w", real, unix.Exec(real, argv, env))
}

// withLabel adds the label in the bundle's config.json, which Create wrote, to a command line of restore, the only one
// for such a container that names a bundle. The first "restore" in it is the command: what stands before are options of
// runc's, and paths.
func withLabel(argv []string) ([]string, error) {
	bundle := slices.Index(argv, "--bundle") + 1
	command := slices.Index(argv, "restore")
	if bundle == 0 || bundle == len(argv) || command < 0 {
		return slices.Clone(argv), nil
	}
	config, err := os.ReadFile(filepath.Join(argv[bundle], "config.json"))
	if err != nil {
		return nil, err
	}
	facts, err := hook.Identify(config, hook.Wiring{}, "")
	if err != nil {
		return nil, fmt.Errorf("%s/config.json: %w", argv[bundle], err)
	}
	return slices.Insert(slices.Clone(argv), command+1, "--lsm-profile", "apparmor:"+facts.EngineChoice), nil
}
