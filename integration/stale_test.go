package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
)

// readmePolicy puts the policy of the README's "Install" in force, by its commands.
func readmePolicy(t *testing.T) {
	t.Helper()
	dir := noPolicy(t)
	cmd := exec.Command("sh", "-e", "-c", installScript(t))
	cmd.Dir = dir
	if o := guesttest.RunCommand(t, cmd); o.Code != 0 {
		t.Fatalf("%s%s", o.Stdout, o.Stderr)
	}
}

// check returns what --check prints, and its exit code.
func check(t *testing.T) (line string, code int) {
	t.Helper()
	o := guesttest.Run(t, "oci-apparmor", "status", "--check")
	if strings.Count(o.Stdout, "\n") != 1 || o.Stderr != "" {
		t.Errorf("--check prints %q, and on stderr %q", o.Stdout, o.Stderr)
	}
	return strings.TrimSuffix(o.Stdout, "\n"), o.Code
}

func wantCheck(t *testing.T, code int, words ...string) {
	t.Helper()
	line, have := check(t)
	for _, w := range words {
		if !strings.Contains(line, w) {
			t.Errorf("--check does not say %q: %s", w, line)
		}
	}
	if have != code {
		t.Errorf("--check has exit code %d, want %d: %s", have, code, line)
	}
}

// The kernel lets what runs under a stack of profiles follow one replacement and no later one (where this fails because a
// kernel does better, that is the news). So who was loosened by hand stays loosened when the profile is put right.
func TestContainerUnderAStackStaysBehind(t *testing.T) {
	readmePolicy(t)
	const label = "node-baseline//&web (enforce)"
	held := tries{"write /etc/x": denied, "write /tmp/x": "ok"}
	loosened := tries{"write /etc/x": "ok", "write /tmp/x": "ok"}
	parts := []string{"same", "same"}
	eachRuntime(t, func(t *testing.T, rt arms) {
		c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
		wantConfined(t, c, held, "node-baseline", "web")
		wantStatus(t, c.ID, "confined", parts, 1, 1)
		wantCheck(t, 0, "OK: 1 container: 1 confined")

		guesttest.LoadProfile(t, loose("web"))
		wantConfined(t, c, loosened, "node-baseline", "web")
		wantStatus(t, c.ID, "drifted", []string{"same", "drifted"}, 1, 1)
		wantCheck(t, 2, "CRITICAL: 1 container: 1 drifted; "+c.ID+": drifted")

		next, o := guesttest.NewBundle(t, asks("web")).TryStart(t, rt.wrapped)
		if next == nil {
			t.Fatal(o.Stderr)
		}
		if !strings.Contains(o.Stderr, "profile web was loaded with other content") ||
			!strings.Contains(o.Stderr, "what runs in "+c.ID+" stays under older content") {
			t.Errorf("the start that puts the profile right says %q", o.Stderr)
		}
		wantConfined(t, next, held, "node-baseline", "web")
		wantStatus(t, next.ID, "confined", parts, 1, 1)
		wantConfined(t, c, loosened, "node-baseline", "web") // its label is as ever
		s := wantStatus(t, c.ID, "stale", parts, 1, 1)
		if !strings.Contains(strings.Join(s.Problems, "\n"), "start the container anew") {
			t.Errorf("%+v", s)
		}
		wantCheck(t, 2, "CRITICAL: 2 containers: 1 confined, 1 stale; "+c.ID+": stale")
		if o := c.Exec(t, "/bin/probe", "each", "label", "write /etc/x"); !strings.Contains(o.Stdout, denied) ||
			!strings.Contains(o.Stderr, "what it had started before stays under older content") {
			t.Errorf("exec: %+v", o)
		}
		if o := next.Exec(t, "/bin/probe", "label"); o.Stdout != label+"\n" && !strings.Contains(o.Stdout, "crun") || o.Stderr != "" {
			t.Errorf("exec: %+v", o)
		}
		wantConfined(t, c, loosened, "node-baseline", "web")

		guesttest.MustRun(t, rt.wrapped, "delete", "--force", c.ID)
		anew := c.Bundle.Start(t, rt.wrapped)
		wantConfined(t, anew, held, "node-baseline", "web")
		wantStatus(t, anew.ID, "confined", parts, 1, 1)

		// Of what others do, nobody knows how often they did it.
		guesttest.LoadProfile(t, loose("web"))
		loadOurs(t, "web")
		wantConfined(t, anew, loosened, "node-baseline", "web")
		if s := wantStatus(t, anew.ID, "unverified", parts, 1, 1); !strings.Contains(strings.Join(s.Problems, "\n"), "nobody knows how often") {
			t.Errorf("%+v", s)
		}
		wantCheck(t, 3, "UNKNOWN: ", anew.ID+": unverified")
		guesttest.MustRun(t, rt.wrapped, "delete", "--force", anew.ID)
		guesttest.MustRun(t, rt.wrapped, "delete", "--force", next.ID)
	})
}

