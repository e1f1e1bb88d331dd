package audit

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/install/status/statustest"
	"github.com/oci-apparmor/oci-apparmor/policy"
)

// machine is a node with a policy by which a container is under web or, if it asks for that, under base//&work. Those called kept
// keep their engine's choice.
type machine struct {
	*status.Node
	*statustest.Machine
	t    testing.TB
	root string
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	m := &machine{Machine: statustest.New(t), t: t}
	m.Node = &status.Node{Host: m.Decides, Run: filepath.Join(m.Dir, "run"), Lib: m.Dir}
	m.root = filepath.Join(m.Run, "runc")
	p := &policy.Config{
		Policies: []policy.Policy{{Name: "web", Profile: "web"}, {Name: "work", Profile: "work", Floor: "base"},
			{Name: "hands-off", Profile: policy.Keep}},
		Assignments: []policy.Assignment{
			{File: "policy.yaml", Line: 1, Container: []string{"kept"}, Policy: "hands-off"},
			{File: "policy.yaml", Line: 2, Policy: "web", Request: []string{"work"}},
		},
	}
	for _, name := range []string{"web", "work", "base"} {
		p.Profiles = append(p.Profiles, policy.Profile{Name: name, Source: name, Text: []byte(name)})
	}
	m.Apply(p)
	return m
}

// process makes one that started so long ago.
func (m *machine) process(pid int, label, group string, ago time.Duration) {
	m.t.Helper()
	m.Start(statustest.Process{PID: pid, Label: label, Group: group, StartedAgo: ago})
}

// create makes a container whose first process is pid, and that asks for a policy.
func (m *machine) create(id string, pid int, asks string) {
	m.t.Helper()
	annotations := ""
	if asks != "" {
		annotations = fmt.Sprintf(", \"annotations\": {%q: %q}", policy.Annotation, asks)
	}
	out := m.Prepare(hook.Caller{Root: m.root}, id, "chosen", annotations)
	m.State("runc", id, pid)
	m.process(pid, cmp.Or(out.Label, "chosen")+" (enforce)", "/x/"+id, 0)
}

// end ends a container and all of its processes. ran are those that its engine knows of.
func (m *machine) end(id string, pid int, ran ...hook.Ran) {
	m.t.Helper()
	m.End(pid)
	m.Host.Forget(hook.Caller{Root: m.root}, id, ran...)
	m.Remove("run/runc/" + id)
}

// gonePID is no process's, because it is more than a kernel's largest pid.
const gonePID = 1 << 23

// joined says in a word what a Joiner found: "by process web-1", "one of web-1 web-2", "node" or "nothing", and with "..." if
// there may be others.
func joined(j *Joiner, s Subject) string {
	got := j.Join(s, j.Look(s))
	say := "nothing"
	switch {
	case got.Container != nil:
		say = "by " + string(got.By) + " " + got.Container.ID
		for _, c := range got.Candidates {
			if c != got.Container {
				say += ", else " + c.ID
			}
		}
	case got.OnNode:
		say = "node"
	case len(got.Candidates) > 0:
		var ids []string
		for _, c := range got.Candidates {
			ids = append(ids, c.ID)
		}
		slices.Sort(ids)
		say = "one of " + strings.Join(ids, " ")
	}
	if got.Others {
		say += "..."
	}
	return say
}

