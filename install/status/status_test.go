package status

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/install/output/outputtest"
	"github.com/oci-apparmor/oci-apparmor/install/status/statustest"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
)

// machine is a node with a policy by which containers are under web, and under nothing where they are called kept.
type machine struct {
	*Node
	*statustest.Machine
	t testing.TB
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	m := &machine{Machine: statustest.New(t), t: t}
	m.Node = &Node{Host: m.Decides, Run: filepath.Join(m.Dir, "run"), Lib: m.Dir}
	m.apply("v1")
	return m
}

func (m *machine) apply(content string) {
	m.t.Helper()
	m.applyRules(content, policy.Assignment{File: "policy.yaml", Line: 1, Container: []string{"kept"}, Policy: "hands-off"},
		policy.Assignment{File: "policy.yaml", Line: 2, Policy: "web"})
}

func (m *machine) applyRules(content string, rules ...policy.Assignment) {
	m.t.Helper()
	m.Apply(&policy.Config{
		Profiles:    []policy.Profile{{Name: "web", Source: "web", Text: []byte(content)}},
		Policies:    []policy.Policy{{Name: "web", Profile: "web"}, {Name: "hands-off", Profile: policy.Keep}},
		Assignments: rules,
	})
}

// process makes one in a control group and a PID namespace.
func (m *machine) process(pid int, label, group, pidns string) {
	m.t.Helper()
	m.Start(statustest.Process{PID: pid, Label: label, Group: group, Namespace: pidns})
}

// prepare lets oci-apparmor decide about a container.
func (m *machine) prepare(root, id string) { m.t.Helper(); m.prepareBy("", root, id, "{}") }

// prepareBy prepares one with annotations, which are JSON, by way of an engine.
func (m *machine) prepareBy(engine, root, id, annotations string) {
	m.t.Helper()
	m.Prepare(hook.Caller{Engine: engine, Root: filepath.Join(m.Run, root)}, id, "web", `, "annotations": `+annotations)
}

func (m *machine) gather() *Status {
	m.t.Helper()
	s, err := m.Gather(true)
	if err != nil {
		m.t.Fatal(err)
	}
	data, err := s.JSON(Show{true, true, true}, false, false)
	if err != nil {
		m.t.Fatal(err)
	}
	validate(m.t, data)
	return s
}

// container returns the one of that id.
func (m *machine) container(id string) Container {
	m.t.Helper()
	all := m.gather().Containers
	i := slices.IndexFunc(all, func(c Container) bool { return c.ID == id })
	if i < 0 {
		m.t.Fatalf("no container %s among %+v", id, all)
	}
	return all[i]
}

func (c Container) pids() (pids []int) {
	for _, p := range c.Processes {
		pids = append(pids, p.PID)
	}
	return pids
}

func validate(t testing.TB, data []byte) {
	t.Helper()
	outputtest.Valid(t, Schema(), data)
}

