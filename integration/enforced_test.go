package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// A rule that denies is in force, or the profile is not applied: by the ABI that the node's own parser takes for a text that
// names none, and by what the compiled profile holds of each rule.

// denying is a policy of one profile, from a file.
const denying = "version: 1\nprofiles:\n  nouser: {file: profiles/nouser}\npolicies:\n  nouser: {profile: nouser}\nassign:\n  - policy: nouser\n"

// noUser allows all but to make user namespaces, and names no ABI.
const noUser = `include <tunables/global>
profile nouser flags=(attach_disconnected,mediate_deleted) {
  include <abstractions/base>
  file, capability, network, umount, mount, signal, ptrace, unix,
  audit deny userns,
}
`

// noUserTries are what noUser denies and allows.
var noUserTries = tries{"unshare user": denied, "socket inet stream": "ok", "write /etc/x": "ok"}

// wantNotApplied applies what is written down, and wants that to fail with these words.
func wantNotApplied(t *testing.T, words ...string) {
	t.Helper()
	o := guesttest.Run(t, "oci-apparmor", "policy", "apply")
	if o.Code != 1 {
		t.Errorf("exit code %d, want 1", o.Code)
	}
	for _, w := range words {
		if !strings.Contains(o.Stderr, w) {
			t.Errorf("does not say %q:\n%s", w, o.Stderr)
		}
	}
}

func TestADenyWithoutAnABIIsEnforced(t *testing.T) {
	setPolicy(t, keepPolicy)
	writePolicy(t, denying, map[string]string{"nouser": noUser})
	if guesttest.Suite() == "bookworm" {
		wantNotApplied(t, "profiles/nouser:5: apparmor_parser knows no rules of userns before version 4.0, and this kernel does not mediate "+
			"user namespaces (those of Linux 6.7 and later do)")
		return
	}
	guesttest.LoadProfile(t, noUser) // as the node's own parser does it
	theirs := hashOf(t, "nouser")
	guesttest.RemoveProfile(t, "nouser")

	guesttest.MustRun(t, "oci-apparmor", "policy", "apply")
	eachRuntime(t, func(t *testing.T, rt arms) {
		c := guesttest.NewBundle(t).Start(t, rt.wrapped)
		wantConfined(t, c, noUserTries, "nouser")
		if ours := hashOf(t, "nouser"); ours != theirs {
			t.Errorf("the kernel has it with the hash %s, and by the node's own apparmor_parser with %s", ours, theirs)
		}
	})
}

func TestADenyThatTheABIDropsIsNotApplied(t *testing.T) {
	setPolicy(t, keepPolicy)
	if guesttest.Suite() == "bookworm" {
		t.Skip("no parser and no kernel of this guest knows rules of user namespaces: TestADenyWithoutAnABIIsEnforced")
	}
	apply := func(text string) {
		writePolicy(t, denying, map[string]string{"nouser": text})
		guesttest.MustRun(t, "oci-apparmor", "policy", "apply")
	}
	apply("abi <abi/4.0>,\n" + noUser)
	b := guesttest.NewBundle(t)
	wantConfined(t, b.Start(t, armsOf(t, "runc").wrapped), noUserTries, "nouser")

	dead := "abi <abi/3.0>,\n" + noUser
	writePolicy(t, denying, map[string]string{"nouser": dead})
	const says = `profiles/nouser:6: "audit deny userns" denies nothing: under the ABI that the text names, <abi/3.0> in line 1, there are no ` +
		`such rules; name abi <abi/4.0>,`
	wantNotApplied(t, says, "the last good policy")
	if o := guesttest.Run(t, "oci-apparmor", "policy", "check", "--compile", "--config", "/etc/oci-apparmor"); o.Code != 1 || !strings.Contains(o.Stderr, says) {
		t.Errorf("policy check: exit code %d\n%s", o.Code, o.Stderr)
	}
	dir := t.TempDir()
	if out := guesttest.MustRun(t, "oci-apparmor", "profile", "check", textIn(t, dir, "nouser", dead)); !strings.Contains(out,
		`nouser:6: warning: "audit deny userns" denies nothing`) {
		t.Errorf("profile check: %s", out)
	}
	// That what is refused would not have denied it: the same text, loaded by hand, in another container.
	guesttest.LoadProfile(t, strings.ReplaceAll(dead, "nouser", "dead"))
	c := guesttest.NewBundle(t, names("dead")).Start(t, armsOf(t, "runc").bare)
	wantConfined(t, c, tries{"unshare user": "ok", "write /etc/x": "ok"}, "dead")

	// An allow rule that does nothing is only said.
	writePolicy(t, denying, map[string]string{"nouser": strings.Replace(dead, "audit deny userns", "userns", 1)})
	o := guesttest.Run(t, "oci-apparmor", "policy", "apply")
	if o.Code != 0 || !strings.Contains(o.Stderr, `profiles/nouser:6: warning: "userns" is not needed`) {
		t.Errorf("exit code %d\n%s", o.Code, o.Stderr)
	}
}

