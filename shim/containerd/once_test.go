package containerd

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/api/runtime/bootstrap/v1"
	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// opens returns a function that tells how often the file at path was opened and closed again since the last call. The kernel
// counts, so that no way of reading escapes.
func opens(t *testing.T, path string) func() int {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	// Two equal events in a row are made one; between two closes there is an open.
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_OPEN|unix.IN_CLOSE_NOWRITE); err != nil {
		t.Fatal(err)
	}
	return func() int {
		buf := make([]byte, 64*unix.SizeofInotifyEvent)
		n, err := unix.Read(fd, buf)
		if err == unix.EAGAIN {
			return 0
		}
		if err != nil {
			t.Fatal(err)
		}
		return n / (2 * unix.SizeofInotifyEvent) // events of a file's own watch have no name behind them
	}
}

// A create reads config.json once, however much of it decides: by the server the driver for control groups, the policy and
// the label, and by the process that starts the server the pod and, where that is refused, whose container it is.
func TestCreateReadsTheSpecOnce(t *testing.T) {
	machine := kerneltest.New(t)
	dir := t.TempDir()
	host := &hook.Host{Store: store.Store{Dir: filepath.Join(dir, "store")}, Kernel: machine.Kernel(), Containers: filepath.Join(dir, "containers")}
	p := &policy.Config{
		Profiles:    []policy.Profile{{Name: "web", Source: "web", Text: []byte("v1")}},
		Policies:    []policy.Policy{{Name: "web", Profile: "web"}},
		Assignments: []policy.Assignment{{File: "policy.yaml", Line: 1, Policy: "web"}},
	}
	if _, _, err := host.Store.Apply(t.Context(), p, kerneltest.Texts{}, store.Manifest{}, nil); err != nil {
		t.Fatal(err)
	}
	const spec = `{"process": {}, "linux": {"cgroupsPath": "system.slice:docker:x"}, "annotations": {"io.containerd.runc.v2.group": "g"}}`
	at := bundle(t, spec)
	config := filepath.Join(at, "config.json")
	count := opens(t, config)

	if _, err := os.ReadFile(config); err != nil || count() != 1 {
		t.Fatalf("the test counts wrongly (%v)", err)
	}
	inner := new(oci)
	s := newService(inner, host)
	s.systemd = true
	ctx := namespaces.WithNamespace(t.Context(), "moby")
	if _, err := s.Create(ctx, &taskv3.CreateTaskRequest{ID: "c", Bundle: at}); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 1 {
		t.Errorf("a create through the shim's server opened config.json %d times", n)
	}
	if f, err := hook.NewBundle(at).Identify(hook.Caller{}, "c"); err != nil || f.EngineChoice != "web" || len(inner.calls) != 1 {
		t.Errorf("nothing was created under web: %q, %v, %q", f.EngineChoice, err, inner.calls)
	}

	if err := os.WriteFile(config, []byte(spec), 0o600); err != nil {
		t.Fatal(err)
	}
	count = opens(t, config)
	t.Chdir(at)
	m := shimManager{Shim: new(grouped), host: host}
	if _, err := m.Start(namespaces.WithNamespace(t.Context(), "k8s.io"), &bootstrap.BootstrapParams{InstanceID: "c"}); err == nil {
		t.Fatal("a pod that asks for a group was started")
	}
	if n := count(); n != 1 {
		t.Errorf("a start that is refused opened config.json %d times", n)
	}
}
