package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/agent"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// runningAgent is an agent in the guest.
type runningAgent struct {
	*exec.Cmd
	log bytes.Buffer
}

// startAgent starts an agent, which is stopped by SIGTERM at the end of the test, and waits until it has written its state.
func startAgent(t *testing.T, args ...string) *runningAgent {
	t.Helper()
	return spawnAgent(t, args...).begun(t)
}

// begun is startAgent for an agent that was spawned.
func (a *runningAgent) begun(t *testing.T) *runningAgent {
	t.Helper()
	a.until(t, "it has begun", func(s agent.State) bool { return s.PID == a.Process.Pid })
	t.Cleanup(func() {
		if a.ProcessState != nil {
			return
		}
		if said := a.end(t); t.Failed() {
			t.Logf("the agent's log:\n%s", said)
		}
	})
	return a
}

// end ends the agent by SIGTERM, and returns what it has said.
func (a *runningAgent) end(t *testing.T) string {
	t.Helper()
	if err := errors.Join(a.Process.Signal(syscall.SIGTERM), a.Wait()); err != nil {
		t.Errorf("by SIGTERM the agent ends with %v", err)
	}
	return a.log.String()
}

func spawnAgent(t *testing.T, args ...string) *runningAgent {
	t.Helper()
	return spawnAs(t, append([]string{"agent"}, args...)...)
}

// spawnAs is spawnAgent for the whole command line.
func spawnAs(t *testing.T, args ...string) *runningAgent {
	t.Helper()
	a := &runningAgent{Cmd: exec.Command("oci-apparmor", args...)}
	a.Stderr = &a.log
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	return a
}

// until waits for a state of the agent, and returns how long that took.
func (a *runningAgent) until(t *testing.T, what string, is func(s agent.State) bool) time.Duration {
	t.Helper()
	return untilAgent(t, what, a.log.String, is)
}