func TestContainersAreJudged(t *testing.T) {
	const group = "/default/one"
	for _, test := range []struct {
		name     string
		change   func(m *machine)
		verdict  Verdict
		content  Content
		problem  string
		confined []bool
	}{
		{"as decided", func(*machine) {}, Confined, Same, "", []bool{true, true}},
		{"in a stack of the kernel's", func(m *machine) {
			m.process(30, "unconfined//&web (mixed)", group, "pid:[2]")
		}, Confined, Same, "", []bool{true, true, true}},
		{"in a child of its profile", func(m *machine) {
			m.process(30, "web//helper (enforce)", group, "pid:[2]")
		}, Confined, Same, "", []bool{true, true, true}},
		{"with a process under another label", func(m *machine) {
			m.process(30, "docker-default (enforce)", group, "pid:[2]")
		}, Differs, Same, "process 30 (/nowhere/bin/server) runs under docker-default (enforce), and not under web", []bool{true, true, false}},
		{"with an unconfined process that only its PID namespace tells of", func(m *machine) {
			m.process(30, "unconfined", "/elsewhere", "pid:[2]")
		}, Differs, Same, "process 30 (/nowhere/bin/server) runs under unconfined, and not under web", []bool{true, true, false}},
		{"with other content", func(m *machine) {
			m.Kernel.Load(m.t, kerneltest.Blob("other", "web"))
		}, Drifted, Other, "profile web is loaded with other content than the policy's", []bool{true, true}},
		{"with the content of an earlier policy", func(m *machine) { m.apply("v2") }, Confined, Outdated,
			"profile web is the one of an earlier policy", []bool{true, true}},
		{"without its profile", func(m *machine) { m.Kernel.Remove(m.t, "web") }, Drifted, Missing,
			"profile web was removed from the kernel after the container was created: what ran", []bool{true, true}},
		{"with its profile removed and loaded again", func(m *machine) {
			m.Kernel.Remove(m.t, "web")
			m.Kernel.Load(m.t, kerneltest.Blob("v1", "web"))
		}, Drifted, Same, "and loaded again", []bool{true, true}},
		{"with content that is not known", func(m *machine) {
			name := filepath.Join(m.Kernel.Dir, "fs/policy/profiles/web.1/sha256")
			if err := errors.Join(os.Remove(name), os.Mkdir(name, 0o755)); err != nil {
				m.t.Fatal(err)
			}
		}, Unverified, Unknown, "whether the kernel's content of profile web is the policy's is not known: read hash", []bool{true, true}},
		{"not yet started", func(m *machine) {
			m.Write("proc/20/attr/apparmor/current", "unconfined\n")
			m.Write("run/runc/one/exec.fifo", "")
		}, Waiting, Same, "", []bool{true, true}},
		{"stopped", func(m *machine) {
			os.RemoveAll(filepath.Join(m.Dir, "proc/20"))
			os.RemoveAll(filepath.Join(m.Dir, "proc/10"))
		}, Ended, "", "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			m.prepare("runc", "one")
			m.State("runc", "one", 20)
			m.process(1, "unconfined", "/init.scope", "pid:[1]")
			m.process(20, "web (enforce)", group, "pid:[2]")
			m.process(10, "web (enforce)", group+"/below", "pid:[2]") // executed later, its pid notwithstanding
			test.change(m)
			c := m.container("one")
			var content Content
			if len(c.Profiles) > 0 {
				content = c.Profiles[0].Content
			}
			if c.Verdict != test.verdict || content != test.content || !c.Decided || c.Policy != "web" || c.Label != "web" ||
				c.Engine != "other" {
				t.Errorf("%+v", c)
			}
			if problems := strings.Join(c.Problems, "\n"); !strings.Contains(problems, test.problem) || (problems == "") != (test.problem == "") {
				t.Errorf("problems %q, want %q", problems, test.problem)
			}
			var confined []bool
			for _, p := range c.Processes {
				confined = append(confined, p.Confined)
			}
			if !reflect.DeepEqual(confined, test.confined) || len(c.Processes) > 0 && c.Processes[0].PID != 20 {
				t.Errorf("processes %+v, want them confined %v", c.Processes, test.confined)
			}
		})
	}
}

// A kept choice that is the policy's is watched like a label, but for what nobody would put right.
func TestKeptContainerOfOurs(t *testing.T) {
	for _, c := range []struct {
		name    string
		label   string
		change  func(*machine)
		verdict Verdict
		problem string
	}{
		{"as created", "web (enforce)", func(*machine) {}, Confined, ""},
		{"of an earlier policy", "web (enforce)", func(m *machine) { m.apply("v2") }, Confined, ""},
		{"removed", "unconfined", func(m *machine) { m.Kernel.Remove(m.t, "web") }, Unconfined,
			"profile web was removed from the kernel after the container was created: what ran"},
		{"removed while it waits", "unconfined", func(m *machine) {
			m.Kernel.Remove(m.t, "web")
			m.Write("run/runc/kept/exec.fifo", "")
		}, Waiting, "profile web was removed from the kernel after the container was created: what ran"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			m.prepare("runc", "kept")
			m.State("runc", "kept", 7)
			m.process(7, c.label, "/kept", "pid:[2]")
			c.change(m)
			got := m.container("kept")
			if got.Verdict != c.verdict || (len(got.Problems) > 0) != (c.problem != "") || !strings.HasPrefix(strings.Join(got.Problems, "; "), c.problem) {
				t.Errorf("%s, problems %q; want %s, %q", got.Verdict, got.Problems, c.verdict, c.problem)
			}
		})
	}
}

