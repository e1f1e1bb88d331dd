package containerd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	taskv2 "github.com/containerd/containerd/api/runtime/task/v2"
	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// node is a Host that answers what the test says, and notes what it was asked.
type node struct {
	calls  []string
	label  string // of every container; none is ours where it is empty
	refuse string // the call that fails, with errRefused
	warns  string // of every command
	notes  []string
	passed []string
	ran    []hook.Ran // in the container that was forgotten last
}

var errRefused = errors.New("policy x is\nnot there")

func (n *node) call(what string, w hook.Caller, id string) error {
	n.calls = append(n.calls, fmt.Sprintf("%s %s %q %s", what, id, w.Engine, w.Root))
	if what == n.refuse {
		return errRefused
	}
	return nil
}

func (n *node) Prepare(_ context.Context, w hook.Caller, id string, _ *hook.Bundle) (hook.Outcome, error) {
	return hook.Outcome{Label: n.label, Warning: n.warns}, n.call("prepare", w, id)
}

func (n *node) Start(_ context.Context, w hook.Caller, id string) (hook.Process, error) {
	return hook.Process{Warning: n.warns, Ours: n.label != ""}, n.call("start", w, id)
}

func (n *node) Exec(_ context.Context, w hook.Caller, id string) (hook.Process, error) {
	return hook.Process{Label: n.label, Warning: n.warns, Ours: n.label != ""}, n.call("exec", w, id)
}

func (n *node) Forget(w hook.Caller, id string, ran ...hook.Ran) {
	n.call("forget", w, id)
	n.ran = ran
}

func (n *node) Drop(w hook.Caller, id string) { n.call("drop", w, id) }
func (n *node) Sweep(w hook.Caller)           { n.call("sweep", w, "") }

func (n *node) Note(w hook.Caller, said notice.Notice, _ hook.Outcome) {
	n.notes = append(n.notes, w.Engine+" "+string(said.Level)+": "+said.String())
	if (said.Level == notice.Refusal) != (said.Reason != "") {
		n.notes = append(n.notes, "without its reason: "+said.String())
	}
}

func (n *node) Passed(w hook.Caller, command string, out hook.Outcome, took time.Duration) {
	if timed := took > 0; timed != (command == "create") {
		command += " after " + took.String()
	}
	n.passed = append(n.passed, w.Engine+" "+command+" "+out.Label)
}

// oci stands for containerd's task service: it notes what reaches it.
type oci struct {
	taskv3.TTRPCTaskService
	calls []string
	spec  string // of the last Exec
	opts  *anypb.Any
	err   error // of Create

	creating func() // is called while Create is at it
}

func (r *oci) Create(_ context.Context, q *taskv3.CreateTaskRequest) (*taskv3.CreateTaskResponse, error) {
	if r.creating != nil {
		r.creating()
	}
	r.calls, r.opts = append(r.calls, "create "+q.ID), q.Options
	return &taskv3.CreateTaskResponse{Pid: 42}, r.err
}

func (r *oci) Start(_ context.Context, q *taskv3.StartRequest) (*taskv3.StartResponse, error) {
	r.calls = append(r.calls, "start "+q.ID+q.ExecID)
	return &taskv3.StartResponse{Pid: pidOf(q.ExecID)}, nil
}

func (r *oci) Exec(_ context.Context, q *taskv3.ExecProcessRequest) (*emptyResponse, error) {
	r.calls, r.spec = append(r.calls, "exec "+q.ID), string(q.Spec.GetValue())
	return &emptyResponse{}, nil
}

func (r *oci) Delete(_ context.Context, q *taskv3.DeleteRequest) (*taskv3.DeleteResponse, error) {
	r.calls = append(r.calls, "delete "+q.ID+q.ExecID)
	return &taskv3.DeleteResponse{Pid: pidOf(q.ExecID), ExitedAt: timestamppb.New(exited)}, nil
}

// exited is when the oci's processes end.
var exited = time.Unix(4000000000, 0).UTC()

func pidOf(execID string) uint32 { return 42 + uint32(len(execID)) }

