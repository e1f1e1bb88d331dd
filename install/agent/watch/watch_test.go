package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// watched is a Watch of paths in a directory of the test.
type watched struct {
	*Watch
	t   *testing.T
	dir string
}

func newWatched(t *testing.T, paths ...string) *watched {
	t.Helper()
	w, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &watched{w, t, dir}
}

func (w *watched) set(paths ...string) {
	w.t.Helper()
	for i, p := range paths {
		paths[i] = filepath.Join(w.dir, p)
	}
	if _, err := w.Set(paths...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) write(path, text string) {
	w.t.Helper()
	w.must(os.MkdirAll(filepath.Dir(filepath.Join(w.dir, path)), 0o755))
	w.must(os.WriteFile(filepath.Join(w.dir, path), []byte(text), 0o644))
}

func (w *watched) link(target, path string) {
	w.t.Helper()
	w.must(os.MkdirAll(filepath.Dir(filepath.Join(w.dir, path)), 0o755))
	w.must(os.Symlink(target, filepath.Join(w.dir, path)+".new"))
	w.must(os.Rename(filepath.Join(w.dir, path)+".new", filepath.Join(w.dir, path)))
}

// seen reports whether a Wait returns within a while.
func (w *watched) seen(within time.Duration) bool {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), within)
	defer cancel()
	err := w.Wait(ctx)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		w.t.Fatal(err)
	}
	return err == nil
}

const soon, aWhile = 5 * time.Second, 30 * time.Millisecond

// drain takes all that has been seen.
func (w *watched) drain() {
	for w.seen(aWhile) {
	}
}

// What becomes of a path is seen, whichever of the directories and links on its way has changed.
func TestChangesAreSeen(t *testing.T) {
	for _, c := range []struct {
		name  string
		paths []string
		make  func(w *watched)
		do    func(w *watched)
		sees  bool
	}{
		{"a file in a directory is written", []string{"etc"}, func(w *watched) { w.write("etc/policy.yaml", "1") },
			func(w *watched) { w.write("etc/policy.yaml", "2") }, true},
		{"a file is added", []string{"etc"}, func(w *watched) { w.write("etc/policy.yaml", "1") },
			func(w *watched) { w.write("etc/more.yaml", "2") }, true},
		{"a file is removed", []string{"etc"}, func(w *watched) { w.write("etc/policy.yaml", "1") },
			func(w *watched) { w.must(os.Remove(filepath.Join(w.dir, "etc/policy.yaml"))) }, true},
		{"a mode is changed", []string{"etc"}, func(w *watched) { w.write("etc/policy.yaml", "1") },
			func(w *watched) { w.must(os.Chmod(filepath.Join(w.dir, "etc/policy.yaml"), 0)) }, true},
		{"a file is replaced", []string{"etc"}, func(w *watched) { w.write("etc/policy.yaml", "1"); w.write("new", "2") },
			func(w *watched) {
				w.must(os.Rename(filepath.Join(w.dir, "new"), filepath.Join(w.dir, "etc/policy.yaml")))
			}, true},
		{"a ConfigMap is swapped", []string{"etc"}, func(w *watched) {
			w.write("etc/..1/policy.yaml", "1")
			w.write("etc/..2/policy.yaml", "2")
			w.link("..1", "etc/..data")
			w.link("..data/policy.yaml", "etc/policy.yaml")
		}, func(w *watched) { w.link("..2", "etc/..data") }, true},
		{"a file is written that a link leads to", []string{"etc"}, func(w *watched) {
			w.write("git/policy.yaml", "1")
			w.link("../git/policy.yaml", "etc/policy.yaml")
		}, func(w *watched) { w.write("git/policy.yaml", "2") }, true},
		{"a directory on the way of a link is swapped", []string{"etc"}, func(w *watched) {
			w.write("v1/policy.yaml", "1")
			w.write("v2/policy.yaml", "1")
			w.link("v1", "now")
			w.link("../now/policy.yaml", "etc/policy.yaml")
		}, func(w *watched) { w.link("v2", "now") }, true},
		{"the directory is made", []string{"etc/oci/policy.d"}, func(*watched) {},
			func(w *watched) { w.write("etc/x", "") }, true},
		{"the directory is renamed", []string{"etc/oci"}, func(w *watched) { w.write("etc/oci/policy.yaml", "1") },
			func(w *watched) { w.must(os.Rename(filepath.Join(w.dir, "etc/oci"), filepath.Join(w.dir, "etc/old"))) }, true},
		{"the directory is a link that is swapped", []string{"etc"}, func(w *watched) {
			w.write("v1/policy.yaml", "1")
			w.write("v2/policy.yaml", "1")
			w.link("v1", "etc")
		}, func(w *watched) { w.link("v2", "etc") }, true},
		{"one file that is watched", []string{"etc/passwd"}, func(w *watched) { w.write("etc/passwd", "1") },
			func(w *watched) { w.write("etc/passwd", "2") }, true},

		{"a file beside the one that is watched", []string{"etc/passwd"}, func(w *watched) { w.write("etc/passwd", "1") },
			func(w *watched) { w.write("etc/group", "2") }, false},
		{"a file beside the directory", []string{"etc/oci"}, func(w *watched) { w.write("etc/oci/policy.yaml", "1") },
			func(w *watched) { w.write("etc/group", "2") }, false},
		{"it is read", []string{"etc"}, func(w *watched) { w.write("etc/policy.yaml", "1") },
			func(w *watched) { _, err := os.ReadFile(filepath.Join(w.dir, "etc/policy.yaml")); w.must(err) }, false},
		{"what is watched no more", []string{"etc"}, func(w *watched) {
			w.write("etc/policy.yaml", "1")
			w.write("old/x", "1")
			w.set("old")
		}, func(w *watched) { w.write("old/x", "2") }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWatched(t)
			c.make(w)
			w.set(c.paths...)
			w.drain()
			c.do(w)
			within := soon
			if !c.sees {
				within = 100 * time.Millisecond
			}
			if w.seen(within) != c.sees {
				t.Errorf("seen: %t", !c.sees)
			}
		})
	}
}

