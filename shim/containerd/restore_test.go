package containerd

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types/runc/options"
)

func TestLabelOfARestore(t *testing.T) {
	dir := bundle(t, `{"process": {"args": ["sh"], "apparmorProfile": "base//&web"}}`)
	globals := []string{"/bundle" + restorer, "--root", "/run/containerd/runc/default", "--log", "l", "--log-format", "json"}
	for name, c := range map[string]struct{ given, want []string }{
		"restore": {
			[]string{"restore", "--image-path", "/i", "--bundle", dir, "restore"},
			[]string{"restore", "--lsm-profile", "apparmor:base//&web", "--image-path", "/i", "--bundle", dir, "restore"},
		},
		"kill of a container called restore": {
			[]string{"kill", "restore", "9"},
			[]string{"kill", "restore", "9"},
		},
		"delete": {[]string{"delete", "--force", "c"}, []string{"delete", "--force", "c"}},
	} {
		got, err := withLabel(slices.Concat(globals, c.given))
		if want := slices.Concat(globals, c.want); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q (%v), want %q", name, got, err, want)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := withLabel([]string{"/bundle" + restorer, "restore", "--bundle", dir, "c"}); err == nil || !strings.Contains(err.Error(), "config.json") {
		t.Errorf("a config.json that is none gave %v", err)
	}
}

func TestRestoreGoesThroughTheShim(t *testing.T) {
	n := &node{label: "web"}
	s, inner, ctx, dir := serve(t, n)
	_, err := s.Create(ctx, &taskv3.CreateTaskRequest{ID: "c", Bundle: dir, Checkpoint: "/image", Options: sent(t, &options.Options{
		BinaryName: "/bin/true", Root: "/nonexistent",
	})})
	if err != nil {
		t.Fatal(err)
	}
	opts := new(options.Options)
	if err := inner.opts.UnmarshalTo(opts); err != nil {
		t.Fatal(err)
	}
	self, err := os.Readlink(opts.BinaryName)
	if exe, _ := os.Executable(); err != nil || self != exe || opts.Root != "/nonexistent" {
		t.Errorf("the runtime of a restored container is %s -> %s (%v)", opts.BinaryName, self, err)
	}
	if real, err := os.Readlink(filepath.Join(filepath.Dir(opts.BinaryName), "runtime")); err != nil || real != "/bin/true" {
		t.Errorf("it becomes %q (%v), want /bin/true", real, err)
	}

	n.label = "" // the policy keeps the engine's choice
	if _, err := s.Create(ctx, &taskv3.CreateTaskRequest{ID: "d", Bundle: dir, Checkpoint: "/image"}); err != nil {
		t.Fatal(err)
	}
	if inner.opts != nil {
		t.Errorf("options of a container that is none of ours: %v", inner.opts)
	}
}
