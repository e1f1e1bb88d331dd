package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/install/procevents"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// A deniedEvent is what `oci-apparmor audit --json` says of a denial.
type deniedEvent struct {
	Type, Kind, Place, Profile, Sentence, Comm string

	Known      string `json:"known_by"`
	Container  auditedContainer
	Candidates []auditedContainer
	Access     []string
	Why        []struct {
		Unknown string
		Reason  struct {
			Rules []struct {
				File, Rule string
				Line       int
			}
		}
	}
	Untrusted int // of the last line
	Denials   int
	Unknown   []string
}

type auditedContainer struct{ ID, Name, Engine, Namespace, Pod, Image, Policy, Ended string }

// a moment is where a test begins to look at the log.
type moment time.Time

// since returns the moment as audit takes it.
func (m moment) since() string { return time.Time(m).Format(time.RFC3339Nano) }

func now() moment { return moment(time.Now().Add(-20 * time.Millisecond)) }

// denials waits until the log has at least so many denials since then, and returns what oci-apparmor audit says of them, with
// what it says of the source.
func (m moment) denials(t *testing.T, n int, options ...string) (all []deniedEvent, end deniedEvent) {
	t.Helper()
	args := append([]string{"audit", "--json", "--source", "kmsg", "--type", "denied", "--since", m.since()}, options...)
	waitFor(t, fmt.Sprint(n, " denials"), func() bool {
		all, end = nil, deniedEvent{}
		for line := range strings.Lines(guesttest.Run(t, "oci-apparmor", args...).Stdout) {
			var e deniedEvent
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if e.Type == "source" {
				end = e
			} else {
				all = append(all, e)
			}
		}
		return len(all) >= n
	})
	return all, end
}

// about waits for a denial since then about a path, and returns the first.
func (m moment) about(t *testing.T, path string) (e deniedEvent) {
	t.Helper()
	waitFor(t, "a denial about "+path, func() bool {
		all, _ := m.denials(t, 1)
		i := slices.IndexFunc(all, func(e deniedEvent) bool { return len(e.Access) == 1 && strings.HasSuffix(e.Access[0], " "+path) })
		if i >= 0 {
			e = all[i]
		}
		return i >= 0
	})
	return e
}

// wantIn checks that a denial since then, about a path, is said to be in a container, and by what that is known.
func (m moment) wantIn(t *testing.T, when, by, id, path string) deniedEvent {
	t.Helper()
	e := m.about(t, path)
	if e.Place != "container" || e.Known != by || e.Container.ID != id || e.Container.Policy != "web" || e.Profile != "web" {
		t.Errorf("%s: %+v, want something with %s in container %s, by its %s", when, e, path, id, by)
	}
	return e
}

// wantOneOf checks that a denial since then, about a path, is said to be in one of several containers.
func (m moment) wantOneOf(t *testing.T, when, path string, ids ...string) {
	t.Helper()
	e := m.about(t, path)
	var got []string
	for _, c := range e.Candidates {
		got = append(got, c.ID)
	}
	slices.Sort(got)
	slices.Sort(ids)
	if e.Place != "candidates" || !slices.Equal(got, ids) {
		t.Errorf("%s: %+v, want one of %q", when, e, ids)
	}
}

