package containerd

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"runtime"
	"sync"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types/runc/options"
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
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/shim/wrapper"
)

// processors is GOMAXPROCS of a serving shim. containerd's code sets four, although the shim nearly always waits for the
// runtime. Each one costs memory, and two fewer save more memory than all of our code takes.
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
	host    wrapper.Host
	systemd bool      // is process 1
	guessed sync.Once // driverGuessed is said once for all containers of this shim, which are those of a pod

	mu         sync.Mutex
	containers map[string]container // by id, from before the runtime creates one until it is deleted
	warned     map[added]string     // the warnings that Exec has printed, until the process is started or deleted
}

// added is a process that Exec adds to a container.
type added struct{ id, execID string }

// container is what the shim knows of a container.
type container struct {
	caller  hook.Caller
	label   string      // that Create wrote; empty if the engine's choice was kept
	options sentOptions // by the engine
	ran     []hook.Ran  // the processes that the engine started in it: the first one, and the latest
}

func newService(runc taskapi.TTRPCTaskService, host wrapper.Host) *service {
	return &service{TTRPCTaskService: runc, host: host, systemd: systemdRuns(), containers: make(map[string]container),
		warned: make(map[added]string)}
}

// RegisterTTRPC serves versions 2 and 3 of the task service. They have the same calls with the same fields.
func (s *service) RegisterTTRPC(server *ttrpc.Server) error {
	taskapi.RegisterTTRPCTaskService(server, s)
	registerV2(server, s)
	return nil
}

// Create prepares the container's bundle, and has the runtime create the container.
func (s *service) Create(ctx context.Context, r *taskapi.CreateTaskRequest) (*taskapi.CreateTaskResponse, error) {
	began := time.Now()
	bundle := hook.NewBundle(r.Bundle)
	opts, said, err := runcOptions(r.Options)
	caller, callerErr := callerOf(ctx, opts)
	if err = cmp.Or(err, callerErr); err == nil && said != sentSome && s.systemd {
		// Without systemd, only an option can choose its driver.
		var path byPath
		path, err = systemdByPath(ctx, said, bundle, s.optionsOf)
		if opts.SystemdCgroup = path.systemd; path.dropped {
			s.guessed.Do(func() { s.warn(ctx, "create", caller, r.ID, hook.Outcome{Warning: driverGuessed}) })
		}
	}
	if err != nil {
		return nil, s.refuse("create", caller, r.ID, hook.Outcome{}, hook.Because(notice.CommandLine, err))
	}
	c := container{caller: caller, options: said}
	if !s.add(r.ID, c) {
		return nil, s.refuseAs(errdefs.ErrAlreadyExists, notice.Exists, "create", caller, r.ID,
			"this shim has a container of that id already")
	}
	resp, err := s.create(ctx, r, bundle, c, opts, began)
	if err != nil {
		s.remove(r.ID)
	}
	return resp, err
}

func (s *service) create(ctx context.Context, r *taskapi.CreateTaskRequest, bundle *hook.Bundle, c container,
	opts *options.Options, began time.Time) (*taskapi.CreateTaskResponse, error) {
	out, err := s.host.Prepare(ctx, c.caller, r.ID, bundle)
	s.warn(ctx, "create", c.caller, r.ID, out)
	if err != nil {
		return nil, s.refuse("create", c.caller, r.ID, out, err)
	}
	// The label is set now, because containerd may ask for a process in the container before the inner Create returns.
	c.label = out.Label
	s.set(r.ID, c)
	if r.Checkpoint != "" && out.Label != "" {
		opts.BinaryName, err = restoreBy(opts.BinaryName, r.Bundle)
		err = hook.Because(notice.Runtime, err)
		r.Options = nil // to be packed anew
	}
	if err == nil {
		r.Options, err = pack(r.Options, opts)
	}
	if err != nil {
		s.host.Forget(c.caller, r.ID)
		return nil, s.refuse("create", c.caller, r.ID, out, err)
	}
	s.host.Passed(c.caller, "create", out, time.Since(began))
	resp, err := s.TTRPCTaskService.Create(ctx, r)
	if err != nil {
		s.host.Forget(c.caller, r.ID)
	}
	return resp, err
}

// Start starts a created container, or a process that Exec added to it. It refuses if the profiles are no longer what they
// must be.
func (s *service) Start(ctx context.Context, r *taskapi.StartRequest) (*taskapi.StartResponse, error) {
	command := "start"
	if r.ExecID != "" {
		command = "exec"
	}
	c, ok := s.get(r.ID)
	if !ok {
		return nil, s.refuseUnknown(ctx, command, r.ID)
	}
	var p hook.Process
	var err error
	if r.ExecID == "" {
		p, err = s.host.Start(ctx, c.caller, r.ID)
	} else {
		p, err = s.host.Exec(ctx, c.caller, r.ID)
		if p.Warning == s.takeWarned(added{r.ID, r.ExecID}) {
			p.Warning = ""
		}
	}
	out := hook.Outcome{Label: p.Label, Warning: p.Warning}
	s.warn(ctx, command, c.caller, r.ID, out)
	if err == nil && c.label != "" && !p.Ours {
		err = lost(c.label)
	}
	if err != nil {
		return nil, s.refuse(command, c.caller, r.ID, out, err)
	}
	s.host.Passed(c.caller, command, out, 0)
	before := time.Now()
	resp, err := s.TTRPCTaskService.Start(ctx, r)
	if err == nil {
		s.began(r.ID, int(resp.Pid), before)
	}
	return resp, err
}

