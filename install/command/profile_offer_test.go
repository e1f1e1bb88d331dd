package command

import (
	"os"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
)

// bare returns the text of a profile that allows little else than these rules.
func bare(name, rules string) string {
	return "include <tunables/global>\nprofile " + name + " {\n  include <abstractions/base>\n" + rules + "}\n"
}

// A profile is put into the policy file in complain mode, and only if it breaks no assertion of what no container may do.
func TestProfileOffer(t *testing.T) {
	m := newCompiling(t)
	m.write("securityfs/profiles", "")
	const before = "version: 1 # ours\nprofiles: {base: {file: profiles/base}}\npolicies:\n  # everybody's\n  base: {profile: base}\nassign: [{policy: base}]\n"
	m.write("etc/policy.yaml", before)
	m.write("etc/profiles/base", bare("base", "  /srv/** r,\n"))
	m.write("etc/tests.yaml", "version: 1\nnever:\n  - name: secrets\n    allow: [r /etc/shadow, w /usr/**]\n")
	m.write("web", bare("web", "  /srv/** r,\n  /etc/sh* r,\n"))
	unchanged := func(when string) {
		t.Helper()
		now, err := os.ReadFile("etc/policy.yaml")
		if _, there := os.Stat("etc/profiles/web"); err != nil || string(now) != before || there == nil {
			t.Errorf("%s, something was written: %s", when, now)
		}
	}
	code, out := m.run("profile", "offer", "web")
	if code != exit.BadPolicy || out != "" || !strings.Contains(m.errOut.String(), "etc/tests.yaml:4:13: never r /etc/shadow: profile web allows") ||
		!strings.Contains(m.errOut.String(), ": /etc/sh* r") || !strings.Contains(m.errOut.String(), "by web:") {
		t.Errorf("exit code %d, %s%s", code, out, &m.errOut)
	}
	unchanged("with a profile that breaks an assertion")

	m.write("web", bare("web", "  /srv/** r,\n"))
	m.write("etc/tests.yaml", "version: 1\nnever: [{allow: r /etc/shadow, allows: x}]\n")
	if code, _ := m.run("profile", "offer", "web"); code != exit.BadPolicy || !strings.Contains(m.errOut.String(), "unknown key \"allows\"") {
		t.Errorf("with tests that have a fault: exit code %d, %s", code, &m.errOut)
	}
	unchanged("with tests that have a fault")
	if code, _ := m.run("profile", "offer", "web", "--enforce-after", "5s"); code != exit.Usage || !strings.Contains(m.errOut.String(), "10s at least") {
		t.Errorf("with a time that is too short: exit code %d, %s", code, &m.errOut)
	}

	m.write("etc/tests.yaml", "version: 1\nnever: [{allow: r /etc/shadow}]\n")
	if code, out := m.run("profile", "offer", "web"); code != 0 || !strings.Contains(out, "it breaks none of 1 never assertion") {
		t.Errorf("exit code %d, %s%s", code, out, &m.errOut)
	}
	want := strings.NewReplacer("profiles: {", "profiles: {web: {file: profiles/web}, ",
		"policies:\n", "policies:\n  web: {profile: web, mode: complain, enforceAfter: 24h}\n").Replace(before)
	if now, err := os.ReadFile("etc/policy.yaml"); err != nil || string(now) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, now, want)
	}
	if code, out := m.run("policy", "apply"); code != 0 || !strings.Contains(out, "complain mode until quiet for 24h") {
		t.Errorf("policy apply: exit code %d, %s%s", code, out, &m.errOut)
	}
	m.write("web", bare("web", "  /srv/** r,\n  /opt/** r,\n"))
	if code, _ := m.run("profile", "offer", "web"); code != exit.Cannot || !strings.Contains(m.errOut.String(), "has another text") {
		t.Errorf("over another text: exit code %d, %s", code, &m.errOut)
	}
	if code, out := m.run("profile", "offer", "web", "--force"); code != 0 || !strings.Contains(out, "has already") {
		t.Errorf("over another text, by force: exit code %d, %s%s", code, out, &m.errOut)
	}
}

// What a recording brings is not even printed if it breaks an assertion.
func TestProfileLearnOffersNothingThatIsNeverAllowed(t *testing.T) {
	m := recordingMachine(t)
	if err := m.recordWeb(false, false, nil, reads("c1", "/srv/a"), reads("c1", "/etc/shadow")); err != nil {
		t.Fatal(err)
	}
	m.write("etc/tests.yaml", "version: 1\nnever: [{allow: r /etc/shadow}]\n")
	code, out := m.run("profile", "learn", "finish", "web")
	if code != exit.BadPolicy || out != "" || !strings.Contains(m.errOut.String(), "never r /etc/shadow: profile web allows") ||
		!strings.Contains(m.errOut.String(), "by web:") || !strings.Contains(m.errOut.String(), "/etc/shadow r") {
		t.Errorf("exit code %d, %s%s", code, out, &m.errOut)
	}
	m.write("etc/tests.yaml", "version: 1\nnever: [{allow: w /etc/shadow}]\n")
	if code, out := m.run("profile", "learn", "finish", "web"); code != 0 || !strings.Contains(out, "/etc/shadow r") {
		t.Errorf("exit code %d, %s%s", code, out, &m.errOut)
	}
}
