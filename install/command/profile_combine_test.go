package command

import (
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
)

// Whoever edits a text and forgets to apply it sees which one.
func TestOfATextThatHasChangedSinceApplyItsFileIsNamed(t *testing.T) {
	m := newMachine(t)
	m.write("etc/profiles/web", "abi <abi/3.0>,\nprofile web {\n  file,\n}\n")
	if code, _ := m.run("policy", "apply"); code != 0 {
		t.Fatal(m.errOut.String())
	}
	m.write("etc/profiles/web", "abi <abi/3.0>,\nprofile web {\n  file,\n  capability,\n}\n")
	for _, args := range [][]string{
		{"profile", "merge", "policy:web", "etc/profiles/web"}, {"profile", "why", "policy:web", "r /etc/passwd"},
	} {
		code, _ := m.run(args...)
		if code != exit.Cannot || !strings.Contains(m.errOut.String(), "etc/profiles/web has changed since policy apply") {
			t.Errorf("%v: exit code %d: %s", args, code, m.errOut.String())
		}
	}
}
