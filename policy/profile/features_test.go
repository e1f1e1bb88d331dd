package profile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree makes a directory of files with these contents; a content of "" is a directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if content == "" {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestReadFeatures(t *testing.T) {
	dir := tree(t, map[string]string{
		"policy/versions/v7": "yes\n",
		"policy/versions/v5": "yes\n",
		"policy/set_load":    "yes\n",
		"caps/mask":          "chown kill\n",
		"capability":         "0xffffff\n",
		"empty":              "",
		".hidden":            "x\n",
	})
	got, err := ReadFeatures(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := "capability {0xffffff\n}\n" +
		"caps {mask {chown kill\n}\n}\n" +
		"empty {}\n" +
		"policy {set_load {yes\n}\nversions {v5 {yes\n}\nv7 {yes\n}\n}\n}\n"
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestReadFeaturesRefuses(t *testing.T) {
	deep := strings.Repeat("d/", maxFeaturesDepth+2) + "f"
	tests := []struct {
		name  string
		files map[string]string
		says  string
	}{
		{"nothing", nil, "is empty"},
		{"a brace in a value", map[string]string{"a": "yes\n}\nb {yes\n"}, `holds "}"`},
		{"a control character", map[string]string{"a": "\x1b[2J"}, `holds "\x1b"`},
		{"a blank in a name", map[string]string{"a b": "yes\n"}, "no name of a feature"},
		{"a brace in a name", map[string]string{"a{": "yes\n"}, "no name of a feature"},
		{"too much", map[string]string{"a": strings.Repeat("x", maxFeatures+1)}, "more than 65536 bytes"},
		{"too deep", map[string]string{deep: "yes\n"}, "directories deep"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := ReadFeatures(tree(t, test.files))
			wantError(t, err, test.says)
		})
	}
	t.Run("a link", func(t *testing.T) {
		dir := tree(t, map[string]string{"a": "yes\n"})
		if err := os.Symlink("a", filepath.Join(dir, "b")); err != nil {
			t.Fatal(err)
		}
		_, err := ReadFeatures(dir)
		wantError(t, err, "neither file nor directory")
	})
}

func TestReadFeaturesWithoutAppArmor(t *testing.T) {
	_, err := ReadFeatures(filepath.Join(t.TempDir(), "features"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v is not fs.ErrNotExist", err)
	}
	wantError(t, err, "without AppArmor")
}

func TestWithoutFeature(t *testing.T) {
	tests := []struct{ name, features, want, says string }{
		{"in the middle", "policy {compressed_load {yes\n}\nset_load {yes\n}\n}\n", "policy {set_load {yes\n}\n}\n", ""},
		{"first and last", "compressed_load {yes\n}\n", "", ""},
		{"with entries of its own", "a {yes\n}\ncompressed_load {x {1\n}\ny {2\n}\n}\nb {yes\n}\n",
			"a {yes\n}\nb {yes\n}\n", ""},
		{"not there", "policy {set_load {yes\n}\n}\n", "policy {set_load {yes\n}\n}\n", ""},
		{"part of a longer name", "uncompressed_load {yes\n}\n", "uncompressed_load {yes\n}\n", ""},
		{"twice", "compressed_load {1\n}\na {compressed_load {2\n}\n}\n", "a {}\n", ""},
		{"never closed", "policy {compressed_load {yes\n", "", "no closing brace"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := withoutFeature(test.features, "compressed_load")
			wantError(t, err, test.says)
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func FuzzWithoutFeature(f *testing.F) {
	f.Add("policy {compressed_load {yes\n}\nset_load {yes\n}\n}\n")
	f.Add("compressed_load {compressed_load {")
	f.Add("xcompressed_load {}")
	f.Fuzz(func(t *testing.T, features string) {
		got, err := withoutFeature(features, "compressed_load")
		if err == nil && len(got) > len(features) {
			t.Fatal("longer than before")
		}
	})
}
