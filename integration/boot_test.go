package integration

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// bootPolicy has a profile in every mode, and one from a template.
const bootPolicy = `version: 1
profiles:
  web:     {file: profiles/web}
  work:    {file: profiles/work}
  watched: {file: profiles/watched}
  killing: {file: profiles/killing}
  batch:   {template: docker-default}
policies:
  web:       {profile: web, floor: batch}
  work:      {profile: work}
  watch:     {profile: watched, mode: complain}
  strict:    {profile: killing, mode: kill}
  hands-off: {profile: keep}
assign:
  - container: ["kept-*"]
    policy: hands-off
  - policy: web
    request: [work, watch, strict]
`

// bootProfiles are the policy's.
var bootProfiles = []string{"batch", "killing", "watched", "web", "work"}

// What Debian's AppArmor does to profiles: take out what no file in /etc/apparmor.d defines, and load what is there anew,
// which is also what it does at boot.
//
// The one of AppArmor 3.0 takes "(kill)" for a part of a profile's name, and fails to remove that in the end.
func removeUnknown(t *testing.T) string {
	t.Helper()
	o := guesttest.Run(t, "aa-remove-unknown")
	if o.Code != 0 && !strings.Contains(o.Stdout, "(kill)") {
		t.Errorf("aa-remove-unknown: exit code %d, %s%s", o.Code, o.Stdout, o.Stderr)
	}
	return o.Stdout
}

func reloadService(t *testing.T) {
	t.Helper()
	guesttest.MustRun(t, "/lib/apparmor/apparmor.systemd", "reload")
}

// fewProfiles takes the distribution's own profiles out of /etc/apparmor.d until the test's end: some are for the runtimes,
// and to compile a hundred takes a minute here.
func fewProfiles(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("/etc/apparmor.d/*")
	if err != nil {
		t.Fatal(err)
	}
	away := t.TempDir()
	for _, f := range files {
		info, err := os.Lstat(f)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() || strings.HasSuffix(f, ".oci-apparmor") || filepath.Base(f) == "lsb_release" {
			continue
		}
		guesttest.MustRun(t, "mv", f, away)
		t.Cleanup(func() { guesttest.MustRun(t, "mv", filepath.Join(away, filepath.Base(f)), f) })
	}
}

// kernelHolds returns the hash and the kernel's directory of every profile: a directory that is the same has never been
// removed.
func kernelHolds(t *testing.T) map[string]string {
	t.Helper()
	held := map[string]string{}
	dirs, err := filepath.Glob(securityfs + "/policy/profiles/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		sums, err := filepath.Glob(dir + "/sha*")
		if err != nil || len(sums) != 1 {
			t.Fatalf("%s has the hashes %q, %v", dir, sums, err)
		}
		held[strings.TrimSpace(read(t, dir+"/name"))] = filepath.Base(dir) + " " + strings.TrimSpace(read(t, sums[0]))
	}
	return held
}

// wantHeld checks that the kernel has what it had of these profiles.
func wantHeld(t *testing.T, before map[string]string, what string, profiles ...string) {
	t.Helper()
	now := kernelHolds(t)
	for _, name := range profiles {
		if before[name] == "" || now[name] != before[name] {
			t.Errorf("after %s the kernel has of profile %s %q, before %q", what, name, now[name], before[name])
		}
	}
}

func ourFile(profile string) string { return "/etc/apparmor.d/" + profile + ".oci-apparmor" }

