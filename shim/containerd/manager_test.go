package containerd

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/ttrpc"
)

// grouped is a shim whose Start finds a server at an address, or starts one if there is none.
type grouped struct {
	shim.Shim
	address string
	t       *testing.T
	started bool
}

func (g *grouped) Start(context.Context, *bootapi.BootstrapParams) (*bootapi.BootstrapResult, error) {
	g.started = true
	if g.address == "" {
		child := exec.Command("sleep", "100")
		if err := child.Start(); err != nil {
			g.t.Fatal(err)
		}
		g.t.Cleanup(func() { child.Process.Kill(); child.Wait() })
		return &bootapi.BootstrapResult{Address: "unix:///nonexistent"}, nil
	}
	return &bootapi.BootstrapResult{Address: g.address}, nil
}

func (g *grouped) Stop(context.Context, string) (shim.StopStatus, error) {
	return shim.StopStatus{}, nil
}

// server is a shim that says which process it is.
type server struct {
	taskv3.TTRPCTaskService
	pid int
}

func (s server) Connect(context.Context, *taskv3.ConnectRequest) (*taskv3.ConnectResponse, error) {
	return &taskv3.ConnectResponse{ShimPid: uint32(s.pid)}, nil
}

// serveAs serves as the shim that has a process id, or one that does not know the call where it is 0.
func serveAs(t *testing.T, pid int) (address string) {
	t.Helper()
	s, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	if pid != 0 {
		taskv3.RegisterTTRPCTaskService(s, server{pid: pid})
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(t.Context(), l)
	t.Cleanup(func() { s.Close() })
	return "unix://" + l.Addr().String()
}

// running runs a program that is put at a path, and gives its process id.
func running(t *testing.T, path string) (pid int) {
	t.Helper()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(path, "100")
	child.Args[0] = "sleep" // some are one program with many names
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { child.Process.Kill(); child.Wait() })
	return child.Process.Pid
}

func TestShimThatIsCalledAsOursIsAnother(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), filepath.Base(self))
	err = wantOurs(t.Context(), serveAs(t, running(t, path)), "c")
	if err == nil || !strings.Contains(err.Error(), "another shim, "+path+" (process ") {
		t.Errorf("gave %v, want an error that names %s", err, path)
	}
}

func TestShimOfBeforeAnUpgradeIsOurs(t *testing.T) {
	at := filepath.Join(t.TempDir(), "shim")
	link := fmt.Sprintf("/proc/%d/exe", running(t, at))
	if err := os.Remove(at); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Readlink(link)
	if err != nil || exe != at+" (deleted)" {
		t.Fatalf("%s, %v", exe, err)
	}
	if !sameProgram(link, exe, at) {
		t.Error("the program that was at our path is none of ours")
	}
	if other := filepath.Join(t.TempDir(), "shim"); sameProgram(link, exe, other) {
		t.Errorf("%s is taken for %s", exe, other)
	}
	const home = "/usr/local/lib/oci-apparmor/programs/"
	for _, earlier := range []string{home + "1.0/shim", home + "1.0/shim (deleted)", "/usr/local/bin/shim (deleted)"} {
		if !sameProgram(link, earlier, home+"2.0/shim") {
			t.Errorf("%s is none of ours after an upgrade to 2.0", earlier)
		}
	}
	if self := "/proc/self/exe"; !sameProgram(self, "/a/link/to/it", "/another") {
		t.Error("our own file by another path is none of ours")
	}
}

func TestServerOfAGroupMustBeOurs(t *testing.T) {
	otherProcess := os.Getppid() // the go command, or a shell
	const pod = `{"process": {}, "annotations": {"io.kubernetes.cri.sandbox-id": "pod"}}`
	const forged = `{"process": {}, "annotations": {"io.containerd.runc.v2.group": "pod", "io.kubernetes.cri.sandbox-id": "c"}}`
	for name, c := range map[string]struct {
		namespace, config string
		id                string
		server            int // its process id; 0: one that is too old for the call, -1: none, so that one is started
		refused           string
	}{
		"one of ours":  {"default", forged, "c", os.Getpid(), ""},
		"another shim": {"default", forged, "c", otherProcess, "which would give it no policy"},
		"another shim, for the container's own id":  {"moby", `{}`, "c", otherProcess, "which would give it no policy"},
		"a shim of containerd 1.7":                  {"default", forged, "c", 0, "it seems"},
		"none":                                      {"default", `{}`, "c", -1, ""},
		"of a pod that names another one's":         {"k8s.io", forged, "c", os.Getpid(), "io.containerd.runc.v2.group"},
		"of a pod that names another one's, a free": {"k8s.io", forged, "c", -1, "io.containerd.runc.v2.group"},
		"of the container's own pod":                {"k8s.io", pod, "c", otherProcess, ""},
		"of a sandbox":                              {"k8s.io", pod, "pod", otherProcess, "which would give it no policy"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(bundle(t, c.config))
			inner := &grouped{t: t}
			if c.server >= 0 {
				inner.address = serveAs(t, c.server)
			}
			n := new(node)
			m := &shimManager{Shim: inner, host: n}
			_, err := m.Start(namespaces.WithNamespace(t.Context(), c.namespace), &bootapi.BootstrapParams{InstanceID: c.id})
			if c.refused == "" {
				if err != nil || !inner.started {
					t.Errorf("started %v, %v", inner.started, err)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), "oci-apparmor: create of container "+c.id+": ") ||
				!strings.Contains(err.Error(), c.refused) || strings.Contains(err.Error(), "\n") {
				t.Errorf("gave %v, want an error of ours of one line that says %q", err, c.refused)
			}
			if len(n.notes) != 1 || !strings.Contains(n.notes[0], " refusal: "+strings.TrimPrefix(err.Error(), "oci-apparmor: ")) {
				t.Errorf("noted %q of %v", n.notes, err)
			}
		})
	}
}

func TestStopForgetsAlsoBesideALivingShim(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"c", "other"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(filepath.Join(dir, "other"))
	n := new(node)
	m := &shimManager{Shim: new(grouped), host: n}
	if _, err := m.Stop(namespaces.WithNamespace(t.Context(), "k8s.io"), "c"); err != nil {
		t.Fatal(err)
	}
	const root = ` "containerd" /run/containerd/runc/k8s.io`
	wantCalls(t, "node", n.calls, "drop c"+root, "sweep "+root)
}