// serve makes a service for containers of a pod, and a bundle for them.
func serve(t *testing.T, n *node) (*service, *oci, context.Context, string) {
	t.Helper()
	inner := new(oci)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"process": {}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	return newService(inner, n), inner, namespaces.WithNamespace(t.Context(), "k8s.io"), dir
}

func TestLifeOfATask(t *testing.T) {
	n := &node{label: "web"}
	s, inner, ctx, dir := serve(t, n)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	_, err := s.Create(ctx, &taskv3.CreateTaskRequest{ID: "c", Bundle: dir, Options: sent(t, &options.Options{Root: "/nonexistent"})})
	must(err)
	_, err = s.Start(ctx, &taskv3.StartRequest{ID: "c"})
	must(err)
	_, err = s.Exec(ctx, &taskv3.ExecProcessRequest{ID: "c", ExecID: "e", Spec: &anypb.Any{
		TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Process",
		Value:   []byte(`{"args":["sh"],"apparmorProfile":"unconfined","more":1.50}`),
	}})
	must(err)
	_, err = s.Start(ctx, &taskv3.StartRequest{ID: "c", ExecID: "e"})
	must(err)
	_, err = s.Delete(ctx, &taskv3.DeleteRequest{ID: "c", ExecID: "e"})
	must(err)
	_, err = s.Delete(ctx, &taskv3.DeleteRequest{ID: "c"})
	must(err)

	if ran := n.ran; len(ran) != 2 || ran[0].PID != 42 || ran[1].PID != 43 || ran[0].To != exited || ran[1].To != exited ||
		ran[0].From.Before(began) || ran[1].From.Before(ran[0].From) {
		t.Errorf("that ran in it is remembered as %+v", ran)
	}
	const root = ` "containerd" /nonexistent/k8s.io`
	wantCalls(t, "node", n.calls, "prepare c"+root, "start c"+root, "exec c"+root, "exec c"+root, "forget c"+root, "sweep "+root)
	wantCalls(t, "runc", inner.calls, "create c", "start c", "exec c", "start ce", "delete ce", "delete c")
	if want := `{"args":["sh"],"apparmorProfile":"web","more":1.50}`; inner.spec != want {
		t.Errorf("runc gets the process %s, want %s", inner.spec, want)
	}
	if len(s.containers) != 0 {
		t.Errorf("remembers %v", s.containers)
	}
}