// Of one file its attributes and its removal are told, and nothing of what is beside it.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "counts")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.SetFile(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	for _, do := range []struct {
		what  string
		told  bool
		after func() error
	}{
		{"its times", true, func() error { return os.Chtimes(file, time.Now(), time.Now()) }},
		{"a file beside it", false, func() error { return os.WriteFile(filepath.Join(dir, "other"), []byte("x"), 0o600) }},
		{"its content", false, func() error { return os.WriteFile(file, []byte("x"), 0o600) }},
		{"another in its place", true, func() error { return os.Rename(filepath.Join(dir, "other"), file) }},
		{"its removal", true, func() error { return os.Remove(file) }},
	} {
		if err := w.SetFile(file); err != nil {
			t.Fatal(err)
		}
		if err := do.after(); err != nil {
			t.Fatal(err)
		}
		within := func(d time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			return w.Wait(ctx)
		}
		if do.told {
			if err := within(time.Minute); err != nil {
				t.Errorf("%s: %v", do.what, err)
			}
		}
		for more := 0; within(50*time.Millisecond) == nil; more++ { // one change may be several events
			if !do.told || more == 10 {
				t.Fatalf("%s is told", do.what)
			}
		}
	}
}

// A directory that was not watched before is told of, because what changed in it before was not seen.
func TestMore(t *testing.T) {
	w := newWatched(t)
	w.write("etc/policy.yaml", "1")
	path := filepath.Join(w.dir, "etc")
	for i, want := range []bool{true, false, false} {
		if more, err := w.Set(path); more != want || err != nil {
			t.Errorf("time %d: more %t, %v", i, more, err)
		}
	}
	w.must(os.RemoveAll(path))
	w.write("etc/policy.yaml", "2")
	if more, err := w.Set(path); !more || err != nil {
		t.Errorf("after it was made anew: more %t, %v", more, err)
	}
	w.drain()
	w.write("etc/policy.yaml", "3")
	if !w.seen(soon) {
		t.Error("a change in the directory that was made anew is not seen")
	}
}

// More events than the kernel keeps are a change.
func TestOverflow(t *testing.T) {
	w := newWatched(t)
	w.write("etc/x", "1")
	w.set("etc/x")
	w.drain()
	data, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	w.must(err)
	var most int
	if _, err := fmt.Sscan(string(data), &most); err != nil || most > 1<<17 {
		t.Skipf("the kernel keeps %s events", data)
	}
	for i := range most/2 + 2 { // each is made and removed
		f, err := os.Create(filepath.Join(w.dir, "etc", fmt.Sprint(i)))
		w.must(err)
		f.Close()
		w.must(os.Remove(f.Name()))
	}
	if !w.seen(soon) {
		t.Error("that events were lost is not seen")
	}
}