// One replacement by us, of one part, is followed: a policy with a new text needs no container to be started anew. A part
// that is loaded again as it is was not replaced.
func TestContainerUnderAStackFollowsOnce(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // how a kernel follows, the test before shows in all
	readmePolicy(t)
	parts := []string{"same", "same"}
	eachRuntime(t, func(t *testing.T, rt arms) {
		c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
		wantConfined(t, c, tries{"write /mnt/x": "ok", "write /etc/x": denied}, "node-baseline", "web")
		for _, name := range []string{"web", "node-baseline"} { // as a reload of AppArmor's service does
			guesttest.MustRun(t, "apparmor_parser", "--replace", "--skip-cache", "/etc/apparmor.d/"+name+".oci-apparmor")
		}
		wantStatus(t, c.ID, "confined", parts, 1, 1)

		file := "/etc/oci-apparmor/profiles/web"
		before := read(t, file)
		t.Cleanup(func() { write(t, file, before) })
		write(t, file, strings.Replace(before, "audit deny /etc/** w,", "audit deny /etc/** w, audit deny /mnt/** w,", 1))
		guesttest.MustRun(t, "oci-apparmor", "policy", "apply", "--quiet")
		if o := guesttest.Run(t, "oci-apparmor", "policy", "load"); o.Code != 0 || o.Stderr != "" || !strings.Contains(o.Stdout, "web: replaced") {
			t.Errorf("%+v", o)
		}
		wantConfined(t, c, tries{"write /mnt/x": denied, "write /etc/x": denied}, "node-baseline", "web")
		wantStatus(t, c.ID, "confined", parts, 1, 1)

		write(t, file, before)
		guesttest.MustRun(t, "oci-apparmor", "policy", "apply", "--quiet")
		if o := guesttest.Run(t, "oci-apparmor", "policy", "load"); o.Code != 0 || !strings.Contains(o.Stderr, "what runs in "+c.ID+" stays") {
			t.Errorf("%+v", o)
		}
		wantConfined(t, c, tries{"write /mnt/x": denied, "write /etc/x": denied}, "node-baseline", "web")
		wantStatus(t, c.ID, "stale", parts, 1, 1)
	})
}

// Between create and start a stack takes the first replacement as well, and is refused after a second.
func TestStackLoosenedBetweenCreateAndStart(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // the refusal is ours
	readmePolicy(t)
	eachRuntime(t, func(t *testing.T, rt arms) {
		create := func() *guesttest.Bundle {
			b := guesttest.NewBundle(t, asks("web"), func(s *specs.Spec) {
				s.Process.Args = []string{"/bin/sh", "-c", "(: >/etc/x) 2>/tmp/err; cat /etc/x; echo $? >/tmp/log; exec sleep 1000"}
			})
			t.Cleanup(func() { guesttest.Run(t, rt.bare, "delete", "--force", b.ID) })
			if o := guesttest.RunCommand(t, exec.Command(rt.wrapped, "create", "--bundle", b.Dir, b.ID)); o.Code != 0 {
				t.Fatal(o.Stderr)
			}
			return b
		}
		wrote := func(b *guesttest.Bundle) bool {
			waitFor(t, "the container to try", func() bool { _, err := os.Stat(b.Rootfs() + "/tmp/log"); return err == nil })
			_, err := os.Stat(filepath.Join(b.Rootfs(), "etc/x"))
			return err == nil
		}
		past, through, fine := create(), create(), create()
		guesttest.MustRun(t, rt.wrapped, "start", fine.ID)
		if wrote(fine) {
			t.Error("a container that nobody loosened may write to /etc")
		}
		guesttest.LoadProfile(t, loose("web"))
		guesttest.MustRun(t, "oci-apparmor", "policy", "load")
		guesttest.MustRun(t, rt.bare, "start", past.ID)
		if !wrote(past) {
			t.Error("past the wrapper the process is under the present content, so that there is nothing to refuse")
		}
		o := guesttest.Run(t, rt.wrapped, "start", through.ID)
		if o.Code == 0 || !strings.Contains(o.Stderr, "profile web was replaced after the container was created") {
			t.Errorf("start: %+v", o)
		}
	})
}

