package integration

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// Texts that a pattern does not find its way in: a flag that says what goes without saying, flags over several lines, a
// condition, comments where a header ends.
const (
	enforceFlag = `abi <abi/3.0>,
include <tunables/global>
profile NAME flags=(enforce,attach_disconnected,mediate_deleted) {
  file, signal, ptrace, capability, network, umount,
  deny /mnt/** w,
}
`
	condition = `abi <abi/3.0>,
include <tunables/global>
@{EXTRA}=/mnt /srv/{x,y}
profile NAME
  flags = (attach_disconnected,
           mediate_deleted
          ) # {
{ # here it begins
  file, signal, ptrace, capability, umount,
  if defined @{EXTRA} {
    deny @{EXTRA}/** w,
  }
}
`
)

// A policy's mode stands in what AppArmor's service reads, however the text is written: what runs under it outlives what the
// service and its tools do, with its label and its denials.
func TestServiceHasThePolicysModes(t *testing.T) {
	setPolicy(t, keepPolicy)
	fewProfiles(t)
	profiles := map[string]string{}
	definitions, policies := "", ""
	var names []string
	for _, mode := range []string{"complain", "kill"} {
		for what, text := range map[string]string{"flag": enforceFlag, "cond": condition} {
			name := what + "-" + mode
			names = append(names, name)
			profiles[name] = strings.ReplaceAll(text, "NAME", name)
			definitions += fmt.Sprintf("  %s: {file: profiles/%[1]s}\n", name)
			policies += fmt.Sprintf("  %s: {profile: %[1]s, mode: %s}\n", name, mode)
		}
	}
	writePolicy(t, "version: 1\nprofiles:\n"+definitions+"policies:\n"+policies+"assign:\n  - policy: "+names[0]+
		"\n    request: ["+strings.Join(names[1:], ", ")+"]\n", profiles)
	guesttest.MustRun(t, "oci-apparmor", "policy", "apply")

	rt := armsOf(t, "runc")
	running := map[string]*guesttest.Container{}
	for _, name := range names {
		running[name] = guesttest.NewBundle(t, asks(name)).Start(t, rt.wrapped)
	}
	before := kernelHolds(t)
	guesttest.LoadProfile(t, "profile stray { file, }")
	still := func(what string) {
		t.Helper()
		wantHeld(t, before, what, names...)
		for name, c := range running {
			_, mode, _ := strings.Cut(name, "-")
			if label := c.Label(t); label != name+" ("+mode+")" {
				t.Errorf("after %s a container of %s has label %q", what, name, label)
			}
			for operation, want := range map[string]string{"write /mnt/x": denied, "write /tmp/x": "ok"} {
				if got := c.Ask(t, operation); got != want {
					t.Errorf("after %s %s under %s: %s, want %s", what, operation, name, got, want)
				}
			}
		}
	}
	still("the start")
	if said := removeUnknown(t); !strings.Contains(said, "'stray'") {
		t.Errorf("aa-remove-unknown does not do what it is for: %s", said)
	}
	still("aa-remove-unknown")
	for _, name := range names {
		guesttest.MustRun(t, "apparmor_parser", "-r", "-K", ourFile(name))
	}
	still("apparmor_parser -r of our files")
	reloadService(t)
	still("a reload of AppArmor's service")
}

// varied is a profile that Debian 13's parser compiles to other bytes each time.
func varied(name string) string {
	rules := "  file,\n  audit deny /etc/** w,\n  owner /bin/** ix,\n  /usr/bin/* rmix,\n  deny /usr/bin/foo x,\n"
	for _, child := range []string{"one", "two", "three"} {
		rules += "  profile " + child + " {\n    /etc/** rm,\n    /usr/** rix,\n    owner /usr/bin/** mr,\n" +
			"    audit /usr/bin/" + child + "* rm,\n    deny /usr/bin/" + child + "-not x,\n    /usr/lib/** mr,\n    signal,\n  }\n"
	}
	return confining(name, rules)
}

