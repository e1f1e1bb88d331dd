package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"go.yaml.in/yaml/v3"

	"github.com/oci-apparmor/oci-apparmor/integration/bundle"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// What no container may do by the tests of a policy, here with a profile that allows each of them. The process of a
// container is told to do what a witness says.
const (
	neverPolicy = "version: 1\nrequire: tests\nprofiles:\n  shop: {file: profiles/shop}\n  base: {file: profiles/base}\npolicies:\n" +
		"  shop: {profile: shop}\n  base: {profile: base}\nassign:\n  - policy: base\n    request: shop\n"
	neverTests = `never:
  - {name: write, allow: "w /srv/secret/**"}
  - {name: read, allow: "r /srv/keys/*.pem"}
  - {name: run, allow: "x /opt/**"}
  - {name: chown, allow: capability chown}
  - {name: child, allow: "w /srv/kept/**"}
floor: {every: base}
`
	neverBase = "abi <abi/3.0>,\nprofile base flags=(attach_disconnected,mediate_deleted) {\n  file,\n  signal,\n  ptrace,\n  capability,\n" +
		"  deny /srv/{secret,kept}/** w,\n  deny /srv/keys/** r,\n  deny /opt/** x,\n  deny capability chown,\n}\n"
	neverShop = "abi <abi/3.0>,\nprofile shop flags=(attach_disconnected,mediate_deleted) {\n  file,\n  signal,\n  ptrace,\n  capability,\n" +
		"  deny /srv/kept/** w,\n  /bin/helper cx -> helper,\n  profile helper flags=(attach_disconnected,mediate_deleted) {\n    file,\n    signal,\n  }\n}\n"
)

// witness is a failure of oci-apparmor policy test --json.
type witness struct{ Asks, Assertion, Witness, After, Container, Rule, Label string }

// witnesses runs the tests of the node's policy, and returns the failures by the names of the tests.
func witnesses(t *testing.T) (failed map[string][]witness) {
	t.Helper()
	o := guesttest.Run(t, "oci-apparmor", "policy", "test", "--json")
	var said struct {
		Runs []struct {
			Results []struct {
				Name     string
				Failures []witness
			}
		}
	}
	if err := json.Unmarshal([]byte(o.Stdout), &said); err != nil || len(said.Runs) != 1 {
		t.Fatalf("policy test: exit code %d, %v: %s%s", o.Code, err, o.Stdout, o.Stderr)
	}
	failed = make(map[string][]witness)
	for _, r := range said.Runs[0].Results {
		if len(r.Failures) > 0 {
			failed[r.Name] = r.Failures
		}
	}
	if (o.Code == 0) != (len(failed) == 0) {
		t.Errorf("exit code %d with failures %v", o.Code, failed)
	}
	return failed
}

