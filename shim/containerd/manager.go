package containerd

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/process"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/runc"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/shim/wrapper"
)

// shimManager does what the program does besides serving: it starts a server, cleans up after a server that died, and
// returns the runtime's features. It is containerd's, but translates options and removes the records of containers.
type shimManager struct {
	shim.Shim
	host wrapper.Host
}

// Start starts the server of a new container or pod, or finds the server of its group, which must be ours. A pod's
// containers stay with the shim of their sandbox, even if that is containerd's own from before the installation of ours.
func (m *shimManager) Start(ctx context.Context, params *bootapi.BootstrapParams) (*bootapi.BootstrapResult, error) {
	for _, e := range params.Extensions {
		opts, _, err := runcOptions(e.Value)
		if err != nil {
			continue // if they are bad options, Create refuses them, and its error reaches the user
		}
		if e.Value, err = pack(e.Value, opts); err != nil {
			return nil, err
		}
	}
	id := params.InstanceID
	bundle := hook.NewBundle(".") // which containerd has made the working directory
	inPod, err := inPod(ctx, bundle, id)
	if err != nil {
		return nil, m.refuse(ctx, bundle, id, err)
	}
	result, err := m.Shim.Start(ctx, params)
	if err != nil || inPod || !childless() {
		return result, err
	}
	if err := wantOurs(ctx, result.Address, id); err != nil {
		return nil, m.refuse(ctx, bundle, id, err)
	}
	return result, nil
}

// refuse writes to the node's log that a container gets no shim, and returns the error for containerd.
func (m *shimManager) refuse(ctx context.Context, bundle *hook.Bundle, id string, err error) error {
	c, _ := callerOf(ctx, nil)
	var out hook.Outcome
	if facts, err := bundle.Identify(c, id); err == nil {
		facts.Read()
		out.Names = hook.NamesOf(facts)
	}
	m.host.Note(c, notice.Notice{Level: notice.Refusal, Command: "create", ID: id, Reason: hook.ReasonOf(err), Message: err.Error()}, out)
	return errors.New(wrapper.Message("create", id, err.Error()))
}

// Stop deletes a container whose shim containerd has lost, and removes its record if that succeeds. The shim may be gone,
// or may live on for other containers of its pod. containerd calls Stop in the directory of the container's bundle, or of
// one beside it.
func (m *shimManager) Stop(ctx context.Context, id string) (shim.StopStatus, error) {
	var opts *options.Options // read first, because containerd may remove the bundle at any moment
	if cwd, err := os.Getwd(); err == nil {
		opts, _ = runc.ReadOptions(filepath.Join(filepath.Dir(cwd), id))
	}
	status, err := m.Shim.Stop(ctx, id)
	if c, err := callerOf(ctx, opts); err == nil {
		m.host.Drop(c, id)
		m.host.Sweep(c)
	}
	return status, err
}

// Info returns the runtime's features for the options that containerd sends.
func (m *shimManager) Info(ctx context.Context, in io.Reader) (*types.RuntimeInfo, error) {
	input, err := io.ReadAll(io.LimitReader(in, maxInput))
	if err != nil {
		return nil, err
	}
	if len(input) > 0 {
		sent := new(anypb.Any)
		if err := proto.Unmarshal(input, sent); err != nil {
			return nil, fmt.Errorf("the runtime options on standard input: %w", err)
		}
		opts, _, err := runcOptions(sent)
		if err != nil {
			return nil, err
		}
		if sent, err = pack(sent, opts); err != nil {
			return nil, err
		}
		if input, err = proto.Marshal(sent); err != nil {
			return nil, err
		}
	}
	return m.Shim.Info(ctx, bytes.NewReader(input))
}

// runsPods reports whether the engine of a namespace of containerd runs its containers in pods.
func runsPods(namespace string) bool {
	return engine.Named(engine.ByContainerdNamespace(namespace)).Reports(engine.Pod)
}

// callerOf returns the engine, by containerd's namespace, and the runtime's root. As in containerd's shim for
// runc, the root is that of the options, or the default, with the namespace below it.
func callerOf(ctx context.Context, opts *options.Options) (hook.Caller, error) {
	ns, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return hook.Caller{}, err
	}
	root := filepath.Join(cmp.Or(opts.GetRoot(), process.RuncRoot), ns)
	return hook.Caller{Engine: engine.ByContainerdNamespace(ns), Root: wrapper.ResolveRoot(root)}, nil
}
