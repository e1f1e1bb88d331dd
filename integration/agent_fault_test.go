package integration

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/install/agent"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// said returns how many lines of the agent's log have a part.
func (a *runningAgent) said(part string) (lines int) {
	for line := range strings.Lines(a.log.String()) {
		if strings.Contains(line, part) {
			lines++
		}
	}
	return lines
}

// wantStarts starts a container by the wrapper, which must be confined as web, and what is executed in it as well.
func wantStarts(t *testing.T, rt arms) {
	t.Helper()
	c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
	wantConfined(t, c, webTries, "web")
	wantExecConfined(t, c, webTries, "web (enforce)", byCommandLine(c))
}

// fill makes a file system full, and returns what makes room again.
func fill(t *testing.T, dir string) (room func()) {
	t.Helper()
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 8<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	return func() {
		t.Helper()
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
}

// onSmallDisk has a directory on a file system of 4 MiB of its own until the test ends, with what was in it.
func onSmallDisk(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	guesttest.MustRun(t, "sh", "-ec", "cp -a "+dir+" /run/large; mount -t tmpfs -o size=4m,mode=0700 small "+dir+"; cp -a /run/large/. "+dir+"; rm -r /run/large")
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// While the disk with the applied policy is full, a changed policy is not applied, which is said once, and all else goes on: containers
// start and are confined, and profiles are put right. When there is room, the policy is applied although nothing else happens.
//
// While /run is full, nothing starts, by our wrapper as by a runtime: it could not be kept what a container's exec is to be confined by.
// What runs goes on, and so does the agent.
func TestAgentFullDisk(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky) // what is done then is ours
	setPolicy(t, webPolicy)
	rt := armsOf(t, "runc")
	onSmallDisk(t, store.Dir)
	onSmallDisk(t, agent.Dir)
	a := startAgent(t)
	c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
	wantConfined(t, c, webTries, "web")
	drifts := 0
	repaired := func() {
		t.Helper()
		guesttest.LoadProfile(t, loose("web"))
		drifts++
		waitFor(t, "web to be put right", func() bool { return a.said("profile web: it was loaded with other content") == drifts })
		wantConfined(t, c, webTries, "web")
	}
	policyHas := func(word string) bool {
		t.Helper()
		return strings.Contains(guesttest.MustRun(t, "oci-apparmor", "policy", "show"), word)
	}

	a.until(t, "it has looked at the policy", func(s agent.State) bool { return s.Policy.Last != nil })
	room := fill(t, store.Dir)
	write(t, "/etc/oci-apparmor/policy.yaml", strings.Replace(webPolicy, `"kept-*"`, `"kept-*", "first-*"`, 1))
	a.until(t, "the agent has tried twice to apply the policy", func(s agent.State) bool {
		return s.Policy.Last != nil && s.Policy.Last.Outcome == agent.Failed && partOf(s, "policy").Tries > 1
	})
	repaired()
	wantStarts(t, rt)
	if n := a.said("policy: writing generation 2: "); n != 1 || policyHas("first-*") {
		t.Errorf("that there is no room is said %d times:\n%s", n, a.log.String())
	}
	for line := range strings.Lines(a.log.String()) { // a look at the unchanged policy may have failed before, by another error
		if strings.Contains(line, "no space left on device") && a.said(line) != 1 {
			t.Errorf("it says again and again: %s", line)
		}
	}
	room()
	waitFor(t, "the changed policy to be in force", func() bool { return policyHas("first-*") })
	wantStarts(t, rt)

	counted := metricsNow(t)[webStarts]
	room = fill(t, agent.Dir)
	for range 3 {
		repaired()
	}
	wantExecConfined(t, c, webTries, "web (enforce)", byCommandLine(c))
	if next, o := guesttest.NewBundle(t, asks("web")).TryStart(t, rt.wrapped); next != nil || !strings.Contains(o.Stderr, "remembering the container: ") ||
		!strings.Contains(o.Stderr, "no space left on device") {
		t.Errorf("a start where nothing can be written: %+v", o)
	}
	write(t, "/etc/oci-apparmor/policy.yaml", strings.Replace(webPolicy, `"kept-*"`, `"kept-*", "second-*"`, 1))
	waitFor(t, "the changed policy to be in force", func() bool { return policyHas("second-*") })
	if n := a.said("the agent's state cannot be written"); n != 1 {
		t.Errorf("that it cannot write its state is said %d times:\n%s", n, a.log.String())
	}
	room()
	a.until(t, "the state is written again", func(s agent.State) bool { return s.Drift.Repaired == uint64(drifts) && s.Policy.Generation == 3 })
	wantStarts(t, rt)
	if got := metricsNow(t)[webStarts]; got != counted+1 {
		t.Errorf("%v starts are counted, and %v were before the disk was full", got, counted)
	}
	if lines := strings.Count(a.log.String(), "\n"); lines > 30 {
		t.Errorf("the agent has said %d lines:\n%s", lines, a.log.String())
	}
}

// partOf returns how a part of the agent stands.
func partOf(s agent.State, name string) agent.PartState {
	for _, p := range s.Parts {
		if p.Name == name {
			return p
		}
	}
	return agent.PartState{}
}

// Where something else is at the path of the agent's socket, the agent says so, leaves it, and does all else. Containers start and are
// confined. When the path is free again, the agent listens there.
func TestAgentSocketTaken(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky)
	setPolicy(t, webPolicy)
	rt := armsOf(t, "runc")
	wantStarts(t, rt)
	path := filepath.Join(agent.Dir, "agent.sock")
	serves := func(a *runningAgent) {
		t.Helper()
		waitFor(t, "the agent to listen", func() bool {
			c, err := net.Dial("unix", path)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
		if state := servedByAgent(t, "/state"); !strings.Contains(state, fmt.Sprintf(`"pid": %d,`, a.Process.Pid)) {
			t.Errorf("it serves %s", state)
		}
	}
	for _, c := range []struct {
		what, says string
		take       func() (free func() error, err error)
	}{
		{"a listener", "somebody else listens at " + path, func() (func() error, error) {
			l, err := net.Listen("unix", path)
			return func() error { return l.Close() }, err
		}},
		{"a directory", path + " is there and no socket", func() (func() error, error) {
			return func() error { return os.Remove(path) }, os.Mkdir(path, 0o700)
		}},
		{"a file", path + " is there and no socket", func() (func() error, error) {
			return func() error { return os.Remove(path) }, os.WriteFile(path, []byte("mine"), 0o600)
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			free, err := c.take()
			if err != nil {
				t.Fatal(err)
			}
			taken, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			a := startAgent(t)
			waitFor(t, "the agent to say that nothing is served", func() bool { return a.said(c.says) > 0 })
			repaired := 0
			a.until(t, "it has begun", func(s agent.State) bool { repaired = int(s.Drift.Repaired); return s.Policy.Last != nil })
			guesttest.LoadProfile(t, loose("web"))
			a.until(t, "web is put right", func(s agent.State) bool { return s.Drift.Repaired == uint64(repaired)+1 })
			wantConfined(t, guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped), webTries, "web")
			if now, err := os.Lstat(path); err != nil || !os.SameFile(now, taken) || a.said(c.says) != 1 {
				t.Errorf("what is at the path is another thing (%v), or the agent says it again and again:\n%s", err, a.log.String())
			}
			if err := free(); err != nil {
				t.Fatal(err)
			}
			serves(a)
		})
	}

	// Somebody takes the path from an agent that runs. The agent listens there again when he has gone, and what he has there stays when the
	// agent ends.
	a := startAgent(t)
	serves(a)
	take := func() net.Listener {
		t.Helper()
		before := a.said("something else is in the socket's place")
		l, err := net.Listen("unix", path+".other")
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		if err := os.Rename(path+".other", path); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the agent to say so", func() bool { return a.said("something else is in the socket's place") == before+1 })
		return l
	}
	other := take()
	wantStarts(t, rt)
	other.Close()
	serves(a)
	other = take()
	defer other.Close()
	a.end(t)
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("the other's socket is gone: %v", err)
	} else {
		c.Close()
	}
	wantStarts(t, rt)
}