// What the engine said of a container at create is its name, whatever stands in its bundle later.
func TestContainerIsNamedByItsRecord(t *testing.T) {
	m := newMachine(t)
	const root = "containerd/runc/k8s.io"
	for id, annotations := range map[string]string{
		"container": `{"io.kubernetes.cri.sandbox-namespace": "lab", "io.kubernetes.cri.sandbox-name": "front",
			"io.kubernetes.cri.container-name": "web", "io.kubernetes.cri.image-name": "nginx:1", "io.kubernetes.cri.container-type": "container"}`,
		"pause": `{"io.kubernetes.cri.sandbox-namespace": "lab", "io.kubernetes.cri.sandbox-name": "front",
			"io.kubernetes.cri.container-type": "sandbox"}`,
		"nameless": `{}`, // as one that was made before records had names
	} {
		m.prepareBy("containerd", root, id, annotations)
		m.Write("bundles/"+id+"/config.json", `{"process": {}, "annotations": {"io.kubernetes.cri.sandbox-name": "in-the-bundle"}}`)
		m.State(root, id, 100+len(id))
		m.process(100+len(id), "web (enforce)", "/kubepods/"+id, "pid:[2]")
	}
	type names struct {
		namespace, pod, name, image string
		sandbox                     bool
	}
	for id, want := range map[string]names{
		"container": {"lab", "front", "web", "nginx:1", false},
		"pause":     {"lab", "front", "", "", true},
		"nameless":  {"", "in-the-bundle", "", "", false},
	} {
		c := m.container(id)
		if got := (names{c.Namespace, c.Pod, c.Name, c.Image, c.Sandbox}); got != want {
			t.Errorf("%s: %+v, want %+v", id, got, want)
		}
	}
}