// In these guests apparmor_parser takes the address off a rule about unix sockets that allows, and leaves out one that
// denies: those of Linux 6.1 and 6.12 do not tell addresses, and for Linux 7.2, which does, it would take
// apparmor_parser 5.0.
func TestUnixRulesWithAnAddress(t *testing.T) {
	setPolicy(t, keepPolicy)
	text := func(rules string) map[string]string {
		return map[string]string{"nouser": "abi <abi/3.0>,\nprofile nouser flags=(attach_disconnected,mediate_deleted) {\n  file, signal, ptrace,\n" + rules + "}\n"}
	}
	writePolicy(t, denying, text("  unix (create,bind,listen,accept,send,receive,getattr,setattr,getopt,setopt,shutdown),\n  unix (connect) peer=(addr=\"@elsewhere\"),\n"))
	o := guesttest.Run(t, "oci-apparmor", "policy", "apply")
	if o.Code != 0 || !strings.Contains(o.Stderr, `profiles/nouser:5: warning: "unix (connect) peer=(addr=@elsewhere)" allows more than it says`) {
		t.Errorf("exit code %d\n%s", o.Code, o.Stderr)
	}
	wantConfined(t, guesttest.NewBundle(t).Start(t, armsOf(t, "runc").wrapped), tries{"abstract-unix": "ok", "socket inet stream": denied}, "nouser")

	dead := text("  network,\n  audit deny unix (connect) peer=(addr=\"@oci-apparmor-probe\"),\n")
	writePolicy(t, denying, dead)
	why := "this kernel does not tell addresses of unix sockets"
	if guesttest.Suite() == "forky" {
		why = "this apparmor_parser compiles no addresses of unix sockets for this kernel, under whichever ABI"
	}
	wantNotApplied(t, `profiles/nouser:5: "audit deny unix (connect) peer=(addr=@oci-apparmor-probe)" denies nothing: `+why, "write deny network unix")
	// So it is, loaded by hand under the kernel's own ABI.
	guesttest.LoadProfile(t, strings.NewReplacer("nouser", "dead", "abi/3.0", "kernel").Replace(dead["nouser"]))
	wantConfined(t, guesttest.NewBundle(t, names("dead")).Start(t, armsOf(t, "runc").bare), tries{"abstract-unix": "ok"}, "dead")

	// What is advised in its place denies it, also where the parser says that it does not.
	writePolicy(t, denying, text("  network,\n  deny network unix,\n"))
	guesttest.MustRun(t, "oci-apparmor", "policy", "apply")
	wantConfined(t, guesttest.NewBundle(t).Start(t, armsOf(t, "runc").wrapped), tries{"abstract-unix": denied, "socket inet stream": "ok"}, "nouser")
}