// While a policy is changed a hundred times, and many of its versions have a fault, agents are killed at random moments. At each moment
// a good version is in force, whole, and containers are confined by one. The agent that is not killed puts the last good one in force.
func TestAgentKilledByChanges(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky)
	setPolicy(t, webPolicy)
	for _, dir := range []string{"/etc/oci-apparmor", "/var/lib/oci-apparmor"} {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	changes := guesttest.Count(t, 20, 100, "changes while agents are killed")
	w, rt := watchVersions(t, changes, policyFaults), armsOf(t, "runc")
	m := &configMap{dir: "/etc/oci-apparmor"}
	put := func(n int) {
		t.Helper()
		files := w.files(n)
		if text, ok := files["web"]; ok {
			delete(files, "web")
			files["profiles/web"] = text
		}
		if err := m.put(files); err != nil {
			t.Fatal(err)
		}
	}
	put(0)
	guesttest.MustRun(t, "oci-apparmor", "policy", "apply")
	end := w.begin()
	killed, after := 0, time.Duration(0)
	for n := 1; n <= changes; n++ {
		a := spawnAgent(t)
		put(n)
		at := time.Duration(rand.IntN(1500)) * time.Millisecond // an apply takes half of that
		time.Sleep(at)
		if err := a.Process.Kill(); err != nil {
			t.Fatalf("%v\n%s", err, a.log.String())
		}
		_ = a.Wait()
		killed, after = killed+1, after+at
		if n%5 == 0 {
			c := guesttest.NewBundle(t).Start(t, rt.wrapped)
			wantConfined(t, c, tries{"write /etc/x": denied, "write /tmp/x": "ok"}, "web")
			t.Logf("%d of %d were killed", killed, changes) // a guest that is silent for long counts as stopped
		}
	}
	a := startAgent(t)
	a.until(t, "the last version is refused", func(s agent.State) bool { return s.Policy.Last != nil && s.Policy.Last.Outcome == agent.Refused })
	put(changes - 1)
	waitFor(t, "the last good version to be in force", w.is(t, changes-1))
	put(changes)
	a.until(t, "the bad one after it is refused", func(s agent.State) bool {
		return s.Policy.Last != nil && s.Policy.Last.Outcome == agent.Refused && s.Policy.Generation > 0
	})
	c := guesttest.NewBundle(t).Start(t, rt.wrapped)
	wantConfined(t, c, tries{"write /etc/x": denied, fmt.Sprintf("write /mnt/v%d", changes-1): denied, fmt.Sprintf("write /mnt/v%d", changes): "ok"}, "web")
	end()
	w.is(t, changes-1)()
	t.Logf("%d agents were killed, after %v on average; %d versions were in force, by %d looks", killed, after/time.Duration(killed), len(w.digests), w.looks)
	if len(w.digests) < 2 {
		t.Error("no agent has come to put anything in force before it was killed")
	}
}
