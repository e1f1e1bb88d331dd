package podman

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// How the directories of hooks in Podman's files add up. What is found in them, the tests of package doctor show.
func TestHooks(t *testing.T) {
	const base = "/usr/share/containers/oci/hooks.d"
	for _, c := range []struct {
		name    string
		files   map[string]string
		dirs    []string
		wrapped bool
	}{
		{"none", nil, []string{base}, false},
		{"a list is replaced", map[string]string{"/etc/containers/containers.conf": "[engine]\nhooks_dir = [\"/a\", \"/b/\"]\n"}, []string{"/a", "/b"}, false},
		{"the last file counts", map[string]string{"/etc/containers/containers.conf": "[engine]\nhooks_dir = [\"/a\"]\n",
			"/etc/containers/containers.conf.d/2.conf": "[engine]\nhooks_dir = [\"/c\"]\n",
			"/etc/containers/containers.conf.d/1.conf": "[engine]\nhooks_dir = [\"/b\"]\n"}, []string{"/c"}, false},
		{"one is appended", map[string]string{"/usr/share/containers/containers.conf": "[engine]\nhooks_dir = [\"/a\", {append=true}]\n"},
			[]string{base, "/a"}, false},
		{"and so are later ones", map[string]string{"/etc/containers/containers.conf": "[engine]\nhooks_dir = [\"/a\", {append=true}]\n",
			"/etc/containers/containers.conf.d/1.conf": "[engine]\nhooks_dir = [\"/b\"]\n"}, []string{base, "/a", "/b"}, false},
		{"until one says otherwise", map[string]string{"/etc/containers/containers.conf": "[engine]\nhooks_dir = [\"/a\", {append=true}]\n",
			"/etc/containers/containers.conf.d/1.conf": "[engine]\nhooks_dir = [\"/b\", {append=false}]\n"}, []string{"/b"}, false},
		{"a runtime of ours", map[string]string{"/etc/containers/containers.conf": "[engine]\nruntime = \"/usr/local/bin/oci-apparmor-runtime\"\n"},
			[]string{base}, true},
		{"an empty list is none", map[string]string{"/etc/containers/containers.conf": "[engine]\nhooks_dir = []\n"},
			[]string{base, "/etc/containers/oci/hooks.d"}, false},
		{"a runtime of ours by name", map[string]string{"/etc/containers/containers.conf": "[engine.runtimes]\n" +
			"x = [\"/usr/bin/none\", \"/usr/local/bin/oci-apparmor-runtime\"]\n"}, []string{base}, true},
		{"odd types", map[string]string{"/etc/containers/containers.conf": "[engine]\nhooks_dir = \"/a\"\nruntimes = 3\nruntime = []\n"},
			[]string{base}, false},
	} {
		h := host.New(t.TempDir(), "/usr/local/bin")
		tree := h.Tree
		for name, text := range c.files {
			if err := errors.Join(os.MkdirAll(filepath.Dir(tree.Real(name)), 0o755), os.WriteFile(tree.Real(name), []byte(text), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		dirs, wrapped, err := Hooks(h, wire.NewDraft(tree))
		if err != nil || !slices.Equal(dirs, c.dirs) || wrapped != c.wrapped {
			t.Errorf("%s: %q, %v, %v", c.name, dirs, wrapped, err)
		}
	}
	h := host.New(t.TempDir(), "/usr/local/bin")
	file := h.Tree.Real("/etc/containers/containers.conf")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte("[engine\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Hooks(h, wire.NewDraft(h.Tree)); err == nil || !strings.HasPrefix(err.Error(), "/etc/containers/containers.conf:1:8: ") {
		t.Errorf("a broken file: %v", err)
	}
}
