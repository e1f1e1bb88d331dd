package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/hook/version"
	"github.com/oci-apparmor/oci-apparmor/install/apply"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

const shop = `version: 1
profiles:
  docker-nginx:  {file: profiles/docker-nginx, onDrift: replace}
  node-baseline: {template: docker-default}
policies:
  web:   {profile: docker-nginx}
  batch: {profile: docker-default, mode: complain}
assign:
  - namespace: [kube-system, kube-public]
    policy: keep
  - image: ["docker.io/library/nginx:*"]
    privileged: false
    policy: web
  - policy: web
    request: [batch, keep]
    engine: containerd
    namespace: lab
    onRefused: assigned
  - policy: batch
    request: [web]
    floor: node-baseline
`

const nginx = "profile docker-nginx {\n  file,\n  signal,\n}\n"

func newShop(t *testing.T) *machine {
	m := newMachine(t)
	m.write("etc/policy.yaml", shop)
	m.write("etc/profiles/docker-nginx", nginx)
	return m
}

func TestApply(t *testing.T) {
	dir := packageDir(t)
	m := newShop(t)
	m.run("policy", "apply")
	m.note("nothing has changed")
	m.run("policy", "apply")
	m.note("a profile changes")
	m.write("etc/profiles/docker-nginx", nginx+"# new\n")
	m.run("policy", "apply")
	m.note("apparmor_parser is upgraded")
	m.parser = "5.0.0"
	m.run("policy", "apply", "--quiet")
	m.run("policy", "show")
	m.run("policy", "show", "--json")
	m.golden(dir)
}

func TestBadPolicyIsNotApplied(t *testing.T) {
	dir := packageDir(t)
	m := newShop(t)
	faults := strings.NewReplacer("profile: docker-nginx", "profile: docker-ngnix", "request: [web]", "requests: [web]")
	m.write("etc/policy.yaml", faults.Replace(shop))
	m.run("policy", "apply")
	m.note("the policy file is repaired, a profile is not")
	m.write("etc/policy.yaml", shop)
	m.write("etc/profiles/docker-nginx", "profile docker-nginx {\n  BAD\n}\n")
	m.run("policy", "check")
	m.run("policy", "check", "--compile")
	m.run("policy", "apply")
	m.note("so is the profile")
	m.write("etc/profiles/docker-nginx", nginx)
	m.run("policy", "apply", "--quiet")
	m.note("both are broken again")
	m.write("etc/policy.yaml", faults.Replace(shop))
	m.run("policy", "check")
	m.run("policy", "apply")
	m.write("etc/policy.yaml", shop)
	m.write("etc/profiles/docker-nginx", "BAD")
	m.run("policy", "apply", "--quiet")
	m.golden(dir)

	g, err := store.Store{Dir: "store"}.Current()
	if err != nil || g.Number != 1 {
		t.Errorf("in force is %+v, %v, want generation 1", g, err)
	}
}

// Where a policy is in force that cannot be read, an apply that fails does not say that none is.
func TestNotAppliedOverWhatCannotBeRead(t *testing.T) {
	m := newShop(t)
	m.run("policy", "apply", "--quiet")
	for what, spoil := range map[string]func(){
		"the link current is gone": func() { os.Remove("store/current") },
		"generations/1/index: ":    func() { os.Symlink("generations/1", "store/current"); m.write("store/generations/1/index", "x") },
	} {
		t.Run(what, func(t *testing.T) {
			os.Remove("store/current")
			spoil()
			m.write("etc/policy.yaml", "nonsense: 1\n")
			code, _ := m.run("policy", "apply")
			if said := m.errOut.String(); code != exit.BadPolicy || strings.Contains(said, "no policy is in force") ||
				!strings.Contains(said, "oci-apparmor: not applied, and the policy that was in force cannot be read: ") || !strings.Contains(said, what) {
				t.Errorf("exit code %d, %s", code, said)
			}
		})
	}
}

func TestWithoutAppArmor(t *testing.T) {
	dir := packageDir(t)
	m := newShop(t)
	if err := os.RemoveAll("securityfs"); err != nil {
		t.Fatal(err)
	}
	m.write("parameters/enabled", "N\n")
	m.run("policy", "check")
	m.run("policy", "apply")
	m.note("compiling for another machine")
	m.write("features", "caps {mask {chown\n}\n}\n")
	m.run("policy", "check", "--compile", "--features", "features")
	m.run("policy", "apply", "--features", "features", "--quiet")
	m.run("policy", "show")
	m.write("proc/1", "docker-default//&node-baseline (mixed)\n")
	m.run("policy", "explain", "--pid", "1")
	m.note("a policy that demands no profile")
	m.write("etc/policy.yaml", "version: 1\nassign:\n  - policy: keep\n")
	m.run("policy", "apply")
	m.golden(dir)
}

