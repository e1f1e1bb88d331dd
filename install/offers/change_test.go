package offers

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// Of several changes, all are made or none.
func TestMakeAll(t *testing.T) {
	for name, c := range map[string]struct {
		there map[string]string // files
		made  bool
		want  map[string]string
	}{
		"both":                             {map[string]string{"policy": "old"}, true, map[string]string{"policy": "new", "profiles/web": "text"}},
		"a file that changes meanwhile":    {map[string]string{"policy": "another"}, false, map[string]string{"policy": "another"}},
		"a file that is removed meanwhile": {map[string]string{}, false, map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			for path, text := range c.there {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			text, err := changeOf("profiles/web", []byte("text"))
			if err != nil {
				t.Fatal(err)
			}
			err = makeAll([]change{text, {path: "policy", before: []byte("old"), after: []byte("new")}})
			if (err == nil) != c.made {
				t.Error(err)
			}
			wantFiles(t, c.want)
		})
	}

	// A new file does not replace one that has come since. That stays, also if it is the same.
	for _, theirs := range []string{"somebody else's", "text"} {
		t.Chdir(t.TempDir())
		if err := os.WriteFile("policy", []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		text, err := changeOf("text", []byte("text"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("text", []byte(theirs), 0o600); err != nil {
			t.Fatal(err)
		}
		err = makeAll([]change{{path: "policy", before: []byte("old"), after: []byte("new")}, text})
		if !errors.Is(err, safefile.ErrChanged) || !strings.HasPrefix(err.Error(), "text ") {
			t.Errorf("with a file that has come meanwhile: %v", err)
		}
		wantFiles(t, map[string]string{"policy": "old", "text": theirs})
	}

	// A link to nothing is not replaced either.
	if err := os.Symlink("gone", "link"); err != nil {
		t.Fatal(err)
	}
	if _, err := changeOf("link", []byte("text")); err == nil || !strings.Contains(err.Error(), "link is a link to a file that is not there") {
		t.Errorf("a link to nothing: %v", err)
	}

	// A text that replaces another one is put back.
	t.Chdir(t.TempDir())
	for path, text := range map[string]string{"policy": "old", "text": "old", "other": "old"} {
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	changes := make([]change, 3)
	for i, path := range []string{"policy", "text", "other"} {
		var err error
		if changes[i], err = changeOf(path, []byte("new")); err != nil || !changes[i].replaces() {
			t.Fatalf("%+v, %v", changes[i], err)
		}
	}
	if err := os.WriteFile("other", []byte("somebody else's"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := makeAll(changes); !errors.Is(err, safefile.ErrChanged) {
		t.Error(err)
	}
	wantFiles(t, map[string]string{"policy": "old", "text": "old", "other": "somebody else's"})
	if info, err := os.Stat("text"); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info, err)
	}
}

// wantFiles checks the files below the working directory.
func wantFiles(t *testing.T, want map[string]string) {
	t.Helper()
	for _, path := range []string{"policy", "profiles/web", "text", "other"} {
		got, err := os.ReadFile(path)
		if text, there := want[path]; (err == nil) != there || string(got) != text {
			t.Errorf("%s: %q, %v; want %q", path, got, err, text)
		}
	}
	for _, pattern := range []string{".*", "profiles/.*"} {
		left, err := filepath.Glob(pattern)
		if err != nil || len(left) > 0 {
			t.Errorf("%v, %v", left, err)
		}
	}
}
