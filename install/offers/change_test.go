package offers

import (
	"errors"
	"os"
	"path/filepath"
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
	left, err := filepath.Glob("profiles/.*")
	if err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}