func TestCheck(t *testing.T) {
	dir := packageDir(t)
	m := newShop(t)
	m.run("policy", "check", "--compile")
	m.run("policy", "check", "--config", "etc/policy.yaml")
	m.run("policy", "check", "--config", "etc/profiles/docker-nginx")
	m.write("other/profiles/one", "profile one { signal, }\n")
	m.run("policy", "check", "--config", "other")
	m.write("other/profiles/one", "profile two { signal, }\n")
	m.run("policy", "check", "--config", "other")
	m.run("policy", "check", "--config", "missing")
	m.run("policy", "check", "--config", "missing.yaml")
	m.write("empty/readme", "")
	m.run("policy", "check", "--config", "empty")
	m.golden(dir)
	if _, err := os.Stat("store"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a check made a store: %v", err)
	}
}

func TestExplain(t *testing.T) {
	dir := packageDir(t)
	m := newShop(t)
	m.run("policy", "apply", "--quiet")
	m.run("policy", "explain", "--annotation", "oci-apparmor/policy=web")
	m.note("the kernel has both profiles, one of them with other content")
	g, err := store.Store{Dir: "store"}.Current()
	if err != nil {
		t.Fatal(err)
	}
	p, _ := g.Index.Profile("docker-nginx")
	m.load("docker-nginx", p.Compiled[0].SHA256)
	m.load("node-baseline", p.Compiled[0].SHA256)
	m.write("proc/4711", "crun//&docker-nginx//&node-baseline (mixed)\n")
	m.write("proc/4712", "docker-nginx (enforce)\n")
	m.run("policy", "explain", "--annotation", "oci-apparmor/policy=web", "--pid", "4711")
	m.run("policy", "explain", "--annotation", "oci-apparmor/policy=web", "--pid", "4712", "--json")
	m.run("policy", "explain", "--annotation", "oci-apparmor/policy=web", "--pid", "4712")
	m.run("policy", "explain", "--pid", "4713")
	m.note("and with the right one")
	base, _ := g.Index.Profile("node-baseline")
	m.load("node-baseline", base.Compiled[0].SHA256)
	m.run("policy", "explain", "--annotation", "oci-apparmor/policy=web", "--pid", "4711")
	code, _ := m.run("policy", "explain", "--annotation", "oci-apparmor/policy=web", "--pid", "4712")
	if code != exit.NotConfined {
		t.Errorf("a process without the floor: exit code %d", code)
	}

	m.note("whether the content is the applied one is not known")
	code, _ = m.run("policy", "explain", "--config", "etc", "--annotation", "oci-apparmor/policy=web", "--pid", "4711")
	if code != exit.Cannot {
		t.Errorf("a process whose content is not known: exit code %d", code)
	}

	m.note("who it is decides")
	m.run("policy", "explain", "--engine", "containerd", "--namespace", "kube-system", "--pid", "4712")
	m.run("policy", "explain", "--image", "docker.io/library/nginx:1")
	m.run("policy", "explain", "--image", "docker.io/library/nginx:1", "--privileged")
	m.run("policy", "explain", "--sandbox", "--annotation", "oci-apparmor/policy=web")
	m.run("policy", "explain", "--root", "/run/containerd/runc/k8s.io",
		"--annotation", "io.kubernetes.cri.sandbox-namespace=kube-system")
	m.run("policy", "explain", "--container", "sidecar", "--annotation", "oci-apparmor/policy=batch",
		"--annotation", "oci-apparmor/policy.sidecar=web")

	m.run("policy", "explain", "--engine", "docker", "--namespace", "kube-system", "--image", "docker.io/library/nginx:1",
		"--annotation", "oci-apparmor/Policy=web")

	m.run("policy", "explain", "--engine", "docker", "--container", "web", "--annotation", "oci-apparmor/policy.web=batch")
	m.run("policy", "explain", "--engine", "docker", "--sandbox")

	m.note("what may not be asked for")
	m.run("policy", "explain", "--annotation", "oci-apparmor/policy=unconfined")
	m.run("policy", "explain", "--annotation", "oci-apparmor/policy=a\n\x1b[31m")
	m.run("policy", "explain", "--annotation", "oci-apparmor/policy=keep", "--json")
	m.run("policy", "explain", "--engine", "containerd", "--namespace", "lab", "--annotation", "oci-apparmor/policy=u")
	m.golden(dir)
}

