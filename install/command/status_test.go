package command

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// newNodeWithContainers is a machine with some profiles, processes and containers of several engines.
func newNodeWithContainers(t *testing.T) *machine {
	t.Helper()
	m := newShop(t)
	m.Kernel.Proc = "proc"
	m.Detect = m.Kernel.Detect
	m.screen = func() screen { return screen{width: 80} }
	m.Pause = time.Millisecond
	m.run("policy", "apply", "--quiet")
	m.transcript.Reset()
	g, err := store.Store{Dir: "store"}.Current()
	if err != nil {
		t.Fatal(err)
	}
	m.write("securityfs/profiles", "docker-default (enforce)\ndocker-nginx (enforce)\nnode-baseline (enforce)\n"+
		"docker-nginx//helper (enforce)\n/usr/sbin/cupsd (complain)\ncrun (unconfined)\n:lxd:\x1b[31m (user)\n")
	for _, name := range []string{"docker-nginx", "node-baseline"} {
		p, ok := g.Index.Profile(name)
		if !ok {
			t.Fatal("no profile", name)
		}
		m.load(name, p.Compiled[0].SHA256)
	}
	m.process(1, "unconfined", "/init.scope", "1", "/sbin/init")
	m.process(300, "/usr/sbin/cupsd (complain)", "/system.slice/cups.service", "1", "/usr/sbin/cupsd")

	m.runtime("run/runc", "web-1", 710)
	m.record("run/runc", "web-1", "web", "docker-nginx", "node-baseline")
	m.process(710, "docker-nginx//&node-baseline (enforce)", "/web-1", "2", "/usr/sbin/nginx")
	m.process(711, "docker-nginx//&node-baseline (enforce)", "/web-1", "2", "/usr/sbin/nginx")
	m.process(300710, "docker-default (enforce)", "/web-1", "2", "/bin/\x1b]0;owned\a")

	docker := strings.Repeat("0123456789abcdef", 4)
	m.runtime("run/docker/runtime-runc/moby", docker, 720)
	m.write("docker/containers/"+docker+"/config.v2.json", `{"ID": "`+docker+`", "Name": "/a-rather-long-name-of-a-container-that-does-not-fit"}`)
	m.process(720, "docker-default (enforce)", "/system.slice/docker-"+docker+".scope", "3", "/usr/bin/sleep")

	pod := strings.Repeat("f", 64)
	m.runtime("run/containerd/runc/k8s.io", pod, 730)
	m.write("run/containerd/io.containerd.runtime.v2.task/k8s.io/"+pod+"/config.json", `{"process": {}, "annotations": {
		"io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.cri.sandbox-name": "front-0",
		"io.kubernetes.cri.container-name": "web", "io.kubernetes.cri.image-name": "nginx:1"}}`)
	m.process(730, "unconfined", "/kubepods/pod1/"+pod, "4", "/usr/bin/app")
	return m
}

func (m *machine) process(pid int, label, group, pidns, exe string) {
	m.t.Helper()
	dir := fmt.Sprintf("proc/%d/", pid)
	m.write(dir+"attr/apparmor/current", label+"\n")
	m.write(dir+"cgroup", "0::"+group+"\n")
	m.link(dir+"ns/pid", "pid:["+pidns+"]")
	m.link(dir+"exe", exe)
}

func (m *machine) link(name, to string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Symlink(to, name); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) runtime(root, id string, pid int) {
	m.t.Helper()
	m.write(root+"/"+id+"/state.json", fmt.Sprintf(`{"id": %q, "init_process_pid": %d}`, id, pid))
}

// record makes what is remembered of a container with these profiles, which the kernel has had since.
func (m *machine) record(root, id, policy string, profiles ...string) {
	m.t.Helper()
	g, err := store.Store{Dir: "store"}.Current()
	if err != nil {
		m.t.Fatal(err)
	}
	held := make(map[string]any)
	for _, name := range profiles {
		p, _ := g.Index.Profile(name)
		c := p.Compiled[0]
		info, err := os.Stat("securityfs/policy/profiles/" + name + ".7")
		if err != nil {
			m.t.Fatal(err)
		}
		held[name] = map[string]any{"dir": name + ".7", "since": info.ModTime().UnixNano(), "compiled": map[string]string{
			name: fmt.Sprintf("%x %x %s", c.SHA1, c.SHA256, c.Mode)}}
	}
	data, err := json.Marshal(map[string]any{"id": id, "root": root, "created": "2026-11-23T00:00:00Z", "pid": 1, "started": "0",
		"generation": g.Number, "policy": policy, "reason": policy + ": assigned", "label": strings.Join(profiles, "//&"), "profiles": held})
	if err != nil {
		m.t.Fatal(err)
	}
	m.write("run/containers/"+id+".json", string(data))
}

