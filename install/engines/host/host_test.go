package host

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// An engine is not pointed at a program that others can change, such as one in a checkout.
func TestOursIsOnlyWhatRootCanWrite(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(bin, "ours")
	if err := os.WriteFile(program, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	wantOurs := func(want string) {
		t.Helper()
		h := New("/", bin)
		got, err := h.Ours(wire.NewDraft(h.Tree), "ours")
		if want == "" && (err != nil || got != program) || want != "" && (err == nil ||
			!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "run make install first")) {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	wantOurs("")
	os.Chmod(bin, 0o777)
	wantOurs(bin + ": others can write to it (mode 0777)")
	os.Chmod(bin, 0o755)
	os.Chmod(program, 0o775)
	wantOurs(program + ": others can write to it (mode 0775)")
	os.Chmod(program, 0o644)
	wantOurs("permission denied")
	if os.Geteuid() == 0 {
		os.Chmod(program, 0o755)
		os.Chown(bin, 65534, 65534)
		wantOurs(bin + ": it belongs to uid 65534")
	}
}

// Of the programs in the caller's PATH, one that others could have written is not run as root.
func TestInPathIsOnlyWhatRootCanWrite(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var path []string
	for _, name := range []string{"theirs", "ours"} {
		at := filepath.Join(dir, name)
		if err := os.Mkdir(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(at, "engine"), nil, 0o755); err != nil {
			t.Fatal(err)
		}
		path = append(path, at)
	}
	os.Chmod(path[0], 0o777)
	t.Setenv("PATH", strings.Join(path, ":"))
	h := New("/", "/usr/local/bin")
	if got := h.InPath(wire.NewDraft(h.Tree), "engine"); got != path[1]+"/engine" {
		t.Errorf("it runs %q", got)
	}
}

// Only the wrapper itself and links that engines call it by are it.
func TestIsWrapper(t *testing.T) {
	for path, want := range map[string]bool{
		"oci-apparmor-runtime":                                          true, // Podman looks for it in its PATH
		"/usr/local/bin/oci-apparmor-runtime":                           true,
		"/usr/local/lib/oci-apparmor/programs/1.2/oci-apparmor-runtime": true,
		"/usr/local/lib/oci-apparmor/containerd/runc":                   true,
		"/usr/lib/oci-apparmor/cri-o/crun":                              true,
		"/lib/oci-apparmor/docker/crun":                                 true,
		"/usr/local/lib/oci-apparmor/podman/../podman/crun":             true,
		"/usr/local/lib/oci-apparmor/theirs/crun":                       false,
		"/usr/local/lib/oci-apparmor/podman/kata":                       false,
		"/usr/local/lib/oci-apparmor/runc":                              false,
		"/srv/oci-apparmor/runc":                                        false,
		"/srv/oci-apparmor/podman/runc":                                 false,
		"/home/oci-apparmor/bin/crun":                                   false,
		"lib/oci-apparmor/podman/runc":                                  false,
		"/usr/bin/runc":                                                 false,
		"":                                                              false,
	} {
		if IsWrapper(path) != want {
			t.Errorf("%q: %v", path, !want)
		}
	}
}

// What an image has at /tmp is followed as the image's own programs see it, and nothing is written out of the image.
func TestCandidateStaysInTheImage(t *testing.T) {
	const outside = "/var/tmp" // every machine has one
	for name, c := range map[string]struct{ link, in string }{
		"a directory": {"", "/tmp"}, "an absolute link": {outside, outside}, "a link upwards": {"../../../../../.." + outside, outside},
	} {
		h := New(t.TempDir(), "/usr/local/bin")
		err := os.MkdirAll(h.Tree.Real(c.in), 0o755)
		if c.link != "" {
			err = errors.Join(err, os.Symlink(c.link, h.Tree.Real("/tmp")))
		}
		if err != nil {
			t.Fatal(err)
		}
		dir, remove, err := h.Candidate(func(string) (map[string][]byte, error) { return map[string][]byte{"a/x": []byte("secret")}, nil })
		if err != nil || filepath.Dir(dir) != c.in {
			t.Fatalf("%s: %q, %v", name, dir, err)
		}
		if text, err := os.ReadFile(h.Tree.Root + dir + "/a/x"); err != nil || string(text) != "secret" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
		if _, err := os.Stat(filepath.Join(outside, filepath.Base(dir))); err == nil {
			t.Errorf("%s: it is outside the image", name)
		}
		remove()
		if left, err := os.ReadDir(h.Tree.Real(c.in)); err != nil || len(left) > 0 {
			t.Errorf("%s: it leaves %v, %v", name, left, err)
		}
	}
	h := New(t.TempDir(), "/usr/local/bin")
	if err := os.Symlink(outside, h.Tree.Real("/tmp")); err != nil {
		t.Fatal(err)
	}
	if dir, _, err := h.Candidate(func(string) (map[string][]byte, error) { return nil, nil }); err == nil {
		t.Errorf("a link to nothing in the image: %s", dir)
	}
}
