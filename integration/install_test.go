package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// An upgrade by `make install`, and by the copy that install/README.md has, works while programs of ours run, and
// leaves these alone: also where it has another program under the same version.
func TestUpgradeUnderRunningPrograms(t *testing.T) {
	guesttest.Outside(t)
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("needs make")
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	if sleep, err = filepath.EvalSymlinks(sleep); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run := func(name string, args ...string) (string, error) {
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, name := range []string{"Makefile", "install/systemd/oci-apparmor.service", "install/systemd/oci-apparmor-agent.service", "install/place.sh"} {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	names := []string{"oci-apparmor", "oci-apparmor-hook", "oci-apparmor-runtime", "containerd-shim-apparmor-v2"}
	version := func(what string) { // what make build would have built
		t.Helper()
		page := filepath.Join(dir, "bin/share/man/man8/oci-apparmor.8")
		if err := os.MkdirAll(filepath.Dir(page), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, page, what)
		for _, n := range names {
			if err := os.WriteFile(filepath.Join(dir, "bin", n), append(program[:len(program):len(program)], what...), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	install := func(to, version string) {
		t.Helper()
		if out, err := run("make", "--old-file=build", "install", "DESTDIR="+to, "VERSION="+version); err != nil {
			t.Fatalf("make install: %v, %s", err, out)
		}
	}
	wantVersion := func(root, what string) {
		t.Helper()
		entries, err := os.ReadDir(filepath.Join(root, "usr/local/bin"))
		if err != nil || len(entries) != len(names) {
			t.Errorf("there are %v (%v), want %q", entries, err, names)
		}
		for _, n := range names {
			path := filepath.Join(root, "usr/local/bin", n)
			data, err := os.ReadFile(path)
			if err != nil || !strings.HasSuffix(string(data), what) {
				t.Errorf("%s is not of version %s (%v)", path, what, err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o755 {
				t.Errorf("%s: %v, %v", path, info, err)
			}
		}
		for _, unit := range []string{"oci-apparmor.service", "oci-apparmor-agent.service"} {
			if _, err := os.Stat(filepath.Join(root, "usr/local/lib/systemd/system", unit)); err != nil {
				t.Error(err)
			}
		}
	}
	node, out := filepath.Join(dir, "node"), filepath.Join(dir, "out")
	version("1")
	install(node, "1.0")
	wantVersion(node, "1")
	shim := exec.Command(filepath.Join(node, "usr/local/bin/containerd-shim-apparmor-v2"), "1000")
	if err := shim.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		shim.Process.Kill()
		shim.Wait()
	}()
	version("2")
	install(node, "2.0")
	wantVersion(node, "2")

	again := exec.Command(filepath.Join(node, "usr/local/bin/containerd-shim-apparmor-v2"), "1000")
	if err := again.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		again.Process.Kill()
		again.Wait()
	}()
	version("3")
	install(out, "2.0")
	if said, err := run("sh", "-c", "cp -r out/* node"); err == nil || !strings.Contains(said, "Text file busy") {
		t.Errorf("a plain copy over a running program: %v, %s", err, said)
	}
	const command = "cp -r --remove-destination /tmp/out/* /"
	if !strings.Contains(read(t, "../install/README.md"), "`"+command+"`") {
		t.Errorf("install/README.md says another command than %s", command)
	}
	if said, err := run("sh", "-c", strings.Replace(command, "/tmp/out/* /", "out/* node", 1)); err != nil {
		t.Errorf("%s: %v, %s", command, err, said)
	}
	wantVersion(node, "3")
	version("4")
	install(node, "2.0")
	wantVersion(node, "4")
	earlier := filepath.Join(node, "usr/local/lib/oci-apparmor/programs/1.0/containerd-shim-apparmor-v2")
	if runs, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", shim.Process.Pid)); err != nil || runs != earlier {
		t.Errorf("the first shim runs from %s (%v), want %s", runs, err, earlier)
	}
	for _, p := range []*exec.Cmd{shim, again} {
		if err := p.Process.Signal(syscall.Signal(0)); err != nil {
			t.Errorf("a program that ran has ended: %v", err)
		}
	}
}
