package command

import (
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
)

// The file is written whole, for others to read, and what it has is what is printed.
func TestStatusWritesMetrics(t *testing.T) {
	m := newNodeWithContainers(t)
	m.Detect = func() kernel.Readiness { return kernel.Ready }
	code, printed := m.run("status", "--prometheus")
	if code != 0 || !strings.Contains(printed, "\noci_apparmor_enforcing 1\n") || !strings.Contains(printed, `oci_apparmor_containers{engine="docker",state="confined"} `) {
		t.Errorf("exit code %d, %s prints\n%s", code, m.errOut.String(), printed)
	}
	if code, out := m.run("status", "--prometheus", "--output", "x.prom"); code != 0 || out != "" {
		t.Errorf("exit code %d, output %q", code, out)
	}
	data, err := os.ReadFile("x.prom")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat("x.prom"); err != nil || info.Mode() != 0o644 {
		t.Errorf("the file is %v, %v", info, err)
	}
	if string(data) != printed {
		t.Errorf("the file has\n%s, printed is\n%s", data, printed)
	}
	left, err := fs.Glob(os.DirFS("."), ".x.prom*")
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for _, args := range [][]string{
		{"--prometheus", "--json"}, {"--prometheus", "--output", "x"}, {"--output", "x.prom"}, {"--prometheus", "--output", "none/x.prom"},
	} {
		if code, out := m.run(append([]string{"status"}, args...)...); code != untellable || out != "" || m.errOut.Len() == 0 {
			t.Errorf("%q: exit code %d, output %q, %q", args, code, out, m.errOut.String())
		}
	}
	m.Root = false
	if code, _ := m.run("status", "--prometheus"); code != noRight {
		t.Errorf("without root: exit code %d", code)
	}
}
