package docker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

const ourRuntime = `{"path": "/usr/local/bin/oci-apparmor-runtime"}`

// What is written is taken out again to the byte, wherever the file has room for it.
func TestOursIsWrittenAsTheFileIs(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "{\n  \"runtimes\": {\"apparmor\": OURS}\n}\n",
		"{}\n":                   "{\n  \"runtimes\": {\"apparmor\": OURS}\n}\n",
		`{"a": 1}`:               `{"a": 1, "runtimes": {"apparmor": OURS}}`,
		"{\n\t\"a\": [1,\n2]\n}": "{\n\t\"a\": [1,\n2],\n\t\"runtimes\": {\"apparmor\": OURS}\n}",
		"{\r\n  \"runtimes\": {\"x\": {}},\r\n  \"b\": 1e2\r\n}": "{\r\n  \"runtimes\": {\"x\": {}, \"apparmor\": OURS},\r\n  \"b\": 1e2\r\n}",
		`{"runtimes": null}`:     `{"runtimes": {"apparmor": OURS}}`,
		"\xef\xbb\xbf{\"a\": 1}": "\xef\xbb\xbf{\"a\": 1, \"runtimes\": {\"apparmor\": OURS}}",
	} {
		f := &file{path: "/etc/docker/daemon.json", text: []byte(text)}
		if err := f.set(ourRuntime, "runtimes", Runtime); err != nil {
			t.Fatal(err)
		}
		want = strings.ReplaceAll(want, "OURS", ourRuntime)
		if got := string(f.text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
		if err := cut(f, &file{text: []byte(text)}); err != nil {
			t.Fatal(err)
		}
		if got := string(f.text); got != text && strings.TrimSpace(text) != "{}" && text != "" {
			t.Errorf("%q is %q afterwards", text, got)
		}
	}
}

func TestStripKeepsWhatOthersWrote(t *testing.T) {
	for _, tt := range []struct{ was, now, want string }{
		{`{"a": 1}`, `{"a": 2, "runtimes": {"apparmor": OURS}, "c": 3}`, `{"a": 2, "c": 3}`},
		{`{}`, `{"runtimes": {"apparmor": OURS, "x": {}}}`, `{"runtimes": {"x": {}}}`},
		{`{"runtimes": {}}`, `{"b": 1, "runtimes": {"apparmor": OURS}}`, `{"b": 1, "runtimes": {}}`},
		{`{"default-runtime": "crun"}`, `{"default-runtime": "apparmor", "runtimes": {"apparmor": OURS}}`, `{"default-runtime": "crun"}`},
		{`{}`, `{"default-runtime": "apparmor", "runtimes": {"apparmor": OURS}, "x": 1}`, `{"x": 1}`},
		{`{}`, `{"default-runtime": "apparmor", "runtimes": {"apparmor": {"path": "/theirs"}}}`,
			`{"default-runtime": "apparmor", "runtimes": {"apparmor": {"path": "/theirs"}}}`},
		{"", `{"runtimes": {"apparmor": OURS}}`, ""},
	} {
		var was *wire.Entry
		if tt.was != "" {
			was = &wire.Entry{Data: []byte(tt.was)}
		}
		got, err := Engine{}.Strip("/etc/docker/daemon.json", was, &wire.Entry{Data: []byte(strings.ReplaceAll(tt.now, "OURS", ourRuntime))})
		if err != nil || string(got) != tt.want || (got == nil) != (tt.want == "") {
			t.Errorf("%s becomes %q, %v, want %q", tt.now, got, err, tt.want)
		}
	}
}

func TestErrorsNameTheLineAndColumn(t *testing.T) {
	for text, want := range map[string]string{
		"{\n\"a\": 1,\n}":             "/etc/docker/daemon.json:2:7: this comma is too many, as nothing follows it",
		"{\"é\": [1 , ]}":             "/etc/docker/daemon.json:1:10: this comma is too many",
		"{\n\"a\": 1,\n\"a\": 2}":     "/etc/docker/daemon.json:3:1: ",
		"{\n// no\n}":                 "/etc/docker/daemon.json:2:1: JSON has no comments",
		"[1]":                         "/etc/docker/daemon.json:1:1: ",
		"\xef\xbb\xbfx":               "/etc/docker/daemon.json:1:1: ",
		"{}\n\n{}":                    "/etc/docker/daemon.json:",
		"{\"a\": \"\xff\"}":           "/etc/docker/daemon.json:1:8: ",
		"{\"a\":\n{\"b\":1,\"b\":2}}": "/etc/docker/daemon.json:2:8: ",
	} {
		f := &file{path: "/etc/docker/daemon.json", text: []byte(text)}
		if err := f.check(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	f := &file{path: "f", text: []byte("{\n\"runtimes\": []}")}
	if err := f.set(ourRuntime, "runtimes", Runtime); err == nil || !strings.HasPrefix(err.Error(), "f:2:13: ") {
		t.Errorf("a list of runtimes: %v", err)
	}
}

// Whatever the file, ours is in it after a set, and all else as before; after a cut it is not.
func FuzzSet(f *testing.F) {
	for _, text := range []string{"{}", `{"runtimes": {"a": {}}, "b": [1, {"c": null}]}`, "\xef\xbb\xbf {\n}\n", ` {"runtimes":{}} `} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		before := &file{path: "f", text: []byte(text)}
		if before.check() != nil {
			return
		}
		if v, err := before.get("runtimes", Runtime); err != nil || v != nil {
			return
		}
		after := &file{path: "f", text: []byte(text)}
		if after.set(ourRuntime, "runtimes", Runtime) != nil {
			return
		}
		if err := onlyOurs(before, after, false); err != nil {
			t.Errorf("%q becomes %q: %v", text, after.text, err)
		}
		if err := cut(after, before); err != nil {
			t.Errorf("%q: %v", after.text, err)
		}
		if v, err := after.get("runtimes", Runtime); err != nil || v != nil {
			t.Errorf("%q still has ours: %v", after.text, err)
		}
	})
}

// A reload keeps a default that the file has no more, and so it does a runtime.
func TestDefaultThatIsTakenBackTakesARestart(t *testing.T) {
	for _, c := range []struct {
		was, is bool // ours is the default
		version string
		reload  bool
	}{{false, false, "26.1", true}, {false, true, "26.1", true}, {true, true, "26.1", true}, {true, false, "26.1", false}, {false, false, "20.10", false}} {
		h := host.New(t.TempDir(), "/usr/local/bin")
		config := `{"runtimes": {"apparmor": {"path": "/usr/local/bin/oci-apparmor-runtime"}}`
		if c.was {
			config += `, "default-runtime": "apparmor"`
		}
		for name, text := range map[string]string{"/usr/bin/dockerd": "", "/usr/local/bin/oci-apparmor-runtime": "", "/tmp/x": "", Config: config + "}"} {
			at := h.Tree.Real(name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o755)); err != nil {
				t.Fatal(err)
			}
		}
		h.Run = func(_ context.Context, _ []string, _ string, args ...string) ([]byte, error) {
			return []byte("Docker version " + c.version + ".5, build 1"), nil
		}
		d := wire.NewDraft(h.Tree)
		if _, err := (Engine{}).Clear(h, d); err != nil {
			t.Fatal(err)
		}
		out, err := Engine{}.Wire(t.Context(), h, d, wire.Options{Default: c.is})
		if err != nil || out.Reload != c.reload || strings.Contains(out.Then, "reload") != c.reload {
			t.Errorf("%+v: %+v, %v", c, out, err)
		}
	}
}