// Of two containers under one profile, the one is named in which something was denied, with the rule; after its end, too.
func TestAudit(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie, guesttest.Forky)
	setPolicy(t, webPolicy)
	eachRuntime(t, func(t *testing.T, rt arms) {
		time.Sleep(time.Second) // a container counts as a candidate for half a second after its end
		a, b := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped), guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
		first := now()
		if got := a.Ask(t, "write /etc/x"); got != denied {
			t.Fatalf("a write to /etc/x: %s", got)
		}
		e := first.wantIn(t, "while it runs", "process", a.ID, "/etc/x")
		if rules := e.Why[0].Reason.Rules; len(rules) != 1 || rules[0].Rule != "audit deny /etc/** w" || rules[0].File != "/etc/oci-apparmor/profiles/web" ||
			!strings.Contains(strings.Split(texts["web"], "\n")[rules[0].Line-1], "audit deny") {
			t.Errorf("decided by %+v", e.Why)
		}
		second := now()
		if got := a.ExecProbe(t, "write", "/etc/y"); got != denied {
			t.Fatalf("a write to /etc/y: %s", got)
		}
		second.wantOneOf(t, "by a process that has ended", "/etc/y", a.ID, b.ID)

		guesttest.MustRun(t, rt.wrapped, "delete", "--force", a.ID)
		guesttest.MustRun(t, rt.wrapped, "delete", "--force", b.ID) // sweeps the other one's record away, too
		// Nobody saw when the first process ended: from then on, its pid may have been one of the other container.
		text := guesttest.MustRun(t, "oci-apparmor", "audit", "--source", "kmsg", "--since", first.since())
		if lines := strings.Split(text, "\n"); !strings.Contains(lines[0], a.ID+" or another") || !strings.Contains(lines[0], "/etc/x") {
			t.Errorf("after the end of both, audit says %s", lines[0])
		}
		for _, want := range []string{a.ID, " /etc/x: denied by profile web", "/etc/oci-apparmor/profiles/web:", "audit deny /etc/** w"} {
			if !strings.Contains(text, want) {
				t.Errorf("audit prints\n%s\nwant %q", text, want)
			}
		}
		t.Log(text)
		t.Log(guesttest.MustRun(t, "oci-apparmor", "audit", "--source", "kmsg", "--summary", "--since", first.since()))
	})
}

// following is an oci-apparmor audit that follows.
type following struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
	said  strings.Builder
}

// startFollowing starts one, and waits until it follows.
func startFollowing(t *testing.T) *following {
	t.Helper()
	f := &following{cmd: exec.Command("oci-apparmor", "audit", "--follow", "--json")}
	f.cmd.Stderr = &f.said
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(2*time.Minute, func() { f.cmd.Process.Kill() })
	t.Cleanup(func() {
		late.Stop()
		f.cmd.Process.Kill()
		f.cmd.Wait() // which says that it was waited for already
	})
	time.Sleep(4 * time.Second)
	f.lines = bufio.NewScanner(out)
	f.lines.Buffer(nil, 1<<20)
	return f
}

func (f *following) next(t *testing.T) (e deniedEvent) {
	t.Helper()
	if !f.lines.Scan() {
		t.Fatalf("it has ended: %v", f.lines.Err())
	}
	if err := json.Unmarshal(f.lines.Bytes(), &e); err != nil {
		t.Fatalf("%v: %s", err, f.lines.Bytes())
	}
	return e
}

// about returns the next denial about a path.
func (f *following) about(t *testing.T, path string) deniedEvent {
	t.Helper()
	for {
		if e := f.next(t); len(e.Access) == 1 && strings.HasSuffix(e.Access[0], " "+path) {
			return e
		}
	}
}

// wantIn checks that the next denial about a path is said to be in a container, and that its process is known.
func (f *following) wantIn(t *testing.T, when, id, path string) {
	t.Helper()
	if e := f.about(t, path); e.Place != "container" || e.Container.ID != id || e.Known != "process" {
		t.Errorf("%s: %+v, want something with %s in container %s, by its process", when, e, path, id)
	}
}

// tellsOfProcesses reports whether the kernel tells where processes begin. Debian's kernels for machines do, and those in user mode
// are built without it.
func tellsOfProcesses(t *testing.T) bool {
	t.Helper()
	w, err := procevents.Open(t.Context(), func(int) string { return "/" })
	if err != nil {
		t.Log("processes that have ended are not named here: ", err)
		return false
	}
	return w.Close() == nil
}

// end has it end as by the keyboard.
func (f *following) end(t *testing.T) {
	t.Helper()
	if err := f.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for f.lines.Scan() { // the last line is about the source
	}
	err := f.cmd.Wait()
	if doubts := strings.Contains(f.said.String(), "may not be known"); err != nil || doubts == tellsOfProcesses(t) {
		t.Errorf("told to end: %v, and it said %s", err, f.said.String())
	}
}