func TestEngineOfATask(t *testing.T) {
	for ns, want := range map[string]string{"k8s.io": "containerd", "moby": "docker", "default": "other"} {
		n := new(node)
		s, _, ctx, dir := serve(t, n)
		if _, err := s.Create(namespaces.WithNamespace(ctx, ns), &taskv3.CreateTaskRequest{ID: "c", Bundle: dir}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Create(namespaces.WithNamespace(ctx, ns), &taskv3.CreateTaskRequest{
			ID: "d", Bundle: dir, Options: sent(t, &options.Options{Root: "/nonexistent"}),
		}); err != nil || !strings.HasPrefix(n.calls[1], fmt.Sprintf("prepare d %q ", want)) {
			t.Errorf("namespace %s, another root: %q (%v), want engine %q", ns, n.calls, err, want)
		}
		if got := n.calls[0]; !strings.HasPrefix(got, fmt.Sprintf("prepare c %q ", want)) || !strings.HasSuffix(got, "/containerd/runc/"+ns) {
			t.Errorf("namespace %s: %s, want engine %q", ns, got, want)
		}
	}
}

func TestTaskOfAnotherPolicyPassesUnchanged(t *testing.T) {
	s, inner, ctx, dir := serve(t, new(node))
	if _, err := s.Create(ctx, &taskv3.CreateTaskRequest{ID: "c", Bundle: dir}); err != nil {
		t.Fatal(err)
	}
	const spec = `{"args": ["sh"], "apparmorProfile": "cri-containerd.apparmor.d"}`
	if _, err := s.Exec(ctx, &taskv3.ExecProcessRequest{ID: "c", Spec: &anypb.Any{Value: []byte(spec)}}); err != nil {
		t.Fatal(err)
	}
	if inner.spec != spec {
		t.Errorf("runc gets the process %s, want %s", inner.spec, spec)
	}
}

func TestRefusalsReachTheEngineAndNotTheRuntime(t *testing.T) {
	call := map[string]func(*service, context.Context, string) error{
		"prepare": func(s *service, ctx context.Context, dir string) error {
			_, err := s.Create(ctx, &taskv3.CreateTaskRequest{ID: "new", Bundle: dir})
			return err
		},
		"start": func(s *service, ctx context.Context, _ string) error {
			_, err := s.Start(ctx, &taskv3.StartRequest{ID: "c"})
			return err
		},
		"exec": func(s *service, ctx context.Context, _ string) error {
			_, err := s.Exec(ctx, &taskv3.ExecProcessRequest{ID: "c", ExecID: "e", Spec: &anypb.Any{Value: []byte("{}")}})
			return err
		},
		"exec, at its start": func(s *service, ctx context.Context, _ string) error {
			_, err := s.Start(ctx, &taskv3.StartRequest{ID: "c", ExecID: "e"})
			return err
		},
		"a process that is none": func(s *service, ctx context.Context, _ string) error {
			_, err := s.Exec(ctx, &taskv3.ExecProcessRequest{ID: "c", ExecID: "e", Spec: &anypb.Any{Value: []byte("[]")}})
			return err
		},
		"start of a container that is not there": func(s *service, ctx context.Context, _ string) error {
			_, err := s.Start(ctx, &taskv3.StartRequest{ID: "other"})
			return ours(err)
		},
		"exec in a container that is not there": func(s *service, ctx context.Context, _ string) error {
			_, err := s.Exec(ctx, &taskv3.ExecProcessRequest{ID: "other", Spec: &anypb.Any{Value: []byte("{}")}})
			return ours(err)
		},
		"create of one that is there": func(s *service, ctx context.Context, dir string) error {
			_, err := s.Create(ctx, &taskv3.CreateTaskRequest{ID: "c", Bundle: dir})
			return ours(err)
		},
		"options that are none": func(s *service, ctx context.Context, dir string) error {
			_, err := s.Create(ctx, &taskv3.CreateTaskRequest{ID: "new", Bundle: dir, Options: &anypb.Any{TypeUrl: "x", Value: []byte("y")}})
			return err
		},
	}
	for name, c := range call {
		t.Run(name, func(t *testing.T) {
			n := &node{label: "web"}
			s, inner, ctx, dir := serve(t, n)
			if _, err := s.Create(ctx, &taskv3.CreateTaskRequest{ID: "c", Bundle: dir}); err != nil {
				t.Fatal(err)
			}
			before := len(inner.calls)
			n.notes = nil
			n.refuse, _, _ = strings.Cut(name, ",")
			err := c(s, ctx, dir)
			if err == nil || !strings.Contains(err.Error(), "oci-apparmor: ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("gave %v, want an error of ours, of one line", err)
			}
			if native := errgrpc.ToNative(err); !errdefs.IsFailedPrecondition(native) {
				t.Errorf("containerd takes %v for another kind of error than one that will not go away by itself", err)
			}
			if ours := strings.HasPrefix(err.Error(), "rpc error: code = FailedPrecondition desc = oci-apparmor: call "); !ours &&
				(len(n.notes) != 1 || !strings.HasSuffix(err.Error(), oneline.Printable(strings.TrimPrefix(n.notes[0], "containerd refusal: ")))) {
				t.Errorf("noted %q of %v", n.notes, err)
			}
			if len(n.notes) > 1 || len(n.notes) == 0 {
				t.Errorf("noted %q of one refusal", n.notes)
			}
			if len(inner.calls) != before {
				t.Errorf("runc was called: %q", inner.calls[before:])
			}
		})
	}
}

// ours makes of containerd's usual answers one that the test takes.
func ours(err error) error {
	native := errgrpc.ToNative(err)
	if errdefs.IsNotFound(native) || errdefs.IsAlreadyExists(native) {
		return new(service{host: new(node)}).refuse("call", hook.Caller{}, "c", hook.Outcome{}, native)
	}
	return err
}

func TestExecThatOvertakesCreateIsConfined(t *testing.T) {
	s, inner, ctx, dir := serve(t, &node{label: "web"})
	inner.creating = func() {
		if _, err := s.Exec(ctx, &taskv3.ExecProcessRequest{ID: "c", Spec: &anypb.Any{Value: []byte("{}")}}); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Create(ctx, &taskv3.CreateTaskRequest{ID: "c", Bundle: dir}); err != nil {
		t.Fatal(err)
	}
	if want := `{"apparmorProfile":"web"}`; inner.spec != want {
		t.Errorf("runc gets the process %s, want %s", inner.spec, want)
	}
}

func TestContainerWhoseRecordIsLostIsRefused(t *testing.T) {
	n := &node{label: "web"}
	s, inner, ctx, dir := serve(t, n)
	if _, err := s.Create(ctx, &taskv3.CreateTaskRequest{ID: "c", Bundle: dir}); err != nil {
		t.Fatal(err)
	}
	n.label = "" // so Start and Exec say that it is none of ours
	_, started := s.Start(ctx, &taskv3.StartRequest{ID: "c"})
	_, added := s.Exec(ctx, &taskv3.ExecProcessRequest{ID: "c", Spec: &anypb.Any{Value: []byte("{}")}})
	_, executed := s.Start(ctx, &taskv3.StartRequest{ID: "c", ExecID: "e"})
	n.label = "part" // of it is all that Exec finds
	_, partly := s.Exec(ctx, &taskv3.ExecProcessRequest{ID: "c", Spec: &anypb.Any{Value: []byte("{}")}})
	for _, call := range []struct {
		what string
		err  error
	}{{"start", started}, {"exec", added}, {"exec", executed}, {"exec", partly}} {
		if call.err == nil || !strings.Contains(call.err.Error(), "oci-apparmor: "+call.what+" of container c: ") ||
			!strings.Contains(call.err.Error(), "no record of it") {
			t.Errorf("%s gave %v", call.what, call.err)
		}
	}
	wantCalls(t, "runc", inner.calls, "create c")
}

// What goes on is counted: a container once, and a process once, where it is started.
func TestWhatGoesOnIsCounted(t *testing.T) {
	n := &node{label: "web"}
	s, _, ctx, dir := serve(t, n)
	_, created := s.Create(ctx, &taskv3.CreateTaskRequest{ID: "c", Bundle: dir})
	_, started := s.Start(ctx, &taskv3.StartRequest{ID: "c"})
	_, added := s.Exec(ctx, &taskv3.ExecProcessRequest{ID: "c", ExecID: "e", Spec: &anypb.Any{Value: []byte("{}")}})
	_, executed := s.Start(ctx, &taskv3.StartRequest{ID: "c", ExecID: "e"})
	if err := errors.Join(created, started, added, executed); err != nil {
		t.Fatal(err)
	}
	n.refuse = "exec"
	_, refused := s.Exec(ctx, &taskv3.ExecProcessRequest{ID: "c", ExecID: "f", Spec: &anypb.Any{Value: []byte("{}")}})
	n.refuse = "prepare"
	_, refusedToo := s.Create(ctx, &taskv3.CreateTaskRequest{ID: "d", Bundle: dir})
	if refused == nil || refusedToo == nil {
		t.Fatal("goes on")
	}
	if want := []string{"containerd create web", "containerd start ", "containerd exec web"}; !slices.Equal(n.passed, want) {
		t.Errorf("counted %q, want %q", n.passed, want)
	}
}

// Warnings are noted where they arise, and what is true at an exec and at the start of its process once.
func TestWarningsAreNotedOnce(t *testing.T) {
	n := &node{label: "web", warns: "drift"}
	s, _, ctx, dir := serve(t, n)
	const c = "containerd warning: "
	want := []string{c + "create of container c: drift", c + "start of container c: drift"}
	var errs []error
	add := func(err error) { errs = append(errs, err) }
	_, err := s.Create(ctx, &taskv3.CreateTaskRequest{ID: "c", Bundle: dir})
	add(err)
	_, err = s.Start(ctx, &taskv3.StartRequest{ID: "c"})
	add(err)
	exec := func(id, atExec, atStart string) {
		n.warns = atExec
		_, err := s.Exec(ctx, &taskv3.ExecProcessRequest{ID: "c", ExecID: id, Spec: &anypb.Any{Value: []byte("{}")}})
		add(err)
		n.warns = atStart
		_, err = s.Start(ctx, &taskv3.StartRequest{ID: "c", ExecID: id})
		add(err)
	}
	exec("same", "removed", "removed")
	want = append(want, c+"exec of container c: removed")
	exec("repaired", "drift", "")
	want = append(want, c+"exec of container c: drift")
	exec("later", "", "drift")
	want = append(want, c+"exec of container c: drift")
	exec("same", "", "removed") // an id may come again
	want = append(want, c+"exec of container c: removed")
	n.warns = "left"
	for _, id := range []string{"deleted", "left"} {
		_, err = s.Exec(ctx, &taskv3.ExecProcessRequest{ID: "c", ExecID: id, Spec: &anypb.Any{Value: []byte("{}")}})
		add(err)
		want = append(want, c+"exec of container c: left")
	}
	_, err = s.Delete(ctx, &taskv3.DeleteRequest{ID: "c", ExecID: "deleted"})
	add(err)
	if len(s.warned) != 1 {
		t.Errorf("keeps %v", s.warned)
	}
	_, err = s.Delete(ctx, &taskv3.DeleteRequest{ID: "c"})
	add(err)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	wantCalls(t, "the log", n.notes, want...)
	if len(s.warned) != 0 {
		t.Errorf("keeps %v", s.warned)
	}
}

func TestContainerThatRuncCouldNotCreateIsForgotten(t *testing.T) {
	n := &node{label: "web"}
	s, inner, ctx, dir := serve(t, n)
	inner.err = errors.New("runc create failed")
	if _, err := s.Create(ctx, &taskv3.CreateTaskRequest{ID: "c", Bundle: dir}); err != inner.err {
		t.Errorf("gave %v, want containerd's own error", err)
	}
	if last := n.calls[len(n.calls)-1]; !strings.HasPrefix(last, "forget c ") {
		t.Errorf("the last call was %q", last)
	}
	if len(s.containers) != 0 {
		t.Errorf("remembers %v", s.containers)
	}
}

// Calls of version 2 of the task service reach those of version 3, over a real connection.
func TestVersion2IsServed(t *testing.T) {
	s, inner, _, dir := serve(t, &node{label: "web"})
	server, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	registerV2(server, withNamespace{s})
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(t.Context(), l)
	t.Cleanup(func() { server.Close() })
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client := ttrpc.NewClient(conn)
	t.Cleanup(func() { client.Close() })
	tasks := taskv2.NewTTRPCTaskClient(client)

	resp, err := tasks.Create(t.Context(), &taskv2.CreateTaskRequest{ID: "c", Bundle: dir, Stdout: "/o"})
	if err != nil || resp.Pid != 42 {
		t.Fatalf("Create gives %v, %v", resp, err)
	}
	if _, err := tasks.Exec(t.Context(), &taskv2.ExecProcessRequest{ID: "c", Spec: &anypb.Any{Value: []byte("{}")}}); err != nil {
		t.Fatal(err)
	}
	if inner.spec != `{"apparmorProfile":"web"}` {
		t.Errorf("runc gets the process %s", inner.spec)
	}
	methods := taskv2.File_runtime_task_v2_shim_proto.Services().Get(0).Methods()
	for i := range methods.Len() {
		if name := string(methods.Get(i).Name()); version2(s)[name] == nil {
			t.Errorf("%s is not served", name)
		}
	}
}

// withNamespace puts the namespace into a call's context, as the shim does for all calls.
type withNamespace struct {
	*service
}

func (w withNamespace) Create(ctx context.Context, r *taskv3.CreateTaskRequest) (*taskv3.CreateTaskResponse, error) {
	return w.service.Create(namespaces.WithNamespace(ctx, "k8s.io"), r)
}

func wantCalls(t *testing.T, of string, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("calls of %s:\n%s\nwant\n%s", of, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
