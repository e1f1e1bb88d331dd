package kernel_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
)

// A Wait returns with a change, and when it is to end. A pipe stands for the kernel's file: a read of it waits, too.
func TestRevisions(t *testing.T) {
	m := kerneltest.New(t)
	path := filepath.Join(m.Dir, "fs/policy/revision")
	if err := errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	kernel, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer kernel.Close()
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
	time.AfterFunc(50*time.Millisecond, func() { _, _ = kernel.WriteString("17\n") })
	if revision, err := r.Wait(t.Context()); revision != 17 || err != nil {
		t.Errorf("after a change: %d, %v", revision, err)
	}
	if _, err := kernel.WriteString("x\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Wait(t.Context()); err == nil {
		t.Error("what is no number is taken")
	}
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
