package docker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// Of what stands in daemon.json, each fault is told. What dockerd itself says, TestContainerdDoctor shows.
func TestInspect(t *testing.T) {
	for _, c := range []struct {
		name, version, text string
		fails               error
		want                []host.Kind
		via                 string
		isDefault           bool
	}{
		{"by the wrapper", "20.10.24", `{"runtimes": {"apparmor": {"path": "/usr/local/bin/oci-apparmor-runtime"}}}`, nil, nil, "wrapper", false},
		{"by the shim, as the default", "26.1.5", `{"default-runtime": "apparmor",
			"runtimes": {"apparmor": {"runtimeType": "/usr/local/bin/containerd-shim-apparmor-v2"}}}`, nil, nil, "shim", true},
		{"by the shim where that is ignored", "20.10.24", `{"runtimes": {"apparmor": {"runtimeType": "io.containerd.apparmor.v2"}}}`, nil,
			[]host.Kind{host.BadVersion}, "shim", false},
		{"by the shim with options", "28.5.2", `{"runtimes": {"apparmor": {"runtimeType": "io.containerd.apparmor.v2", "options": {"x": 1}}}}`, nil,
			[]host.Kind{host.Ignored}, "shim", false},
		{"by a program that is gone", "26.1.5", `{"runtimes": {"apparmor": {"path": "/opt/oci-apparmor-runtime"}}}`, nil,
			[]host.Kind{host.ProgramGone}, "wrapper", false},
		{"in a file that dockerd refuses", "26.1.5", `{"runtimes": {"apparmor": {"path": "/usr/local/bin/oci-apparmor-runtime"}}, "x": 1}`,
			errors.New("exit status 1: unknown option"), []host.Kind{host.Refuses}, "wrapper", false},
		{"with a default that is none", "26.1.5", `{"default-runtime": "kata", "runtimes": {"apparmor": {"path": "/usr/local/bin/oci-apparmor-runtime"}}}`,
			nil, []host.Kind{host.Refuses}, "wrapper", false},
		{"with a default of containerd's", "26.1.5", `{"default-runtime": "io.containerd.runc.v2",
			"runtimes": {"apparmor": {"path": "/usr/local/bin/oci-apparmor-runtime"}}}`, nil, nil, "wrapper", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := host.New(t.TempDir(), "/usr/local/bin")
			for name, text := range map[string]string{"/usr/bin/dockerd": "x", "/usr/local/bin/oci-apparmor-runtime": "x",
				"/usr/local/bin/containerd-shim-apparmor-v2": "x", Config: c.text, "/tmp/x": ""} {
				if err := errors.Join(os.MkdirAll(filepath.Dir(h.Tree.Real(name)), 0o755), os.WriteFile(h.Tree.Real(name), []byte(text), 0o755)); err != nil {
					t.Fatal(err)
				}
			}
			h.Run = func(_ context.Context, _ []string, _ string, args ...string) ([]byte, error) {
				if slices.Equal(args, []string{"--version"}) {
					return []byte("Docker version " + c.version + ", build abc\n"), nil
				}
				return nil, c.fails
			}
			i, err := Engine{}.Inspect(context.Background(), h, wire.NewDraft(h.Tree))
			var kinds []host.Kind
			for _, f := range i.Faults {
				kinds = append(kinds, f.Kind)
			}
			if err != nil || !slices.Equal(kinds, c.want) || i.Via != c.via || i.Default != c.isDefault {
				t.Errorf("%+v, %v; want %q", i, err, c.want)
			}
		})
	}
}