// A parser that gives other bytes at each compilation changes nothing as long as the text is the same: not the
// generation, not what the kernel has, and not whether AppArmor's service knows the profile.
func TestParserThatIsNotDeterministic(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // whose parser is the one
	setPolicy(t, keepPolicy)
	fewProfiles(t)
	const policy = "version: 1\nprofiles:\n  kids: {file: profiles/kids}\npolicies:\n  kids: {profile: kids}\nassign:\n  - policy: kids\n"
	writePolicy(t, policy, map[string]string{"kids": varied("kids")})
	out := guesttest.MustRun(t, "oci-apparmor", "policy", "apply")
	guesttest.MustRun(t, "oci-apparmor", "policy", "load")
	tries := tries{"write /etc/x": denied, "write /tmp/x": "ok"}
	rt := armsOf(t, "runc")
	c := guesttest.NewBundle(t).Start(t, rt.wrapped)
	before := kernelHolds(t)
	generation := strings.Fields(out)[1]
	files := read(t, ourFile("kids"))
	for i := range 10 {
		out := guesttest.MustRun(t, "oci-apparmor", "policy", "apply")
		if !strings.Contains(out, "generation "+generation+" stays in force: nothing has changed") {
			t.Fatalf("apply %d: %s", i, out)
		}
	}
	if out := guesttest.MustRun(t, "oci-apparmor", "policy", "load"); !strings.Contains(out, "kids: is loaded already, with this content") {
		t.Errorf("policy load: %s", out)
	}
	wantHeld(t, before, "ten applies and policy load", "kids")
	if read(t, ourFile("kids")) != files {
		t.Error("the file for AppArmor's service is another")
	}
	wantStatus(t, c.ID, "confined", []string{"same"}, 1, 1)
	removeUnknown(t)
	wantHeld(t, before, "aa-remove-unknown", "kids")
	wantConfined(t, c, tries, "kids")

	// By hand there is no policy that remembers the text: the parser is started so that it gives the same.
	hand := filepath.Join(t.TempDir(), "hand")
	write(t, hand, varied("hand"))
	guesttest.MustRun(t, "oci-apparmor", "profile", "load", hand)
	for range 3 {
		if out := guesttest.MustRun(t, "oci-apparmor", "profile", "load", hand); !strings.Contains(out, "hand: is loaded already, with this content") {
			t.Errorf("profile load: %s", out)
		}
	}

	// After a boot the kernel has what the service made of our file. It is ours, and becomes what was compiled and kept.
	guesttest.MustRun(t, rt.wrapped, "delete", "--force", c.ID)
	outcomes := map[[32]byte]bool{}
	// parser lays out its memory differently for each n below 16, on kernels that place it at the same addresses, too.
	parser := func(n int, args ...string) (stdout string) {
		cmd := exec.Command("apparmor_parser", args...)
		cmd.Env = append(os.Environ(), fmt.Sprintf("GLIBC_TUNABLES=glibc.malloc.tcache_count=%d", n))
		o := guesttest.RunCommand(t, cmd)
		if o.Code != 0 {
			t.Fatal(o.Stderr)
		}
		return o.Stdout
	}
	for n := range 4 {
		outcomes[sha256.Sum256([]byte(parser(n, "-QKS", ourFile("kids"))))] = true
		for _, name := range []string{"kids", "hand"} {
			if guesttest.Profiles(t)[name] != "" {
				guesttest.RemoveProfile(t, name)
			}
		}
		if err := os.RemoveAll("/run/oci-apparmor"); err != nil {
			t.Fatal(err)
		}
		parser(n, "-r", "-K", ourFile("kids"))
		guesttest.MustRun(t, "oci-apparmor", "policy", "load")
		wantHash := strings.Fields(before["kids"])[1]
		if now := strings.Fields(kernelHolds(t)["kids"]); len(now) != 2 || now[1] != wantHash {
			t.Errorf("after a boot and policy load the kernel has %q, want %s", now, wantHash)
		}
	}
	t.Logf("%d outcomes", len(outcomes))
	if guesttest.Suite() == "trixie" && len(outcomes) == 1 {
		t.Error("the parser gives the same each time, so this shows nothing")
	}
	wantConfined(t, guesttest.NewBundle(t).Start(t, rt.wrapped), tries, "kids")
}