func (m *machine) want(what string, s Subject, want string) {
	m.t.Helper()
	if s.Time.IsZero() {
		s.Time = time.Now()
	}
	if got := joined(&Joiner{Node: m.Node, Least: time.Millisecond}, s); got != want {
		m.t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func TestTwoContainersOfOneProfileAreToldApart(t *testing.T) {
	m := newMachine(t)
	m.create("web-1", 101, "")
	m.create("web-2", 102, "")
	m.process(111, "web (enforce)", "/x/web-1", time.Minute)
	m.process(112, "web (enforce)", "/x/web-2/child", time.Minute)
	m.process(1, "web (enforce)", "/init", time.Minute)
	m.want("the first process", Subject{PID: 101, Profile: "web"}, "by process web-1")
	m.want("the other's", Subject{PID: 102, Profile: "web"}, "by process web-2")
	m.want("one that was executed in it", Subject{PID: 111, Profile: "web"}, "by process web-1")
	m.want("one in a group below", Subject{PID: 112, Profile: "web"}, "by process web-2")
	m.want("one under a profile of its own", Subject{PID: 111, Profile: "ping"}, "by process web-1")
	m.want("one in no container", Subject{PID: 1, Profile: "web"}, "node")
	m.want("one that has ended", Subject{PID: gonePID, Profile: "web"}, "one of web-1 web-2")
	m.want("one of a profile that no container has", Subject{PID: gonePID, Profile: "other"}, "nothing...")
	m.want("a child of the profile", Subject{PID: gonePID, Profile: "web//php"}, "one of web-1 web-2")
	m.want("what complain mode makes of it", Subject{PID: gonePID, Profile: "web//null-/usr/bin/id"}, "one of web-1 web-2")
	m.want("a profile whose name only begins alike", Subject{PID: gonePID, Profile: "web2"}, "nothing...")
	m.want("a stack is no child", Subject{PID: gonePID, Profile: "web//&x"}, "nothing...")
	m.want("without a profile that tells", Subject{PID: gonePID}, "nothing...")
}

// groups knows the control groups of processes that have ended.
type groups map[int]string

func (g groups) Group(pid int, _ time.Time) (string, bool) { return g[pid], g[pid] != "" }

// Whoever notes where processes begin knows the container of one that has ended.
func TestAProcessThatWasSeenToBeginIsToldApart(t *testing.T) {
	m := newMachine(t)
	const random = "4f0c2d4f0c2d4f0c2d4f0c2d4f0c2d4f0c2d4f0c2d4f0c2d4f0c2d4f0c2d4f0c"
	m.create("web-1", 101, "")
	m.create("web-2", 102, "")
	m.create("init", 103, "")
	m.process(103, "web (enforce)", "/system.slice/runc.scope", 0)
	began := groups{gonePID: "/x/web-1", gonePID + 1: "/x/web-2/child", gonePID + 2: "/init.scope", gonePID + 3: "/x/web-11",
		gonePID + 4: "/docker/" + random, gonePID + 5: "/x/web-1"}
	j := &Joiner{Node: m.Node, Least: time.Millisecond, Begun: began}
	want := func(what string, s Subject, want string) {
		t.Helper()
		if s.Time.IsZero() {
			s.Time = time.Now()
		}
		if got := joined(j, s); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	all := "one of init web-1 web-2"
	want("one of the first", Subject{PID: gonePID, Profile: "web"}, "by process web-1")
	want("one in a group below", Subject{PID: gonePID + 1, Profile: "web"}, "by process web-2")
	want("one in a group that only has the name", Subject{PID: gonePID + 2, Profile: "web"}, all)
	want("one in a group whose name begins alike", Subject{PID: gonePID + 3, Profile: "web"}, all)
	want("one in a group of no known container", Subject{PID: gonePID + 4, Profile: "web"}, all)
	want("one that was not seen", Subject{PID: gonePID + 9, Profile: "web"}, all)
	want("a sender", Subject{PID: gonePID, Profile: "web", Other: true}, all)
	want("another profile's", Subject{PID: gonePID, Profile: "work"}, "nothing...")

	during := time.Now()
	m.create(random, 104, "")
	m.end(random, 104)
	m.end("web-1", 101)
	want("one of a container that came and ended between two looks", Subject{Time: time.Now(), PID: gonePID + 4, Profile: "web"}, "by process "+random)
	want("after the end of its container", Subject{Time: during, PID: gonePID + 5, Profile: "web"}, "by process web-1")
}

// A workload may choose its id.
func TestAnIDThatIsTheNameOfAnothersGroupNamesNobody(t *testing.T) {
	m := newMachine(t)
	m.create("init", 101, "")
	m.process(101, "web (enforce)", "/system.slice/runc.scope", 0)
	m.process(1, "web (enforce)", "/init.scope", time.Minute)
	m.want("the machine's first process", Subject{PID: 1, Profile: "web"}, "node")
	m.want("its own", Subject{PID: 101, Profile: "web"}, "by process init")
}

func TestTheOnlyContainerOfAProfileIsNamed(t *testing.T) {
	m := newMachine(t)
	m.create("web-1", 101, "")
	m.create("work-1", 102, "work")
	for profile, want := range map[string]string{"web": "web-1", "work": "work-1", "base": "work-1"} {
		m.want("under "+profile, Subject{PID: gonePID, Profile: profile}, "by profile "+want)
	}
}

// The pid of a signal that was not received is the sender's.
func TestTheOtherProcessDoesNotName(t *testing.T) {
	m := newMachine(t)
	m.create("web-1", 101, "")
	m.create("work-1", 102, "work")
	m.process(50, "unconfined", "/system.slice/docker.service", time.Minute)
	m.want("a sender on the node", Subject{PID: 50, Profile: "web", Other: true}, "by profile web-1")
	m.want("a sender in another container", Subject{PID: 102, Profile: "web", Other: true}, "by profile web-1")
}

func TestAContainerIsNamedAfterItsEnd(t *testing.T) {
	m := newMachine(t)
	m.create("web-1", 101, "")
	m.create("web-2", 102, "")
	during := time.Now()
	m.end("web-1", 101, hook.Ran{PID: 101, To: during.Add(time.Second)}, hook.Ran{PID: 111, From: during, To: during.Add(time.Second)})
	at := func(pid int, t time.Time) Subject { return Subject{Time: t, PID: pid, Profile: "web"} }
	m.want("its first process", at(101, during), "by process web-1")
	m.want("an exec", at(111, during), "by process web-1")
	m.want("that pid before the exec", at(111, during.Add(-slack/2)), "one of web-1 web-2")
	m.want("that pid long after it", at(111, during.Add(time.Minute)), "by profile web-2")
	m.want("a child of a process", at(gonePID, during), "one of web-1 web-2")
	m.want("an hour before", at(101, during.Add(-time.Hour)), "nothing...")
	m.want("another profile's", Subject{Time: during, PID: 101, Profile: "work"}, "nothing...")
	m.end("web-2", 102)
	m.want("the other one, by the runtime's state", at(102, during), "by pid web-2, else web-1")
	m.want("both have ended", at(gonePID, during), "one of web-1 web-2")
}

// One that was deleted by force, or whose shim was killed, has a record until somebody sweeps it away.
func TestAContainerThatEndedWithoutAWordIsNotForgotten(t *testing.T) {
	m := newMachine(t)
	m.create("web-1", 101, "")
	m.create("web-2", 102, "")
	during := time.Now()
	m.End(101)
	m.Remove("run/runc/web-1")
	r, err := m.Host.Recall(hook.Caller{Root: m.root}, "web-1")
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(m.Host.Containers, "*.json"))
	if err != nil || len(paths) != 2 {
		t.Fatal(paths, err)
	}
	for _, p := range paths { // the process that created them has ended
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		ended := strings.Replace(string(text), fmt.Sprintf(`"pid":%d`, r.PID), `"pid":8388608`, 1)
		if err := os.WriteFile(p, []byte(ended), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m.want("its process", Subject{Time: during, PID: gonePID, Profile: "web"}, "one of web-1 web-2")
}

func TestAPIDThatWasTakenAgainNamesNobody(t *testing.T) {
	m := newMachine(t)
	m.create("web-1", 101, "")
	m.create("web-2", 102, "")
	before := time.Now()
	m.end("web-1", 101, hook.Ran{PID: 101, To: before})
	m.process(101, "web (enforce)", "/x/web-2", -time.Minute) // a new one, in the other container
	m.want("a record of the earlier process", Subject{Time: before, PID: 101, Profile: "web"}, "by process web-1")
	m.process(55, "web (enforce)", "/x/web-2", -time.Minute)
	m.want("a record of a process of nobody's", Subject{Time: before, PID: 55, Profile: "web"}, "one of web-1 web-2")
	m.want("a record of the new process", Subject{Time: before.Add(2 * time.Minute), PID: 55, Profile: "web"}, "by process web-2")
}

// The wrapper learns at a container's delete which process was its first one, and not when that ended. Its pid may have been taken
// again since, by a process of another container under the same profile.
func TestAProcessWhoseEndNobodySawNamesInDoubt(t *testing.T) {
	m := newMachine(t)
	m.create("web-1", 101, "")
	m.create("web-2", 102, "")
	m.end("web-1", 101)
	m.want("with another container", Subject{Time: time.Now(), PID: 101, Profile: "web"}, "by pid web-1, else web-2")
	m.want("another process", Subject{Time: time.Now(), PID: gonePID, Profile: "web"}, "one of web-1 web-2")
	m.create("work-1", 103, "work")
	m.end("work-1", 103)
	m.want("without one", Subject{Time: time.Now(), PID: 103, Profile: "work"}, "by profile work-1")
}

// A container that an engine starts by itself leaves no record: others of its kind may have been there.
func TestWithoutRecordsNobodyIsCertain(t *testing.T) {
	m := newMachine(t)
	id := strings.Repeat("a", 64)
	m.process(60, "docker-default (enforce)", "/docker/"+id, time.Minute)
	m.want("its process", Subject{PID: 60, Profile: "docker-default"}, "by process "+id)
	m.want("one that has ended", Subject{PID: gonePID, Profile: "docker-default"}, "one of "+id+"...")
	m.create("kept", 101, "")
	m.want("a kept choice", Subject{PID: gonePID, Profile: "chosen"}, "by profile kept")
	now := time.Now()
	m.end("kept", 101)
	m.want("a kept choice after its end", Subject{Time: now, PID: gonePID, Profile: "chosen"}, "by profile kept")
	m.want("not another profile", Subject{Time: now, PID: gonePID, Profile: "web"}, "nothing...")
}

// While events are followed, containers come and go.
func TestContainersThatComeAndGoAreFollowed(t *testing.T) {
	m := newMachine(t)
	j := &Joiner{Node: m.Node, Least: time.Millisecond}
	id := strings.Repeat("a", 64)
	m.process(60, "docker-default (enforce)", "/docker/"+id, time.Minute)
	if got := joined(j, Subject{Time: time.Now(), PID: 60, Profile: "docker-default"}); got != "by process "+id {
		t.Errorf("the first: %s", got)
	}
	m.create("web-1", 101, "")
	time.Sleep(2 * time.Millisecond)
	if got := joined(j, Subject{Time: time.Now(), PID: 101, Profile: "web"}); got != "by process web-1" {
		t.Errorf("one that came: %s", got)
	}
	m.create("web-2", 102, "")
	if got := joined(j, Subject{Time: time.Now(), PID: gonePID, Profile: "web"}); got != "one of web-1 web-2" {
		t.Errorf("a process that has ended, when another container has come: %s", got)
	}
	now := time.Now()
	m.End(60)
	if got := joined(j, Subject{Time: now, PID: 61, Profile: "docker-default"}); got != "one of "+id+"..." {
		t.Errorf("one that has gone without a record: %s", got)
	}
}

// Between two looks at all containers, a process of a new one looks as if it were in none.
func TestAContainerThatCameAfterTheLastLookIsFound(t *testing.T) {
	m := newMachine(t)
	j := &Joiner{Node: m.Node, Least: 100 * time.Millisecond}
	joined(j, Subject{Time: time.Now(), PID: gonePID, Profile: "web"})
	m.create("web-1", 101, "")
	m.process(111, "web (enforce)", "/x/web-1", 0)
	m.process(50, "unconfined", "/system.slice/docker.service", time.Minute)
	now := time.Now()
	if got := joined(j, Subject{Time: now, PID: 111, Profile: "web"}); got != "by process web-1" {
		t.Errorf("at once: %s", got)
	}
	if got := joined(j, Subject{Time: now, PID: 50, Profile: "web"}); got != "node" {
		t.Errorf("a process of the node: %s", got)
	}
}

func TestATimeThatIsStillToComeHoldsNothingUp(t *testing.T) {
	m := newMachine(t)
	m.create("web-1", 101, "")
	j := &Joiner{Node: m.Node, Least: time.Hour}
	for range 3 {
		joined(j, Subject{Time: time.Now().Add(time.Minute), PID: gonePID, Profile: "web"})
	}
}

// Who follows a node for months remembers no container of the beginning.
func TestContainersOfLongAgoAreForgotten(t *testing.T) {
	m := newMachine(t)
	j := &Joiner{Node: m.Node, Least: time.Millisecond}
	m.process(60, "docker-default (enforce)", "/docker/"+strings.Repeat("a", 64), time.Minute)
	ask := func() { joined(j, Subject{Time: time.Now(), PID: gonePID, Profile: "docker-default"}) }
	ask()
	m.End(60)
	time.Sleep(2 * time.Millisecond)
	ask()
	if len(j.known) != 1 {
		t.Fatalf("%d containers are known", len(j.known))
	}
	for _, c := range j.known {
		c.To = c.To.Add(-2 * longestGone)
	}
	time.Sleep(2 * time.Millisecond)
	ask()
	if len(j.known) != 0 {
		t.Errorf("after hours, %d containers are known", len(j.known))
	}
}