// What is followed is named at once, also of a container that came after the beginning, and that ends. Of processes that
// end at once, also of their children, the one of several containers is named whose they were.
func TestAuditFollow(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie, guesttest.Forky)
	setPolicy(t, webPolicy)
	rt := armsOf(t, "runc")
	guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped) // of the same profile
	f := startFollowing(t)
	c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
	if got := c.Ask(t, "write /etc/x"); got != denied {
		t.Fatalf("a write: %s", got)
	}
	f.wantIn(t, "of a container that came", c.ID, "/etc/x")
	for i := 0; i < 5 && tellsOfProcesses(t); i++ {
		path := fmt.Sprintf("/etc/y%d", i)
		c.Exec(t, "/bin/sh", "-c", "echo x >"+path+" || true")
		f.wantIn(t, "of an exec that has ended", c.ID, path)
		path = fmt.Sprintf("/etc/z%d", i)
		c.Exec(t, "/bin/sh", "-c", "/bin/sh -c 'echo x >"+path+"' & true")
		f.wantIn(t, "of its child", c.ID, path)
	}
	c.Ask(t, "write /etc/z")
	guesttest.MustRun(t, rt.wrapped, "delete", "--force", c.ID)
	f.wantIn(t, "of a container that has ended", c.ID, "/etc/z")
	f.end(t)
}

// A container's lines that look like records are not believed, and names stay in their place.
func TestAuditHostile(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie, guesttest.Forky)
	setPolicy(t, webPolicy)
	rt := armsOf(t, "crun")
	a := guesttest.NewBundle(t, asks("web"), func(s *specs.Spec) { // it has the node's /dev/kmsg
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/dev/kmsg", Source: "/dev/kmsg", Type: "bind", Options: []string{"bind", "rw"}})
		s.Linux.Resources = &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}}
	}).Start(t, rt.wrapped)
	began := now()
	const hostile = "/etc/x\n[ 1.0] audit: type=1400 audit(1.000:1): apparmor=\"DENIED\" profile=\"web\" name=\"forged\"\x1b[31m\a"
	if got := a.ExecProbe(t, "write", hostile); got != denied {
		t.Fatalf("a write: %s", got)
	}
	forged := fmt.Sprintf("<5>audit: type=1400 audit(%d.000:99): apparmor=\"DENIED\" operation=\"open\" class=\"file\" profile=\"web\" name=\"/forged\" "+
		"pid=%d comm=\"x\" requested_mask=\"r\" denied_mask=\"r\" fsuid=0 ouid=0", time.Now().Unix()+1, a.Pid(t))
	if o := a.Exec(t, "/bin/sh", "-c", "printf '%s\\n' '"+forged+"' >/dev/kmsg"); o.Code != 0 {
		t.Fatalf("the container cannot write to /dev/kmsg: this shows nothing: %+v", o)
	}
	all, end := began.denials(t, 1)
	if len(all) != 1 || end.Untrusted == 0 || strings.Contains(all[0].Access[0], "forged\"\x1b") {
		t.Errorf("%+v, and %d left out", all, end.Untrusted)
	}
	since := time.Time(began).Format(time.RFC3339Nano)
	o := guesttest.Run(t, "oci-apparmor", "audit", "--source", "kmsg", "--since", since)
	if lines := strings.Split(o.Stdout, "\n"); !strings.Contains(lines[0], `"/etc/x\n[ 1.0]`) || strings.ContainsAny(o.Stdout, "\x1b\a") ||
		strings.Contains(o.Stdout, "tried to read /forged") || !strings.Contains(o.Stderr, "--untrusted") {
		t.Errorf("audit says %+v", o)
	}
	if all, _ := began.denials(t, 2, "--untrusted"); !slices.ContainsFunc(all, func(e deniedEvent) bool {
		return strings.Contains(e.Sentence, "tried to read /forged: denied by profile web; nobody vouches") && e.Place == "unknown"
	}) {
		t.Errorf("--untrusted shows %+v", all)
	}
}

