package kernel_test

import (
	"os"
	"slices"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
)

// Which programs get a profile's label by their path comes from the loads, whatever the profile is called.
func TestAttached(t *testing.T) {
	m := kerneltest.New(t)
	m.Load(t, kerneltest.Attached("", "podman", "/usr/bin/podman"))
	m.Load(t, kerneltest.Attached("", "any name", "/usr/sbin/runc"))
	m.Load(t, kerneltest.Attached("", "crun", "/opt/crun"))
	m.Load(t, kerneltest.Blob("", "web", "web//kid"))
	m.Load(t, kerneltest.Blob("", "/usr/bin/conmon"))
	m.Load(t, kerneltest.Blob("", "runc")) // which is none of the program's
	paths := []string{"/usr/bin/podman", "/usr/sbin/runc", "/usr/bin/crun", "/usr/bin/conmon", "/usr/bin/web"}
	wantAttached := func(what string, want map[string][]string) {
		t.Helper()
		all, err := m.Kernel().Attached(paths)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range all {
			if !slices.Equal(a.Programs, want[a.Name]) {
				t.Errorf("%s: profile %q takes hold of %q, want %q", what, a.Name, a.Programs, want[a.Name])
			}
		}
		if len(all) != len(want) {
			t.Errorf("%s: attached are %v, want %v", what, all, want)
		}
	}
	wantAttached("by the loads", map[string][]string{
		"podman": {"/usr/bin/podman"}, "any name": {"/usr/sbin/runc"}, "/usr/bin/conmon": {"/usr/bin/conmon"},
	})

	// A kernel that keeps no loads leaves the names.
	if err := os.RemoveAll(m.Dir + "/fs/policy/raw_data"); err != nil {
		t.Fatal(err)
	}
	wantAttached("by the names", map[string][]string{
		"podman": {"/usr/bin/podman"}, "crun": {"/usr/bin/crun"}, "/usr/bin/conmon": {"/usr/bin/conmon"},
	})
}
