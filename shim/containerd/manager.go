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

// shimManager is what the program does besides serving: start a server, clean up after one that died, and tell what the
// runtime can do. It is containerd's, with options translated, and forgets containers.
type shimManager struct {
	shim.Shim
	host wrapper.Host
}

// Start starts the server of a new container or pod, or finds the one that serves its group already, which must be ours.
// A pod's containers stay with the shim of their sandbox, also where that was started before we stood in its place.
func (m *shimManager) Start(ctx context.Context, params *bootapi.BootstrapParams) (*bootapi.BootstrapResult, error) {
	for _, e := range params.Extensions {
		opts, _, err := runcOptions(e.Value)
		if err != nil {
			continue // no options; those it can't do with are refused by Create, where the error reaches the user
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

// refuse makes an error for containerd of a container that gets no shim, and has the node's log say it.
func (m *shimManager) refuse(ctx context.Context, bundle *hook.Bundle, id string, err error) error {
	w, _ := caller(ctx, nil)
	var out hook.Outcome
	if facts, err := bundle.Identify(w, id); err == nil {
		facts.Read()
		out.Names = hook.NamesOf(facts)
	}
	m.host.Note(w, notice.Notice{Level: notice.Refusal, Command: "create", ID: id, Message: err.Error()}, out)
	return errors.New(wrapper.Message("create", id, err.Error()))
}

// Stop deletes a container of which containerd has lost its shim, which may be gone or live on for others of its pod, and
// forgets it unless that fails. containerd calls it in the directory of a bundle beside the container's, or in its own.
func (m *shimManager) Stop(ctx context.Context, id string) (shim.StopStatus, error) {
	var opts *options.Options // containerd may remove the bundle at any moment from now on
	if cwd, err := os.Getwd(); err == nil {
		opts, _ = runc.ReadOptions(filepath.Join(filepath.Dir(cwd), id))
	}
	status, err := m.Shim.Stop(ctx, id)
	if w, err := caller(ctx, opts); err == nil {
		m.host.Drop(w, id)
		m.host.Sweep(w)
	}
	return status, err
}

// Info tells the runtime's features, for the options that containerd sends.
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

// runsPods reports whether the engine that has its containers in a namespace of containerd has them in pods.
func runsPods(namespace string) bool {
	return engine.Named(engine.ByContainerdNamespace(namespace)).Reports(engine.Pod)
}

// caller gives the engine, which its namespace tells, and the root that containerd's shim for runc gives to the runtime:
// that of its options, or its own, with the container's namespace below it.
func caller(ctx context.Context, opts *options.Options) (hook.Caller, error) {
	ns, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return hook.Caller{}, err
	}
	root := filepath.Join(cmp.Or(opts.GetRoot(), process.RuncRoot), ns)
	return hook.Caller{Engine: engine.ByContainerdNamespace(ns), Root: wrapper.ResolveRoot(root)}, nil
}