// ourFiles returns the profiles that AppArmor's service is told of.
func ourFiles(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob(ourFile("*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".oci-apparmor"))
	}
	return names
}

// Profiles of the policy, and one that was loaded by hand, outlive what AppArmor's own tools do, and so do containers under
// them: one that runs, one that is created and not started, and one on which the policy does not decide.
func TestBoot(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm, guesttest.Forky)
	setPolicy(t, bootPolicy)
	fewProfiles(t)
	rt := armsOf(t, "runc")
	if got := ourFiles(t); !slices.Equal(got, bootProfiles) {
		t.Fatalf("AppArmor's service is told of %q, want %q", got, bootProfiles)
	}

	calls := trapParser(t)
	for _, want := range []string{": loaded", ": is loaded already, with this content"} {
		if out := guesttest.MustRun(t, "oci-apparmor", "policy", "load"); strings.Count(out, want) != len(bootProfiles) {
			t.Errorf("policy load says\n%swant %d times %q", out, len(bootProfiles), want)
		}
	}
	if said, err := os.ReadFile(calls); err == nil {
		t.Errorf("policy load ran the compiler:\n%s", said)
	}
	modes := guesttest.Profiles(t)
	if modes["watched"] != "complain" || modes["killing"] != "kill" || modes["web"] != "enforce" {
		t.Errorf("loaded are %v", modes)
	}

	hand := filepath.Join(t.TempDir(), "hand")
	write(t, hand, confining("hand", "  file,\n  audit deny /etc/** w,\n"))
	guesttest.MustRun(t, "oci-apparmor", "profile", "load", hand)
	runs := guesttest.NewBundle(t).Start(t, rt.wrapped)
	kept := called("kept-", guesttest.NewBundle(t, names("hand"))).Start(t, rt.wrapped)
	created := guesttest.NewBundle(t, asks("work"), func(s *specs.Spec) {
		s.Process.Args = []string{"/bin/sh", "-c", "touch /tmp/ran; touch /mnt/ran; exec probe sleep"}
	})
	t.Cleanup(func() { guesttest.Run(t, rt.wrapped, "delete", "--force", created.ID) })
	if o := guesttest.RunCommand(t, exec.Command(rt.wrapped, "create", "--bundle", created.Dir, created.ID)); o.Code != 0 {
		t.Fatal(o.Stderr)
	}

	guesttest.LoadProfile(t, "profile stray { file, }")
	before := kernelHolds(t)
	if said := removeUnknown(t); !strings.Contains(said, "'stray'") || guesttest.Profiles(t)["stray"] != "" {
		t.Errorf("aa-remove-unknown does not do what it is for: %s", said)
	}
	wantHeld(t, before, "aa-remove-unknown", append(bootProfiles, "hand")...)
	reloadService(t)
	wantHeld(t, before, "a reload of AppArmor's service", append(bootProfiles, "hand")...)
	removeUnknown(t)
	wantHeld(t, before, "both", append(bootProfiles, "hand")...)

	wantConfined(t, runs, webTries, "web", "batch")
	wantExecConfined(t, runs, webTries, "batch//&web (enforce)", byCommandLine(runs))
	wantConfined(t, kept, webTries, "hand")
	guesttest.MustRun(t, rt.wrapped, "start", created.ID)
	wantLabel(t, &guesttest.Container{Bundle: created, Runtime: rt.wrapped}, "work")
	waitFor(t, "the created container has run", func() bool { return exists(created.Rootfs() + "/tmp/ran") })
	if exists(created.Rootfs() + "/mnt/ran") {
		t.Error("the container that was created and not started is not confined")
	}
	wantStatus(t, runs.ID, "confined", []string{"same", "same"}, 1, 1)

	// What leaves the policy stays known as long as something runs under it.
	for _, c := range []string{created.ID, kept.ID} {
		guesttest.MustRun(t, rt.wrapped, "delete", "--force", c)
	}
	smaller := strings.NewReplacer("  web:     {file: profiles/web}\n", "", "  work:    {file: profiles/work}\n", "",
		"  web:       {profile: web, floor: batch}\n", "", "  work:      {profile: work}\n", "",
		"policy: web\n    request: [work, watch, strict]", "policy: strict\n    request: [watch]").Replace(bootPolicy)
	writePolicy(t, smaller, texts)
	o := guesttest.Run(t, "oci-apparmor", "policy", "apply", "--quiet")
	if o.Code != 0 || !strings.Contains(o.Stderr, ourFile("web")+" stays") || strings.Contains(o.Stderr, ourFile("work")) {
		t.Errorf("apply: exit code %d, %s", o.Code, o.Stderr)
	}
	if got, want := ourFiles(t), []string{"batch", "hand", "killing", "watched", "web"}; !slices.Equal(got, want) {
		t.Errorf("AppArmor's service is told of %q, want %q", got, want)
	}
	removeUnknown(t)
	wantConfined(t, runs, webTries, "web", "batch")
	if guesttest.Profiles(t)["work"] != "" {
		t.Error("aa-remove-unknown leaves a profile that has left the policy and that nothing uses")
	}
	guesttest.MustRun(t, rt.wrapped, "delete", "--force", runs.ID)
	guesttest.MustRun(t, "oci-apparmor", "profile", "unload", "hand", "web")
	if got, want := ourFiles(t), []string{"batch", "killing", "watched"}; !slices.Equal(got, want) {
		t.Errorf("after unload AppArmor's service is told of %q, want %q", got, want)
	}
}

