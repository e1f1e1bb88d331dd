package command

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

// daemonTask makes up a process that is no container's, unless its ids in pid namespaces or its control group say so.
func (m *machine) daemonTask(pid int, command, label, nspid, cgroup string) {
	m.task(pid, command, label, "")
	m.write(fmt.Sprint(m.Kernel.Proc, "/", pid, "/status"), "Name:\t"+command+"\nUid:\t0\t0\t0\t0\nNSpid:\t"+nspid+"\nThreads:\t1\n")
	m.write(fmt.Sprint(m.Kernel.Proc, "/", pid, "/cgroup"), "0::"+cgroup+"\n")
}

// Generated profiles take signals from the engine's daemon under its label.
func TestDaemonsLabelIsInGeneratedProfiles(t *testing.T) {
	const service = "/system.slice/docker.service"
	container := "/docker/" + strings.Repeat("0a", 32)
	for name, tc := range map[string]struct {
		tasks func(m *machine)
		label string // with commas between them; "" for those that every node has
		says  string
	}{
		"no daemon": {func(m *machine) { m.daemonTask(7, "bash", "other (enforce)", "7", "/") }, "", ""},
		"one that is unconfined": {func(m *machine) {
			m.daemonTask(7, "dockerd", "unconfined", "7", service)
		}, "", ""},
		"one under a label, twice, in any mode": {func(m *machine) {
			m.daemonTask(7, "dockerd", "snap.docker.dockerd (enforce)", "7", service)
			m.daemonTask(8, "containerd", "snap.docker.dockerd (complain)", "8", service)
		}, "snap.docker.dockerd", ""},
		"one under a stack, beside one that is unconfined": {func(m *machine) {
			m.daemonTask(7, "crio", "crio//&node (mixed)", "7", service)
			m.daemonTask(8, "containerd", "unconfined", "8", service)
		}, "crio//&node", ""},
		"several": {func(m *machine) {
			m.daemonTask(7, "dockerd", "docker (enforce)", "7", service)
			m.daemonTask(8, "containerd", "containerd (enforce)", "8", service)
		}, "containerd,docker", ""},
		"one whose label would be a rule of its own": {func(m *machine) {
			m.daemonTask(7, "dockerd", "{a,b} (enforce)", "7", service)
		}, "", "{a,b}, which cannot be written into a rule"},
		"those that root has not started": {func(m *machine) {
			m.daemonTask(7, "dockerd", "docker (enforce)", "7", service)
			for i, uids := range []string{"1000\t1000\t1000\t1000", "1000\t0\t0\t0", "0\t1000\t0\t1000", "0"} {
				pid := 8 + i
				m.daemonTask(pid, "dockerd", "mine (enforce)", fmt.Sprint(pid), "/user.slice")
				m.write(fmt.Sprint(m.Kernel.Proc, "/", pid, "/status"),
					fmt.Sprintf("Name:\tdockerd\\nUid:\t0\t0\t0\t0\nUid:\t%s\nNSpid:\t%d\n", uids, pid))
			}
		}, "docker", ""},
		"those in containers": {func(m *machine) {
			m.daemonTask(7, "dockerd", "web (enforce)", "7\t1", "/")
			m.daemonTask(8, "dockerd", "web (enforce)", "8", container)
		}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			tc.tasks(m)
			node, _, notice := m.Generated(node.LastManifest("store"), nil)
			if got := strings.Join(node.Senders, ","); got != tc.label || !strings.Contains(notice, tc.says) || (notice == "") != (tc.says == "") {
				t.Errorf("%+v and %q", node, notice)
			}
			m.wantSenders(strings.FieldsFunc(tc.label, func(c rune) bool { return c == ',' })...)
		})
	}
}

// wantSenders checks from whom a profile that is generated takes signals, besides what every node has.
func (m *machine) wantSenders(labels ...string) {
	m.t.Helper()
	_, text := m.run("profile", "show", "docker-default", "--text")
	for _, label := range append(templates.Stoppers(), labels...) {
		if rule := "  signal (receive) peer=\"" + label + "\",\n"; !strings.Contains(text, rule) {
			m.t.Errorf("no rule %q in\n%s", rule, text)
		}
	}
	if n := strings.Count(text, "signal (receive) peer="); n != len(templates.Stoppers())+len(labels) {
		m.t.Errorf("%d rules for who may signal the container, want those for %q and %q:\n%s", n, templates.Stoppers(), labels, text)
	}
}