// explain's exit code is that of a start: what a start would refuse, explain calls refused.
func TestExplainRefusesLikeAStart(t *testing.T) {
	for _, test := range []struct {
		name    string
		onDrift string
		spoil   func(m *machine)
		root    bool
		code    int
		says    string
	}{
		{"nothing is loaded", "", func(*machine) {}, true, 0, "the next start that needs it loads it"},
		{"nothing is loaded, known to all", "", func(*machine) {}, false, 0, "the next start that needs it loads it"},
		{"somebody else's", "", drifted, true, exit.Refused, "and not by oci-apparmor"},
		{"somebody else's, for all we know", "", drifted, false, exit.Refused, "refused unless oci-apparmor loaded"},
		{"ours, of another apply", "", func(m *machine) {
			m.Kernel = kerneltest.New(m.t).Kernel()
			data := kerneltest.Blob("of another apply", "web")
			blob, err := profile.Parse(data)
			if err == nil {
				_, err = m.Kernel.Ensure(m.t.Context(), []kernel.Profile{{Name: "web", Compiled: blob.Profiles,
					Blob: func() ([]byte, error) { return data, nil }}})
			}
			if err != nil {
				m.t.Fatal(err)
			}
		}, true, 0, "the next start that needs it replaces it"},
		{"to be replaced in any case", ", onDrift: replace", drifted, true, 0, "replaces it"},
		{"to be replaced in any case, known to all", ", onDrift: replace", drifted, false, 0, "replaces it"},
		{"never to be replaced", ", onDrift: refuse", drifted, true, exit.Refused, "`onDrift: refuse`"},
		{"never to be replaced, known to all", ", onDrift: refuse", drifted, false, exit.Refused, "`onDrift: refuse`"},
		{"a kernel that enforces nothing", "", func(m *machine) { m.write("parameters/mode", "complain\n") }, true, exit.Refused,
			"write enforce to"},
		{"a kernel that enforces nothing of what is there", "", func(m *machine) {
			g, err := store.Store{Dir: "store"}.Current()
			if err != nil {
				m.t.Fatal(err)
			}
			p, _ := g.Index.Profile("web")
			m.load("web", p.Compiled[0].SHA256)
			m.write("parameters/mode", "complain\n")
		}, true, exit.Refused, "write enforce to"},
		{"no AppArmor", "", func(m *machine) { m.write("parameters/enabled", "N\n"); os.RemoveAll("securityfs") }, false,
			exit.Refused, "demands profile web"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			m.write("etc/policy.yaml", "version: 1\nprofiles:\n  web: {file: profiles/web"+test.onDrift+"}\n"+
				"policies:\n  web: {profile: web}\nassign:\n  - policy: web\n")
			m.write("etc/profiles/web", "profile web { signal, }\n")
			if code, _ := m.run("policy", "apply", "--quiet"); code != 0 {
				t.Fatal(m.errOut.String())
			}
			test.spoil(m)
			m.Root = test.root
			code, out := m.run("policy", "explain")
			if out = strings.Join(strings.Fields(out), " "); code != test.code || !strings.Contains(out, test.says) ||
				strings.Contains(out, "refused ") != (code == exit.Refused) {
				t.Errorf("exit code %d, want %d; want %q in\n%s%s", code, test.code, test.says, out, m.errOut.String())
			}
		})
	}
}

func drifted(m *machine) { m.load("web", [32]byte{1}) }

func TestApplyWaitsAloud(t *testing.T) {
	m := newShop(t)
	lock, err := store.Store{Dir: "store"}.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(apply.Patience+200*time.Millisecond, lock.Unlock)
	if code, _ := m.run("policy", "apply", "--quiet"); code != 0 {
		t.Errorf("exit code %d", code)
	}
	const want = "oci-apparmor: waiting at most 2m0s for another oci-apparmor policy apply, which holds store/lock " +
		"(fuser store/lock names it)\n"
	if got := m.errOut.String(); got != want {
		t.Errorf("stderr %q", got)
	}
}