// Linux 7.2 has rules about D-Bus, and takes them only of profiles with network rules of version 9, which no ABI up to 4.0 and
// no apparmor_parser up to 4.1 gives. So they deny nothing, and a profile with such a rule is not applied.
func TestDBusRulesOfTodaysABIs(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Forky) // Debian's older kernels do not mediate D-Bus
	setPolicy(t, keepPolicy)
	const text = "abi <abi/4.0>,\nprofile nouser flags=(attach_disconnected,mediate_deleted) {\n  file, network, signal (receive),\n" +
		"  audit deny dbus,\n}\n"
	writePolicy(t, denying, map[string]string{"nouser": text})
	wantNotApplied(t, `profiles/nouser:4: "audit deny dbus" denies nothing: this kernel takes rules about D-Bus only of a profile whose network `+
		`rules are of version 9 (network_v9), and this apparmor_parser compiles none`)

	// dbus-daemon asks the kernel by this file, for whom a profile lets send: the text that is refused, loaded by hand, lets all.
	guesttest.LoadProfile(t, strings.ReplaceAll(text, "nouser", "dead"))
	kernel := openAccess(t)
	const receive, send = "\x0f", "session\x00unconfined\x00/org/x\x00org.x\x00org.x.y\x00"
	if said := kernel.ask(t, "dead", meaning.DBus, send); said[0] != ^uint32(0) {
		t.Errorf("the kernel allows %#x of what is denied: the rule holds here, and must not be refused", said[0])
	}
	if said := kernel.ask(t, "dead", meaning.Signals, receive+"x"); said[0]&meaning.MayWrite != 0 {
		t.Errorf("the kernel allows %#x of signals, of which the profile allows to receive them alone: its answers show nothing", said[0])
	}
}

// On a kernel without a feature that tells so, a profile's limits of mounts are for mount(2) alone, which is warned of.
// Without the capability sys_admin nothing is mounted on any kernel, whichever call asks for it.
func TestLimitsOfMounts(t *testing.T) {
	setPolicy(t, keepPolicy)
	spec, rt := profileAlone(t), armsOf(t, "runc")
	start := func(rules string) (c *guesttest.Container, warned bool) {
		writePolicy(t, denying, map[string]string{"nouser": "abi <abi/3.0>,\nprofile nouser flags=(attach_disconnected,mediate_deleted) {\n" +
			"  file, network, signal, ptrace, unix, umount, capability,\n  deny mount,\n" + rules + "}\n"})
		o := guesttest.Run(t, "oci-apparmor", "policy", "apply")
		if o.Code != 0 {
			t.Fatal(o.Stderr)
		}
		return guesttest.NewBundle(t, spec).Start(t, rt.wrapped),
			strings.Contains(o.Stderr, `profiles/nouser:4: warning: "deny mount" does not hold for the newer mount calls`)
	}
	free := guesttest.NewBundle(t, spec).Start(t, rt.bare)
	for _, op := range []string{"mount /mnt", "move-mount /tmp /mnt"} {
		if got := free.Ask(t, op); got != "ok" {
			t.Errorf("%s is refused without a profile, too, and shows nothing: %s", op, got)
		}
	}

	c, warned := start("  deny capability sys_admin,\n")
	wantConfined(t, c, tries{"mount /mnt": denied, "move-mount /tmp /mnt": "errno EPERM", "write /etc/x": "ok"}, "nouser")
	if warned {
		t.Error("it is warned of what a capability denies that is not there")
	}
	c, warned = start("")
	holds := tries{"mount /mnt": denied, "write /etc/x": "ok"}
	if !warned {
		holds["move-mount /tmp /mnt"] = denied
	}
	wantConfined(t, c, holds, "nouser")
	if old := guesttest.Suite() == "bookworm"; old != warned {
		t.Errorf("it is warned: %t", warned)
	}
}

// A rule about a directory's own path is about making and removing it, and about its mode, and not about what is in it.
func TestARuleAboutADirectoryHolds(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie)
	setPolicy(t, keepPolicy)
	writePolicy(t, denying, map[string]string{"nouser": "abi <abi/3.0>,\nprofile nouser flags=(attach_disconnected,mediate_deleted) {\n" +
		"  file, capability, signal, ptrace,\n  audit deny /srv/{new,kept,mode}/ w,\n}\n"})
	guesttest.MustRun(t, "oci-apparmor", "policy", "apply")
	b := guesttest.NewBundle(t)
	for _, name := range []string{"kept", "mode"} {
		if err := os.MkdirAll(filepath.Join(b.Rootfs(), "srv", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	wantConfined(t, b.Start(t, armsOf(t, "runc").wrapped), tries{"mkdir /srv/new": denied, "rmdir /srv/kept": denied, "chmod /srv/mode": denied,
		"mkdir /srv/other": "ok", "write /srv/mode/x": "ok"}, "nouser")
}