// After a boot AppArmor's service has loaded our profiles, and not we. They are ours all the same: by what is in our files,
// and never by the name.
func TestBootOurFilesAreOurs(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // our files are the same under each service
	setPolicy(t, webPolicy)
	fewProfiles(t)
	rt := armsOf(t, "runc")
	boot := func() {
		for name := range guesttest.Profiles(t) {
			if !strings.Contains(name, "//") {
				guesttest.RemoveProfile(t, name)
			}
		}
		if err := os.RemoveAll("/run/oci-apparmor"); err != nil {
			t.Fatal(err)
		}
		reloadService(t)
	}
	changed := maps.Clone(texts)

	boot()
	before := kernelHolds(t)
	if list := guesttest.MustRun(t, "oci-apparmor", "profile", "list"); strings.Count(list, " oci-apparmor ") != 2 {
		t.Errorf("of what AppArmor's service has loaded alone, profile list says\n%s", list)
	}
	if out := guesttest.MustRun(t, "oci-apparmor", "policy", "load"); strings.Count(out, "already") != 2 {
		t.Errorf("policy load says %s", out)
	}
	wantHeld(t, before, "policy load", "web", "work")
	changed["web"] = confining("web", "  file,\n  audit deny /etc/** w,\n  # of no effect\n  deny /nowhere/x w,\n")
	writePolicy(t, webPolicy, changed)
	guesttest.MustRun(t, "oci-apparmor", "policy", "apply", "--quiet")
	wantConfined(t, guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped), webTries, "web")

	// The same without policy load: apply is enough.
	boot()
	writePolicy(t, webPolicy, texts)
	guesttest.MustRun(t, "oci-apparmor", "policy", "apply", "--quiet")
	wantConfined(t, guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped), webTries, "web")

	// With this configuration the parser lays the same rules out in other bytes.
	const config = "/etc/apparmor/parser.conf"
	original := read(t, config)
	defer write(t, config, original)
	write(t, config, original+"\nOptimize=no-minimize\n")
	before = kernelHolds(t)
	boot()
	if now := kernelHolds(t); strings.Fields(now["web"])[1] == strings.Fields(before["web"])[1] {
		t.Error("the configuration changes nothing, so the rest shows nothing")
	}
	if out := guesttest.MustRun(t, "oci-apparmor", "policy", "load"); !strings.Contains(out, "web: replaced") {
		t.Errorf("policy load says %s", out)
	}
	// A reload while we are there is drift of what we own: the next start ends it.
	reloadService(t)
	c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
	wantStatus(t, c.ID, "confined", []string{"same"}, 1, 1)

	// What somebody else loads is not ours, whatever the file says.
	guesttest.MustRun(t, rt.wrapped, "delete", "--force", c.ID)
	for _, name := range []string{"web", "work"} {
		guesttest.RemoveProfile(t, name)
	}
	guesttest.LoadProfile(t, loose("web"))
	if o := guesttest.Run(t, "oci-apparmor", "policy", "load"); o.Code != 3 || !strings.Contains(o.Stderr, "profile web: another profile of that name") ||
		!strings.Contains(o.Stdout, "work: loaded") {
		t.Errorf("policy load: exit code %d, %s%s", o.Code, o.Stdout, o.Stderr)
	}

	// And is not written over: neither a profile that another file defines, which is what the service then knows, nor a
	// file, without which the policy is not put in force.
	guesttest.MustRun(t, "rm", ourFile("web"), ourFile("work"))
	write(t, "/etc/apparmor.d/mine", "profile web { file, }\n")
	defer guesttest.MustRun(t, "rm", "/etc/apparmor.d/mine")
	o := guesttest.Run(t, "oci-apparmor", "policy", "apply", "--quiet")
	if o.Code != 0 || !strings.Contains(o.Stderr, "/etc/apparmor.d/mine defines a profile web") || !exists(ourFile("work")) {
		t.Errorf("apply: exit code %d, %s", o.Code, o.Stderr)
	}
	write(t, ourFile("work"), "# somebody's notes\n")
	defer guesttest.MustRun(t, "rm", ourFile("work"))
	o = guesttest.Run(t, "oci-apparmor", "policy", "apply", "--quiet")
	if o.Code != 3 || !strings.Contains(o.Stderr, ourFile("work")+": it was not written by") || !strings.Contains(o.Stderr, "not applied") {
		t.Errorf("apply: exit code %d, %s", o.Code, o.Stderr)
	}
	if exists(ourFile("web")) || read(t, ourFile("work")) != "# somebody's notes\n" {
		t.Error("apply wrote over what is not ours")
	}
}

