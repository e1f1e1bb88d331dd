package command

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/output/outputtest"
	"github.com/oci-apparmor/oci-apparmor/install/suite"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// testable is a policy of every way to give a label.
const testable = `version: 1
profiles:
  web:   {file: profiles/web}
  tools: {file: profiles/tools}
  base:  {file: profiles/base}
  batch: {file: profiles/batch}
policies:
  web:       {profile: web}
  tools:     {profile: tools}
  base:      {profile: base}
  batch:     {profile: batch, mode: complain}
  hands-off: {profile: keep}
assign:
  - namespace: kube-system
    policy: hands-off
  - {namespace: "ops-*", policy: tools}
  - {image: nginx, policy: web, acceptChoice: [tools, theirs]}
  - policy: base
    request: [web, batch]
    floor: base
`

var testableProfiles = map[string]string{
	"base":  "abi <abi/3.0>,\nprofile base {\n  file,\n  deny /proc/sysrq-trigger w,\n  signal,\n  capability,\n  deny capability sys_admin,\n}\n",
	"tools": "abi <abi/3.0>,\nprofile tools {\n  file,\n  capability,\n  signal,\n}\n",
	"batch": "abi <abi/3.0>,\nprofile batch {\n  /srv/** r,\n  signal,\n}\n",
	"web": "abi <abi/3.0>,\nprofile web {\n  /srv/** r,\n  /usr/bin/* ix,\n  /usr/bin/helper cx -> helper,\n  signal,\n" +
		"  profile helper {\n    /srv/** rw,\n    signal,\n  }\n}\n",
}

// newTestable returns a machine without AppArmor, with a parser and the features of a kernel.
func newTestable(t *testing.T) *machine {
	m := newMachine(t)
	profiletest.Compiler(t, profiletest.Features())
	m.CompilerOf = node.This().CompilerOf
	if err := os.RemoveAll("securityfs"); err != nil {
		t.Fatal(err)
	}
	m.write("features", string(profiletest.Features()))
	m.write("etc/policy.yaml", testable)
	for name, text := range testableProfiles {
		m.write("etc/profiles/"+name, text)
	}
	return m
}

// test runs policy test.
func (m *machine) test(args ...string) (code int, stdout string) {
	return m.run(append([]string{"policy", "test", "--features", "features", "etc"}, args...)...)
}

const passing = `tests:
  - name: nginx
    container: {engine: containerd, namespace: shop, image: "nginx:1"}
    expect: {policy: web, label: web}
    allow: [r /srv/**, x /usr/bin/ls]
    deny: [w /etc/passwd, capability sys_admin]
  - name: choice
    container: {engine: docker, image: nginx, engineChoice: tools}
    expect: {policy: web, label: tools}
    allow: capability sys_admin
  - name: keeps
    container: {engine: containerd, namespace: kube-system, engineChoice: unconfined}
    expect: {policy: keep, label: unconfined}
    allow: [w /etc/passwd, userns]
  - name: refused
    container: {annotations: {oci-apparmor/policy: tools}}
    expect: {refused: is not allowed here}
  - name: asks
    container: {annotations: {oci-apparmor/policy: web}}
    expect: {policy: web, label: web//&base, refused: false}
never:
  - allow: w /proc/sysrq-trigger
    except: {policy: [hands-off, tools, web]}
floor: {every: base, except: {policy: [hands-off, tools, web, batch]}}
`

func TestPolicyTestsPass(t *testing.T) {
	dir := packageDir(t)
	m := newTestable(t)
	m.write("etc/tests.yaml", passing)
	m.test()
	m.test("-v")
	m.test("--run", "^test/(nginx|asks)$", "-v")
	m.test("--run", "nothing")
	m.run("policy", "check", "--config", "etc")
	m.golden(dir)
}

