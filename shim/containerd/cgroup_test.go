package containerd

import (
	"strings"
	"testing"

	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/oci-apparmor/oci-apparmor/hook"
)

// What the engine says of the cgroup driver holds, and what it does not say is as with containerd's shim, but for engines
// that can not say it.
func TestCgroupDriver(t *testing.T) {
	none := func(t *testing.T) *anypb.Any { return nil }
	runc := func(systemd bool) func(*testing.T) *anypb.Any {
		return func(t *testing.T) *anypb.Any { return sent(t, &options.Options{SystemdCgroup: systemd}) }
	}
	toml := func(text string) func(*testing.T) *anypb.Any {
		return func(t *testing.T) *anypb.Any { return sent(t, &runtimeoptions.Options{ConfigBody: []byte(text)}) }
	}
	for _, c := range []struct {
		name               string
		namespace          string
		sandbox, container func(*testing.T) *anypb.Any // sandbox is nil where there is none
		systemd            bool                        // what runc is told where systemd runs
		without            bool                        // and where it does not
	}{
		{"CRI says nothing", "k8s.io", none, none, false, false},
		{"CRI says no", "k8s.io", runc(false), none, false, false}, // what is all default gets lost for containers
		{"CRI says no, of the container too", "k8s.io", runc(false), runc(false), false, false},
		{"CRI says yes", "k8s.io", runc(true), runc(true), true, true},
		{"CRI says no, to our own type", "k8s.io", toml("SystemdCgroup = false\n"), toml("SystemdCgroup = false\n"), false, false},
		{"CRI says yes, to our own type", "k8s.io", toml("SystemdCgroup = true\n"), toml("SystemdCgroup = true\n"), true, true},
		{"CRI says something else, to our own type", "k8s.io", toml("NoPivotRoot = true\n"), toml("NoPivotRoot = true\n"), false, false},
		{"CRI of 1.6 drops what it was told", "k8s.io", toml(""), toml(""), true, false},
		{"CRI of 1.6 drops it, and sends it for the sandbox only", "k8s.io", toml(""), none, true, false},
		{"a container whose sandbox another shim has", "k8s.io", nil, none, false, false},
		{"Docker", "moby", nil, none, true, false},
		{"Docker's own runtime, without systemd's driver", "moby", nil, runc(false), false, false},
		{"nerdctl", "default", nil, none, true, false},
		{"ctr, by a file", "default", nil, toml("SystemdCgroup = false\n"), false, false},
	} {
		for _, runs := range []bool{true, false} {
			t.Run(c.name+map[bool]string{false: ", without systemd"}[runs], func(t *testing.T) {
				n := &node{}
				s, inner, ctx, _ := serve(t, n)
				s.systemd = runs
				ctx = namespaces.WithNamespace(ctx, c.namespace)
				want := c.without
				if runs {
					want = c.systemd
				}
				create := func(id string, any *anypb.Any) {
					t.Helper()
					dir := bundle(t, `{"process": {}, "linux": {"cgroupsPath": "system.slice:x:`+id+`"}, "annotations": {"`+sandboxAnnotation+`": "pod"}}`)
					if _, err := s.Create(ctx, &taskv3.CreateTaskRequest{ID: id, Bundle: dir, Options: any}); err != nil {
						t.Fatal(err)
					}
					got := new(options.Options)
					if inner.opts != nil {
						if err := inner.opts.UnmarshalTo(got); err != nil {
							t.Fatal(err)
						}
					}
					if got.SystemdCgroup != want {
						t.Errorf("of %s runc's shim is told SystemdCgroup = %v, want %v", id, got.SystemdCgroup, want)
					}
				}
				if c.sandbox != nil {
					create("pod", c.sandbox(t))
				}
				create("front", c.container(t))
				said := strings.Count(strings.Join(n.notes, "\n"), driverGuessed)
				if guesses := runs && strings.Contains(c.name, " drops "); guesses != (said == 1) || said > 1 {
					t.Errorf("it is said %d times that the path decides: %q", said, n.notes)
				}
			})
		}
	}
}

func TestPathThatIsNotForSystemd(t *testing.T) {
	for _, config := range []string{`{"process": {}, "linux": {"cgroupsPath": "/docker/x"}}`, `{"process": {}, "linux": {"cgroupsPath": "a:b"}}`, `{"process": {}, "linux": {}}`, `{"process": {}}`} {
		if got, err := systemdByPath(t.Context(), sentNone, hook.NewBundle(bundle(t, config)), nil); got != (byPath{}) || err != nil {
			t.Errorf("%s: %+v, %v", config, got, err)
		}
	}
	if _, err := systemdByPath(t.Context(), sentNone, hook.NewBundle(bundle(t, "{")), nil); err == nil || !strings.Contains(err.Error(), "config.json") {
		t.Errorf("a spec that is none: %v", err)
	}
}