// probing returns the command of probe that does what a witness says, for a container whose root file system is at root,
// where it makes what the command needs.
func probing(t *testing.T, root string, w witness) string {
	t.Helper()
	words := strings.Fields(w.Witness)
	path := words[len(words)-1]
	if strings.HasPrefix(path, "/") {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var do string
	switch {
	case strings.Contains(w.Witness, "write "):
		do = "write " + path
	case strings.Contains(w.Witness, "read "):
		write(t, filepath.Join(root, path), "key")
		do = "read " + path
	case strings.Contains(w.Witness, "x "):
		copyProbe(t, root, path)
		do = "exec " + path + " label"
	case w.Witness == "capability chown":
		write(t, filepath.Join(root, "srv/mine"), "")
		do = "chown /srv/mine 1000"
	default:
		t.Fatalf("nobody knows how to do %q", w.Witness)
	}
	if w.After != "" {
		words := strings.Fields(w.After)
		program := words[len(words)-1]
		copyProbe(t, root, program)
		do = "exec " + program + " " + do
	}
	return do
}

// answer has a container do what a witness says. What a program does that it executes shows in the file that it writes.
func answer(t *testing.T, c *guesttest.Container, w witness, do string) string {
	t.Helper()
	got := c.Ask(t, do)
	if w.After == "" || got != "ok" {
		return got
	}
	words := strings.Fields(do)
	if _, err := os.Stat(filepath.Join(c.Bundle.Rootfs(), words[len(words)-1])); err != nil {
		return denied
	}
	return got
}

func copyProbe(t *testing.T, root, path string) {
	t.Helper()
	data := read(t, filepath.Join(root, "bin/probe"))
	if err := os.WriteFile(filepath.Join(root, path), []byte(data), 0o755); err != nil {
		t.Fatal(err)
	}
}

// The witness of each never that fails is confirmed: a container that is started as the example says really does it. After
// the policy is mended as the floor asks, the tests pass, the policy is applied, and the container cannot do it.
func TestPolicyTestWitnessesAreSo(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky) // the profiles that are asked are those that the kernel gets
	setPolicy(t, keepPolicy)
	writePolicy(t, neverPolicy, map[string]string{"shop": neverShop, "base": neverBase})
	write(t, "/etc/oci-apparmor/tests.yaml", neverTests)
	rt := armsOf(t, "runc")
	start := func() *guesttest.Container {
		t.Helper()
		return guesttest.NewBundle(t, asks("shop"), func(s *specs.Spec) {
			s.Process.Capabilities = bundle.Capabilities("CAP_CHOWN")
			s.Process.NoNewPrivileges = false // with which no program goes on under a child
		}).Start(t, rt.wrapped)
	}

	failed := witnesses(t)
	o := guesttest.Run(t, "oci-apparmor", "policy", "apply")
	if o.Code != 1 || !strings.Contains(o.Stderr, "never/write fails") || !strings.Contains(o.Stderr, "stays in force") {
		t.Errorf("apply with tests that fail: exit code %d, %s", o.Code, o.Stderr)
	}
	write(t, "/etc/oci-apparmor/policy.yaml", strings.Replace(neverPolicy, "require: tests\n", "", 1))
	guesttest.MustRun(t, "oci-apparmor", "policy", "apply")
	c := start()
	wantLabel(t, c, "shop")
	names := []string{"never/write", "never/read", "never/run", "never/chown", "never/child"}
	for _, name := range names {
		if len(failed[name]) != 1 {
			t.Errorf("%s has the failures %+v", name, failed[name])
			continue
		}
		w := failed[name][0]
		if !strings.Contains(w.Container, "oci-apparmor/policy=shop") || w.Label != "shop" || w.Rule != "/etc/oci-apparmor/policy.yaml:10" {
			t.Errorf("%s fails for %+v", name, w)
		}
		do := probing(t, c.Bundle.Rootfs(), w)
		if got := answer(t, c, w, do); got == denied || strings.Contains(got, "errno") {
			t.Errorf("%s, %+v: %s: %s", name, w, do, got)
		}
		t.Logf("%s: %s is %s", name, w.Witness, do)
	}
	if len(failed["floor/base"]) == 0 {
		t.Errorf("the floor does not fail: %v", failed)
	}

	mended := strings.Replace(neverPolicy, "request: shop\n", "request: shop\n    floor: base\n", 1)
	write(t, "/etc/oci-apparmor/policy.yaml", mended)
	if left := witnesses(t); len(left) > 0 {
		t.Errorf("after the policy was mended %+v", left)
	}
	guesttest.MustRun(t, "oci-apparmor", "policy", "apply")
	c = start()
	wantLabel(t, c, "base", "shop")
	for _, name := range names {
		for _, w := range failed[name] {
			do := probing(t, c.Bundle.Rootfs(), w)
			if got := answer(t, c, w, do); !strings.Contains(got, "errno EACCES") && !strings.Contains(got, "errno EPERM") {
				t.Errorf("%s, mended: %s: %s", name, do, got)
			}
		}
	}
}

// repositoryIn lays out the repository of the document. Its files begin with their names.
func repositoryIn(t *testing.T, dir string) {
	t.Helper()
	for _, text := range []string{
		block(t, "policy/policyfile/repository.md#the-repository:2"), block(t, "policy/policyfile/repository.md#the-repository:3"),
		block(t, "policy/policyfile/repository.md#tests"), block(t, "policy/policyfile/repository.md#ci"),
	} {
		first, _, _ := strings.Cut(text, "\n")
		writeFile(t, filepath.Join(dir, strings.TrimPrefix(first, "# ")), text)
	}
}