func TestRootAppliesNothingThatOthersCanWrite(t *testing.T) {
	m := newShop(t)
	if err := os.Chmod("etc/profiles/docker-nginx", 0o666); err != nil {
		t.Fatal(err)
	}
	code, _ := m.run("policy", "apply")
	if got := m.errOut.String(); code != exit.Cannot || !strings.HasPrefix(got, "etc/profiles/docker-nginx: ") ||
		!strings.Contains(got, "chmod go-w etc/profiles/docker-nginx\noci-apparmor: not applied: ") {
		t.Errorf("exit code %d, stderr %q", code, got)
	}
	if code, _ := m.run("policy", "apply", "--config", "etc/policy.yaml"); code != exit.Cannot {
		t.Errorf("a file by itself: exit code %d, stderr %q", code, m.errOut.String())
	}
	m.Root = false
	if code, _ := m.run("policy", "apply", "--quiet"); code != 0 {
		t.Errorf("not as root: exit code %d, %s", code, m.errOut.String())
	}
}

func TestHelpListsTheExitCodes(t *testing.T) {
	m := newMachine(t)
	_, out := m.run("--help")
	for code := range exit.NotConfined + 1 {
		if !strings.Contains(out, fmt.Sprintf("\n  %d  ", code)) {
			t.Errorf("--help does not tell of exit code %d:\n%s", code, out)
		}
	}
	if _, out := m.run("policy", "apply", "--help"); !strings.Contains(out, "Nothing is loaded into the kernel by this.") {
		t.Errorf("apply's help does not tell when a profile is loaded:\n%s", out)
	}
}

// A file that holds no features makes one error, before any profile is compiled.
func TestFeaturesThatAreNone(t *testing.T) {
	if _, err := profile.NewCompiler([]byte("caps {mask {chown\n}\n}\n")); err != nil {
		t.Skipf("no parser: %v", err)
	}
	m := newShop(t)
	m.CompilerOf = node.This().CompilerOf
	for name, text := range map[string]string{
		"text": "not features\n", "old": "caps {mask {chown\n}\n}\n", "cut": "caps {mask {chown\n}\n", "empty": "",
	} {
		m.write(name, text)
		for _, args := range [][]string{{"apply"}, {"check", "--compile"}} {
			code, out := m.run(append(append([]string{"policy"}, args...), "--features", name)...)
			const says = " is no features file of a kernel that apparmor_parser can compile for"
			if got := m.errOut.String(); code != exit.Cannot || out != "" || strings.Count(got, says) != 1 ||
				strings.Contains(got, " of 3") {
				t.Errorf("%s: %q: exit code %d, stderr %s", name, args, code, got)
			}
		}
	}
}

func TestNotes(t *testing.T) {
	dir := packageDir(t)
	m := newMachine(t)
	m.write("etc/profiles/web", "profile web { signal, }\n")
	for _, policy := range []string{
		"",
		"profiles:\n  web: {file: profiles/web}\npolicies:\n  web: {profile: web}\n",
		"profiles:\n  web: {file: profiles/web}\n  f: {template: docker-default}\n" +
			"policies:\n  web: {profile: web}\n  b: {profile: docker-default}\n" +
			"assign:\n  - {privileged: true, policy: b, floor: f}\n  - {sandbox: true, policy: keep}\n",
		"profiles:\n  web: {file: profiles/web}\npolicies:\n  web: {profile: web}\n" +
			"assign:\n  - {policy: baseline, request: [web, keep]}\n",
	} {
		m.write("etc/policy.yaml", "version: 1\n"+policy)
		m.run("policy", "check")
	}
	m.run("policy", "apply", "--quiet")
	m.run("policy", "show")
	m.write("etc/policy.yaml", "version: 1\nassign:\n  - {engine: docker, policy: keep}\n")
	m.run("policy", "apply")
	m.golden(dir)
}

func TestExplainABundle(t *testing.T) {
	dir := packageDir(t)
	m := newShop(t)
	m.write("other/profiles/one", "profile one { signal, }\n")
	m.write("b1/config.json", `{"ociVersion": "1.3.0", "process": {"apparmorProfile": "cri-containerd.apparmor.d"},
		"annotations": {"io.kubernetes.cri.sandbox-namespace": "kube-system", "oci-apparmor/policy": "web"}}`)
	m.run("policy", "explain", "--bundle", "b1")
	m.note("by a policy that is not applied")
	m.run("policy", "explain", "--bundle", "b1", "--config", "etc/policy.yaml")
	m.run("policy", "explain", "--bundle", "b1", "--config", "etc", "--root", "/run/containerd/runc/k8s.io")
	m.write("b1/config.json", `{"process": {}, "annotations": {"oci-apparmor/policy": "keep"}}`)
	m.run("policy", "explain", "--bundle", "b1", "--config", "etc")
	m.note("a spec that tries to write to the terminal")
	m.write("b1/config.json", `{"process": {"apparmorProfile": "x\u001b[31m\nlabel     web"}}`)
	m.run("policy", "explain", "--bundle", "b1", "--config", "other")
	m.write("b1/config.json", `{"process": `)
	m.run("policy", "explain", "--bundle", "b1", "--config", "etc")
	m.run("policy", "explain", "--bundle", "b2", "--config", "etc")
	m.note("an annotation with a slip of the pen")
	m.write("b1/config.json", `{"process": {}, "annotations": {"oci-apparmor/polcy": "web",
		"oci-apparmor/polcy.side": "web", "oci-apparmor/policy.side": "web",
		"oci-apparmor/policy.": "", "oci-apparmor/\u001b": ""}}`)
	m.run("policy", "explain", "--bundle", "b1", "--config", "other")
	m.golden(dir)
}

