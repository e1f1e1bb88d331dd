package guesttest

import (
	"context"
	"encoding/json"
	"syscall"
	"testing"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/runc/options"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Tasks calls a containerd by its API, as engines do. ctr cannot do some of it, such as creating a task and starting it
// later. Starting ctr also costs a guest about as much as starting a runtime. All calls are in ctr's default namespace.
type Tasks struct {
	tasksapi.TasksClient
	containers containersapi.ContainersClient
}

// Tasks returns a client of containerd's services for tasks and containers. The connection ends with the test.
func (c *Containerd) Tasks(t testing.TB) Tasks {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+c.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true))) // also after containerd was restarted
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return Tasks{tasksapi.NewTasksClient(conn), containersapi.NewContainersClient(conn)}
}

// Context returns a context for one call to containerd.
func (Tasks) Context(t testing.TB) context.Context {
	ctx, cancel := context.WithDeadline(namespaces.WithNamespace(context.Background(), "default"), time.Now().Add(patience))
	t.Cleanup(cancel)
	return ctx
}

// Use makes a container that ctr has created use the arm's runtime and its options. It changes the container's spec by
// edits.
func (s Tasks) Use(t testing.TB, id string, arm Arm, edits ...func(*specs.Spec)) {
	t.Helper()
	got, err := s.containers.Get(s.Context(t), &containersapi.GetContainerRequest{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.containers.Delete(s.Context(t), &containersapi.DeleteContainerRequest{ID: id}); err != nil {
		t.Fatal(err)
	}
	spec := new(specs.Spec)
	if err := json.Unmarshal(got.Container.Spec.Value, spec); err != nil {
		t.Fatal(err)
	}
	for _, edit := range edits {
		edit(spec)
	}
	if got.Container.Spec.Value, err = json.Marshal(spec); err != nil {
		t.Fatal(err)
	}
	got.Container.Runtime = &containersapi.Container_Runtime{Name: arm.Type, Options: runcOptions(t, &options.Options{
		BinaryName: arm.Runtime, SystemdCgroup: arm.SystemdCgroup,
	})}
	if _, err := s.containers.Create(s.Context(t), &containersapi.CreateContainerRequest{Container: got.Container}); err != nil {
		t.Fatal(err)
	}
}

// CreateTask creates the task of a container, and does not start it. The container must use the arm. The standard
// streams of the task are /dev/null. If checkpoint is not empty, it is the path of an image of CRIU's, and the start of
// the task restores its processes.
func (s Tasks) CreateTask(t testing.TB, id string, arm Arm, checkpoint string) (pid int, err error) {
	t.Helper()
	request := &tasksapi.CreateTaskRequest{ContainerID: id, RuntimePath: arm.Shim}
	if checkpoint != "" {
		request.Options = runcOptions(t, &options.Options{BinaryName: arm.Runtime, CriuImagePath: checkpoint})
	}
	created, err := s.Create(s.Context(t), request)
	return int(created.GetPid()), err
}

// StartTask starts a task that CreateTask has created.
func (s Tasks) StartTask(t testing.TB, id string) error {
	t.Helper()
	_, err := s.Start(s.Context(t), &tasksapi.StartRequest{ContainerID: id})
	return err
}

// Task returns containerd's description of a task, or nil if there is no task.
func (s Tasks) Task(t testing.TB, id string) *tasktypes.Process {
	t.Helper()
	got, err := s.Get(s.Context(t), &tasksapi.GetRequest{ContainerID: id})
	if status.Code(err) == codes.NotFound {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return got.Process
}

// Stop kills a task, and waits until it has ended.
func (s Tasks) Stop(t testing.TB, id string) {
	t.Helper()
	if _, err := s.Kill(s.Context(t), &tasksapi.KillRequest{ContainerID: id, Signal: uint32(syscall.SIGKILL)}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Wait(s.Context(t), &tasksapi.WaitRequest{ContainerID: id}); err != nil {
		t.Fatal(err)
	}
}

// Remove deletes a task that has ended, and its container.
func (s Tasks) Remove(t testing.TB, id string) {
	t.Helper()
	if _, err := s.Delete(s.Context(t), &tasksapi.DeleteTaskRequest{ContainerID: id}); err != nil {
		t.Fatal(err)
	}
	s.RemoveContainer(t, id)
}

// RemoveContainer deletes a container without a task.
func (s Tasks) RemoveContainer(t testing.TB, id string) {
	t.Helper()
	if _, err := s.containers.Delete(s.Context(t), &containersapi.DeleteContainerRequest{ID: id}); err != nil {
		t.Fatal(err)
	}
}

// runcOptions packs options as all versions of containerd know them.
func runcOptions(t testing.TB, opts *options.Options) *anypb.Any {
	t.Helper()
	value, err := proto.Marshal(opts)
	if err != nil {
		t.Fatal(err)
	}
	return &anypb.Any{TypeUrl: "containerd.runc.v1.Options", Value: value}
}
