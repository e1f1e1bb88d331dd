package command

import (
	"cmp"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/apply"
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

// A policy file in which nothing is yet gets the entry.
func TestProfileOfferIntoAnEmptyPolicyFile(t *testing.T) {
	m, _ := newBoots(t)
	for _, before := range []string{"", "# ours\n", "---\n# ours\n"} {
		m.write("etc/policy.yaml", before)
		m.write("shop", sound("shop", ""))
		const entry = "version: 1\nprofiles:\n  shop: {file: profiles/shop}\npolicies:\n  shop: {profile: shop, mode: complain, enforceAfter: 24h}\n"
		if code, out := m.run("profile", "offer", "shop"); code != 0 || m.read("etc/policy.yaml") != before+entry {
			t.Errorf("into %q: exit code %d, %s%s\n%s", before, code, out, &m.errOut, m.read("etc/policy.yaml"))
		}
	}
}

// Nothing comes from enforce to complain mode unasked.
func TestProfileOfferOfAProfileThatIsEnforced(t *testing.T) {
	m, _ := newBoots(t)
	web := m.read("etc/profiles/web")
	m.write("web", web)
	m.write("other", web+"# other\n")
	refused := func(when, says string, args ...string) {
		t.Helper()
		before := m.read("etc/policy.yaml")
		code, _ := m.run(append([]string{"profile", "offer"}, args...)...)
		if code != exit.Cannot || !strings.Contains(m.errOut.String(), says) || !strings.Contains(m.errOut.String(), "--force") {
			t.Errorf("%s: exit code %d, %s", when, code, &m.errOut)
		}
		if m.read("etc/policy.yaml") != before || m.read("etc/profiles/web") != web {
			t.Errorf("%s: something was written:\n%s", when, m.read("etc/policy.yaml"))
		}
	}
	offered := func(when, entry, says string, args ...string) {
		t.Helper()
		code, out := m.run(append([]string{"profile", "offer"}, args...)...)
		if code != 0 || !strings.Contains(m.read("etc/policy.yaml"), entry) || !strings.Contains(strings.Join(strings.Fields(out), " "), says) {
			t.Errorf("%s: exit code %d, %s%s\n%s", when, code, out, &m.errOut, m.read("etc/policy.yaml"))
		}
	}
	for _, mode := range []string{"", ", mode: enforce", ", mode: kill"} {
		m.write("etc/policy.yaml", strings.Replace(bootPolicy, "{profile: web}", "{profile: web"+mode+"}", 1))
		word := cmp.Or(strings.TrimPrefix(mode, ", mode: "), "enforce")
		refused("in mode "+word, "has profile web in mode "+word, "web")
		refused("in mode "+word+", for ever", "has profile web in mode "+word, "web", "--enforce-after", "never")
		offered("in mode "+word+", by force", "{profile: web, ", "it only logs what it denies now", "web", "--force")
	}

	// In complain mode there is nothing to lose but the time.
	offered("with a time", "enforceAfter: 2h, mode: complain}", "has now", "web", "--enforce-after", "2h")
	offered("without a time any more", "web:  {profile: web, mode: complain}", "enforceAfter: 2h is taken out of it", "web", "--enforce-after", "never")
	offered("without a time", "web:  {profile: web, mode: complain}", "has already", "web", "--enforce-after", "never")

	// Once it was quiet, it is enforced.
	offered("with a time again", "enforceAfter: 1h, mode: complain}", "has now", "web", "--enforce-after", "1h")
	if code, _ := m.run("policy", "apply"); code != 0 {
		t.Fatalf("policy apply: %s", &m.errOut)
	}
	due := []apply.Quiet{{Profile: "web", Blob: m.profileInForce("web").Blob, After: time.Hour}}
	if _, err := apply.Promote(t.Context(), m.Node, due, nothingCame, func(apply.Loaded) {}); err != nil {
		t.Fatal(err)
	}
	refused("promoted, without a time any more", "profile web is enforced, as it was quiet", "web", "--enforce-after", "never")
	refused("promoted, with another text", "has another text", "other")
	offered("promoted, with another time", "enforceAfter: 3h, mode: complain}", "has now", "web", "--enforce-after", "3h")
	offered("promoted, with another text, by force", "enforceAfter: 3h, mode: complain}", "profile web is enforced, as it was quiet: from policy apply on, it only logs",
		"other", "--enforce-after", "3h", "--force")
	offered("promoted, without a time any more, by force", "web:  {profile: web, mode: complain}",
		"the profile stays in complain mode profile web is enforced, as it was quiet: from policy apply on, it only logs", "web", "--enforce-after", "never", "--force")
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