// Each kind of failure, with its example.
func TestPolicyTestsFail(t *testing.T) {
	dir := packageDir(t)
	m := newTestable(t)
	m.note("what is decided differs")
	m.write("etc/tests.yaml", `tests:
  - {name: policy, container: {namespace: ops-1, engine: cri-o}, expect: {policy: web}}
  - {name: label, container: {annotations: {oci-apparmor/policy: web}}, expect: {label: base}}
  - {name: refused, container: {annotations: {oci-apparmor/policy: tools}}, expect: {policy: tools}}
  - {name: other-reason, container: {annotations: {oci-apparmor/policy: tools}}, expect: {refused: does not exist}}
  - {name: not-refused, container: {}, expect: {refused: true}}
  - {name: misspelt, container: {annotations: {oci-apparmor/polcy: web}}, expect: {policy: base}}
  - {name: no-choice, container: {namespace: kube-system}, expect: {label: web}}
  - {name: other-choice, container: {namespace: kube-system, engineChoice: web}, expect: {policy: keep, label: base}}
  - {name: kubernetes, container: {engineChoice: RuntimeDefault}, expect: {policy: base}}
  - {name: untold, container: {engine: docker, namespace: shop}, expect: {policy: tools}}
`)
	m.test()
	m.note("what containers may do differs")
	m.write("etc/tests.yaml", `tests:
  - name: web
    container: {annotations: {oci-apparmor/policy: web}}
    allow: [w /srv/x, "r /{srv,etc}/*"]
    deny: [r /srv/secret, w /srv/x]
  - {name: keep, container: {namespace: kube-system}, allow: r /x, deny: r /x}
  - {name: complain, container: {annotations: {oci-apparmor/policy: batch}}, allow: r /srv/x, deny: w /srv/x}
  - {name: by-hand, container: {engine: docker, image: nginx, engineChoice: theirs}, allow: r /x, deny: r /x}
  - {name: chosen, container: {namespace: kube-system, engineChoice: web}, allow: r /x, deny: r /srv/x}
`)
	m.test()
	m.note("some container may do what none may")
	m.write("etc/tests.yaml", `never:
  - name: sysrq
    allow: [w /proc/sysrq-trigger, w /srv/x]
  - {name: admin, allow: capability sys_admin, except: {policy: [hands-off, tools]}}
  - {name: log, allow: "w /var/log/**", except: {policy: [hands-off]}}
floor: {every: base}
`)
	m.test()
	m.note("there is no policy file")
	if err := os.Remove("etc/policy.yaml"); err != nil {
		t.Fatal(err)
	}
	m.write("etc/tests.yaml", "never: [{name: strict, allow: w /srv/x}, {name: asked, allow: w /srv/x, except: {policy: keep}}]\n")
	m.test()
	m.golden(dir)
}

// What cannot be read is an error with its place, and so is what is missing.
func TestPolicyTestsAreFaulty(t *testing.T) {
	dir := packageDir(t)
	m := newTestable(t)
	m.test()
	m.write("etc/tests.yaml", "tests: [{container: {}, allow: r x, expects: {}}]\nnever: [{allow: r x, except: {policy: wep}}]\n")
	m.test()
	m.run("policy", "check", "--config", "etc")
	m.write("etc/tests.yaml", passing)
	m.run("policy", "test", "etc")
	m.test("--run", "(")
	m.test("x")
	m.test("--json", "-v")
	m.test("--junit", "nowhere/x")
	m.golden(dir)
}

func TestPolicyTestsAsJSONAndJUnit(t *testing.T) {
	m := newTestable(t)
	m.write("etc/tests.yaml", passing+"  # more\n")
	m.write("etc/tests.d/more.yaml", "tests:\n  - {name: fails, container: {annotations: {\"oci-apparmor/policy\": \"\\u202e\\e[1m<&\"}}, expect: {policy: web}}\n"+
		"  - {name: label, container: {engineChoice: \"\\e[1m\", engine: containerd, namespace: kube-system}, expect: {label: \"\\u202e\"}}\n"+
		"never: [{allow: 'w \"/srv/<&**\"'}]\n")
	for _, args := range [][]string{{}, {"--features", "features"}} {
		code, out := m.test(append(args, "--json", "--junit", "junit.xml")...)
		if code != exit.BadPolicy {
			t.Errorf("exit code %d: %s", code, &m.errOut)
		}
		outputtest.Valid(t, suite.Schema(), []byte(out))
		var got struct {
			Passed bool
			Runs   []struct {
				Features string
				Results  []struct {
					Name     string
					Failures []struct{ Reason, Witness, Container, Rule, Label string }
				}
			}
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatal(err)
		}
		if got.Passed || len(got.Runs) != 1+len(args)/2 || got.Runs[0].Features != "features" {
			t.Errorf("got %+v", got)
		}
		failing := map[string]int{}
		for _, r := range got.Runs[0].Results {
			if len(r.Failures) > 0 {
				failing[r.Name] = len(r.Failures)
			}
		}
		text, err := os.ReadFile("junit.xml")
		if err != nil {
			t.Fatal(err)
		}
		var report struct {
			Tests    int `xml:"tests,attr"`
			Failures int `xml:"failures,attr"`
			Suites   []struct {
				Name  string `xml:"name,attr"`
				Cases []struct {
					Name    string    `xml:"name,attr"`
					Failure *struct{} `xml:"failure"`
				} `xml:"testcase"`
			} `xml:"testsuite"`
		}
		if err := xml.Unmarshal(text, &report); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		n := 0
		for _, one := range report.Suites {
			for _, c := range one.Cases {
				if (c.Failure != nil) != (failing[c.Name] > 0) {
					t.Errorf("%s fails in one format alone", c.Name)
				}
				n++
			}
		}
		if len(report.Suites) != len(got.Runs) || report.Tests != n || report.Failures != len(got.Runs)*len(failing) || failing["test/fails"] != 1 {
			t.Errorf("%d tests, %d failures, %v\n%s", report.Tests, report.Failures, failing, text)
		}
		_, plain := m.test(args...)
		if strings.ContainsAny(string(text)+out+plain, "\x1b\u202e") {
			t.Errorf("characters of a test act on a terminal:\n%q", plain)
		}
	}
	if code, out := m.run("policy", "test", "--schema"); code != 0 || out != string(suite.Schema()) {
		t.Errorf("exit code %d, schema %.100q", code, out)
	}
	if code, out := m.run("policy", "schema", "--tests"); code != 0 || out != string(policyfile.SuiteSchema()) {
		t.Errorf("exit code %d, schema %.100q", code, out)
	}
}