func TestStatus(t *testing.T) {
	dir := packageDir(t)
	m := newNodeWithContainers(t)
	if code, out := m.run("status"); code != 0 || strings.ContainsRune(out, '\x1b') {
		t.Errorf("exit code %d, output %q", code, out)
	}
	m.note("parts")
	m.run("status", "--show", "profiles", "--filter.mode", "c", "--filter.profiles", "^/")
	m.run("status", "--show=processes", "--filter.pid=^300$")
	m.run("status", "--show=containers", "--filter.profiles=default")
	m.run("status", "--json", "--show=containers")
	m.run("status", "--pretty-json", "--show=processes", "--filter.exe=nginx")

	m.note("numbers, as aa-status gives them to scripts")
	m.run("status", "--count")
	m.run("status", "--count", "--show=containers")
	m.run("status", "--count", "--show=profiles,processes,containers")
	m.run("status", "--count", "--json")
	for _, c := range countOptions {
		m.run("status", "--"+c.name)
	}
	m.run("status", "--enabled")

	check := func(want int) {
		t.Helper()
		if code, out := m.run("status", "--check"); code != want || strings.Count(out, "\n") != 1 || m.errOut.Len() > 0 {
			t.Errorf("--check: exit code %d, want %d, and one line: %q", code, want, out)
		}
	}
	m.note("for monitoring")
	check(2)
	os.RemoveAll("proc/300710")
	check(1)
	m.write("proc/730/attr/apparmor/current", "docker-default (enforce)\n")
	check(0)

	m.note("a profile is replaced behind our back, and put right")
	g, err := store.Store{Dir: "store"}.Current()
	if err != nil {
		t.Fatal(err)
	}
	ours, _ := g.Index.Profile("node-baseline")
	m.load("node-baseline", sha256.Sum256([]byte("looser")))
	m.run("status", "--show=containers")
	check(2)
	m.load("node-baseline", ours.Compiled[0].SHA256) // by somebody else
	m.run("status", "--show=containers")
	check(3)

	m.note("what is not known, and wrong command lines")
	m.write("run/containers/x.json", "{")
	m.run("status", "--show=containers", "--count", "--json")
	for _, args := range [][]string{{"--filter.mode", `\(`}, {"--show=profiles,all"}, {"--shwo"}, {"please"}} {
		if code, out := m.run(append([]string{"status"}, args...)...); code != untellable || out != "" {
			t.Errorf("%q: exit code %d, output %q", args, code, out)
		}
	}

	m.run("status", "--check", "--json")

	m.note("no profile, no root, no AppArmor")
	m.write("securityfs/profiles", "")
	if code, _ := m.run("status", "--show=all", "--json"); code != noPolicy {
		t.Errorf("exit code %d without profiles", code)
	}
	m.Root = false
	if code, out := m.run("status"); code != noRight || out != "" {
		t.Errorf("exit code %d without root, output %q", code, out)
	}
	m.run("status", "--quiet")
	m.run("status", "--enabled")
	check(3)
	os.RemoveAll("securityfs")
	if code, _ := m.run("status"); code != noFiles {
		t.Errorf("exit code %d without securityfs", code)
	}
	check(3)
	m.write("parameters/enabled", "N\n")
	check(2)
	if code, _ := m.run("status"); code != appArmorOff {
		t.Errorf("exit code %d without AppArmor", code)
	}
	if code, out := m.run("status", "--enabled"); code != appArmorOff || out != "" || m.errOut.Len() > 0 {
		t.Errorf("exit code %d without AppArmor, %q", code, out)
	}
	m.golden(dir)
}