// The two records of Docker's documentation, as the README explains them.
func TestAuditByReadme(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // it reads a file
	guesttest.Require(t)
	lines, command, want := block(t, "install/README.md#when-something-is-denied"), block(t, "install/README.md#when-something-is-denied:2"),
		block(t, "install/README.md#when-something-is-denied:3")
	cmd := exec.Command("sh", "-e", "-c", command)
	cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), "TZ=UTC")
	write(t, filepath.Join(cmd.Dir, "docker.log"), lines)
	if o := guesttest.RunCommand(t, cmd); o.Code != 0 || o.Stdout != want {
		t.Errorf("it prints %+v, want\n%s", o, want)
	}
}

// By Podman a container has a name, which is known after its end, too.
func TestAuditPodman(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky)
	setPolicy(t, webPolicy)
	p := guesttest.NewPodman(t, guesttest.PodmanWrappers+"/crun", "")
	root := guesttest.NewBundle(t).Rootfs()
	run := func(name string) (id string) {
		t.Helper()
		o := p.Podman(t, "run", "--detach", "--rm", "--name", name, "--network", "none", "--annotation", "oci-apparmor/policy=web", "--rootfs", root,
			"/bin/sh", "-c", "sleep 2; test "+name+" = other || echo x >/etc/x; exec probe sleep")
		if o.Code != 0 {
			t.Fatalf("%+v", o)
		}
		return strings.TrimSpace(o.Stdout)
	}
	began := now()
	other := run("other")
	t.Cleanup(func() { p.Podman(t, "rm", "--force", "--time", "0", other) })
	id := run("shop")
	const path = "/etc/x"
	if e := began.wantIn(t, "while it runs", "process", id, path); e.Container.Name != "shop" || e.Container.Engine != "podman" {
		t.Errorf("it is called %+v", e.Container)
	}
	executed := now()
	p.Podman(t, "exec", "shop", "/bin/sh", "-c", "echo x >/etc/y || true")
	executed.wantOneOf(t, "an exec", "/etc/y", id, other)
	f := startFollowing(t)
	named := 0
	const execs = 5
	for i := 0; i < execs && tellsOfProcesses(t); i++ {
		p.Podman(t, "exec", "shop", "/bin/sh", "-c", fmt.Sprintf("/bin/sh -c 'echo x >/etc/y%d'; true", i))
		e := f.about(t, fmt.Sprintf("/etc/y%d", i))
		if e.Place == "container" {
			named++
		}
		// crun moves a process a moment before it executes the program: who is late does not see where to, and names nobody.
		if e.Place == "container" && e.Container.ID != id || e.Place != "container" && e.Place != "candidates" {
			t.Errorf("an exec that is followed: %+v, want it in %s", e, id)
		}
	}
	t.Logf("of execs that are followed, %d were named", named)
	if named == 0 && tellsOfProcesses(t) {
		t.Error("no exec that is followed is named")
	}
	f.end(t)
	if o := p.Podman(t, "rm", "--force", "--time", "0", "shop"); o.Code != 0 {
		t.Fatalf("%+v", o)
	}
	if e := began.wantIn(t, "after its end", "pid", id, path); e.Container.Name != "shop" || e.Container.Ended == "" {
		t.Errorf("it was called %+v", e.Container)
	}
}