// Containers of which oci-apparmor knows nothing are found by their runtimes' state and by their control groups.
func TestContainersOfOthers(t *testing.T) {
	ids := make(map[string]string)
	for i, name := range []string{"docker", "pod", "podman", "gone", "kind", "rm", "transient"} {
		ids[name] = strings.Repeat(fmt.Sprint(i+1), 64)
	}
	m := newMachine(t)
	m.State("docker/runtime-runc/moby", ids["docker"], 20)
	m.Write("docker/containers/"+ids["docker"]+"/config.v2.json", `{"ID": "`+ids["docker"]+`", "Name": "/shop"}`)
	m.process(20, "docker-default (enforce)", "/system.slice/docker-"+ids["docker"]+".scope/init", "pid:[2]")
	m.process(21, "docker-default (enforce)", "/system.slice/docker-"+ids["docker"]+".scope/app", "pid:[3]")

	m.State("containerd/runc/k8s.io", ids["pod"], 30)
	m.Write("run/containerd/io.containerd.runtime.v2.task/k8s.io/"+ids["pod"]+"/config.json", `{"process": {}, "annotations": {
		"io.kubernetes.cri.sandbox-namespace": "lab", "io.kubernetes.cri.sandbox-name": "front\u001b[31m",
		"io.kubernetes.cri.container-name": "web", "io.kubernetes.cri.image-name": "nginx:1"}}`)
	m.process(30, "unconfined", "/kubepods/pod1/"+ids["pod"], "pid:[4]")

	m.Write("run/crun/"+ids["podman"]+"/status", `{"pid": 40, "cgroup-path": "/x"}`)
	m.Write("containers/storage/overlay-containers/containers.json", `[{"id": "`+ids["podman"]+`", "names": ["db"]}]`)
	m.Write("run/crun/"+ids["rm"]+"/status", `{"pid": 45, "cgroup-path": "/x"}`)
	m.Write("containers/storage/overlay-containers/volatile-containers.json", `[{"id": "`+ids["rm"]+`", "names": ["systemd-shop"]}]`)
	m.Write("run/crun/"+ids["transient"]+"/status", `{"pid": 46, "cgroup-path": "/x"}`)
	m.Write("run/containers/storage/overlay-containers/volatile-containers.json", `[{"id": "`+ids["transient"]+`", "names": ["till-the-boot"]}]`)
	m.process(46, "containers-default-0.62 (enforce)", "/machine.slice/libpod-"+ids["transient"]+".scope/container", "pid:[8]")
	m.process(45, "containers-default-0.62 (enforce)", "/machine.slice/libpod-"+ids["rm"]+".scope/container", "pid:[7]")
	m.process(40, "containers-default-0.62 (enforce)", "/machine.slice/libpod-"+ids["podman"]+".scope/container", "pid:[5]")
	m.process(41, "unconfined", "/machine.slice/libpod-conmon-"+ids["podman"]+".scope", "pid:[1]")

	m.process(50, "crio-default (complain)", "/kubepods.slice/crio-"+ids["gone"]+".scope", "pid:[6]")
	m.process(51, "crio-default (complain)", "/kubepods.slice/crio-"+ids["gone"]+".scope", "pid:[6]")
	m.Write("run/runc/not-a-container/file", "")

	s := m.gather()
	type seen struct {
		engine, namespace, pod, name, image string
		verdict                             Verdict
		pids                                []int
	}
	got := make(map[string]seen)
	for _, c := range s.Containers {
		got[c.ID] = seen{c.Engine, c.Namespace, c.Pod, c.Name, c.Image, c.Verdict, c.pids()}
		if c.Decided || c.Label != "" {
			t.Errorf("%+v", c)
		}
	}
	want := map[string]seen{
		ids["docker"]:    {"docker", "", "", "shop", "", Confined, []int{20, 21}},
		ids["pod"]:       {"containerd", "lab", "front\x1b[31m", "web", "nginx:1", Unconfined, []int{30}},
		ids["podman"]:    {"podman", "", "", "db", "", Confined, []int{40}},
		ids["rm"]:        {"podman", "", "", "systemd-shop", "", Confined, []int{45}},
		ids["transient"]: {"podman", "", "", "till-the-boot", "", Confined, []int{46}},
		ids["gone"]:      {"cri-o", "", "", "", "", Complaining, []int{50, 51}},
	}
	if !reflect.DeepEqual(got, want) || len(s.Problems) > 0 {
		t.Errorf("%+v, want %+v; problems %q", got, want, s.Problems)
	}
	data, err := s.JSON(Show{Containers: true}, false, true)
	if err != nil || bytes.ContainsFunc(data, func(r rune) bool { return r < ' ' && r != '\n' || r > '~' }) {
		t.Errorf("%v, %s", err, data)
	}
}

// A container of an engine that keeps its files elsewhere has its name, too, also where no rule needed it.
func TestContainerOfAnotherDataDirectoryHasItsName(t *testing.T) {
	m := newMachine(t)
	id := strings.Repeat("1", 64)
	data := filepath.Join(m.Dir, "srv/docker")
	m.applyRules("another content", policy.Assignment{File: "policy.yaml", Line: 1, Policy: "web"})
	m.prepareBy("docker", "docker/runtime-runc/moby", id, fmt.Sprintf(`{}, "root": {"path": %q}`, data+"/overlay2/1/merged"))
	m.Write("srv/docker/containers/"+id+"/config.v2.json", `{"ID": "`+id+`", "Name": "/shop"}`)
	m.State("docker/runtime-runc/moby", id, 20)
	m.process(20, "web (enforce)", "/system.slice/docker-"+id+".scope", "pid:[2]")
	if c := m.container(id); c.Name != "shop" || c.Engine != "docker" {
		t.Errorf("%+v", c)
	}
}