// untilAgent waits for a state of the agent that runs, and returns how long that took. log returns what it has said.
func untilAgent(t *testing.T, what string, log func() string, is func(s agent.State) bool) time.Duration {
	t.Helper()
	began := time.Now()
	var s agent.State
	for time.Since(began) < 3*time.Minute {
		var err error
		if s, _, err = agent.Read(agent.Dir); err == nil && is(s) {
			return time.Since(began)
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("after three minutes not so: %s: %+v\n%s", what, s, log())
	return 0
}

// memory returns what the agent's process has of the machine's memory now, and at most had, in KiB.
func (a *runningAgent) memory(t *testing.T) (now, most int) {
	t.Helper()
	for line := range strings.Lines(read(t, fmt.Sprintf("/proc/%d/status", a.Process.Pid))) {
		fields := strings.Fields(line)
		for name, into := range map[string]*int{"VmRSS:": &now, "VmHWM:": &most} {
			if fields[0] == name {
				*into, _ = strconv.Atoi(fields[1])
			}
		}
	}
	return now, most
}

// ticks returns the processor time that the agent has taken, in ticks of the kernel's.
func (a *runningAgent) ticks(t *testing.T) (all int) {
	t.Helper()
	text := read(t, fmt.Sprintf("/proc/%d/stat", a.Process.Pid))
	fields := strings.Fields(text[strings.LastIndex(text, ")"):])
	for _, f := range fields[12:14] { // utime and stime, the 14th and 15th of all; the second is the first here
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		all += n
	}
	return all
}

// manyProfiles adds profiles to the policy in force, and loads them. They are copies of one by other names, so that no
// compiler runs. The agent takes the generation for that of a rollback, and leaves it.
func manyProfiles(t *testing.T, n int) {
	t.Helper()
	const like = "many-0000"
	k, s := kernel.New(), store.Store{Dir: store.Dir}
	features, err := profile.ReadFeatures(k.Features())
	if err != nil {
		t.Fatal(err)
	}
	c, err := profile.NewCompiler(features)
	if err != nil {
		t.Fatal(err)
	}
	one, err := c.Compile(t.Context(), like, profile.Enforce, like, []byte("abi <abi/3.0>,\nprofile "+like+" { file, signal, }\n"))
	if err != nil {
		t.Fatal(err)
	}
	g, err := s.Current()
	if err != nil {
		t.Fatal(err)
	}
	config, err := g.Config()
	if err != nil {
		t.Fatal(err)
	}
	had := len(config.Profiles)
	for i := range n {
		name := fmt.Sprintf("many-%04d", i)
		config.Profiles = append(config.Profiles, policy.Profile{Name: name, Source: "profiles/" + name, Text: []byte(name)})
	}
	copies := copying(func(name string) ([]byte, error) {
		if at := slices.IndexFunc(config.Profiles[:had], func(p policy.Profile) bool { return p.Name == name }); at >= 0 {
			return g.Blob(config.Profiles[at])
		}
		return bytes.ReplaceAll(one.Data, []byte(like), []byte(name)), nil
	})
	for i := range config.Profiles[:had] {
		config.Profiles[i].Text = []byte(config.Profiles[i].Name)
	}
	if _, _, err := s.Apply(t.Context(), config, copies, store.Manifest{RollbackOf: 1}, func(store.Progress) {}); err != nil {
		t.Fatal(err)
	}
	for _, p := range config.Profiles[had:] {
		parsed, err := copies.Compile(t.Context(), p.Name, profile.Enforce, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		// As a start does, so that they are ours.
		if _, err := k.Ensure(t.Context(), []kernel.Profile{{Name: p.Name, Compiled: parsed.Profiles,
			Blob: func() ([]byte, error) { return parsed.Data, nil }}}); err != nil {
			t.Fatal(err)
		}
	}
}

type copying func(name string) ([]byte, error)

func (c copying) Compile(_ context.Context, name string, _ profile.Mode, _ string, _ []byte) (profile.Blob, error) {
	data, err := c(name)
	if err != nil {
		return profile.Blob{}, err
	}
	return profile.Parse(data)
}

// With 2,000 profiles of the policy loaded, what somebody changes by hand is put right at once, and so is what he removes;
// where the policy refuses drift, it is said. Nothing is done while nothing happens.
func TestAgentDrift(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky) // emulated, two thousand profiles take their time
	setPolicy(t, strings.Replace(webPolicy, "work: {file: profiles/work}", "work: {file: profiles/work, onDrift: refuse}", 1))
	manyProfiles(t, 2000)
	rt := armsOf(t, "runc")
	c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
	d := guesttest.NewBundle(t).Start(t, rt.wrapped)
	wantConfined(t, c, webTries, "web")
	wantConfined(t, d, workTries, "work")

	a := startAgent(t)
	before := a.until(t, "it sees the policy", func(s agent.State) bool { return s.Policy.Generation > 1 })
	wait(t, a)
	now, most := a.memory(t)
	t.Logf("after %v with 2,000 profiles: %d KiB resident, at most %d", before, now, most)

	guesttest.LoadProfile(t, loose("web"))
	a.until(t, "web is put right", func(s agent.State) bool { return s.Drift.Repaired == 1 })
	wantConfined(t, c, webTries, "web")
	// One after the other, at any moment of what the agent does, and then many at once.
	n := guesttest.Count(t, 20, 50, "profiles changed by hand")
	var took []time.Duration
	for i := range n {
		time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
		took = append(took, a.repairs(t, fmt.Sprintf("many-%04d", 1000+i)))
	}
	var some []string
	for i := range 50 {
		some = append(some, fmt.Sprintf("many-%04d", 1500+i))
	}
	all := a.repairs(t, some...)
	slices.Sort(took)
	t.Logf("put right and written down after the kernel had taken another content: one in %v to %v, half of them in %v; %d at once in %v",
		took[0], took[n-1], took[n/2], len(some), all)
	// Now and then a machine with other work gives the guest no processor for a second.
	if usual, late := took[n*9/10], took[n-1]; usual > time.Second || late > 5*time.Second {
		t.Errorf("of %d profiles, nine of ten were put right within %v, and the last one after %v", n, usual, late)
	}

	guesttest.RemoveProfile(t, "many-0777")
	repaired := uint64(1 + n + len(some))
	again := a.until(t, "it is there again", func(s agent.State) bool {
		return s.Drift.Repaired == repaired+1 && s.Drift.Last[0].Profile == "many-0777"
	})
	t.Logf("one that was removed after %v", again)
	if again > 5*time.Second {
		t.Errorf("a profile that was removed is loaded again after %v", again)
	}
	if guesttest.Profiles(t)["many-0777"] != "enforce" {
		t.Error("it is not loaded")
	}
	guesttest.MustRun(t, "oci-apparmor", "profile", "unload", "many-0778")

	guesttest.LoadProfile(t, loose("work"))
	a.until(t, "the drift of work is said", func(s agent.State) bool {
		return s.Drift.Found == repaired+2 && len(s.Drift.Standing) == 1 && s.Drift.Standing[0].Profile == "work" && s.Drift.Repaired == repaired+1
	})
	wantConfined(t, d, freeTries, "work")
	if next, o := guesttest.NewBundle(t).TryStart(t, rt.wrapped); next != nil || !strings.Contains(o.Stderr, "onDrift: refuse") {
		t.Errorf("a container under it starts: %s", o.Stderr)
	}
	if loaded := guesttest.Profiles(t)["many-0778"]; loaded != "" {
		t.Error("what profile unload has removed is loaded again")
	}

	wait(t, a)
	idle, woken := a.ticks(t), a.wakes(t)
	quiet := time.Duration(guesttest.Count(t, 20, 60, "seconds in which nothing happens")) * time.Second
	time.Sleep(quiet)
	// Nothing of ours wakes it. Once a minute Go's sysmon looks around, and once more 10 ms later (runtime/proc.go). That takes less than
	// a millisecond, for which the kernel bills a tick or none.
	spent, wakes := a.ticks(t)-idle, a.wakes(t)-woken
	if most := 2 * (1 + int(quiet/time.Minute)); wakes > most || spent > 1 {
		t.Errorf("in %v in which nothing happened it woke up %d times, and took %d ticks of the processor", quiet, wakes, spent)
	}
	if now, most = a.memory(t); now > 20<<10 {
		t.Errorf("%d KiB resident, more than 20 MiB", now)
	}
	t.Logf("in %v in which nothing happened it woke up %d times; in the end %d KiB resident, at most %d; %d ticks in all", quiet, wakes, now, most, idle)
}

// wakes returns how often threads of the agent have waited, and so have woken up.
func (a *runningAgent) wakes(t *testing.T) (n int) {
	t.Helper()
	const key = "voluntary_ctxt_switches:" // proc_pid_status(5)
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", a.Process.Pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("the agent has no threads (%v)", err)
	}
	for _, file := range files {
		_, after, found := strings.Cut(read(t, file), "\n"+key)
		line, _, _ := strings.Cut(after, "\n")
		one, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil || !found {
			t.Fatalf("%s: %q, %v", file, line, err)
		}
		n += one
	}
	return n
}

// repairs changes loaded profiles by hand, each by one write, and waits until the kernel has what it had before and the agent has
// written that down. It returns how long that took since the kernel had taken the first change.
func (a *runningAgent) repairs(t *testing.T, names ...string) time.Duration {
	t.Helper()
	var blobs []string
	before := map[string]string{} // the kernel's hashes by their files
	for _, name := range names {
		cmd := exec.Command("apparmor_parser", "--skip-kernel-load", "--skip-cache", "--stdout")
		cmd.Stdin = strings.NewReader(loose(name))
		blob, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		found, err := filepath.Glob(securityfs + "/policy/profiles/" + name + ".*/sha256")
		if err != nil || len(found) != 1 {
			t.Fatalf("profile %s is in %q (%v)", name, found, err)
		}
		blobs = append(blobs, string(blob))
		before[found[0]] = read(t, found[0])
	}
	state, _, err := agent.Read(agent.Dir)
	if err != nil {
		t.Fatal(err)
	}
	want := state.Drift.Repaired + uint64(len(names))
	var began time.Time
	for _, blob := range blobs {
		write(t, securityfs+"/.replace", blob)
		if began.IsZero() {
			began = time.Now()
		}
	}
	a.until(t, fmt.Sprintf("%d more profiles are put right", len(names)), func(s agent.State) bool { return s.Drift.Repaired == want })
	took := time.Since(began)
	for file, sum := range before {
		if now := read(t, file); now != sum {
			t.Errorf("%s is %s, and was %s before", file, now, sum)
		}
	}
	return took
}

// wait waits until the agent has nothing to do, and has given back what it took for that.
func wait(t *testing.T, a *runningAgent) {
	t.Helper()
	last, since := a.ticks(t), time.Now()
	for end := time.Now().Add(2 * time.Minute); time.Since(since) < 3*time.Second; time.Sleep(100 * time.Millisecond) {
		if now := a.ticks(t); now != last {
			last, since = now, time.Now()
		}
		if time.Now().After(end) {
			t.Fatalf("it goes on working: %s", a.log.String())
		}
	}
}

// A configMap is a directory in which the kubelet has a ConfigMap. Each version is in a directory of its own, to which the link
// "..data" leads (pkg/volume/util/atomic_writer.go of k8s.io/kubernetes).
type configMap struct {
	dir     string
	version int // that is there; 0 for none
}

// put replaces the version that is there by another one, in one step. files are by their paths, which may be in directories.
func (m *configMap) put(files map[string]string) error {
	m.version++
	next, data := fmt.Sprintf("..2026_%03d", m.version), filepath.Join(m.dir, "..data")
	if err := os.MkdirAll(filepath.Join(m.dir, next), 0o755); err != nil {
		return err
	}
	shown := map[string]bool{}
	for name, text := range files {
		path := filepath.Join(m.dir, next, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			return err
		}
		top, _, _ := strings.Cut(name, "/")
		shown[top] = true
	}
	before, err := os.Readlink(data)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := errors.Join(os.Symlink(next, data+"_tmp"), os.Rename(data+"_tmp", data)); err != nil {
		return err
	}
	for name := range shown {
		if err := os.Symlink("..data/"+name, filepath.Join(m.dir, name)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	entries, err := os.ReadDir(m.dir)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "..") && !shown[e.Name()] {
			err = errors.Join(err, os.Remove(filepath.Join(m.dir, e.Name())))
		}
	}
	if before != "" {
		err = errors.Join(err, os.RemoveAll(filepath.Join(m.dir, before)))
	}
	return err
}

// What a ConfigMap has is in force soon after each change, whole, and never anything else than a good version.
func TestAgentConfigMap(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky)
	setPolicy(t, webPolicy)
	const dir = "/etc/oci-apparmor"
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	text := func(n int) string {
		p := fmt.Sprintf("version: 1\nprofiles: {v%d: {file: profiles/web}}\npolicies: {p%[1]d: {profile: v%[1]d}}\nassign: [{policy: p%[1]d}]\n", n)
		if n%3 == 1 {
			p += "assign: [{policy: nowhere}]\n"
		}
		return p
	}
	m := configMap{dir: dir}
	put := func(n int) {
		t.Helper()
		profile := strings.ReplaceAll(texts["web"], "web", fmt.Sprintf("v%d", n))
		if n%3 == 2 {
			profile = strings.ReplaceAll(profile, "file,", "file")
		}
		if err := m.put(map[string]string{"policy.yaml": text(n), "profiles/web": profile}); err != nil {
			t.Fatal(err)
		}
	}
	inForce := func() (of int) {
		t.Helper()
		g, err := store.Store{Dir: store.Dir}.Current()
		if err != nil {
			t.Fatal(err)
		}
		c, err := g.Index.Config()
		if err != nil {
			t.Fatal(err)
		}
		rule := c.Assignments[0].Policy
		n, err := strconv.Atoi(strings.TrimPrefix(rule, "p"))
		if err != nil || len(c.Profiles) != 1 || c.Profiles[0].Name != fmt.Sprintf("v%d", n) || n%3 != 0 {
			t.Fatalf("in force is %+v", c)
		}
		return n
	}
	put(0)
	a := startAgent(t)
	a.until(t, "the first version is in force", func(s agent.State) bool {
		return s.Policy.Last != nil && s.Policy.Last.Outcome == agent.Applied
	})
	changes := guesttest.Count(t, 30, 100, "changes of a ConfigMap")
	for n := 1; n <= changes; n++ {
		put(n)
		for end := time.Now().Add(600 * time.Millisecond); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if of := inForce(); of > n {
				t.Fatalf("version %d is in force before it is there", of)
			}
		}
	}
	if of := inForce(); of == 0 {
		t.Error("not one of the versions came in force while they came")
	}
	last := (changes + 3) / 3 * 3
	put(last)
	a.until(t, "the last version is in force", func(s agent.State) bool {
		return s.Policy.Last != nil && s.Policy.Last.Outcome == agent.Applied && inForce() == last
	})
	put(last + 1)
	a.until(t, "the bad one after it is refused", func(s agent.State) bool { return s.Policy.Last != nil && s.Policy.Last.Outcome == agent.Refused })
	if of := inForce(); of != last {
		t.Errorf("version %d is in force", of)
	}
	c := guesttest.NewBundle(t).Start(t, armsOf(t, "runc").wrapped)
	wantConfined(t, c, webTries, fmt.Sprintf("v%d", last))
	now, most := a.memory(t)
	t.Logf("%d KiB resident, at most %d", now, most)
}

