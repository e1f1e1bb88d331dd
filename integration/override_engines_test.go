package integration

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// policyfile's README has the table of what a user tells the engine, by real engines.

// enginePolicy is overridePolicy for engines of whose containers we know no more than whether they are privileged: those
// are on the floor. Who asks for hands-off has the policy keep.
var enginePolicy = overridePolicy[:strings.Index(overridePolicy, "assign:")] + `assign:
  - privileged: true
    policy: floored
    request: [hands-off]
    acceptChoice: [web, by-hand]
  - policy: work
    request: [hands-off]
    acceptChoice: [web, by-hand]
`

// tryEngines and tryFree show an engine's own profile, and none. The file can only be opened with a capability, which
// other does not allow either.
var (
	tryEngines = tries{"write /etc/x": "ok", "open /proc/sysrq-trigger r": denied}
	tryFree    = tries{"write /etc/x": "ok", "open /proc/sysrq-trigger r": "ok"}
)

// An override is a cell of the table: the options that an engine is called with, the label that comes of it in enforce
// mode (as far as it confines), and what that denies and allows. DEFAULT is the engine's own profile.
type override struct {
	name, options, label string
	what                 tries
	brief                bool // tried by every way in which an engine reaches us
}

const keeping = "--annotation oci-apparmor/policy=hands-off "

var overrides = []override{
	{"nothing", "", "work", workTries, false},
	{"the default by its name", "--security-opt apparmor=DEFAULT", "work", workTries, false},
	{"a listed one", "--security-opt apparmor=by-hand", "by-hand", byHandTries, true},
	{"one that is not listed", "--security-opt apparmor=other", "work", workTries, false},
	{"unconfined", "--security-opt apparmor=unconfined", "work", workTries, true},
	{"privileged, on a floor", "--privileged", "base//&work", bothTries, false},
	{"privileged, and a listed one, on a floor", "--privileged --security-opt apparmor=by-hand", "base//&by-hand",
		byHandFlooredTries, true},
	{"kept: nothing", keeping, "DEFAULT", tryEngines, false},
	{"kept: one that is not listed", keeping + "--security-opt apparmor=other", "other", tryEngines, false},
	{"kept: unconfined", keeping + "--security-opt apparmor=unconfined", "unconfined", tryFree, false},
	{"kept: privileged", keeping + "--privileged", "unconfined", tryFree, false},
}

// wantOverride runs a container, has its first process try its operations, and checks label and answers. Where exec is
// set, a process that is started in the container later does so, too.
func wantOverride(t *testing.T, engine func(t testing.TB, args ...string) guesttest.Outcome, o override, defaultProfile string,
	exec bool, where ...string) {
	t.Helper()
	fill := strings.NewReplacer("DEFAULT", defaultProfile)
	label := fill.Replace(o.label)
	if label != "unconfined" {
		label += " (enforce)"
	}
	must := func(args ...string) string {
		t.Helper()
		out := engine(t, args...)
		if out.Code != 0 {
			t.Fatalf("%q: exit code %d: %s%s", args, out.Code, out.Stdout, out.Stderr)
		}
		return strings.TrimSpace(out.Stdout)
	}
	check := func(who, said string) {
		t.Helper()
		lines, ops := strings.Split(said, "\n"), slices.Sorted(maps.Keys(o.what))
		if len(lines) != 1+len(ops) {
			t.Fatalf("%s said %q, want a label and %d answers", who, said, len(ops))
		}
		if lines[0] != label {
			t.Errorf("%s has label %q, want %q", who, lines[0], label)
		}
		for i, op := range ops {
			if lines[1+i] != o.what[op] {
				t.Errorf("%s, %s: %s, want %s", who, op, lines[1+i], o.what[op])
			}
		}
	}
	run := append([]string{"run", "--network", "none"}, strings.Fields(fill.Replace(o.options))...)
	command := []string{"/bin/sh", "-c", o.what.script()}
	check("the container's process", must(slices.Concat(run, []string{"--rm"}, where, command)...))
	if exec {
		id := must(slices.Concat(run, []string{"--detach"}, where, []string{"/bin/probe", "sleep"})...)
		check("what was executed in it", must(append([]string{"exec", id}, command...)...))
		must("rm", "--force", id)
	}
}

func TestContainerdDockerSecurityOpt(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // what counts is the spec that Docker writes, which all write alike
	setPolicy(t, enginePolicy)
	guesttest.LoadProfile(t, byHand)
	guesttest.LoadProfile(t, loose("other"))
	c := guesttest.StartContainerd(t, guesttest.Containerds(t)[0], guesttest.ContainerdConfig{})
	d := guesttest.StartDocker(t, c, map[string]map[string]any{
		"wrapper": {"path": guesttest.DockerWrappers + "/runc"}, "shim": {"runtimeType": guesttest.Type.Type},
	})
	for _, runtime := range []string{"wrapper", "shim"} {
		for _, o := range overrides {
			if runtime == "wrapper" || o.brief {
				t.Run(runtime+"/"+o.name, func(t *testing.T) {
					if !o.brief {
						guesttest.Leave(t, "make test has this override with Podman, and others with Docker")
					}
					exec := strings.HasPrefix(o.name, "privileged, and") // TestContainerdDocker has more of it
					wantOverride(t, d.Docker, o, "docker-default", exec, "--runtime", runtime, guesttest.ProbeImage)
				})
			}
		}
	}
}

// In Kubernetes' words, on a floor. What containerd's own default, Unconfined and privileged come to without one, and a
// choice that is not listed, TestContainerdPods shows.
func TestContainerdPodAppArmorProfile(t *testing.T) {
	guesttest.OldestAndPresent(t, func(t *testing.T, v guesttest.ContainerdVersion) {
		_, engine := startCRI(t, v)
		apply(t, overridePolicy)
		guesttest.LoadProfile(t, byHand)                                   // the engine wants to see it before we are called
		pod := engine.Pod(t, guesttest.Type.Name, guesttest.PrivilegedPod) // which every containerd heeds: see ignoresRuntimePath
		c := startPodContainer(t, pod, "floored-1", guesttest.WithAppArmor("localhost/by-hand"))
		wantPodConfined(t, c, byHandFlooredTries, "base//&by-hand (enforce)")
		wantExecSyncConfined(t, c, byHandFlooredTries, "base//&by-hand (enforce)")
		c = startPodContainer(t, pod, "floored-2", guesttest.WithAppArmor("runtime/default"))
		wantPodConfined(t, c, bothTries, "base//&work (enforce)")
		c = startPodContainer(t, pod, "floored-3", guesttest.WithAppArmor("unconfined"))
		wantPodConfined(t, c, bothTries, "base//&work (enforce)")
		c = startPodContainer(t, pod, "floored-4", guesttest.Privileged)
		wantPodConfined(t, c, bothTries, "base//&work (enforce)")
		pod.Remove(t)
	})
}