// A container whose runtime has made its process and has not written that down, as crun does it, stands there once.
func TestContainerThatIsBeingCreatedStandsOnce(t *testing.T) {
	m := newMachine(t)
	ours, other, odd := strings.Repeat("1", 64), strings.Repeat("2", 64), strings.Repeat("3", 64)
	m.prepare("crun", ours)
	m.Write("run/crun/"+ours+"/exec.fifo", "")
	m.process(20, "unconfined", "/docker/"+ours, "pid:[2]")
	m.process(21, "unconfined", "/docker/"+ours, "pid:[2]")
	m.Write("run/crun/"+other+"/exec.fifo", "")
	m.process(30, "unconfined", "/machine.slice/libpod-"+other+".scope", "pid:[3]")
	m.Write("run/youki/"+odd+"/state.json", "{}") // of a form that nobody knows
	m.process(40, "web (enforce)", "/x/"+odd, "pid:[4]")
	s := m.gather()
	if len(s.Containers) != 3 || len(s.Problems) > 0 {
		t.Errorf("%d containers, want 3: %+v; problems %q", len(s.Containers), s.Containers, s.Problems)
	}
	for id, want := range map[string]struct {
		engine  string
		verdict Verdict
		pids    []int
	}{ours: {"docker", Waiting, []int{20, 21}}, other: {"podman", Waiting, []int{30}}, odd: {"other", Confined, []int{40}}} {
		c := m.container(id)
		if c.Engine != want.engine || c.Verdict != want.verdict || !slices.Equal(c.pids(), want.pids) {
			t.Errorf("%s: engine %q, %s, processes %v, want %+v", id[:3], c.Engine, c.Verdict, c.pids(), want)
		}
	}
}

// Containers of one pod may share a PID namespace, or have the machine's: then only control groups tell.
func TestSharedNamespaces(t *testing.T) {
	m := newMachine(t)
	for i, id := range []string{"a", "b", "kept"} {
		ns := "pid:[2]"
		if id == "kept" {
			ns = "pid:[1]"
		}
		m.prepare("runc", id)
		m.State("runc", id, 20+i)
		m.process(20+i, "web (enforce)", "/pods/"+id, ns)
	}
	m.process(30, "web (enforce)", "/pods/b", "pid:[2]")
	m.process(31, "unconfined", "/pods", "pid:[2]")
	m.process(32, "unconfined", "/user.slice", "pid:[1]")
	for id, want := range map[string][]int{"a": {20}, "b": {21, 30}, "kept": {22}} {
		if c := m.container(id); !reflect.DeepEqual(c.pids(), want) || c.Verdict != Confined {
			t.Errorf("%s: %v, want %v; %+v", id, c.pids(), want, c)
		}
	}
	if c := m.container("kept"); !c.Decided || c.Policy != "hands-off" || c.Label != "" {
		t.Errorf("%+v", c)
	}
}

func TestProcessesHaveProfilesDefined(t *testing.T) {
	m := newMachine(t)
	m.Kernel.Load(t, kerneltest.Blob("1", "web"))
	m.Kernel.Load(t, kerneltest.Blob("1", "/nowhere/bin/server"))
	m.process(1, "unconfined", "/", "pid:[1]")
	m.process(20, "web//&x (mixed)", "/", "pid:[1]")
	m.process(21, "x (user)", "/", "pid:[1]")
	m.Write("proc/22/attr/apparmor/current", "x (enforce)\n") // has no program
	s := m.gather()
	want := []Process{
		{1, "/nowhere/bin/server", "unconfined", "/nowhere/bin/server"},
		{20, "web//&x", "mixed", "/nowhere/bin/server"}, {21, "x", "prompt", "/nowhere/bin/server"},
	}
	if !reflect.DeepEqual(s.Processes, want) {
		t.Errorf("%+v, want %+v", s.Processes, want)
	}
	if want := []Profile{{"/nowhere/bin/server", "enforce"}, {"web", "enforce"}}; !reflect.DeepEqual(s.Profiles, want) {
		t.Errorf("%+v, want %+v", s.Profiles, want)
	}
	m.Kernel.Remove(t, "/nowhere/bin/server")
	if s := m.gather(); !reflect.DeepEqual(s.Processes, want[1:]) {
		t.Errorf("%+v, want %+v", s.Processes, want[1:])
	}
	data, err := s.JSON(Show{Profiles: true, Processes: true}, true, false)
	if err != nil || string(data) != `{"version": "2", "profile_count": 2, "process_count": 3}`+"\n" {
		t.Errorf("%v, %s", err, data)
	}
	validate(t, data)
	var two struct{ Profiles, Processes map[string]any }
	if data, err = s.JSON(Show{Profiles: true, Processes: true}, false, false); err != nil || json.Unmarshal(data, &two) != nil ||
		len(two.Profiles) != 2 || len(two.Processes) != 1 {
		t.Errorf("%v, %s", err, data)
	}
}

