package integration

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// Engines and runtimes under labels of their own: AppArmor attaches profiles to their programs, on Ubuntu 24.04 and later to
// Podman's, and a container must take signals from what has such a label.

const (
	// Ubuntu's profiles of Podman and crun, and one under whose name nobody would look for a runtime.
	podmansOwn = "abi <abi/3.0>,\nprofile podman /usr/bin/podman flags=(unconfined) {\n  file,\n}\n"
	crunsOwn   = "abi <abi/3.0>,\nprofile crun /usr/bin/crun flags=(unconfined) {\n  file,\n}\n"
	strangeOwn = "abi <abi/3.0>,\nprofile strange.runtimes /usr/{bin,sbin}/{runc,crun} flags=(unconfined) {\n  file,\n}\n"

	// sendersPolicy gives everyone web, whose text is the node's own, on a floor that is generated.
	sendersPolicy = `version: 1
profiles:
  web:   {file: profiles/web}
  batch: {template: docker-default}
policies:
  web:   {profile: web, floor: batch}
  batch: {profile: batch}
assign:
  - policy: batch
    request: [web]
`
)

// setSenders puts a policy in force whose profiles know the labels that are loaded now.
func setSenders(t *testing.T, web string) {
	t.Helper()
	changed := maps.Clone(texts)
	changed["web"] = web
	writePolicy(t, sendersPolicy, changed)
	guesttest.MustRun(t, "oci-apparmor", "policy", "apply")
	guesttest.MustRun(t, "oci-apparmor", "policy", "load")
}

// taking is web's text with one more label to take signals from.
func taking(label string) string {
	return strings.Replace(texts["web"], "peer=unconfined,", "peer=unconfined,\n  signal (receive) peer="+label+",", 1)
}

// statusWarnings returns what status says beside its tables.
func statusWarnings(t *testing.T) string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(guesttest.MustRun(t, "oci-apparmor", "status", "--show=containers")) {
		if strings.HasPrefix(line, "warning: ") || strings.HasPrefix(line, "  ") {
			lines = append(lines, strings.TrimSpace(strings.TrimPrefix(line, "warning: ")))
		}
	}
	return strings.Join(lines, " ")
}

// batchTries show the template: crypto sockets are denied, other sockets are not.
var batchTries = tries{"socket alg seqpacket": denied, "socket unix stream": "ok", "write /tmp/x": "ok"}

// Podman has crun send its signals, and crun keeps Podman's label: also a profile in mode unconfined is a peer that others'
// rules are about, on each kernel that has Podman here. Only where crun has a profile of its own, too, is the label crun's,
// which every generated profile takes signals from; a kill goes through then, whatever Podman's label is.
func TestPodmanUnderALabelOfItsOwn(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie, guesttest.Forky)
	setPolicy(t, webPolicy)
	fewProfiles(t)
	p := guesttest.NewPodman(t, guesttest.PodmanWrappers+"/crun", "")
	root := guesttest.NewBundle(t).Rootfs()
	run := func(name string, options ...string) {
		t.Helper()
		args := append([]string{"run", "--detach", "--name", name, "--network", "none", "--security-opt", "seccomp=unconfined"}, options...)
		if o := p.Podman(t, append(args, "--rootfs", root, "/bin/probe", "sleep")...); o.Code != 0 {
			t.Fatalf("podman run: %s", o.Stderr)
		}
	}
	running := func(name string) bool {
		t.Helper()
		o := p.Podman(t, "inspect", "--format", "{{.State.Running}}", name)
		return strings.TrimSpace(o.Stdout) == "true"
	}
	confined := func(name, label string, what tries) {
		t.Helper()
		what = maps.Clone(what)
		what["label"] = label
		for _, op := range slices.Sorted(maps.Keys(what)) {
			o := p.Podman(t, append([]string{"exec", name, "/bin/probe"}, strings.Fields(op)...)...)
			if got := strings.TrimSpace(o.Stdout); got != what[op] {
				t.Errorf("podman exec %s, %s: %q, want %q (%s)", name, op, got, what[op], o.Stderr)
			}
		}
	}
	ends := func(name string, args ...string) {
		t.Helper()
		o := p.Podman(t, append(args, name)...)
		if o.Code != 0 {
			t.Errorf("podman %q: exit code %d, %s", args, o.Code, o.Stderr)
		}
		waitFor(t, "the container to end after podman "+args[0], func() bool { return !running(name) })
	}

	// Without the label: what was there before, and what a policy that does not know it comes to.
	setSenders(t, texts["web"])
	run("early")
	guesttest.LoadProfile(t, podmansOwn)
	if said := statusWarnings(t); !strings.Contains(said, `profile batch refuses signals from programs under the label "podman"`) ||
		!strings.Contains(said, "gives to /usr/bin/podman here") {
		t.Errorf("status says of a label that has come later: %s", said)
	}
	said := guesttest.Run(t, "oci-apparmor", "policy", "load").Stderr
	if !strings.Contains(said, `profile web refuses signals`) || !strings.Contains(said, `add signal (receive) peer="podman", to profiles/web`) {
		t.Errorf("policy load says of a label that has come later: %s", said)
	}
	log := guesttest.KernelLog(t)
	if o := p.Podman(t, "kill", "early"); o.Code == 0 || !running("early") {
		t.Errorf("podman kill of what does not know its label: exit code %d, %s; nothing below shows anything", o.Code, o.Stderr)
	}
	if lines := log.Grep(t, `operation="signal"`, `profile="batch"`, `peer="podman"`); len(lines) == 0 {
		t.Error("the kernel has not said that the label is why")
	}

	// With crun's own profile beside it: the label that kills is not Podman's.
	run("crun")
	guesttest.LoadProfile(t, crunsOwn)
	ends("crun", "kill")
	guesttest.RemoveProfile(t, "crun")

	// The next apply knows it, and what runs can be stopped from then on.
	if out := guesttest.MustRun(t, "oci-apparmor", "profile", "check", "/etc/oci-apparmor/profiles/web"); !strings.Contains(out, `signal (receive) peer="podman",`) {
		t.Errorf("profile check says of a text that does not know the label: %s", out)
	}
	setSenders(t, taking("podman"))
	if said := statusWarnings(t); strings.Contains(said, "signals") {
		t.Errorf("status still says %s", said)
	}
	if out := guesttest.MustRun(t, "oci-apparmor", "profile", "check", "/etc/oci-apparmor/profiles/web"); strings.Contains(out, "[peers]") {
		t.Errorf("profile check says of a text that knows the label: %s", out)
	}
	confined("early", "batch (enforce)", batchTries)
	ends("early", "kill")

	run("stopped")
	confined("stopped", "batch (enforce)", batchTries)
	ends("stopped", "stop", "--time", "1")
	run("removed", "--annotation", "oci-apparmor/policy=web")
	confined("removed", "batch//&web (enforce)", tries{"write /etc/x": denied, "write /mnt/x": "ok", "socket alg seqpacket": denied})
	ends("removed", "rm", "--force", "--time", "1")
}