// By Docker, through our wrapper and through our shim.
func TestContainerdDockerAudit(t *testing.T) {
	setPolicy(t, webPolicy)
	c := guesttest.StartContainerd(t, guesttest.Containerds(t)[0], guesttest.ContainerdConfig{})
	d := guesttest.StartDocker(t, c, map[string]map[string]any{
		"wrapper": {"path": guesttest.DockerWrappers + "/runc"},
		"shim":    {"runtimeType": guesttest.Type.Type},
	})
	for _, runtime := range []string{"wrapper", "shim"} {
		t.Run(runtime, func(t *testing.T) {
			run := func(name, script string) string {
				cidfile := filepath.Join(t.TempDir(), "cid")
				return d.MustDocker(t, "run", "--detach", "--name", name+"-"+runtime, "--network", "none", "--runtime", runtime, "--cidfile", cidfile,
					"--annotation", "oci-apparmor/policy=web", guesttest.ProbeImage, "/bin/sh", "-c", script+"; exec probe sleep")
			}
			began := now()
			other := run("other", "true")
			id := run("shop", "echo x >/etc/x")
			const path = "/etc/x"
			if e := began.wantIn(t, "while it runs", "process", id, path); e.Container.Name != "shop-"+runtime || e.Container.Engine != "docker" {
				t.Errorf("it is called %+v", e.Container)
			}
			ended := "process"
			if runtime == "wrapper" { // which does not see when it ends
				ended = "pid"
			}
			executed := now()
			d.MustDocker(t, "exec", id, "/bin/sh", "-c", "echo x >/etc/y || true")
			if runtime == "wrapper" {
				executed.wantOneOf(t, "an exec", "/etc/y", id, other)
				f := startFollowing(t)
				for i := 0; i < 3 && tellsOfProcesses(t); i++ {
					d.MustDocker(t, "exec", id, "/bin/sh", "-c", fmt.Sprintf("/bin/sh -c 'echo x >/etc/y%d'; true", i))
					f.wantIn(t, "an exec that is followed", id, fmt.Sprintf("/etc/y%d", i))
				}
				f.end(t)
			}
			d.MustDocker(t, "rm", "--force", id)
			if e := began.wantIn(t, "after its end", ended, id, path); e.Container.Name != "shop-"+runtime || e.Container.Ended == "" {
				t.Errorf("it was called %+v", e.Container)
			}
			if runtime == "shim" {
				executed.wantIn(t, "an exec, after the container's end", "process", id, "/etc/y")
			}
			d.MustDocker(t, "rm", "--force", other)
		})
	}
}

// By containerd, for ctr and for pods.
func TestContainerdAudit(t *testing.T) {
	guesttest.Require(t)
	guesttest.EnoughIn(t, guesttest.Trixie, guesttest.Forky) // the versions from 1.7 on
	v := guesttest.Containerds(t)[0]
	guesttest.NetworkPods(t)
	c, engine := startCRI(t, v)
	t.Run("ctr", func(t *testing.T) {
		k, other := runTask(t, c, guesttest.ShimCrun, "web"), runTask(t, c, guesttest.ShimCrun, "web")
		wantTaskConfined(t, k, webTries, "web")
		wantTaskConfined(t, other, webTries, "web")
		began := now()
		k.exec(t, "/bin/sh", "-c", "echo x >/etc/y || true")
		k.remove(t)
		began.wantIn(t, "an exec, after the container's end", "process", k.ID, "/etc/y")
		other.remove(t)
	})
	arm := passing(guesttest.ShimCrun, "open", "*", "*/*")
	if ignoresRuntimePath(v) {
		arm = passing(guesttest.Type, "open", "*", "*/*")
	}
	t.Run("pods", func(t *testing.T) {
		pod := engine.Pod(t, arm.Name, guesttest.Annotated("oci-apparmor/policy", "web"))
		began := now()
		front := pod.Start(t, "front", podOps)
		front.Answers(t, len(podOps))
		e := began.wantIn(t, "while it runs", "process", front.ID, "/etc/x")
		if e.Container.Name != "front" || e.Container.Pod != pod.Config.Metadata.Name || e.Container.Namespace != "default" {
			t.Errorf("it is called %+v", e.Container)
		}
		second := pod.Start(t, "second", []string{"label"})
		second.Answers(t, 1)
		front.Remove(t)
		if e := began.wantIn(t, "after its end", "process", front.ID, "/etc/x"); e.Container.Name != "front" || e.Container.Ended == "" {
			t.Errorf("it was called %+v", e.Container)
		}
	})
	t.Run("of a pod or a policy", func(t *testing.T) {
		guesttest.EnoughIn(t, guesttest.Forky)
		auditOfOne(t, engine, arm)
	})
}

