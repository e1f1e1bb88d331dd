package kubernetes

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// mount makes a directory as the kubelet mounts a ConfigMap, and gives what puts another version there in one step.
func mount(t *testing.T) (dir string, update func(files map[string]string)) {
	t.Helper()
	dir = t.TempDir()
	n := 0
	return dir, func(files map[string]string) {
		t.Helper()
		n++
		version := fmt.Sprintf("..version_%d", n)
		for name, data := range files {
			at := filepath.Join(dir, version, name)
			if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(at, []byte(data), 0o644); err != nil {
				t.Fatal(err)
			}
			top, _, _ := strings.Cut(name, "/")
			_ = os.Symlink(filepath.Join("..data", top), filepath.Join(dir, top))
		}
		next := filepath.Join(dir, "..data_tmp")
		if err := os.Symlink(version, next); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
}

func mirrorOf(t *testing.T, dir string) *Mirror {
	t.Helper()
	m, err := OpenMirror(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// treeOf returns the files below a directory, but for the mark of a copy.
func treeOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := readTree(os.DirFS(dir), false)
	if err != nil {
		t.Fatal(err)
	}
	delete(files, mirrorMark)
	return files
}

func TestMirror(t *testing.T) {
	from, update := mount(t)
	update(map[string]string{"policy.yaml": "version: 1\n", "teams.yaml": "a", "tests.yaml": "t", "nginx": "profile nginx {}", "profiles/deep": "profile deep {}"})
	m, to := mirrorOf(t, from), filepath.Join(t.TempDir(), "etc")
	if changed, err := m.to(to); err != nil || !changed {
		t.Fatal(changed, err)
	}
	want := map[string]string{"policy.yaml": "version: 1\n", "policy.d/teams.yaml": "a", "tests.yaml": "t", "profiles/nginx": "profile nginx {}", "profiles/deep": "profile deep {}"}
	if got := treeOf(t, to); !maps.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if changed, err := m.to(to); err != nil || changed {
		t.Errorf("without a change: %v, %v", changed, err)
	}
	update(map[string]string{"policy.yaml": "version: 2\n"})
	if changed, err := m.to(to); err != nil || !changed {
		t.Errorf("%v, %v", changed, err)
	}
	if got := treeOf(t, to); !maps.Equal(got, map[string]string{"policy.yaml": "version: 2\n"}) {
		t.Errorf("%q", got)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(to), ".*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// What one leaves that is killed while it copies goes with the next look, also where nothing has changed, and with the rest of ours.
func TestMirrorWasKilled(t *testing.T) {
	from, update := mount(t)
	update(map[string]string{"policy.yaml": "version: 1\n"})
	root := t.TempDir()
	n := &Node{Prefix: "/opt", Out: new(bytes.Buffer), root: root}
	m, to := mirrorOf(t, from), n.path(mirrorDir)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := m.to(to); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(root, "etc/.oci-apparmor.new")
	kill := func() {
		t.Helper()
		if err := errors.Join(os.MkdirAll(left+"/policy.d", 0o755), os.WriteFile(left+"/policy.d/a.yaml", []byte("a"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	kill()
	if changed, err := m.to(to); err != nil || changed {
		t.Errorf("%v, %v", changed, err)
	}
	if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the next look it is there: %v", err)
	}
	kill()
	r, err := n.claim()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.remove(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if files, err := os.ReadDir(filepath.Join(root, "etc")); !errors.Is(err, fs.ErrNotExist) && len(files) > 0 {
		t.Errorf("left after all was removed: %v, %v", files, err)
	}
}

func TestMirrorRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		have  string // a file that is there
		want  string
	}{
		"a policy of the node's": {map[string]string{"policy.yaml": "v"}, "policy.yaml", "came from no ConfigMap"},
		"no policy":              {map[string]string{"nginx": "p"}, "", "it has no policy.yaml"},
		"one place for two":      {map[string]string{"policy.yaml": "v", "a": "1", "profiles/a": "2"}, "", "two of its files would be profiles/a"},
		"too large":              {map[string]string{"policy.yaml": strings.Repeat("x", maxPolicy+1)}, "", "more than 16777216 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			from, update := mount(t)
			update(c.files)
			to := t.TempDir()
			if c.have != "" {
				if err := os.WriteFile(filepath.Join(to, c.have), []byte("mine"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			before := treeOf(t, to)
			if changed, err := mirrorOf(t, from).to(to); err == nil || changed || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, %v", changed, err)
			}
			if !maps.Equal(treeOf(t, to), before) {
				t.Error("something was written")
			}
		})
	}
}

// A reader of the copy never sees files of two versions, whenever it looks.
func TestMirrorInOneStep(t *testing.T) {
	from, update := mount(t)
	write := func(n int) {
		v := fmt.Sprint(n)
		update(map[string]string{"policy.yaml": v, "a": v, "b": v})
	}
	write(0)
	m, to := mirrorOf(t, from), filepath.Join(t.TempDir(), "etc")
	if _, err := m.to(to); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			dir, err := os.OpenRoot(to) // as a reader that opens the directory once
			if err != nil {
				t.Errorf("it is not there: %v", err)
				return
			}
			var seen []string
			for _, name := range []string{"policy.yaml", "profiles/a", "profiles/b"} {
				data, err := dir.ReadFile(name)
				if err != nil { // the old copy is removed
					seen = nil
					break
				}
				seen = append(seen, string(data))
			}
			_ = dir.Close()
			if len(slices.Compact(seen)) > 1 {
				t.Errorf("two versions: %q", seen)
				return
			}
		}
	})
	for n := range 30 {
		write(n)
		if _, err := m.to(to); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	reader.Wait()
}
