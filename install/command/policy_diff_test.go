package command

import (
	"os/exec"
	"strings"
	"testing"
)

func TestPolicyDiff(t *testing.T) {
	dir := packageDir(t)
	m := newCompiling(t)
	const head = "abi <abi/3.0>,\ninclude <tunables/global>\nprofile NAME flags=(attach_disconnected) {\n  include <abstractions/base>\n"
	profile := func(path, name, rules string) { m.write(path, strings.Replace(head, "NAME", name, 1)+rules+"}\n") }
	const before = `version: 1
profiles:
  web: {file: profiles/web}
  shop: {file: profiles/shop}
  old: {file: profiles/old}
  floor: {file: profiles/floor}
policies:
  web: {profile: web}
  shop: {profile: shop}
  old: {profile: old}
assign:
  - namespace: [web]
    policy: web
  - policy: web
    request: [shop, old]
    floor: floor
`
	for _, in := range []string{"before/", "after/"} {
		profile(in+"profiles/floor", "floor", "  file,\n  deny /proc/sysrq-trigger w,\n")
		profile(in+"profiles/shop", "shop", "  /srv/{a,b}/** r,\n")
		profile(in+"profiles/web", "web", "  /srv/** r,\n")
		profile(in+"profiles/old", "old", "  /old r,\n")
		m.write(in+"policy.yaml", before)
	}
	m.run("policy", "diff", "before", "after")
	profile("after/profiles/shop", "shop", "  /srv/a/** r,\n  /srv/b/** r,\n")
	m.note("a profile is written otherwise")
	m.run("policy", "diff", "before", "after")
	profile("after/profiles/web", "web", "  /srv/** r,\n  /srv/log/** w,\n  deny /srv/secret/** r,\n  capability chown,\n")
	profile("after/profiles/new", "new", "  /new r,\n")
	m.write("after/policy.yaml", strings.NewReplacer("  old: {file: profiles/old}\n", "  new: {file: profiles/new}\n",
		"  old: {profile: old}\n", "  new: {profile: new, mode: complain}\n", "[shop, old]", "[shop, new]").Replace(before))
	m.note("more has changed")
	m.run("policy", "diff", "before", "after")
	m.run("policy", "diff", "--markdown", "before", "after")
	m.run("policy", "diff", "--json", "before", "after")
	m.note("what is in force, and what would be")
	m.run("policy", "apply", "--quiet", "--config", "before")
	m.run("policy", "diff", "--config", "before")
	m.run("policy", "diff", "--config", "after")
	m.note("wrong arguments")
	m.run("policy", "diff", "after")
	m.run("policy", "diff", "--config", "none", "HEAD")
	m.run("policy", "diff", "master", "HEAD")
	m.run("policy", "diff", "a", "b", "c")
	m.run("policy", "diff", "--config", "after", "HEAD...HEAD")
	m.run("policy", "diff", "--json", "--markdown", "before", "after")
	m.write("after/profiles/web", "profile web {\n  /x,\n}\n")
	m.run("policy", "diff", "before", "after")
	m.golden(dir)
}

// Revisions of a repository are compared with each other, and with what is in the directory.
func TestPolicyDiffRevisions(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is missing")
	}
	m := newCompiling(t)
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", "repository", "-c", "user.name=a", "-c", "user.email=a@b"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	const text = "abi <abi/3.0>,\nprofile web flags=(attach_disconnected) {\n  signal (receive) peer=unconfined,\n  /srv/** r,\n}\n"
	m.write("repository/policy/policy.yaml", "version: 1\nassign:\n  - policy: web\npolicies:\n  web: {profile: web}\n"+
		"profiles:\n  web: {file: profiles/web}\n")
	m.write("repository/policy/profiles/web", text)
	git("init", "-q", "-b", "main")
	git("add", ".")
	git("commit", "-q", "-m", "one")
	m.write("repository/policy/profiles/web", strings.Replace(text, " r,\n}", " rw,\n}", 1))
	git("commit", "-q", "-a", "-m", "two")
	m.write("repository/policy/profiles/web", strings.Replace(text, " r,\n}", " rwk,\n}", 1))
	for args, want := range map[string]string{
		"main~1..main": "  w /srv/**\n",
		"main":         "  k /srv/**\n",
		"main~1":       "  wk /srv/**\n",
	} {
		code, out := m.run("policy", "diff", "--config", "repository/policy", args)
		if code != 1 || !strings.Contains(out, want) || !strings.Contains(out, "containers of everyone") {
			t.Errorf("%s: exit code %d, %s%s", args, code, out, m.errOut.String())
		}
	}
	if code, out := m.run("policy", "diff", "--config", "repository/policy", "main..main"); code != 0 {
		t.Errorf("exit code %d, %s", code, out)
	}
	for _, rev := range []string{"none", "none..main", "main..none"} {
		if code, out := m.run("policy", "diff", "--config", "repository/policy", rev); code != 2 || out != "" {
			t.Errorf("%s: exit code %d, %s", rev, code, out)
		}
	}
}

// What a change means is what helps to mend it, so a policy that fails its tests is compared all the same.
func TestPolicyDiffOfAPolicyThatFailsItsTests(t *testing.T) {
	m := newCompiling(t)
	const file = "version: 1\nrequire: tests\nprofiles: {web: {file: web}}\npolicies: {web: {profile: web}}\nassign: [{policy: web}]\n"
	const text = "abi <abi/3.0>,\nprofile web flags=(attach_disconnected) {\n  signal (receive) peer=unconfined,\n  /srv/** r,\n}\n"
	m.write("etc/policy.yaml", file)
	m.write("etc/web", text)
	m.write("etc/tests.yaml", "never:\n- allow: [w /srv/**]\n")
	if code, out := m.run("policy", "apply", "--quiet"); code != 0 {
		t.Fatalf("exit code %d: %s%s", code, out, m.errOut.String())
	}
	m.write("etc/web", strings.Replace(text, " r,\n}", " rw,\n}", 1))
	for _, flags := range [][]string{nil, {"--json"}, {"--markdown"}} {
		code, out := m.run(append([]string{"policy", "diff"}, flags...)...)
		if says := m.errOut.String(); code != 2 || !strings.Contains(out, "w /srv/**") || !strings.Contains(says, "tests.yaml:2") {
			t.Errorf("%v: exit code %d\n%s\n%s", flags, code, out, says)
		}
	}
	for _, args := range [][]string{{"policy", "apply", "--dry-run"}, {"policy", "apply"}} {
		if code, out := m.run(args...); code != 1 || strings.Contains(out, "w /srv/**") {
			t.Errorf("%v of a policy that fails its tests: exit code %d\n%s", args, code, out)
		}
	}
}