func TestShow(t *testing.T) {
	dir := packageDir(t)
	m := newShop(t)
	m.run("policy", "show")
	m.run("policy", "apply", "--quiet")
	m.note("another kernel is booted")
	m.Uname = "6.13.0"
	m.run("policy", "show")
	m.run("policy", "apply", "--quiet")
	_, out := m.run("policy", "show")
	if strings.Contains(out, "warning") {
		t.Error("the warning outlives an apply")
	}
	m.note("many rules")
	var many strings.Builder
	many.WriteString("version: 1\nassign:\n")
	for i := range 30 {
		many.WriteString("  - {namespace: n" + string(rune('a'+i/10)) + string(rune('0'+i%10)) + ", policy: keep}\n")
	}
	m.write("etc/policy.yaml", many.String())
	m.run("policy", "apply")
	if _, out := m.run("policy", "show"); strings.Count(out, "namespace") != 30 {
		t.Error("show does not show all rules")
	}
	m.golden(dir)
}

func TestWrongCommandLines(t *testing.T) {
	dir := packageDir(t)
	m := newShop(t)
	for _, args := range [][]string{
		{"policy", "aply"},
		{"policy", "apply", "etc"},
		{"policy", "apply", "--store"},
		{"policy", "explain", "--annotation", "oci-apparmor/policy"},
		{"policy", "explain", "--engine", "lxc"},
		{"policy", "explain", "--engine-choice", "RuntimeDefault"},
		{"policy", "explain", "--sandbox", "--image", "nginx"},
		{"policy", "explain", "--pid", "x"},
		{"policy", "explain", "--pid", "-1"},
		{"policy", "explain", "--bundle", ".", "--namespace", "a"},
		{"policy", "explain", "--config", "etc", "--store", "store"},
		{"policy", "check", "--features", "features"},
		{"policy", "explain", "--label", "app"},
		{"policy", "explain", "--privileged=maybe"},
		{"policy", "check", "one", "two"},
		{"profile", "lsit"},
		{"profile", "learn", "strat"},
		{"lsit"},
		{"profile", "diff", "--features", "features", "kernel:web", "node:docker-default"},
		{"version", "please"},
		{"help", "polcy"},
		{"help", "policy", "aply"},
		{"nothing"},
	} {
		if code, out := m.run(args...); code != exit.Usage || out != "" {
			t.Errorf("%q: exit code %d, stdout %q", args, code, out)
		}
	}
	m.golden(dir)
}

// Whoever asks by a file of policies gets no hash of what was not compiled.
func TestExplainByFileHasNoHashes(t *testing.T) {
	m := newShop(t)
	code, out := m.run("policy", "explain", "--config", "etc", "--annotation", "oci-apparmor/policy=web", "--privileged=partly", "--json")
	if code != 0 || !strings.Contains(out, `"docker-nginx"`) || strings.Contains(out, `"blob"`) {
		t.Errorf("exit code %d, %s%s", code, out, &m.errOut)
	}
	if _, out := m.run("policy", "explain", "--config", "etc", "--engine-choice", ""); strings.Contains(out, "name it by --engine-choice") {
		t.Errorf("it was said that the engine chose none:\n%s", out)
	}
}

// Help is read on terminals of 80 columns: no line of a paragraph is longer, and none much shorter than the next one
// lets it be.
func TestHelpFitsATerminal(t *testing.T) {
	var each func(cmd *cobra.Command)
	each = func(cmd *cobra.Command) {
		lines := strings.Split(cmd.Long, "\n")
		for i, line := range lines {
			if len(line) > 88 {
				t.Errorf("%s: %d columns: %s", cmd.CommandPath(), len(line), line)
			}
			if i+1 == len(lines) || line == "" || line[0] == ' ' || lines[i+1] == "" || lines[i+1][0] == ' ' {
				continue
			}
			if word, _, _ := strings.Cut(lines[i+1], " "); len(line)+1+len(word) < 68 {
				t.Errorf("%s: a line ends early: %s", cmd.CommandPath(), line)
			}
		}
		for _, sub := range cmd.Commands() {
			each(sub)
		}
	}
	each(rootCommand(newMachine(t).session))
	m := newMachine(t)
	if _, out := m.run("policy", "explain", "--help"); !strings.Contains(out, "--privileged[=yes] ") {
		t.Errorf("help of explain:\n%s", out)
	}
}