// What runs under a stack and has followed its one replacement stays behind, whatever is done from outside of it, and while it
// has that label. Where this fails, a kernel has a way to bring it back: use it, and say so in install/README.md.
//
// Only the process itself can get the present content without another program, as the last part shows: it stacks a profile
// on its label that is part of it already. That changes nothing else, but its profiles must allow it by a rule, and nobody
// can do it for it.
func TestNothingMakesAStackFollowAgain(t *testing.T) {
	guesttest.Require(t)
	guesttest.RemoveProfilesAtEnd(t)
	const header = "abi <abi/3.0>,\n#include <tunables/global>\n"
	const rules = "  file,\n  change_profile -> &work,\n"
	base, strictBase := confining("base", rules+"  deny /etc/** w,\n"), confining("base", rules+"  deny /{etc/**,srv} w,\n")
	work, looseWork := confining("work", rules+"  deny /mnt/** w,\n"), confining("work", rules)
	start := func(profiles string) *guesttest.Container {
		return guesttest.NewBundle(t, names(profiles)).Start(t, armsOf(t, "crun").bare)
	}
	load := func(texts ...string) { // at once
		guesttest.LoadProfile(t, header+strings.ReplaceAll(strings.Join(texts, ""), header, ""))
	}
	load(base, work)
	c := start("base//&work")
	wantConfined(t, c, tries{"write /mnt/x": denied, "write /etc/x": denied, "write /srv": "ok"}, "base", "work")
	load(looseWork)
	behind := tries{"write /mnt/x": "ok", "write /etc/x": denied, "write /srv": "ok"}
	wantConfined(t, c, behind, "base", "work")
	for _, way := range []struct {
		what string
		do   func()
	}{
		{"a second replacement", func() { load(work) }},
		{"a third and a fourth", func() { load(looseWork); load(work) }},
		{"a replacement of the other part", func() { load(strictBase) }},
		{"two of both parts at once", func() { load(base, looseWork); load(strictBase, work) }},
		{"another container under the same stack", func() {
			wantConfined(t, start("base//&work"), tries{"write /mnt/x": denied, "write /srv": denied}, "base", "work")
		}},
		{"the profile under another name, and back", func() {
			load(confining("work-2", rules))
			start("base//&work-2")
			load(looseWork)
			load(work)
		}},
		{"a pause of the container", func() {
			guesttest.MustRun(t, c.Runtime, "pause", c.ID)
			guesttest.MustRun(t, c.Runtime, "resume", c.ID)
		}},
		{"a process that is executed in the container", func() {
			if got := c.ExecProbe(t, "each", "write /mnt/x", "write /srv"); got != denied+"\n"+denied {
				t.Errorf("what is executed in the container is under older content, too: %s", got)
			}
		}},
	} {
		way.do()
		for op, want := range behind {
			if got := c.Ask(t, op); got != want {
				t.Errorf("after %s, %s: %s, and it stayed behind with %s until now", way.what, op, got, want)
			}
		}
		wantLabel(t, c, "base", "work")
	}

	if got, want := c.Ask(t, "stack work /mnt/x"), "stack ok\nwrite "+denied; got != want {
		t.Errorf("a thread that stacks work on its label: %q, want %q", got, want)
	}
	wantConfined(t, c, behind, "base", "work") // its other threads
}

