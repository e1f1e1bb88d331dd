package integration

import (
	"os"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/inside"
)

// The demo, as make demo HOST=1 tells it on a machine with AppArmor: what it says is true, because it stops where it is
// not, and it leaves nothing behind.
func TestDemoOnAMachineWithAppArmor(t *testing.T) {
	inside.Require(t)
	dirs := []string{"/etc/oci-apparmor", "/var/lib/oci-apparmor", "/run/oci-apparmor"}
	for _, dir := range dirs {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	before := len(inside.Profiles(t))
	out := inside.MustRun(t, "demo", "--host", "--bin", "/usr/local/bin")
	for _, said := range []string{"demo-web (enforce)", "touch: /etc/app.conf: Permission denied", "has been replaced"} {
		if !strings.Contains(out, said) {
			t.Errorf("it does not say %q: %s", said, out)
		}
	}
	if after := len(inside.Profiles(t)); after != before {
		t.Errorf("there were %d profiles in the kernel, and are %d", before, after)
	}
	for _, dir := range dirs {
		if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
			t.Errorf("left behind in %s: %v", dir, entries)
		}
	}
	if o := inside.Run(t, "runc", "list", "-q"); strings.TrimSpace(o.Stdout) != "" {
		t.Errorf("containers left behind: %s", o.Stdout)
	}
}