// attach puts a profile that takes hold of the program of its name into the made-up kernel, which keeps no loads.
func (m *machine) attach(name string) {
	m.load(name, [32]byte{})
	m.write("securityfs/policy/profiles/"+name+".7/attach", "<unknown>\n")
	m.write("securityfs/profiles", "lsb_release (enforce)\n"+name+" (unconfined)\n")
}

// Generated profiles take signals from the labels that AppArmor gives to programs of engines and runtimes, whether these
// run or not, and are on the node or not: by what is loaded, and by what AppArmor's service has still to load.
func TestAttachedLabelsAreInGeneratedProfiles(t *testing.T) {
	m := newMachine(t)
	m.write("etc/policy.yaml", "version: 1\nprofiles:\n  base: {template: docker-default}\npolicies:\n  base: {profile: base}\n"+
		"assign:\n  - policy: base\n")
	m.attach("podman")
	m.attach("firefox")
	m.wantSenders("podman")

	m.write("apparmor.d/buildah", "abi <abi/4.0>,\ninclude <tunables/global>\nprofile buildah /usr/bin/buildah flags=(unconfined) {\n  userns,\n}\n")
	m.write("apparmor.d/podman", "profile podman /opt/podman { }\n") // the kernel knows better
	m.write("apparmor.d/disable/ctr", "")
	m.write("apparmor.d/ctr", "profile ctr /usr/bin/ctr { }\n")
	m.wantSenders("buildah", "podman")
	m.daemonTask(7, "dockerd", "docker (enforce)", "7", "/system.slice/docker.service")
	m.wantSenders("buildah", "docker", "podman")

	// Another apply without the daemon and with other profiles keeps the daemon's label, and no other that is gone.
	if code, _ := m.run("policy", "apply", "--quiet"); code != 0 {
		t.Fatal(m.errOut.String())
	}
	for _, gone := range []string{"proc/7", "apparmor.d/buildah"} {
		if err := os.RemoveAll(gone); err != nil {
			t.Fatal(err)
		}
	}
	if code, _ := m.run("policy", "apply", "--quiet"); code != 0 {
		t.Fatal(m.errOut.String())
	}
	if got := node.LastManifest("store"); strings.Join(got.Senders(), ",") != "docker,podman" {
		t.Errorf("it is generated for %q", got.Senders())
	}

	// One whose name means something in a rule.
	m.load("odd", [32]byte{})
	m.write("securityfs/policy/profiles/odd.7/name", "/usr/bin/{podman,ctr}\n")
	m.write("securityfs/policy/profiles/odd.7/attach", "/usr/bin/{podman,ctr}\n")
	if code, out := m.run("policy", "apply"); code != 0 || strings.Contains(out, "cannot be written") {
		t.Errorf("a name that is a pattern, of a kernel that keeps no loads: exit code %d, %s", code, out)
	}
}

// A sender that came after the apply is reported by policy load.
func TestPolicyLoadReportsWhoseSignalsAreRefused(t *testing.T) {
	m, k := newBoots(t)
	m.write("etc/policy.yaml", "version: 1\nprofiles:\n  base: {template: docker-default}\n  web: {file: profiles/web}\n"+
		"  work: {file: profiles/work}\npolicies:\n  base: {profile: base}\n  web: {profile: web}\n"+
		"  watch: {profile: work, mode: complain}\nassign:\n  - policy: base\n    request: [web, watch]\n")
	if code, _ := m.run("policy", "apply", "--quiet"); code != 0 {
		t.Fatal(m.errOut.String())
	}
	asked := map[string]bool{}
	m.Kernel.QueryAccess = func(query string) (string, error) {
		asked[query] = true
		if strings.HasSuffix(query, "podman") {
			return "allow 0x00000002\ndeny 0x00000000\n", nil
		}
		return "allow 0x00008006\ndeny 0x00000000\n", nil
	}
	load := func() string {
		if code, _ := m.run("policy", "load", "--quiet"); code != 0 {
			t.Errorf("exit code %d", code)
		}
		return m.errOut.String()
	}
	k.Load(t, kerneltest.Attached("", "podman", "/usr/bin/podman"))
	k.Load(t, kerneltest.Attached("", "crun", "/usr/bin/crun"))
	if said := load(); strings.Contains(said, "signals") {
		t.Errorf("with no such program on the node it says %s", said)
	}
	m.write("programs/usr/bin/podman", "")
	m.write("programs/usr/bin/crun", "")
	said := load()
	for _, want := range []string{
		`profile base refuses signals from programs under the label "podman", which AppArmor gives to /usr/bin/podman here`,
		"stop what runs under the profile: run oci-apparmor policy apply and policy load\n",
		`add signal (receive) peer="podman", to profiles/web, and run`,
	} {
		if !strings.Contains(said, want) {
			t.Errorf("policy load says\n%swant %s", said, want)
		}
	}
	if strings.Contains(said, "crun") || strings.Contains(said, "work") {
		t.Errorf("policy load says of what is allowed\n%s", said)
	}
	if !asked["label\x00web\x00\x0a\x0fpodman"] || !asked["label\x00web\x00\x0a\x09unconfined"] {
		t.Errorf("the kernel was asked %v", asked)
	}
}