func TestSchemaAndVersion(t *testing.T) {
	m := newMachine(t)
	if code, out := m.run("policy", "schema"); code != 0 || !json.Valid([]byte(out)) {
		t.Errorf("exit code %d, schema %.100q", code, out)
	}
	if code, out := m.run("--version"); code != 0 || out != "oci-apparmor "+version.String()+"\n" {
		t.Errorf("--version: exit code %d, stdout %q", code, out)
	}
	if code, out := m.run("version"); code != 0 || !strings.HasPrefix(out, "oci-apparmor ") {
		t.Errorf("exit code %d, version %q", code, out)
	}
}

func TestWithoutRights(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	m := newShop(t)
	if err := os.Mkdir("closed", 0o500); err != nil {
		t.Fatal(err)
	}
	if code, _ := m.run("policy", "apply", "--store", "closed/store"); code != exit.Cannot {
		t.Errorf("exit code %d", code)
	}
	if got := m.errOut.String(); !strings.HasSuffix(got, "permission denied: run this as root\n") ||
		strings.Count(got, "\n") != 1 {
		t.Errorf("error %q", got)
	}
}

func TestProgressOnATerminalIsOneLine(t *testing.T) {
	m := newShop(t)
	m.live = true
	m.run("policy", "apply")
	got := m.errOut.String()
	if strings.Contains(got, "\n") || !strings.HasSuffix(got, "compiling profiles: 3 of 3: node-baseline\r\x1b[K") {
		t.Errorf("stderr is %q", got)
	}
	if strings.ContainsRune(m.out.String(), '\x1b') {
		t.Error("stdout has terminal sequences in it")
	}
}

// A container under a profile that lets nobody signal it could not be stopped by anyone.
func TestProfileUnderWhichNothingCanBeStopped(t *testing.T) {
	const features = "/etc/apparmor.d/abi/3.0"
	text, err := os.ReadFile(features)
	if err != nil {
		t.Skipf("no kernel features to compile for: %v", err)
	}
	if _, err := profile.NewCompiler(text); err != nil {
		t.Skipf("no parser: %v", err)
	}
	m := newShop(t)
	m.CompilerOf = node.This().CompilerOf
	m.write("etc/profiles/docker-nginx", "\nprofile docker-nginx {\n  file,\n}\n")
	for _, args := range [][]string{{"policy", "apply", "--features", features},
		{"policy", "check", "--compile", "--features", features, "--config", "etc"}} {
		code, _ := m.run(args...)
		if said := m.errOut.String(); code != exit.BadPolicy || !strings.Contains(said, "etc/profiles/docker-nginx:2: an unconfined runtime cannot kill what runs under profile docker-nginx") ||
			!strings.Contains(said, "add signal (receive) peer={unconfined,runc,crun},") || !strings.Contains(said, ": docker-nginx: refused\n") {
			t.Errorf("%q: exit code %d, %s", args, code, said)
		}
	}
	if _, err := (store.Store{Dir: "store"}).Current(); !errors.Is(err, store.ErrNone) {
		t.Errorf("in force is a policy: %v", err)
	}
	for what, change := range map[string]func(){
		"what is to add": func() {
			m.write("etc/profiles/docker-nginx", "profile docker-nginx {\n  file,\n  signal (receive) peer={unconfined,runc,crun},\n}\n")
		},
		"complain mode": func() { // which is how one begins to write a profile
			m.write("etc/policy.yaml", strings.Replace(shop, "{profile: docker-nginx}", "{profile: docker-nginx, mode: complain}", 1))
			m.write("etc/profiles/docker-nginx", "profile docker-nginx {\n}\n")
		},
	} {
		change()
		if code, _ := m.run("policy", "apply", "--features", features); code != 0 {
			t.Errorf("%s: exit code %d, %s", what, code, m.errOut.String())
		}
	}
}