// The repository of the document passes its tests, and what its CI runs does. A change that it shows fails them as it
// shows.
func TestPolicyRepositoryOfTheDocument(t *testing.T) {
	guesttest.Outside(t)
	for _, needs := range []string{"apparmor_parser", "git"} {
		if _, err := exec.LookPath(needs); err != nil {
			t.Skipf("needs %s: %v", needs, err)
		}
	}
	const abi = "/etc/apparmor.d/abi/3.0"
	if _, err := os.Stat(abi); err != nil {
		t.Skip("needs AppArmor's ", abi)
	}
	dir, bin := t.TempDir(), t.TempDir()
	if out, err := exec.Command("go", "build", "-o", bin, "../install/oci-apparmor").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	repositoryIn(t, dir)
	run := func(script string) string {
		t.Helper()
		cmd := exec.Command("bash", "-c", script)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", script, err, out)
		}
		return string(out)
	}
	const commit = "git add . && git -c user.name=a -c user.email=a@b.example commit -qm policy"
	run("git init -q && " + commit)

	var workflow struct {
		Jobs map[string]struct {
			Steps []struct{ Run string }
		}
	}
	if err := yaml.Unmarshal([]byte(block(t, "policy/policyfile/repository.md#ci")), &workflow); err != nil {
		t.Fatal(err)
	}
	summary := filepath.Join(t.TempDir(), "summary")
	t.Setenv("GITHUB_STEP_SUMMARY", summary)
	steps := 0
	for _, step := range workflow.Jobs["policy"].Steps {
		if strings.HasPrefix(step.Run, "oci-apparmor ") {
			run(strings.ReplaceAll(step.Run, "origin/${{ github.base_ref }}", "HEAD"))
			steps++
		}
	}
	if junit := read(t, filepath.Join(dir, "tests.xml")); steps < 3 || !strings.Contains(junit, `failures="0"`) {
		t.Errorf("%d steps, and JUnit's file is %s", steps, junit)
	}
	if err := os.Remove(filepath.Join(dir, "tests.xml")); err != nil {
		t.Fatal(err)
	}
	showsTests(t, dir, block(t, "policy/policyfile/repository.md#tests:2"))
	change := filepath.Join(t.TempDir(), "change")
	write(t, change, block(t, "policy/policyfile/repository.md#tests:3"))
	run("git apply " + change)
	showsTests(t, dir, block(t, "policy/policyfile/repository.md#tests:4"))
	showsTests(t, dir, block(t, "policy/policyfile/repository.md#tests:5"))
	run(commit)
	for _, step := range workflow.Jobs["policy"].Steps {
		if strings.Contains(step.Run, "policy diff") {
			run(strings.ReplaceAll(step.Run, "origin/${{ github.base_ref }}", "HEAD~1"))
		}
	}
	said := read(t, summary)
	for _, says := range []string{"### Label `web` (before: `node-baseline//&web`)\n\n- `containers of everyone that ask for policy web`",
		"### Label `debug` (before: `node-baseline`)", "| becomes allowed | `r /sys/firmware/**` |"} {
		if !strings.Contains(said, says) {
			t.Errorf("of the change is written\n%s\nand not %q", said, says)
		}
	}
}

// showsTests runs a command of a document and compares what it prints with what the document shows, times aside.
func showsTests(t *testing.T, dir, session string) {
	t.Helper()
	command, want, _ := strings.Cut(strings.TrimPrefix(session, "$ "), "\n")
	cmd := exec.Command("bash", "-c", command)
	cmd.Dir = dir
	out, err := cmd.Output()
	if failed := strings.Contains(want, "FAIL"); (err != nil) != failed {
		t.Errorf("%s: %v", command, err)
	}
	times := regexp.MustCompile(`\d+\.\d+s`)
	plain := func(text string) string { return strings.ReplaceAll(times.ReplaceAllString(text, "TIME"), "\t", " ") }
	if plain(string(out)) != plain(want) {
		t.Errorf("%s prints\n%s\nand the document shows\n%s", command, out, want)
	}
}

// A node takes the repository of the document, and refuses one whose tests fail.
func TestPolicyRepositoryOnANode(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky)
	setPolicy(t, keepPolicy)
	repositoryIn(t, "/etc/oci-apparmor")
	script := commands(block(t, "policy/policyfile/repository.md#nodes"), "git ")
	guesttest.MustRun(t, "sh", "-ec", script)
	c := guesttest.NewBundle(t, asks("web")).Start(t, armsOf(t, "runc").wrapped)
	wantLabel(t, c, "node-baseline", "web")
	tests := read(t, "/etc/oci-apparmor/tests.yaml")
	write(t, "/etc/oci-apparmor/tests.yaml", strings.Replace(tests, "deny: [", "deny: [r /usr/share/nginx/html/index.html, ", 1))
	if o := guesttest.Run(t, "sh", "-ec", script); o.Code != 1 || !strings.Contains(o.Stderr, "policy apply would refuse this") {
		t.Errorf("with tests that fail: exit code %d, %s%s", o.Code, o.Stdout, o.Stderr)
	}
}
