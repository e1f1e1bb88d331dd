package kernel_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
)

func TestHeldIsWhatCheckComparesWith(t *testing.T) {
	m := kerneltest.New(t)
	k := m.Kernel()
	if _, _, err := k.Held("web"); !errors.Is(err, kernel.ErrNotLoaded) {
		t.Errorf("before it is loaded: %v", err)
	}
	m.Load(t, kerneltest.Blob("1", "web", "web//hat", "web//hat//deep"))
	held, content, err := k.Held("web")
	if err != nil || len(content) != 3 || held.Dir == "" || held.Since == 0 {
		t.Fatalf("held as %+v: %+v, %v", held, content, err)
	}
	check := func(want kernel.Status) {
		t.Helper()
		if found, err := k.Check(kernel.Profile{Name: "web", Compiled: content}); err != nil || found.Status != want {
			t.Errorf("found %+v, %v; want status %d", found, err, want)
		}
	}
	check(kernel.Matches)
	m.Load(t, kerneltest.Blob("2", "web//hat//deep"))
	check(kernel.Drifted)
	m.Load(t, kerneltest.Blob("1", "web//hat//deep"))
	check(kernel.Matches)
	m.Load(t, kerneltest.Blob("1", "web//hat//new"))
	check(kernel.Drifted)
}

func TestHeldRefusesWhatCannotBeTold(t *testing.T) {
	m := kerneltest.New(t)
	m.Load(t, kerneltest.Blob("1", "web"))
	path, _ := m.Path("web")
	if err := os.WriteFile(path+"/sha256", []byte("12\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.Kernel().Held("web"); err == nil || !strings.Contains(err.Error(), "hash") {
		t.Errorf("with a short hash: %v", err)
	}
	os.Remove(path + "/sha256")
	var notReady *kernel.NotReadyError
	if _, _, err := m.Kernel().Held("web"); !errors.As(err, &notReady) || notReady.Readiness != kernel.NoHash {
		t.Errorf("without a hash: %v", err)
	}
	for _, name := range []string{"", "u", ":web", "../web", "web//hat"} {
		if _, _, err := m.Kernel().Held(name); err == nil || errors.Is(err, kernel.ErrNotLoaded) {
			t.Errorf("name %q: %v", name, err)
		}
	}
}