// A process under a stack is not confined as decided where what the kernel has now may not hold for it.
func TestExplainOfAProcessThatStaysBehind(t *testing.T) {
	m := newNodeWithContainers(t)
	m.label = m.Kernel.Label
	ask := []string{"policy", "explain", "--annotation", "oci-apparmor/policy=web", "--pid", "710"}
	if code, out := m.run(ask...); code != 0 || !strings.Contains(out, ": confined as decided") {
		t.Errorf("exit code %d, %s", code, out)
	}
	g, err := store.Store{Dir: "store"}.Current()
	if err != nil {
		t.Fatal(err)
	}
	ours, _ := g.Index.Profile("node-baseline")
	m.load("node-baseline", sha256.Sum256([]byte("looser")))
	m.load("node-baseline", ours.Compiled[0].SHA256)
	if code, out := m.run(ask...); code != exit.NotConfined || !strings.Contains(strings.Join(strings.Fields(out), " "), "under older content: profile node-baseline was replaced") {
		t.Errorf("exit code %d, %s", code, out)
	}
}

func TestStatusSchema(t *testing.T) {
	m := newMachine(t)
	if code, out := m.run("status", "--schema"); code != 0 || out != string(status.Schema()) || !json.Valid([]byte(out)) {
		t.Errorf("exit code %d, schema %.100q", code, out)
	}
}

// The table fits any terminal, and its colours are there only where somebody sees them.
func TestStatusFitsTheTerminal(t *testing.T) {
	m := newNodeWithContainers(t)
	for _, width := range []int{60, 80, 100, 200} {
		m.screen = func() screen { return screen{terminal: true, width: width} }
		_, out := m.run("status", "--show=containers")
		longest := 0
		for line := range strings.Lines(out) {
			longest = max(longest, len(line)-1)
			if strings.ContainsRune(line, '\x1b') {
				t.Errorf("colour in %q", line)
			}
		}
		whole := strings.Contains(out, "a-rather-long-name-of-a-container-that-does-not-fit")
		id := strings.Contains(out, "  0123456789ab  ")
		if longest > width || whole != (width == 200) || id != (width == 200) {
			t.Errorf("width %d: %d columns\n%s", width, longest, out)
		}
	}
	// What is no terminal has room for everything, and each problem is one line.
	m.screen = func() screen { return screen{width: 60} }
	if _, out := m.run("status", "--show=containers"); !strings.Contains(out, "a-rather-long-name-of-a-container-that-does-not-fit") ||
		!strings.Contains(out, "  0123456789ab  ") || !strings.Contains(out, "and not under docker-nginx//&node-baseline\n") {
		t.Errorf("not to a terminal:\n%s", out)
	}
	m.screen = func() screen { return screen{terminal: true, colour: true, width: 80} }
	if _, out := m.run("status", "--show=containers"); !strings.Contains(out, "\x1b[31mdiffers\x1b[0m\n") {
		t.Errorf("no colour in %q", out)
	}
}

// watched is a writer that tells of every write.
type watched struct{ wrote chan string }

func (o watched) Write(p []byte) (int, error) {
	o.wrote <- string(p)
	return len(p), nil
}

func TestStatusWatches(t *testing.T) {
	m := newNodeWithContainers(t)
	out := watched{make(chan string)}
	m.stdout = out
	m.screen = func() screen { return screen{terminal: true, width: 80, height: 4} }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int)
	go func() { ended <- run(ctx, m.session, []string{"status", "--watch"}) }()
	next := func() string {
		t.Helper()
		select {
		case frame := <-out.wrote:
			return frame
		case code := <-ended:
			t.Fatalf("it ended with exit code %d, and says %q", code, &m.errOut)
		case <-time.After(time.Minute):
			t.Fatal("no other frame comes")
		}
		return ""
	}
	if first := next(); !strings.HasPrefix(first, "\x1b[H\x1b[J3 containers: 1 confined, 1 differs, 1 unconfined.\n") ||
		strings.Count(first, "\n") != 3 {
		t.Errorf("%q", first)
	}
	if err := os.Rename("proc/300710", "ended"); err != nil { // at once, as a process ends
		t.Fatal(err)
	}
	frame := next()
	for strings.HasPrefix(frame, "\x1b[H\x1b[J3 containers: 1 confined, 1 differs, 1 unconfined.\n") { // it looked as the process ended
		frame = next()
	}
	if !strings.HasPrefix(frame, "\x1b[H\x1b[J3 containers: 2 confined, 1 unconfined.\n") {
		t.Errorf("%q", frame)
	}
	cancel()
	for {
		select {
		case code := <-ended:
			if code != 0 {
				t.Errorf("exit code %d", code)
			}
			return
		case <-out.wrote: // it may have looked once more, and wait to say what it saw
		}
	}
}