// Exec adds a process to a container. The process gets the container's label, whatever label the engine writes.
func (s *service) Exec(ctx context.Context, r *taskapi.ExecProcessRequest) (*emptyResponse, error) {
	c, ok := s.get(r.ID)
	if !ok {
		return nil, s.refuseUnknown(ctx, "exec", r.ID)
	}
	p, err := s.host.Exec(ctx, c.caller, r.ID)
	out := hook.Outcome{Label: p.Label, Warning: p.Warning}
	s.warn(ctx, "exec", c.caller, r.ID, out)
	if err == nil && c.label != "" && !(p.Ours && policy.SameLabel(p.Label, c.label)) {
		err = lost(c.label)
	}
	if err == nil && p.Ours {
		var spec []byte
		if spec, err = hook.SetProcessProfile(r.GetSpec().GetValue(), p.Label); err != nil {
			err = hook.Because(notice.Spec, fmt.Errorf("its process spec: %w", err))
		}
		r.Spec = &anypb.Any{TypeUrl: r.GetSpec().GetTypeUrl(), Value: spec}
	}
	if err != nil {
		return nil, s.refuse("exec", c.caller, r.ID, out, err)
	}
	resp, err := s.TTRPCTaskService.Exec(ctx, r)
	if err == nil {
		s.setWarned(added{r.ID, r.ExecID}, p.Warning)
	}
	return resp, err
}

// lost returns the error for a container whose record is gone, and whose process does not show all of the label either.
func lost(label string) error {
	return hook.Because(notice.Record, fmt.Errorf("there is no record of it in /run/oci-apparmor any more, and nothing proves that "+
		"its profile %s stayed in the kernel since it was created; delete the container and create it anew", label))
}

// Delete deletes a container, or a process that Exec added to it.
func (s *service) Delete(ctx context.Context, r *taskapi.DeleteRequest) (*taskapi.DeleteResponse, error) {
	resp, err := s.TTRPCTaskService.Delete(ctx, r)
	if err != nil {
		return resp, err
	}
	s.ended(r.ID, int(resp.Pid), resp.ExitedAt)
	if r.ExecID != "" {
		s.takeWarned(added{r.ID, r.ExecID})
		return resp, nil
	}
	if c, ok := s.get(r.ID); ok {
		s.remove(r.ID) // first, so that later calls find no container, rather than one whose record is lost
		s.host.Forget(c.caller, r.ID, c.ran...)
		s.host.Sweep(c.caller) // removes the records that a killed shim has left
	}
	return resp, nil
}

// add adds a container, unless there is one of that id.
func (s *service) add(id string, c container) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.containers[id]; taken {
		return false
	}
	s.containers[id] = c
	return true
}

func (s *service) set(id string, c container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.containers[id] = c
}

func (s *service) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.containers, id)
	maps.DeleteFunc(s.warned, func(p added, _ string) bool { return p.id == id })
}

// get returns a container of this shim.
func (s *service) get(id string) (c container, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok = s.containers[id]
	return c, ok
}

// setWarned records the warning that was printed when a process was added to its container.
func (s *service) setWarned(p added, warning string) {
	if warning == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warned[p] = warning
}

// takeWarned returns the recorded warning and removes it.
func (s *service) takeWarned(p added) (warning string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	warning = s.warned[p]
	delete(s.warned, p)
	return warning
}

// optionsOf returns what the engine sent for a container: sentNone if the container is not this shim's.
func (s *service) optionsOf(id string) sentOptions {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.containers[id].options
}

// refuse writes a refusal to the node's log and returns the error for containerd, which shows its text to whoever started
// the container.
func (s *service) refuse(command string, caller hook.Caller, id string, out hook.Outcome, err error) error {
	s.host.Note(caller, notice.Notice{Level: notice.Refusal, Command: command, ID: id, Reason: hook.ReasonOf(err),
		Message: err.Error()}, out)
	return status.Error(codes.FailedPrecondition, wrapper.Message(command, id, err.Error()))
}

// refuseUnknown refuses a process in a container that is not this shim's: the shim does not know its label.
func (s *service) refuseUnknown(ctx context.Context, command, id string) error {
	caller, _ := callerOf(ctx, nil) // without containerd's namespace the engine is not known
	return s.refuseAs(errdefs.ErrNotFound, notice.UnknownToShim, command, caller, id, "it was not created by this shim, or has been deleted")
}

// refuseAs is refuse for an error whose kind containerd looks at.
func (s *service) refuseAs(kind error, reason notice.Reason, command string, caller hook.Caller, id, why string) error {
	s.host.Note(caller, notice.Notice{Level: notice.Refusal, Command: command, ID: id, Reason: reason, Message: why}, hook.Outcome{})
	return errgrpc.ToGRPCf(kind, "container %s: %s", id, why)
}

// warn writes an outcome's warning, if there is one, to the node's log and to containerd's.
func (s *service) warn(ctx context.Context, command string, caller hook.Caller, id string, out hook.Outcome) {
	if out.Warning == "" {
		return
	}
	s.host.Note(caller, notice.Notice{Level: notice.Warning, Command: command, ID: id, Message: out.Warning}, out)
	log.G(ctx).Warn(wrapper.Message(command, id, out.Warning))
}