// A single profile follows each replacement, and one on which the runtime stacks its own does not.
func TestSingleProfileFollows(t *testing.T) {
	setPolicy(t, webPolicy)
	text, err := os.ReadFile("/etc/apparmor.d/crun")
	if err != nil {
		text = []byte("profile crun /usr/{bin,sbin}/crun flags=(unconfined) { }\n")
	}
	guesttest.LoadProfile(t, string(text))
	eachRuntime(t, func(t *testing.T, rt arms) {
		c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
		label, err := kernel.ParseLabel(c.Label(t))
		if err != nil || len(label.Components) > 1 && filepath.Base(rt.bare) == "runc" {
			t.Fatalf("label %v, %v", label, err)
		}
		t.Logf("%s gives the label %s", rt.bare, label)
		what, verdict, code := webTries, "confined", 0
		if len(label.Components) > 1 {
			what, verdict, code = freeTries, "stale", 2
		}
		for range 2 {
			guesttest.LoadProfile(t, loose("web"))
			wantConfined(t, c, freeTries, "web")
			wantStatus(t, c.ID, "drifted", []string{"drifted"}, 1, 1)
			guesttest.MustRun(t, "oci-apparmor", "policy", "load")
			wantConfined(t, c, what, "web")
			wantStatus(t, c.ID, verdict, []string{"same"}, 1, 1)
			wantCheck(t, code)
		}
	})
}

const gapPolicy = `version: 1
profiles:
  gap: {file: profiles/gap}
policies:
  gap: {profile: gap, mode: complain}
assign:
  - policy: gap
`

// A policy that only logs is told from one that confines; and what runs under a profile that complain mode made goes on
// complaining when the policy enforces.
func TestStatusOfComplainingContainers(t *testing.T) {
	setPolicy(t, keepPolicy)
	text := map[string]string{"gap": confining("gap", "  / r,\n  /** r,\n  /bin/{sh,probe,busybox} rix,\n  /{tmp,dev}/** rw,\n")}
	writePolicy(t, gapPolicy, text)
	guesttest.MustRun(t, "oci-apparmor", "policy", "apply", "--quiet")
	const null = "gap//null-/bin/sleep"
	eachRuntime(t, func(t *testing.T, rt arms) {
		unload(t, "gap")
		writePolicy(t, gapPolicy, text)
		guesttest.MustRun(t, "oci-apparmor", "policy", "apply", "--quiet")
		c := guesttest.NewBundle(t, func(s *specs.Spec) {
			s.Process.NoNewPrivileges = false
			s.Process.Args = []string{"/bin/sh", "-c", "/bin/sleep 1000 & exec /bin/probe hold"}
		}).Start(t, rt.wrapped)
		if got := c.Ask(t, "write /etc/x"); got != "ok" {
			t.Errorf("write /etc/x in complain mode: %s", got)
		}
		waitFor(t, "the process to execute sleep", func() bool { return len(processesUnder(null)) == 1 })
		s := wantStatus(t, c.ID, "complaining", []string{"same"}, 2, 2)
		if len(s.Problems) > 0 {
			t.Errorf("%+v", s)
		}
		text := guesttest.MustRun(t, "oci-apparmor", "status", "--show=containers")
		if !strings.HasPrefix(text, "1 container: 1 complaining.") {
			t.Errorf("%s", text)
		}
		wantCheck(t, 0, "OK: 1 container: 1 complaining")

		writePolicy(t, strings.Replace(gapPolicy, ", mode: complain", "", 1), nil)
		guesttest.MustRun(t, "oci-apparmor", "policy", "apply", "--quiet")
		guesttest.Run(t, "oci-apparmor", "policy", "load") // which says that it has a child too many
		if got := c.Ask(t, "write /etc/x"); got != denied {
			t.Errorf("write /etc/x in enforce mode: %s", got)
		}
		s = statusOf(t, c.ID)
		var apart []string
		for _, p := range s.Processes {
			if !p.Confined {
				apart = append(apart, p.Profile+" "+p.Status)
			}
		}
		if s.Verdict != "differs" || strings.Join(apart, ", ") != null+" complain" ||
			!strings.Contains(strings.Join(s.Problems, "\n"), "runs under "+null+", which is left") {
			data, _ := json.Marshal(s)
			t.Errorf("%s", data)
		}
		wantCheck(t, 2, c.ID+": differs")
		guesttest.MustRun(t, rt.wrapped, "delete", "--force", c.ID)
	})
}
