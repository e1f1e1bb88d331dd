package containerd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

const runc = head + ".runtimes.runc]\n  runtime_type = \"io.containerd.runc.v2\"\n"

const wired = head + ".runtimes.apparmor]\n  runtime_type = \"io.containerd.runc.v2\"\n" +
	"  runtime_path = \"/usr/local/bin/containerd-shim-apparmor-v2\"\n  pod_annotations = [\"oci-apparmor/*\"]\n"

// Of what containerd reads, each fault is told. That containerd itself reads its files so, TestContainerdDoctor shows.
func TestInspect(t *testing.T) {
	wrapped := strings.Replace(wired, "  runtime_path = \"/usr/local/bin/containerd-shim-apparmor-v2\"\n", "", 1) + head +
		".runtimes.apparmor.options]\n    BinaryName = \"/usr/local/lib/oci-apparmor/containerd/runc\"\n"
	const imported = "version = 3\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n"
	for _, c := range []struct {
		name, version string
		main, dropIn  string
		reads         string // what its dump prints; empty stands for the main file
		fails         error
		want          []host.Kind
		via           string
		isDefault     bool
	}{
		{"by the shim", "1.7.24", "version = 2\n" + runc + wired, "", "", nil, nil, "shim", false},
		{"by the wrapper, as the default", "1.6.20", "version = 2\n" + head + "]\n  default_runtime_name = \"apparmor\"\n" + runc + wrapped, "", "", nil,
			nil, "wrapper", true},
		{"by a shim that is ignored", "1.6.20", "version = 2\n" + runc + wired, "", "", nil, []host.Kind{host.BadVersion}, "shim", false},
		{"without annotations", "1.7.24", "version = 2\n" + runc + strings.Replace(wired, "oci-apparmor/*", "example.org/*", 1), "", "", nil,
			[]host.Kind{host.Dropped}, "shim", false},
		{"by a program that is gone", "1.7.24", "version = 2\n" + runc + strings.Replace(wired, "/usr/local/bin", "/opt", 1), "", "", nil,
			[]host.Kind{host.ProgramGone}, "shim", false},
		{"dropped without a word", "2.1.9", imported, "version = 2\n" + wired, "version = 3\n" + runc, nil,
			[]host.Kind{host.BadVersion, host.Ignored}, "", false},
		{"of a higher version", "2.3.2", strings.Replace(imported, "3", "2", 1), "version = 3\n" + wired, "", errors.New("exit status 1: no"),
			[]host.Kind{host.BadVersion, host.Refuses}, "", false},
		{"in a file of its own", "2.4.2", imported, "version = 3\n" + wired, "version = 3\n" + runc + wired, nil, nil, "shim", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := host.New(t.TempDir(), "/usr/local/bin")
			files := map[string]string{"/usr/bin/containerd": "x", "/usr/local/bin/containerd-shim-apparmor-v2": "x",
				"/usr/local/lib/oci-apparmor/containerd/runc": "x", Config: c.main, "/tmp/x": ""}
			if c.dropIn != "" {
				files["/etc/containerd/conf.d/x.toml"] = c.dropIn
			}
			for name, text := range files {
				if err := errors.Join(os.MkdirAll(filepath.Dir(h.Tree.Real(name)), 0o755), os.WriteFile(h.Tree.Real(name), []byte(text), 0o755)); err != nil {
					t.Fatal(err)
				}
			}
			h.Run = func(_ context.Context, _ []string, program string, args ...string) ([]byte, error) {
				switch {
				case program != "/usr/bin/containerd":
					t.Errorf("it runs %s", program)
				case slices.Equal(args, []string{"--version"}):
					return []byte("containerd github.com/containerd/containerd v" + c.version + " abc\n"), nil
				case c.fails != nil:
					return nil, c.fails
				case c.reads != "":
					return []byte(c.reads), nil
				}
				return []byte(c.main), nil
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

// A throw-away container is started as CRI starts one: by our runtime, or by the one that ours stands before.
func TestCtrFlags(t *testing.T) {
	const link = "/usr/local/lib/oci-apparmor/containerd/crun"
	shimmed := map[string]any{"runtime_type": stock, "runtime_path": "/usr/local/bin/containerd-shim-apparmor-v2",
		"options": map[string]any{"BinaryName": "crun"}}
	wrapped := map[string]any{"runtime_type": stock, "options": map[string]any{"BinaryName": link}}
	crun := map[string]any{"runtime_type": stock, "options": map[string]any{"BinaryName": "/usr/bin/crun"}}
	for name, c := range map[string]struct {
		standard string
		runtimes map[string]map[string]any
		isStock  bool
		want     []string
	}{
		"by the shim":                     {"crun", map[string]map[string]any{Runtime: shimmed, "crun": crun}, false, []string{"--runtime", "/usr/local/bin/containerd-shim-apparmor-v2"}},
		"by the wrapper":                  {"crun", map[string]map[string]any{Runtime: wrapped, "crun": crun}, false, []string{"--runtime", stock, "--runc-binary", link}},
		"by a type":                       {"crun", map[string]map[string]any{Runtime: {"runtime_type": "io.containerd.apparmor.v2"}}, false, []string{"--runtime", "io.containerd.apparmor.v2"}},
		"the default":                     {"crun", map[string]map[string]any{"crun": crun, "runc": {"runtime_type": stock}}, true, []string{"--runtime", stock, "--runc-binary", "/usr/bin/crun"}},
		"runc, as the default is another": {"kata", map[string]map[string]any{"kata": {"runtime_type": "io.containerd.kata.v2"}, "runc": {"runtime_type": stock}}, true, []string{"--runtime", stock}},
		"none that ours stands before":    {"kata", map[string]map[string]any{"kata": {"runtime_type": "io.containerd.kata.v2"}}, true, []string{"--runtime", stock}},
	} {
		if got := (&dump{standard: c.standard, runtimes: c.runtimes}).ctrFlags(c.isStock); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