// What a file's profile takes no signal from is said before anything runs under it, as policy load says it of what is
// loaded.
func TestApplySaysWhoseSignalsAreRefused(t *testing.T) {
	const features = "/etc/apparmor.d/abi/3.0"
	text, err := os.ReadFile(features)
	if err != nil {
		t.Skipf("no kernel features to compile for: %v", err)
	}
	c, err := profile.NewCompiler(text)
	if err != nil {
		t.Skipf("no parser: %v", err)
	}
	m := newShop(t)
	m.CompilerOf = func([]byte) (node.Compiler, error) { return c, nil }
	const head = "profile docker-nginx {\n  file,\n  signal (receive) peer={unconfined,runc,crun},\n"
	warned := func(want bool, args ...string) {
		t.Helper()
		code, _ := m.run(args...)
		said := m.errOut.String()
		if code != 0 || strings.Contains(said, "oci-apparmor: profile docker-nginx refuses signals from programs under the label \"podman\", "+
			"which AppArmor gives to /usr/bin/podman here") != want {
			t.Errorf("%q: exit code %d, want a warning: %v: %s", args, code, want, said)
		}
		if strings.Contains(said, "docker-default refuses") || strings.Contains(said, "node-baseline refuses") {
			t.Errorf("%q: of what is generated, or takes all signals: %s", args, said)
		}
	}
	m.write("etc/profiles/node-baseline", "profile node-baseline {\n  file,\n  signal,\n}\n")
	m.write("etc/profiles/docker-nginx", head+"}\n")
	m.attach("podman")
	warned(false, "policy", "apply") // there is no such program on the node
	m.write("programs/usr/bin/podman", "")
	warned(true, "policy", "apply") // also where nothing is compiled again
	warned(true, "policy", "apply", "--dry-run")
	warned(true, "policy", "check", "--compile")
	warned(false, "policy", "apply", "--quiet")
	warned(false, "policy", "apply", "--store", "elsewhere")
	m.write("etc/profiles/docker-nginx", head+"  signal (receive) set=(term) peer=podman,\n}\n")
	warned(true, "policy", "apply")
	m.write("etc/profiles/docker-nginx", head+"  signal (receive) peer=podman,\n}\n")
	warned(false, "policy", "apply")
}

// Profiles are compiled for the features of a kernel, of which the text says nothing.
func TestApplyForAnotherKernel(t *testing.T) {
	text, err := os.ReadFile("/etc/apparmor.d/abi/3.0")
	if err != nil {
		t.Skipf("no kernel features to compile for: %v", err)
	}
	if _, err := profile.NewCompiler(text); err != nil {
		t.Skipf("no parser: %v", err)
	}
	older := regexp.MustCompile(`(?m)^ptrace \{[^{}]*(\{[^{}]*\}[^{}]*)*\}\n?`).ReplaceAllString(string(text), "")
	if older == string(text) {
		t.Fatal("these features have no ptrace to leave out")
	}
	m := newShop(t)
	m.CompilerOf = node.This().CompilerOf
	var blobs [2][]byte
	var features [2]string
	for i, text := range []string{string(text), older} {
		m.write("features", text)
		if code, out := m.run("policy", "apply", "--features", "features"); code != 0 {
			t.Fatalf("exit code %d, %s%s", code, out, m.errOut.String())
		}
		g, err := store.Store{Dir: "store"}.Current()
		if err != nil {
			t.Fatal(err)
		}
		if g.Number != uint64(i+1) {
			t.Errorf("generation %d, want %d", g.Number, i+1)
		}
		p, _ := g.Index.Profile("docker-nginx")
		man, err1 := g.Manifest()
		data, err2 := g.Blob(p)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		blobs[i], features[i] = data, man.Features
	}
	if bytes.Equal(blobs[0], blobs[1]) || features[0] == features[1] {
		t.Error("two kernels with other features got the same")
	}
}