// auditOfOne has the containers of three pods denied something, of which two have one policy, and checks what audit says when it is
// asked about one of the pods or policies.
func auditOfOne(t *testing.T, engine *guesttest.CRI, arm guesttest.Arm) {
	began := now()
	var pods, ids []string
	for i, policy := range []string{"web", "web", "work"} {
		pod := engine.Pod(t, arm.Name, guesttest.Annotated("oci-apparmor/policy", policy))
		c := startPodContainer(t, pod, "front")
		wantPodConfined(t, c, []tries{podWeb, podWeb, podWork}[i], policy+" (enforce)")
		pods, ids = append(pods, pod.Config.Metadata.Name), append(ids, c.ID)
	}
	began.denials(t, len(ids))
	all := []string{"owner create /etc/x", "owner create /etc/x", "owner create /mnt/x"}
	for _, test := range []struct {
		option, name string
		of           []int // which of the containers
		unknown      string
	}{
		{"--pod", pods[0], []int{0}, ""},
		{"--pod", "default/" + pods[1], []int{1}, ""},
		{"--pod", pods[2], []int{2}, ""},
		{"--policy", "web", []int{0, 1}, ""},
		{"--policy", "work", []int{2}, ""},
		{"--policy", "base", nil, ""}, // which is in force, and no container has it
		{"--pod", "kept/" + pods[0], nil, "no container is known"},
		{"--pod", "nobody", nil, "no container is known"},
		{"--policy", "nobody", nil, "is not in force"},
	} {
		when := test.option + " " + test.name
		got, end := began.denials(t, len(test.of), test.option, test.name)
		if len(got) != len(test.of) || !strings.Contains(strings.Join(end.Unknown, "\n"), test.unknown) || test.unknown == "" && len(end.Unknown) > 0 {
			t.Errorf("%s: %+v, and unknown is %q; want those of %v, and %q", when, got, end.Unknown, test.of, test.unknown)
			continue
		}
		for n, i := range test.of {
			if e := got[n]; e.Place != "container" || e.Container.ID != ids[i] || e.Container.Pod != pods[i] || !slices.Equal(e.Access, all[i:i+1]) {
				t.Errorf("%s: %+v, want %s in %s of pod %s", when, e, all[i], ids[i], pods[i])
			}
		}
		code := 0
		if test.unknown != "" {
			code = 3
		}
		o := guesttest.Run(t, "oci-apparmor", "audit", "--source", "kmsg", "--type", "denied", "--since", began.since(), test.option, test.name)
		if none := strings.HasPrefix(o.Stdout, "no denials of "); o.Code != code || none != (len(test.of)+code == 0) || !strings.Contains(o.Stderr, test.unknown) {
			t.Errorf("%s: it says %+v", when, o)
		}
	}
	began.wantSummary(t, ids, pods)
}

// wantSummary checks the summary of what auditOfOne has had denied: what was denied in each container, and what by each policy.
func (m moment) wantSummary(t *testing.T, ids, pods []string) {
	t.Helper()
	type tally struct {
		What, Kind string
		Count      int
	}
	got := make(map[string]tally)
	args := []string{"audit", "--source", "kmsg", "--summary", "--type", "denied", "--since", m.since()}
	for line := range strings.Lines(guesttest.MustRun(t, "oci-apparmor", append(args, "--json")...)) {
		var s struct {
			Type, Policy string
			Container    auditedContainer
			Counts       map[string]int
			Most         []tally
		}
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if s.Type == "source" {
			continue
		}
		if len(s.Most) != 1 || s.Counts["denied"] != s.Most[0].Count {
			t.Fatalf("a summary has not one kind of denial: %s", line)
		}
		got[s.Type+" "+s.Container.ID+" "+s.Policy] = s.Most[0]
	}
	web, work := tally{"owner create /etc/x", "denied", 1}, tally{"owner create /mnt/x", "denied", 1}
	want := map[string]tally{
		"container " + ids[0] + " web": web, "container " + ids[1] + " web": web, "container " + ids[2] + " work": work,
		"policy  web": {"owner create /etc/x", "denied", 2}, "policy  work": work,
	}
	if !maps.Equal(got, want) {
		t.Errorf("the summary is %v, want %v", got, want)
	}
	text := guesttest.MustRun(t, "oci-apparmor", args...)
	for _, words := range []string{"default/" + pods[0] + "/front (policy web): 1 denied", "policy web: 2 denied", "policy work: 1 denied"} {
		if !strings.Contains(text, words) {
			t.Errorf("the summary does not say %q:\n%s", words, text)
		}
	}
}
