package containerd

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "containerd" { // this test's own program stands for it
		os.Stdout.WriteString("runs\n")
		io.Copy(io.Discard, os.Stdin) // until the test ends it
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// startAs runs this test's own program as containerd, by a link where the file has another name, and returns its directory.
func startAs(t *testing.T, file string, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	for above := dir; above != os.TempDir() && above != "/"; above = filepath.Dir(above) {
		if err := os.Chmod(above, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, file), program, 0o755)
	}
	if err == nil && file != "containerd" {
		err = os.Symlink(file, filepath.Join(dir, "containerd"))
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "containerd"), args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("it does not run: %q, %v", line, err)
	}
	return dir
}

// A containerd is told by the main file that it was started with: which engine's it is, and where its program is.
func TestContainerdIsToldByItsMainFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a containerd counts only as a process of root's, and this is none")
	}
	h := host.New("/", "/bin")
	main := filepath.Join(t.TempDir(), "agent/etc/containerd/config.toml")
	dir := startAs(t, "all-in-one", "-c", main, "-a", "/run/x.sock")
	usual := &Distribution{Name: "x", File: "all-in-one", Config: "/nowhere/agent/etc/containerd/config.toml", Ends: "/agent/etc/containerd/config.toml"}
	if got := usual.absent(h); !strings.Contains(got, "with --config "+main+", and only "+usual.Config) {
		t.Errorf("with another main file: %s", got)
	}
	other := *usual
	other.File = "another"
	if got := other.absent(h); strings.Contains(got, main) {
		t.Errorf("another distribution: %s", got)
	}
	here := *usual
	here.Config = main
	if got := here.program(h, wire.NewDraft(h.Tree)); got != filepath.Join(dir, "containerd") {
		t.Errorf("its program is %q, want that in %s", got, dir)
	}
	startAs(t, "containerd", "-c", main) // as RKE2's
	nodes := Own(Of(usual).Runs).of()
	if err := nodes.elsewhere(h); err != nil {
		t.Errorf("it is taken for the node's own: %v", err)
	}
	if len(nodes.processes(h)) > 0 {
		t.Skip("this machine has a containerd of its own")
	}
	startAs(t, "containerd", "--config", "/srv/config.toml")
	if err := nodes.elsewhere(h); err == nil || !strings.Contains(err.Error(), "/srv/config.toml") {
		t.Errorf("the node's own, with another main file: %v", err)
	}
}
