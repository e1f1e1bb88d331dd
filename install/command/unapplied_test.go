package command

import (
	"os"
	"strings"
	"testing"
)

// In CI there is no policy in force, no AppArmor in the kernel and no root: the policy is a directory.
func TestProfilesOfAPolicyThatIsNotApplied(t *testing.T) {
	m := newCompiling(t)
	const head = "abi <abi/3.0>,\nprofile NAME flags=(attach_disconnected) {\n  signal (receive) peer=unconfined,\n"
	profile := func(dir, name, rules string) {
		m.write(dir+"/"+name, strings.Replace(head, "NAME", name, 1)+rules+"}\n")
	}
	const file = `version: 1
profiles:
  web:   {file: web}
  floor: {file: floor}
  gen:   {template: docker-default}
policies:
  web: {profile: web}
  floor: {profile: floor, mode: complain}
  gen: {profile: gen}
assign:
  - {policy: web, request: [floor, gen]}
`
	for dir, rules := range map[string]string{"etc": "  /old r,\n", "repo": "  /srv/** r,\n  /usr/bin/tool px -> floor,\n"} {
		m.write(dir+"/policy.yaml", file)
		profile(dir, "web", rules)
		profile(dir, "floor", "  file,\n")
	}
	profile("repo", "wide", "  file,\n")
	if code, out := m.run("policy", "apply", "--quiet"); code != 0 {
		t.Fatalf("exit code %d: %s%s", code, out, m.errOut.String())
	}
	if err := os.RemoveAll("securityfs/features"); err != nil {
		t.Fatal(err)
	}
	ci := []string{"--config", "repo", "--features", "apparmor.d/abi/3.0"}
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"why policy:web|r /srv/x", 0, "policy:web:4: /srv/** r"},
		{"why policy:web|r /old", 1, "denied"},
		{"why web|r /srv/x", 0, "/srv/** r"},
		{"why policy:floor//&policy:web|r /srv/x", 0, "allowed by each part"},
		{"why policy:gen|w /proc/sysrq-trigger", 1, "denied"},
		{"why policy:other|r /srv/x", 3, "the policy in repo has no profile other"},
		{"contains policy:web|policy:web", 0, "allows no more"},
		{"contains policy:web|repo/wide", 1, "under profile\nfloor"},
		{"contains policy:web|policy:gen", 1, "allows more"},
		{"contains policy:other|policy:web", 2, "the policy in repo has no profile other"},
		{"diff --meaning policy:web|repo/web", 0, "the same meaning"},
		{"diff policy:web|repo/web", 0, "the same content"},
		{"diff policy:web|policy:floor", 1, "-  /srv/** r,"},
		{"diff --meaning policy:floor|repo/floor", 1, "complain"},
		{"diff policy:other|repo/web", 3, "the policy in repo has no profile other"},
	} {
		words := strings.Fields(c.args[:strings.Index(c.args, "|")])
		args := append(append([]string{"profile"}, words...), c.args[strings.Index(c.args, "|")+1:])
		code, out := m.run(append(args, ci...)...)
		if out += m.errOut.String(); code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%s: exit code %d, want %d and %q:\n%s", c.args, code, c.code, c.says, out)
		}
	}
	if code, out := m.run("profile", "why", "--config", "none", "--features", "apparmor.d/abi/3.0", "policy:web", "r /x"); code == 0 {
		t.Errorf("no policy: exit code %d: %s", code, out)
	}
}