// A policy that requires its tests is applied only with tests that pass, also where the policy itself has not changed.
func TestApplyRequiresTests(t *testing.T) {
	dir := packageDir(t)
	m := newTestable(t)
	apply := func(more ...string) {
		m.run(append([]string{"policy", "apply", "--features", "features", "--quiet"}, more...)...)
	}
	dry := func() { m.run("policy", "apply", "--features", "features", "--dry-run") }
	m.note("tests are not required")
	m.write("etc/tests.yaml", "never: [{allow: r /x}]\n")
	dry()
	apply()
	m.note("they are")
	m.write("etc/policy.yaml", testable+"require: tests\n")
	apply()
	apply("--dry-run")
	m.note("they are, and there are none")
	m.write("etc/tests.yaml", "tests: []\n")
	apply()
	if err := os.Remove("etc/tests.yaml"); err != nil {
		t.Fatal(err)
	}
	apply()
	m.run("policy", "check", "--config", "etc")
	m.note("they pass")
	m.write("etc/tests.yaml", passing)
	dry()
	apply()
	dry()
	m.note("they pass, and something else changes")
	m.write("etc/policy.yaml", strings.Replace(testable, "  - policy: base\n    request: [web, batch]", "  - policy: base\n    request: [web]", 1)+"require: tests\n")
	dry()
	apply()
	m.note("what is put back is not tested anew")
	m.run("policy", "rollback")
	m.write("etc/policy.yaml", testable)
	apply()
	m.note("they are not required any more")
	dry()
	m.run("policy", "rollback")
	m.run("policy", "rollback")
	m.write("etc/policy.yaml", testable+"require: tests\n")
	m.note("they fail again, and nothing else has changed")
	m.write("etc/tests.yaml", strings.ReplaceAll(passing, "allow: capability sys_admin", "deny: capability sys_admin"))
	apply()
	m.write("etc/tests.yaml", "nonsense\n")
	apply()
	m.note("others may write them")
	m.write("etc/tests.yaml", passing)
	if err := os.Chmod("etc/tests.yaml", 0o666); err != nil {
		t.Fatal(err)
	}
	apply()
	m.golden(dir)
}

// Kernels of Ubuntu ask each profile that has rules about D-Bus. Tests and differences of a policy are of the kernel that it is
// compiled for.
func TestPoliciesByKernelWithDBus(t *testing.T) {
	dir := packageDir(t)
	m := newTestable(t)
	m.write("features-dbus", string(profiletest.Features())+"dbus {mask {acquire send receive\n}\n}\n")
	m.write("etc/policy.yaml", "version: 1\nprofiles: {web: {file: profiles/web}}\npolicies: {web: {profile: web}}\nassign: [{policy: web}]\n")
	m.write("etc/profiles/web", "abi <abi/3.0>,\nprofile web {\n  file,\n  signal,\n  dbus bus=system,\n}\n")
	m.write("etc/tests.yaml", "never:\n  - allow: [dbus send bus=session]\n")
	m.write("after/policy.yaml", "version: 1\nprofiles: {web: {file: profiles/web}}\npolicies: {web: {profile: web}}\nassign: [{policy: web}]\n")
	m.write("after/profiles/web", "abi <abi/3.0>,\nprofile web {\n  file,\n  signal,\n  dbus,\n}\n")
	for _, features := range []string{"features", "features-dbus"} {
		m.run("policy", "test", "--features", features, "etc")
		m.run("policy", "diff", "--features", features, "etc", "after")
	}
	m.golden(dir)
}
