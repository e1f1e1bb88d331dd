package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// daemonTask makes up a process that is no container's, unless its ids in pid namespaces or its control group say so.
func (m *machine) daemonTask(pid int, command, label, nspid, cgroup string) {
	m.task(pid, command, label, "")
	m.write(fmt.Sprint(m.kernel.Proc, "/", pid, "/status"), "Name:\t"+command+"\nUid:\t0\t0\t0\t0\nNSpid:\t"+nspid+"\nThreads:\t1\n")
	m.write(fmt.Sprint(m.kernel.Proc, "/", pid, "/cgroup"), "0::"+cgroup+"\n")
}

// Generated profiles take signals from the engine's daemon under its label.
func TestDaemonsLabelIsInGeneratedProfiles(t *testing.T) {
	const service = "/system.slice/docker.service"
	container := "/docker/" + strings.Repeat("0a", 32)
	for name, tc := range map[string]struct {
		tasks func(m *machine)
		label string // "" for unconfined alone
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
		}, "", "several labels (containerd, docker)"},
		"one whose label would be a rule of its own": {func(m *machine) {
			m.daemonTask(7, "dockerd", "{a,b} (enforce)", "7", service)
		}, "", "{a,b}, which cannot be written"},
		"those that root has not started": {func(m *machine) {
			m.daemonTask(7, "dockerd", "docker (enforce)", "7", service)
			for i, uids := range []string{"1000\t1000\t1000\t1000", "1000\t0\t0\t0", "0\t1000\t0\t1000", "0"} {
				pid := 8 + i
				m.daemonTask(pid, "dockerd", "mine (enforce)", fmt.Sprint(pid), "/user.slice")
				m.write(fmt.Sprint(m.kernel.Proc, "/", pid, "/status"),
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
			node, notice := m.generatedFor(lastManifest("store"))
			if node.Daemon != tc.label || !strings.Contains(notice, tc.says) || (notice == "") != (tc.says == "") {
				t.Errorf("%+v and %q", node, notice)
			}
			_, text := m.run("profile", "show", "docker-default", "--text")
			if rule := "  signal (receive) peer=\"" + tc.label + "\",\n"; tc.label != "" && !strings.Contains(text, rule) {
				t.Errorf("no rule %q in\n%s", rule, text)
			}
			if n := strings.Count(text, "signal (receive) peer="); n != 4 {
				t.Errorf("%d rules for who may signal the container, want those for unconfined, runc, crun and the daemon", n)
			}
		})
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
	if code, out := m.run("policy", "apply"); code != 0 || !strings.Contains(out, "several labels (crio, other)") {
		t.Errorf("exit code %d, %s%s", code, out, m.errOut.String())
	}
	if _, out := m.run("policy", "show"); strings.Contains(out, "daemon") {
		t.Errorf("the label is still known: %s", out)
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
		return lastManifest(dir).Daemon
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
	made := m.node.compiler
	m.node.compiler = func(features []byte) (compiler, error) {
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
	compiler
	texts *string
}

func (c watchedCompiler) Compile(ctx context.Context, name string, mode profile.Mode, source string, text []byte) (
	profile.Blob, error) {
	*c.texts += string(text)
	return c.compiler.Compile(ctx, name, mode, source, text)
}
