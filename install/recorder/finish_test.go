package recorder

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/recording"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

func TestProfilesThatNothingUsesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	machine := kerneltest.New(t)
	k := machine.Kernel()
	k.Proc = filepath.Join(dir, "proc")
	n := &node.Node{Kernel: k, State: &status.Node{Host: &hook.Host{Store: store.Store{Dir: filepath.Join(dir, "store")}, Kernel: k,
		Containers: filepath.Join(dir, "records")}, Run: filepath.Join(dir, "run"), Lib: dir}}
	used, idle, other := recording.NameFor("web", "docker", "c1"), recording.NameFor("web", "docker", "c2"), recording.NameFor("app", "docker", "c3")
	for _, name := range []string{used, idle, other} {
		machine.Load(t, kerneltest.Blob("x", name))
	}
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, "proc/10", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, task := range []string{"", "task/10/"} {
		write(task+"attr/apparmor/current", fmt.Sprintf("%s (complain)\n", used))
		write(task+"attr/apparmor/exec", "")
		write(task+"comm", "sleep\n")
	}
	still, err := remove(t.Context(), n, "web")
	if err != nil || len(still) != 1 || still[0].Profile != used {
		t.Errorf("%v, %v", still, err)
	}
	for name, stays := range map[string]bool{used: true, idle: false, other: true} {
		if _, ok := machine.Path(name); ok != stays {
			t.Errorf("profile %s is in the kernel: %v", name, ok)
		}
	}
}
