package host

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

func TestArchive(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to.tar")
	if err := errors.Join(os.MkdirAll(from+"/etc", 0o755), os.WriteFile(from+"/program", []byte("x"), 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := Archive(from, to); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(to)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := map[string]int64{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got[filepath.Clean(h.Name)] = h.Mode & 0o777
	}
	if got["program"] != 0o755 || got["etc"] != 0o755 {
		t.Errorf("%v", got)
	}
	if err := Archive(from, to); !errors.Is(err, os.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
}

// Whoever goes through all kinds goes through each.
func TestKindsAreAll(t *testing.T) {
	text, err := os.ReadFile("inspect.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?m)^\t\w+ +Kind += "([a-z-]+)"`).FindAllStringSubmatch(string(text), -1)
	if len(declared) != len(Kinds) || len(Kinds) == 0 {
		t.Errorf("%d are declared, and %d are listed", len(declared), len(Kinds))
	}
	for _, k := range declared {
		if !slices.Contains(Kinds, Kind(k[1])) {
			t.Errorf("%s is not listed", k[1])
		}
	}
}
