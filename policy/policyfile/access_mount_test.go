package policyfile

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A directory that is open to all by its mode, and mounted so that nobody can write to it, is trusted: so are ConfigMaps.
func TestCheckAccessReadOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	dir := filepath.Join(t.TempDir(), "config")
	for _, d := range []string{dir, dir + "/..1"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/..1/policy.yaml", []byte("version: 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for target, link := range map[string]string{"..1": "..data", "..data/policy.yaml": "policy.yaml"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	p, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckAccess(dir, p); err == nil {
		t.Error("a directory that all can write to is trusted")
	}
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	if err := CheckAccess(dir, p); err == nil {
		t.Error("a mounted directory that all can write to is trusted")
	}
	if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
	if err := CheckAccess(dir, p); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(dir, 0o755); err == nil {
		t.Error("it is not read-only")
	}
}