// What an apply has generated can be generated again, whatever runs by then; and an apply at boot, before the engine is
// there, gives what the one before gave.
func TestDaemonsLabelIsKept(t *testing.T) {
	m := newMachine(t)
	m.write("etc/policy.yaml", "version: 1\nprofiles:\n  base: {template: docker-default}\npolicies:\n  base: {profile: base}\n"+
		"assign:\n  - policy: base\n")
	m.daemonTask(7, "dockerd", "docker (enforce)", "7", "/")
	if code, _ := m.run("policy", "apply", "--quiet"); code != 0 {
		t.Fatal(m.errOut.String())
	}
	const rule = "signal (receive) peer=\"docker\","
	shown := func() string {
		_, text := m.run("profile", "show", "base", "--text")
		return text
	}
	first := shown()
	if !strings.Contains(first, rule) {
		t.Errorf("no rule %q in\n%s", rule, first)
	}
	m.daemonTask(7, "dockerd", "other (enforce)", "7", "/")
	if again := shown(); again != first {
		t.Errorf("what was generated is shown as\n%s", again)
	}
	if err := os.RemoveAll("proc/7"); err != nil {
		t.Fatal(err)
	}
	if code, _ := m.run("policy", "apply", "--quiet"); code != 0 {
		t.Fatal(m.errOut.String())
	}
	if again := shown(); again != first {
		t.Errorf("an apply without a daemon has generated\n%s", again)
	}
	m.daemonTask(7, "dockerd", "other (enforce)", "7", "/")
	m.daemonTask(8, "crio", "crio (enforce)", "8", "/")
	if code, _ := m.run("policy", "apply", "--quiet"); code != 0 {
		t.Error(m.errOut.String())
	}
	if _, out := m.run("policy", "show"); !strings.Contains(out, "to take signals from crio, other, too") {
		t.Errorf("policy show says %s", out)
	}
}

// What is made for another node has the label of that node's daemon, as far as it is known, and not of this one's.
func TestDaemonsLabelIsNotOfAnotherNode(t *testing.T) {
	m := newMachine(t)
	m.write("etc/policy.yaml", "version: 1\nprofiles:\n  base: {template: docker-default}\npolicies:\n  base: {profile: base}\n"+
		"assign:\n  - policy: base\n")
	m.write("features", "caps {mask {chown\n}\n}\n")
	m.daemonTask(7, "dockerd", "docker (enforce)", "7", "/")
	labelIn := func(dir string, args ...string) string {
		if code, _ := m.run(append([]string{"policy", "apply", "--quiet"}, args...)...); code != 0 {
			t.Fatal(m.errOut.String())
		}
		return strings.Join(node.LastManifest(dir).Daemons, ",")
	}
	if got := labelIn("store"); got != "docker" {
		t.Errorf("this node's is %q", got)
	}
	if got := labelIn("elsewhere", "--store", "elsewhere"); got != "" {
		t.Errorf("that of another store is %q", got)
	}
	if got := labelIn("other", "--features", "features", "--store", "other"); got != "" {
		t.Errorf("that of other features is %q", got)
	}
	m.daemonTask(7, "dockerd", "changed (enforce)", "7", "/")
	if got := labelIn("store", "--features", "features"); got != "docker" {
		t.Errorf("with other features, the last is %q", got)
	}
	var texts string
	made := m.CompilerOf
	m.CompilerOf = func(features []byte) (node.Compiler, error) {
		c, err := made(features)
		return watchedCompiler{c, &texts}, err
	}
	code, _ := m.run("policy", "check", "--compile", "--features", "features")
	if code != 0 || !strings.Contains(texts, `peer="docker"`) || strings.Contains(texts, `peer="changed"`) {
		t.Errorf("exit code %d, %s, checked was\n%s", code, m.errOut.String(), texts)
	}
}

// watchedCompiler keeps the texts that it compiles.
type watchedCompiler struct {
	node.Compiler
	texts *string
}

func (c watchedCompiler) Compile(ctx context.Context, name string, mode profile.Mode, source string, text []byte) (
	profile.Blob, error) {
	*c.texts += string(text)
	return c.Compiler.Compile(ctx, name, mode, source, text)
}