// Under systemd the unit has the profiles in the kernel before containerd is started, also where the policy has a fault, and
// neither it nor AppArmor's own sets anything free when it is stopped, restarted or reloaded.
func TestSystemdLoadsBeforeContainerd(t *testing.T) {
	guesttest.Need(t, guest.Systemd)
	guesttest.EnoughIn(t, guesttest.Trixie) // which boots as a machine does
	guesttest.RemoveProfilesAtEnd(t)
	const unit = "oci-apparmor.service"
	if o := guesttest.Run(t, "systemd-analyze", "verify", "--man=no", unit); o.Code != 0 || strings.Contains(o.Stderr, "oci-apparmor") {
		t.Errorf("systemd-analyze verify: exit code %d, %s", o.Code, o.Stderr)
	}
	// Of what the guest's packages have enabled, containerd is the one that is wanted here.
	away := t.TempDir()
	for _, other := range []string{"/etc/systemd/system/multi-user.target.wants/*", "/usr/lib/systemd/system/multi-user.target.wants/*"} {
		links, err := filepath.Glob(other)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if kept := filepath.Join(away, filepath.Base(l)); filepath.Base(l) != "containerd.service" {
				guesttest.MustRun(t, "mv", l, kept)
				t.Cleanup(func() { guesttest.MustRun(t, "mv", kept, l) })
			}
		}
	}
	const seen = "/run/seen-by-containerd"
	dropIn := "/run/systemd/system/containerd.service.d"
	guesttest.MustRun(t, "mkdir", "-p", dropIn)
	write(t, dropIn+"/test.conf", "[Service]\nExecStartPre=/bin/cp "+securityfs+"/profiles "+seen+"\n")
	guesttest.MustRun(t, "systemctl", "enable", "--quiet", unit)
	guesttest.MustRun(t, "systemctl", "daemon-reload")
	// The next test has a containerd of its own, which this one would keep from the database. isolate does not wait for
	// what it stops.
	t.Cleanup(func() {
		guesttest.MustRun(t, "systemctl", "isolate", "job.target")
		guesttest.MustRun(t, "systemctl", "stop", "containerd.service", unit)
		guesttest.MustRun(t, "systemctl", "disable", "--quiet", unit)
		guesttest.MustRun(t, "rm", "-r", dropIn)
		guesttest.MustRun(t, "systemctl", "daemon-reload")
	})
	boot := func() (result string) {
		t.Helper()
		os.Remove(seen)
		guesttest.MustRun(t, "systemctl", "isolate", "multi-user.target")
		show := func(unit, property string) string {
			return strings.TrimSpace(guesttest.MustRun(t, "systemctl", "show", "--value", "--property="+property, unit))
		}
		if state := show("containerd.service", "ActiveState"); state != "active" {
			t.Errorf("containerd is %s", state)
		}
		ours, err := strconv.Atoi(show(unit, "StateChangeTimestampMonotonic"))
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := strconv.Atoi(show("containerd.service", "InactiveExitTimestampMonotonic"))
		if err != nil {
			t.Fatal(err)
		}
		if ours == 0 || ours > theirs {
			t.Errorf("%s was done at %d us, containerd was started at %d us", unit, ours, theirs)
		}
		for _, name := range []string{"web (enforce)\n", "work (enforce)\n"} {
			if at := read(t, seen); !strings.Contains(at, name) {
				t.Errorf("when containerd was started the kernel had the profiles\n%swant %s", at, name)
			}
		}
		return show(unit, "ActiveState") + " " + show(unit, "Result")
	}
	isolate := func() { guesttest.MustRun(t, "systemctl", "isolate", "job.target") }

	// A first boot, on which nothing was ever applied, and so nothing is refused.
	writePolicy(t, webPolicy, texts)
	began := time.Now()
	if result := boot(); result != "active success" {
		t.Errorf("%s is %s: %s", unit, result, guesttest.Run(t, "systemctl", "status", "--no-pager", unit).Stdout)
	}
	if all := noted(t, "--since", began.Format(time.RFC3339)); len(all) > 0 {
		t.Errorf("of a first boot is noted %+v", all)
	}
	rt := armsOf(t, "runc")
	c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped)
	before := kernelHolds(t)
	for _, args := range [][]string{{"restart", unit}, {"reload", unit}, {"restart", "apparmor"}, {"reload", "apparmor"}, {"stop", unit}} {
		guesttest.MustRun(t, "systemctl", args...)
		wantHeld(t, before, strings.Join(args, " "), "web", "work")
	}
	isolate()
	wantHeld(t, before, "a return to single programs", "web", "work")
	wantConfined(t, c, webTries, "web")

	// A boot with a policy that has a fault, and nothing but the last good one to go by.
	guesttest.MustRun(t, rt.wrapped, "delete", "--force", c.ID)
	for _, name := range []string{"web", "work"} {
		guesttest.RemoveProfile(t, name)
		guesttest.MustRun(t, "rm", ourFile(name))
	}
	if err := os.RemoveAll("/run/oci-apparmor"); err != nil {
		t.Fatal(err)
	}
	write(t, "/etc/oci-apparmor/policy.yaml", webPolicy+"nonsense: true\n")
	if result := boot(); result != "failed exit-code" {
		t.Errorf("with a bad policy %s is %s", unit, result)
	}
	if log := guesttest.MustRun(t, "journalctl", "--no-pager", "--unit="+unit); !strings.Contains(log, "nonsense") || !strings.Contains(log, "stays in force") {
		t.Errorf("the journal does not say what is wrong:\n%s", log)
	}
	wantConfined(t, guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped), webTries, "web")
}