// Whenever the agent is killed, containers start as decided, and the next agent goes on.
func TestAgentKilled(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky)
	setPolicy(t, webPolicy)
	rt := armsOf(t, "runc")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	// What is loaded by hand later is in the place of what a start has loaded, which is ours to replace.
	wantConfined(t, guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped), webTries, "web")
	n := guesttest.Count(t, 8, 60, "agents that are killed")
	for i := range n {
		a := spawnAgent(t)
		write(t, "/etc/oci-apparmor/policy.yaml", strings.Replace(webPolicy, `"kept-*"`, fmt.Sprintf(`"kept-*", "x%d-*"`, i), 1))
		if i%2 == 0 {
			guesttest.LoadProfile(t, loose("web"))
		}
		time.Sleep(time.Duration(random.IntN(700)) * time.Millisecond)
		if err := a.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = a.Wait()
		c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
		wantConfined(t, c, webTries, "web")
		t.Logf("%d of %d were killed", i+1, n) // a guest that is silent for long counts as stopped
	}
	guesttest.MustRun(t, "oci-apparmor", "policy", "check")
	a := startAgent(t)
	a.until(t, "the last policy is in force", func(s agent.State) bool {
		return s.Policy.Last != nil && (s.Policy.Last.Outcome == agent.Applied || s.Policy.Last.Outcome == agent.Unchanged)
	})
	second := guesttest.Run(t, "oci-apparmor", "agent")
	if second.Code == 0 || !strings.Contains(second.Stderr, fmt.Sprintf("another oci-apparmor agent runs on this node, process %d", a.Process.Pid)) {
		t.Errorf("a second agent ends with %d: %s", second.Code, second.Stderr)
	}
	state := guesttest.MustRun(t, "oci-apparmor", "policy", "show")
	if !strings.Contains(state, fmt.Sprintf("x%d", n-1)) {
		t.Errorf("in force is\n%s", state)
	}
}