// A runtime that AppArmor puts under some label, in any suite: by the bytes that the kernel keeps, as it prints no pattern.
func TestRuntimeUnderALabelOfItsOwn(t *testing.T) {
	setPolicy(t, webPolicy)
	fewProfiles(t)
	setSenders(t, texts["web"])
	rt := armsOf(t, "runc")
	c := guesttest.NewBundle(t).Start(t, rt.wrapped)
	guesttest.LoadProfile(t, strangeOwn)
	// Debian's are in /usr/sbin or /usr/bin.
	if said := statusWarnings(t); !strings.Contains(said, `the label "strange.runtimes", which AppArmor gives to `+resolved(t, rt.bare)+" here") &&
		!strings.Contains(said, `the label "strange.runtimes", which AppArmor gives to `+resolved(t, program(t, "crun"))+" here") {
		t.Errorf("status says of a label that has come later: %s", said)
	}
	log := guesttest.KernelLog(t)
	if o := guesttest.Run(t, rt.wrapped, "kill", c.ID, "KILL"); o.Code == 0 {
		t.Error("runc kill of what does not know its label works: nothing below shows anything")
	}
	if lines := log.Grep(t, `operation="signal"`, `profile="batch"`, `peer="strange.runtimes"`); len(lines) == 0 {
		t.Error("the kernel has not said that the label is why")
	}
	setSenders(t, taking("strange.runtimes"))
	if said := statusWarnings(t); strings.Contains(said, "signals") {
		t.Errorf("status still says %s", said)
	}
	wantConfined(t, c, batchTries, "batch")
	guesttest.MustRun(t, rt.wrapped, "kill", c.ID, "KILL")
	waitFor(t, "the container to stop", func() bool {
		return strings.Contains(guesttest.Run(t, rt.bare, "state", c.ID).Stdout, `"stopped"`)
	})
	eachRuntime(t, func(t *testing.T, rt arms) {
		// With no_new_privs crun's own label would be part of the stack.
		c := guesttest.NewBundle(t, asks("web"), func(s *specs.Spec) { s.Process.NoNewPrivileges = false }).Start(t, rt.wrapped)
		wantConfined(t, c, webTries, "batch", "web")
		guesttest.MustRun(t, rt.wrapped, "delete", "--force", c.ID)
	})
}

// At boot, when AppArmor's service has loaded nothing yet, what it will load counts.
func TestLabelsThatAreNotLoadedYet(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // how files are read is ours
	setPolicy(t, webPolicy)
	fewProfiles(t)
	const file = "/etc/apparmor.d/strange"
	write(t, file, "include <tunables/global>\n@{strange} = /usr/{bin,sbin}/runc\n"+strings.Replace(strings.TrimPrefix(strangeOwn, "abi <abi/3.0>,\n"),
		"/usr/{bin,sbin}/{runc,crun}", "@{strange}", 1))
	t.Cleanup(func() { guesttest.MustRun(t, "rm", file) })
	setSenders(t, taking("strange.runtimes"))
	reloadService(t)
	if _, loaded := guesttest.Profiles(t)["strange.runtimes"]; !loaded {
		t.Fatal("AppArmor's service has not loaded the profile")
	}
	rt := armsOf(t, "runc")
	c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
	wantConfined(t, c, webTries, "batch", "web")
	guesttest.MustRun(t, rt.wrapped, "kill", c.ID, "KILL")
}

// resolved returns the path that the kernel knows a program by.
func resolved(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