func TestKernelThatEnforcesNothingIsAProblem(t *testing.T) {
	m := newMachine(t)
	m.Kernel.Write(t, "module/mode", "complain\n")
	if s := m.gather(); len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "write enforce to") {
		t.Errorf("problems %q", s.Problems)
	}
}

func TestUnreadableRecordIsAProblem(t *testing.T) {
	m := newMachine(t)
	m.Write("records/1.json", "{")
	if s := m.gather(); len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "records/1.json") {
		t.Errorf("%q", s.Problems)
	}
}

// The expressions are regcomp(3)'s, as aa-status takes them.
func TestBasicExpressions(t *testing.T) {
	for _, test := range []struct {
		expr string
		yes  []string
		no   []string
	}{
		{"web", []string{"web", "a-web-b"}, []string{"we"}},
		{"^web$", []string{"web"}, []string{"web1", "1web"}},
		{"a+b", []string{"a+b"}, []string{"aab"}},
		{`a\+b`, []string{"aab"}, []string{"a+b"}},
		{"(x)|{y}?", []string{"(x)|{y}?"}, []string{"x"}},
		{`\(web\|work\)$`, []string{"web", "work"}, []string{"worker"}},
		{`^\(a\)*$`, []string{"", "aa"}, []string{"b"}},
		{`a\{2,3\}$`, []string{"aa"}, []string{"a"}},
		{"*a", []string{"*a"}, []string{"a"}},
		{`^*a`, []string{"*a"}, []string{"a"}},
		{"a^b$c", []string{"a^b$c"}, []string{"abc"}},
		{`[]\a]$`, []string{"]", `\`, "a"}, []string{"b"}},
		{"[^[:digit:]]$", []string{"a"}, []string{"1"}},
		{`a.c`, []string{"abc", "a\nc", "aéc"}, []string{"ac"}},
		{`\.`, []string{"."}, []string{"a"}},
		{"é*x", []string{"éé x", "x"}, []string{"y"}},
		{`\<web\>`, []string{"a web b"}, []string{"webs"}},
	} {
		re, err := CompileBasic(test.expr)
		if err != nil {
			t.Errorf("%s: %v", test.expr, err)
			continue
		}
		for _, s := range test.yes {
			if !re.MatchString(s) {
				t.Errorf("%s does not match %q (%s)", test.expr, s, re)
			}
		}
		for _, s := range test.no {
			if re.MatchString(s) {
				t.Errorf("%s matches %q (%s)", test.expr, s, re)
			}
		}
	}
	for _, expr := range []string{`a\`, "[a", `\(a`, `\(a\)\1`, "[[:a", "a\\)"} {
		if re, err := CompileBasic(expr); err == nil {
			t.Errorf("%s is taken for %s", expr, re)
		}
	}
}

func TestFilter(t *testing.T) {
	profiles := []Profile{{"web", "enforce"}, {"work", "complain"}}
	processes := []Process{{1, "web", "enforce", "/bin/a"}, {12, "work", "complain", "/bin/b"}}
	f := Filter{Mode: regexp.MustCompile("^enforce$")}
	if got := f.Profiles(profiles); len(got) != 1 || got[0].Name != "web" {
		t.Errorf("%v", got)
	}
	f = Filter{PID: regexp.MustCompile("2"), Exe: regexp.MustCompile("b$"), Profile: regexp.MustCompile("o")}
	if got := f.Processes(processes); len(got) != 1 || got[0].PID != 12 {
		t.Errorf("%v", got)
	}
	if got := (Filter{}).Processes(processes); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

// A store whose policy cannot be found any more is not the same as one to which nothing was ever applied.
func TestLostPolicyIsReported(t *testing.T) {
	m := newMachine(t)
	if err := os.Remove(filepath.Join(m.Host.Store.Dir, "current")); err != nil {
		t.Fatal(err)
	}
	if s := m.gather(); len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "the link current is gone") {
		t.Errorf("problems %q", s.Problems)
	}
	if err := os.RemoveAll(m.Host.Store.Dir); err != nil {
		t.Fatal(err)
	}
	if s := m.gather(); len(s.Problems) != 0 {
		t.Errorf("without a store there are problems %q", s.Problems)
	}
}
