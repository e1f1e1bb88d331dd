package command

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/doctor"
	"github.com/oci-apparmor/oci-apparmor/install/engines"
	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
)

// What is found, the tests of package doctor show; here it is what is printed, and the exit code.
func TestDoctor(t *testing.T) {
	m := newNodeWithContainers(t)
	ready := kernel.Ready
	m.Detect = func() kernel.Readiness { return ready }
	if err := os.RemoveAll("apparmor.d"); err != nil {
		t.Fatal(err)
	}
	state := engines.State{Name: "containerd", Title: "containerd", Files: []string{"f"}, Recorded: true, Inspection: host.Inspection{Via: "shim"}}
	root, err := filepath.Abs("root")
	if err != nil {
		t.Fatal(err)
	}
	m.write("root/usr/bin/true", "")
	m.patient = &doctor.Node{Node: m.session.Node, Host: host.New(root, "/usr/local/bin"), Build: "Debian 6.12.117-1",
		Engines: func(context.Context) ([]engines.State, error) { return []engines.State{state}, nil }}
	m.Uname = "6.12.117"

	code, out := m.run("doctor")
	for _, want := range []string{
		"kernel      Linux 6.12.117: AppArmor is ready, hashes by sha256\n", "containerd  wired by the shim\n", "[container-differs]", "[container-uncovered]",
		"man oci-apparmor-doctor has a section for each [identifier]\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not print %q:\n%s", want, out)
		}
	}
	if code != 1 || strings.ContainsRune(out, '\x1b') || strings.Index(out, "ERROR ") > strings.Index(out, "WARNING ") {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	code, out = m.run("doctor", "--json")
	var got struct {
		Version  string
		Findings []struct{ ID, Severity string }
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 1 || got.Version != "1" || len(got.Findings) < 2 || got.Findings[0].Severity != "error" {
		t.Errorf("exit code %d, %v:\n%s", code, err, out)
	}
	if code, out := m.run("doctor", "--schema"); code != 0 || out != string(doctor.Schema()) {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	for _, line := range []string{"doctor x", "doctor --nosuch", "doctor --probe-policy web"} {
		if code, _ := m.run(strings.Fields(line)...); code != 2 {
			t.Errorf("%s: exit code %d", line, code)
		}
	}

	m.Root, ready = false, kernel.NoRight
	if code, out := m.run("doctor"); code != 3 || !strings.Contains(out, "NOT SEEN ") || !strings.HasSuffix(out, "nothing is wrong with what was seen\n") {
		t.Errorf("as a user: exit code %d\n%s", code, out)
	}
	if code, _ := m.run("doctor", "--fix"); code != 3 {
		t.Errorf("--fix as a user: exit code %d", code)
	}
	state.Files, state.Recorded = nil, false
	if code, out := m.run("doctor"); code != 3 || !strings.Contains(out, "NOTE     not wired to oci-apparmor: containerd [engine-unwired]\n") {
		t.Errorf("a note: exit code %d\n%s", code, out)
	}
	state.Err = errors.New("/etc/x:1: no")
	if code, out := m.run("doctor"); code != 1 || !strings.Contains(out, "containerd  its configuration cannot be read\n") {
		t.Errorf("an error: exit code %d\n%s", code, out)
	}
	state.Err = nil
	state.Files = []string{"f"}
	state.Add(host.NotTaken, "it runs on")
	if code, out := m.run("doctor"); code != 4 || !strings.Contains(out, "1 warning: ") {
		t.Errorf("a warning: exit code %d\n%s", code, out)
	}
}
