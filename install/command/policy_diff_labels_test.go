package command

import (
	"strings"
	"testing"
)

// A change says what containers get and had, whichever part of the policy it is that changes.
func TestPolicyDiffLabels(t *testing.T) {
	dir := packageDir(t)
	m := newCompiling(t)
	const before = `version: 1
require: tests
profiles:
  base: {file: profiles/base}
  web: {file: profiles/web}
policies:
  base: {profile: base}
  web: {profile: web}
  hands-off: {profile: keep}
assign:
  - {namespace: kube-system, policy: hands-off}
  - {namespace: shop, policy: web}
  - {namespace: "s*", policy: base}
  - {namespace: "*d", policy: web}
  - {policy: base, request: web, floor: base}
`
	both := func(path, text string) {
		m.write("before/"+path, text)
		m.write("after/"+path, text)
	}
	const head = "abi <abi/3.0>,\nprofile NAME flags=(attach_disconnected) {\n  signal (receive) peer=unconfined,\n"
	profile := func(name, rules string) {
		both("profiles/"+name, strings.Replace(head, "NAME", name, 1)+rules+"}\n")
	}
	profile("base", "  /srv/** rw,\n  capability chown,\n  deny /srv/secret w,\n")
	profile("web", "  /srv/** r,\n")
	profile("debug", "  /srv/** rw,\n  capability,\n  /bin/busybox cx -> shell,\n  profile shell {\n    signal (receive) peer=unconfined,\n    /srv/** r,\n  }\n")
	profile("many", "  /srv/** r,\n  /a r,\n  /b w,\n  /c k,\n  /d rw,\n  /e rk,\n  /f wk,\n  /g rwk,\n  /h m,\n  /i rm,\n  capability,\n"+
		"  umount,\n  mount,\n  pivot_root,\n  signal,\n  ptrace,\n  network inet stream,\n")
	for _, test := range []struct {
		what    string
		old     string // is replaced
		new     string
		formats bool
	}{
		{"a policy may be asked for that is new, and a floor is gone",
			"  web: {file: profiles/web}\npolicies:\n", "  web: {file: profiles/web}\n  debug: {file: profiles/debug}\npolicies:\n  debug: {profile: debug}\n", false},
		{"a policy has another profile", "  web: {profile: web}", "  web: {profile: base}", true},
		{"a policy has a floor", "  web: {profile: web}", "  web: {profile: web, floor: base}", false},
		{"a rule is gone", "  - {namespace: shop, policy: web}\n", "", true},
		{"the last rule is gone", "  - {policy: base, request: web, floor: base}\n", "", false},
		{"rules are tried in another order", "  - {namespace: \"s*\", policy: base}\n  - {namespace: \"*d\", policy: web}\n",
			"  - {namespace: \"*d\", policy: web}\n  - {namespace: \"s*\", policy: base}\n", false},
		{"a rule is new", "  - {namespace: \"s*\"", "  - {namespace: slow, policy: web}\n  - {namespace: \"s*\"", false},
		{"a rule that changes nothing is gone", "  - {namespace: \"s*\", policy: base}\n", "", false},
		{"the engine's choice no longer stays", "policy: hands-off}", "policy: base}", false},
		{"the engine's choice stays", "{namespace: shop, policy: web}", "{namespace: shop, policy: hands-off}", false},
		{"an engine may choose", "{policy: base, request: web,", "{policy: base, request: web, acceptChoice: [web, by-hand],", false},
		{"a policy may not be asked for any more", "request: web, ", "", false},
		{"a policy that may not be asked for does not count", "request: web, ", "onRefused: assigned, ", false},
		{"tests are not required any more", "require: tests\n", "", true},
		{"much is allowed", "  web: {file: profiles/web}\npolicies:\n  base: {profile: base}\n  web: {profile: web}",
			"  web: {file: profiles/web}\n  many: {file: profiles/many}\npolicies:\n  base: {profile: base}\n  web: {profile: many}", false},
	} {
		if !strings.Contains(before, test.old) {
			t.Fatalf("%s: nothing is replaced", test.what)
		}
		after := strings.Replace(before, test.old, test.new, 1)
		if strings.Contains(test.new, "debug") {
			after = strings.Replace(after, "request: web, floor: base", "request: [web, debug]", 1)
		}
		m.write("before/policy.yaml", before)
		m.write("after/policy.yaml", after)
		m.note(test.what)
		m.run("policy", "diff", "before", "after")
		if test.formats {
			m.run("policy", "diff", "--markdown", "before", "after")
			m.run("policy", "diff", "--json", "before", "after")
		}
	}
	m.run("policy", "diff", "--all", "before", "after")
	m.write("before/policy.yaml", before)
	rules := ""
	for i := range 'h' {
		if i >= 'a' {
			rules += "  - {namespace: x" + string(i) + ", policy: web}\n"
		}
	}
	m.write("after/policy.yaml", strings.Replace(before, "assign:\n", "assign:\n"+rules, 1))
	m.note("there are many rules")
	m.run("policy", "diff", "before", "after")
	m.note("the other way round: tests are required now")
	m.write("before/policy.yaml", strings.Replace(before, "require: tests\n", "", 1))
	m.write("after/policy.yaml", before)
	m.run("policy", "diff", "before", "after")
	m.note("what is in force had tests that are required")
	both("tests.yaml", "tests:\n  - name: shop\n    container: {engine: containerd, namespace: shop}\n    expect: {label: web}\n")
	m.run("policy", "apply", "--quiet", "--config", "after")
	m.run("policy", "diff", "--config", "after")
	m.run("policy", "diff", "--config", "before")
	m.run("policy", "apply", "--quiet", "--config", "before")
	m.run("policy", "diff", "--config", "before")
	m.golden(dir)
}