func TestApplyWithTheRealParser(t *testing.T) {
	const features = "/etc/apparmor.d/abi/3.0"
	if _, err := os.Stat(features); err != nil {
		t.Skipf("no kernel features to compile for: %v", err)
	}
	if _, err := profile.NewCompiler([]byte("caps {mask {chown\n}\n}\n")); err != nil {
		t.Skipf("no parser: %v", err)
	}
	m := newShop(t)
	m.CompilerOf = node.This().CompilerOf
	if code, out := m.run("policy", "apply", "--features", features); code != 0 {
		t.Fatalf("exit code %d, %s%s", code, out, m.errOut.String())
	}
	s := store.Store{Dir: "store"}
	g, err := s.Current()
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Index.Config()
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Profiles) != 3 {
		t.Errorf("%d profiles, want docker-default, docker-nginx and node-baseline", len(p.Profiles))
	}
	for _, pr := range p.Profiles {
		data, err := g.Blob(pr)
		if err != nil {
			t.Fatal(err)
		}
		blob, err := profile.Parse(data)
		if err != nil {
			t.Fatalf("%s: %v", pr.Name, err)
		}
		if err := blob.Check(pr.Name, pr.Mode); err != nil {
			t.Error(err)
		}
		if len(pr.Compiled) != len(blob.Profiles) || pr.Compiled[0] != blob.Profiles[0] {
			t.Errorf("%s: the index has %+v, and the blob %+v", pr.Name, pr.Compiled, blob.Profiles)
		}
	}
	man, err := g.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("apparmor_parser", "--version").Output(); err == nil &&
		!strings.Contains(string(out), man.Parser) {
		t.Errorf("the manifest names parser %q, and it is %s", man.Parser, out)
	}
	if time.Since(man.Applied) > time.Hour || man.Kernel != "" || len(man.Features) != 64 {
		t.Errorf("manifest %+v", man)
	}
	if code, out := m.run("policy", "apply", "--features", features); code != 0 ||
		!strings.HasPrefix(out, "generation 1 stays in force") {
		t.Errorf("the same again: exit code %d, %s%s", code, out, m.errOut.String())
	}
}

// policy check, policy test, policy diff and policy apply give one answer about who could have written the files.
func TestCheckRefusesFilesOfOthersAsApplyDoes(t *testing.T) {
	m := newShop(t)
	if code, _ := m.run("policy", "check"); code != 0 {
		t.Fatal(m.errOut.String())
	}
	if err := os.Chmod("etc/policy.yaml", 0o664); err != nil {
		t.Fatal(err)
	}
	m.write("features", "caps {mask {chown\n}\n}\n")
	code, _ := m.run("policy", "apply", "--quiet")
	refused, _, _ := strings.Cut(m.errOut.String(), "\n")
	if code != exit.Cannot || !strings.Contains(refused, "chmod go-w") {
		t.Fatalf("policy apply: exit code %d, %s", code, refused)
	}
	for _, args := range [][]string{{"policy", "check"}, {"policy", "check", "--compile"}, {"policy", "check", "--config", "etc"}, {"policy", "check", "--config", "etc/policy.yaml"},
		{"policy", "test"}, {"policy", "test", "etc/policy.yaml"}} {
		if code, out := m.run(args...); code != exit.Cannot || !strings.HasPrefix(m.errOut.String(), refused) || out != "" {
			t.Errorf("%q: exit code %d, %s%s", args, code, out, m.errOut.String())
		}
	}
	if code, out := m.run("policy", "diff", "etc", "etc"); code != exit.Usage || !strings.HasPrefix(m.errOut.String(), refused) || out != "" {
		t.Errorf("policy diff: exit code %d, %s%s", code, out, m.errOut.String())
	}
	if code, _ := m.run("policy", "check", "--compile", "--features", "features"); code != 0 || !strings.Contains(m.errOut.String(), "policy apply would refuse this here: ") {
		t.Errorf("for another node: exit code %d, %s", code, m.errOut.String())
	}
	m.Root, m.Config = false, "elsewhere"
	if code, _ := m.run("policy", "check", "--config", "etc"); code != 0 {
		t.Errorf("somebody's own copy: exit code %d, %s", code, m.errOut.String())
	}
}

// A profile with the name of Docker's own does not stop an apply, but the containers that get it would not start.
func TestApplyWarnsOfAProfileThatAnEngineLoads(t *testing.T) {
	m, k := newProfiles(t)
	m.write("etc/policy.yaml", "version: 1\nassign:\n  - policy: baseline\n")
	const warning = "containers that get profile docker-default will not start: Docker loads a profile of this name itself"
	if code, _ := m.run("policy", "apply"); code != 0 || strings.Contains(m.errOut.String(), warning) {
		t.Errorf("where no engine has loaded it: exit code %d, %s", code, m.errOut.String())
	}
	k.Load(t, kerneltest.Blob("x", "docker-default"))
	if code, _ := m.run("policy", "apply"); code != 0 || !strings.Contains(m.errOut.String(), warning) {
		t.Errorf("exit code %d, %s", code, m.errOut.String())
	}
	m.write("etc/policy.yaml", "version: 1\nprofiles: {docker-default: {template: docker-default, onDrift: replace}}\n"+
		"assign:\n  - policy: baseline\n")
	if code, _ := m.run("policy", "apply"); code != 0 || strings.Contains(m.errOut.String(), warning) {
		t.Errorf("where it may be replaced: exit code %d, %s", code, m.errOut.String())
	}
}
