package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// A Wait returns with a change, and when it is to end. A pipe stands for the kernel's file: a read of it waits, too.
func TestRevisions(t *testing.T) {
	m := kerneltest.New(t)
	path := filepath.Join(m.Dir, "fs/policy/revision")
	if err := errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	fs, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	r, err := m.Kernel().Revisions()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while nothing changes: %v", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { _, _ = fs.WriteString("17\n") })
	if revision, err := r.Wait(t.Context()); revision != 17 || err != nil {
		t.Errorf("after a change: %d, %v", revision, err)
	}
	if _, err := fs.WriteString("x\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Wait(t.Context()); err == nil {
		t.Error("what is no number is taken")
	}
}

// What was loaded between two revisions is named, unless something else may have happened: a removal, the same bytes once more, or
// more loads than are looked at.
func TestLoadedBetween(t *testing.T) {
	m := kerneltest.New(t)
	k := m.Kernel()
	at := func() int64 {
		t.Helper()
		revision, err := k.Revision()
		if err != nil {
			t.Fatal(err)
		}
		return revision
	}
	want := func(what string, from int64, all bool, names ...string) {
		t.Helper()
		if got, is := k.LoadedBetween(from, at()); is != all || all && !slices.Equal(got, names) {
			t.Errorf("%s: %q, %v; want %q, %v", what, got, is, names, all)
		}
	}
	m.Load(t, kerneltest.Blob("one", "web"))
	first := at()
	want("nothing", first, true)
	m.Load(t, kerneltest.Blob("two", "web"))
	m.Load(t, kerneltest.Blob("one", "work", "work//hat"))
	want("two loads", first, true, "web", "work", "work")
	want("a revision that is yet to come", at()+1, false)
	before := at()
	m.Load(t, kerneltest.Blob("one", "web"))
	want("bytes that the kernel had before", before, false)
	before = at()
	m.Load(t, kerneltest.Blob("one", "other"))
	m.Remove(t, "other")
	want("a removal", before, false)
	before = at()
	m.Load(t, kerneltest.Blob(strings.Repeat("x", 300<<10), "large"))
	want("a large load", before, false)
	before = at()
	for i := range 40 {
		m.Load(t, kerneltest.Blob("one", fmt.Sprint("many-", i)))
	}
	want("many loads", before, false)
	want("some of them", at()-3, true, "many-37", "many-38", "many-39")
	before = at()
	if err := m.Replace(kerneltest.Blob("one", strings.Repeat("x", 253))); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Fatal(err)
	}
	m.Remove(t, "web")
	want("a removal after a load that has failed, and whose bytes are there", before, false)
}

// What is not any more where it was is told by one list, also if it was loaded anew.
func TestGone(t *testing.T) {
	m := kerneltest.New(t)
	track := m.Kernel().Track()
	for _, name := range []string{"web", "work", "web.1"} {
		blob := kerneltest.Blob("one", name)
		m.Load(t, blob)
		parsed, err := profile.Parse(blob)
		if err != nil {
			t.Fatal(err)
		}
		track.Begin()
		if found, err := track.Check(kernel.Profile{Name: name, Compiled: parsed.Profiles}); err != nil || found.Status != kernel.Matches {
			t.Fatalf("%s: %+v, %v", name, found, err)
		}
	}
	want := func(names ...string) {
		t.Helper()
		track.Begin()
		gone, err := track.Gone()
		if got := slices.Sorted(maps.Keys(gone)); err != nil || !slices.Equal(got, names) {
			t.Errorf("gone are %q (%v), want %q", got, err, names)
		}
	}
	want()
	m.Load(t, kerneltest.Blob("two", "web"))
	want()
	m.Remove(t, "web")
	want("web")
	m.Load(t, kerneltest.Blob("one", "web"))
	m.Remove(t, "web.1")
	want("web", "web.1")
}

// A removal by us is told from one by somebody else, by the directory.
func TestRemovedByUs(t *testing.T) {
	m := kerneltest.New(t)
	k := m.Kernel()
	m.Load(t, kerneltest.Blob("one", "web"))
	first, err := k.Details("web")
	if err != nil {
		t.Fatal(err)
	}
	byUs := func(dir string, want bool) {
		t.Helper()
		if is, err := k.RemovedByUs(t.Context(), "web", dir); is != want || err != nil {
			t.Errorf("%s: %t, %v", dir, is, err)
		}
	}
	byUs(first.Dir, false)
	if err := k.Remove(t.Context(), "web", func() error { return errors.New("in use") }); err == nil {
		t.Fatal("it was removed")
	}
	byUs(first.Dir, false)
	if err := k.Remove(t.Context(), "web", func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	byUs(first.Dir, true)
	m.Load(t, kerneltest.Blob("one", "web"))
	second, err := k.Details("web")
	if err != nil {
		t.Fatal(err)
	}
	m.Remove(t, "web")
	byUs(second.Dir, false)
}
