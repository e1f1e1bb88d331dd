package containerd

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/oci-apparmor/oci-apparmor/hook"
	wrapper "github.com/oci-apparmor/oci-apparmor/shim"
)

// processors is on how many a serving shim computes at once. containerd's code starts it with four, while it nearly always
// waits for the runtime; each costs memory of its own, and two fewer save more than all that we add to the shim takes.
const processors = 2

// registerTask makes the shim serve our task service, where containerd's shim registers its own
// (cmd/containerd-shim-runc-v2/task/plugin).
func registerTask(host wrapper.Host) {
	registry.Register(&plugin.Registration{
		Type:     plugins.TTRPCPlugin,
		ID:       "task",
		Requires: []plugin.Type{plugins.EventPlugin, plugins.InternalPlugin},
		InitFn: func(ic *plugin.InitContext) (any, error) {
			runtime.GOMAXPROCS(processors)
			publisher, err := ic.GetByID(plugins.EventPlugin, "publisher")
			if err != nil {
				return nil, err
			}
			shutting, err := ic.GetByID(plugins.InternalPlugin, "shutdown")
			if err != nil {
				return nil, err
			}
			runc, err := task.NewTaskService(ic.Context, publisher.(shim.Publisher), shutting.(shutdown.Service))
			if err != nil {
				return nil, err
			}
			return newService(runc, host), nil
		},
	})
}

// service is containerd's task service for runc, with the work of package hook around it.
type service struct {
	taskapi.TTRPCTaskService
	host wrapper.Host

	mu      sync.Mutex
	wirings map[string]hook.Wiring // of the containers that were created here, by id
}

func newService(runc taskapi.TTRPCTaskService, host wrapper.Host) *service {
	return &service{TTRPCTaskService: runc, host: host, wirings: make(map[string]hook.Wiring)}
}

// RegisterTTRPC serves versions 2 and 3 of the task service. They have the same calls with the same fields.
func (s *service) RegisterTTRPC(server *ttrpc.Server) error {
	taskapi.RegisterTTRPCTaskService(server, s)
	registerV2(server, s)
	return nil
}

// Create prepares the container's bundle, and has the runtime create the container.
func (s *service) Create(ctx context.Context, r *taskapi.CreateTaskRequest) (*taskapi.CreateTaskResponse, error) {
	opts, err := runcOptions(r.Options, r.Bundle)
	if err != nil {
		return nil, refusal("create", r.ID, err)
	}
	w, err := wiring(ctx, opts)
	if err != nil {
		return nil, refusal("create", r.ID, err)
	}
	out, err := s.host.Prepare(ctx, w, r.ID, r.Bundle)
	if err != nil {
		return nil, refusal("create", r.ID, err)
	}
	warn(ctx, "create", r.ID, out.Warning)
	if r.Options, err = pack(r.Options, opts); err != nil {
		return nil, refusal("create", r.ID, err)
	}
	var resp *taskapi.CreateTaskResponse
	if r.Checkpoint != "" && out.Label != "" {
		resp, err = s.createRestored(ctx, r, opts)
	} else {
		resp, err = s.TTRPCTaskService.Create(ctx, r)
	}
	if err != nil {
		s.host.Forget(w, r.ID)
		return nil, err
	}
	s.know(r.ID, w)
	return resp, nil
}

// Start starts a created container, or a process that Exec added to it, if the profiles are still what they must be.
func (s *service) Start(ctx context.Context, r *taskapi.StartRequest) (*taskapi.StartResponse, error) {
	if w, ok := s.wiring(r.ID); ok {
		var warning string
		var err error
		if r.ExecID == "" {
			warning, err = s.host.Start(ctx, w, r.ID)
		} else {
			_, warning, _, err = s.host.Exec(ctx, w, r.ID)
		}
		if err != nil {
			return nil, refusal("start", r.ID, err)
		}
		warn(ctx, "start", r.ID, warning)
	}
	return s.TTRPCTaskService.Start(ctx, r)
}

// Exec adds a process to a container, under the container's label, whatever label the engine writes.
func (s *service) Exec(ctx context.Context, r *taskapi.ExecProcessRequest) (*emptyResponse, error) {
	if w, ok := s.wiring(r.ID); ok {
		label, _, ours, err := s.host.Exec(ctx, w, r.ID) // Start will say the warning
		if err != nil {
			return nil, refusal("exec", r.ID, err)
		}
		if ours {
			spec, err := hook.SetProcessProfile(r.GetSpec().GetValue(), label)
			if err != nil {
				return nil, refusal("exec", r.ID, fmt.Errorf("its process spec: %w", err))
			}
			r.Spec = &anypb.Any{TypeUrl: r.GetSpec().GetTypeUrl(), Value: spec}
		}
	}
	return s.TTRPCTaskService.Exec(ctx, r)
}

// Delete deletes a container, or a process that Exec added to it.
func (s *service) Delete(ctx context.Context, r *taskapi.DeleteRequest) (*taskapi.DeleteResponse, error) {
	resp, err := s.TTRPCTaskService.Delete(ctx, r)
	if err != nil || r.ExecID != "" {
		return resp, err
	}
	if w, ok := s.wiring(r.ID); ok {
		s.mu.Lock()
		delete(s.wirings, r.ID)
		s.mu.Unlock()
		s.host.Forget(w, r.ID)
		s.host.Sweep(w) // of what was killed before it could forget
	}
	return resp, nil
}

func (s *service) know(id string, w hook.Wiring) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wirings[id] = w
}

func (s *service) wiring(id string) (hook.Wiring, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, ok := s.wirings[id]
	return w, ok
}

// refusal makes an error for containerd, which shows its text to whoever started the container.
func refusal(command, id string, err error) error {
	return errgrpc.ToGRPC(fmt.Errorf("%s: %w", wrapper.Message(command, id, err.Error()), errdefs.ErrFailedPrecondition))
}

func warn(ctx context.Context, command, id, text string) {
	if text != "" {
		log.G(ctx).Warn(wrapper.Message(command, id, text))
	}
}
