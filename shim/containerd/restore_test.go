package containerd

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestLabelOfARestore(t *testing.T) {
	dir := bundle(t, `{"process": {"args": ["sh"], "apparmorProfile": "base//&web"}}`)
	globals := []string{asRuntime, "--root", "/run/containerd/runc/default", "--log", "l", "--log-format", "json"}
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
	if _, err := withLabel([]string{asRuntime, "restore", "--bundle", dir, "c"}); err == nil || !strings.Contains(err.Error(), "config.json") {
		t.Errorf("a config.json that is none gave %v", err)
	}
}
