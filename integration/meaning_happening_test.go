package integration

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

const probeProgram = "/usr/local/bin/probe"

// needed are rules that let a probe run, do something and end.
const needed = "  /usr/local/bin/probe mrix,\n  /dev/null rw,\n  /proc/** r,\n  /proc/*/task/*/attr/{,apparmor/}current w,\n  /sys/** r,\n  signal (receive) peer=unconfined,\n  capability sys_admin,\n"

// confined compiles and loads a profile with these rules, and what a probe needs.
func confined(t *testing.T, name, rules string) meaning.Stack {
	t.Helper()
	data := compiledHere(t, "abi <kernel>,\nprofile "+name+" {\n"+needed+rules+"\n}\n")
	all, err := meaning.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	loadBlob(t, data)
	return all[:1]
}

// probed runs a probe under a profile and returns what it prints.
func probed(t *testing.T, profile string, args ...string) string {
	t.Helper()
	cmd := exec.Command(probeProgram, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	startUnder(t, cmd, profile)
	cmd.Wait()
	return strings.TrimSpace(out.String())
}

// happens checks a witness by what came of doing it.
func happens(t *testing.T, rules string, a meaning.Access, allowed bool, answer string) {
	t.Helper()
	t.Logf("%s: allowed %v, %s", access.Format(a), allowed, answer)
	if (answer == "ok") != allowed {
		t.Errorf("%s is shown as allowed: %v; the kernel answers %s, under\n%s", access.Format(a), allowed, answer, rules)
	}
}

// What a pattern shows of files happens when it is done.
func TestWitnessesHappenToFiles(t *testing.T) {
	guesttest.Require(t)
	guesttest.EnoughIn(t, guesttest.Forky)
	guesttest.RemoveProfilesAtEnd(t)
	t.Cleanup(func() { clearDoing(t) })
	done := map[bool]int{}
	for i := range guesttest.Count(t, 6, 30, "profiles under which files are used") {
		random := rand.New(rand.NewPCG(7, uint64(i)))
		rules := "  /m/ r,\n"
		for _, rule := range permitted {
			if strings.Contains(rule, "/m/") && !strings.Contains(rule, "mount") && random.IntN(4) == 0 {
				rules += "  " + rule + ",\n"
			}
		}
		name := fmt.Sprintf("m-happens%02d", i)
		s := confined(t, name, rules)
		ask := startProbe(t, name)
		for _, line := range []string{"r /m/**", "w /m/**", "owner w /m/**", "other w /m/*", "a /m/*", "other append /m/**",
			"owner create /m/**", "delete /m/**", "other delete /m/*", "owner chmod /m/*", "owner create /m/*/", "r /m/*/",
			"delete /m/*/", "l /m/** -> /m/**", "owner l /m/n* -> /m/*", "other l /m/new -> /m/*", "w /m/[a-c]", "r /m/d/*",
			"w /m/foreign/*", "owner delete /m/{a,new,d/b}"} {
			for allowed, a := range patternShows(t, line, s) {
				if command, ok := prepared(t, a); ok {
					happens(t, rules, a, allowed, ask(command))
					done[allowed]++
				}
			}
		}
	}
	if done[true] < 20 || done[false] < 20 {
		t.Errorf("only %v was done", done)
	}
}

// prepared makes what an access is about, and nothing else, and returns the probe's command for the access.
func prepared(t *testing.T, a meaning.Access) (command string, ok bool) {
	t.Helper()
	clearDoing(t)
	place := func(path string, owner, there bool) {
		guesttest.MustRun(t, "mkdir", "-p", filepath.Dir(strings.TrimSuffix(path, "/")))
		switch {
		case !there:
			return
		case strings.HasSuffix(path, "/"):
			guesttest.MustRun(t, "mkdir", "-p", path)
		default:
			write(t, path, "x\n")
		}
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
		if !owner {
			if err := os.Chown(path, 1000, 1000); err != nil {
				t.Fatal(err)
			}
		}
	}
	switch a := a.(type) {
	case meaning.LinkAccess:
		if a.Path == a.Target || strings.HasPrefix(a.Path, a.Target+"/") || strings.HasPrefix(a.Target, a.Path+"/") {
			return "", false
		}
		place(a.Target, a.Owner, true)
		place(a.Path, true, false)
		return "link " + a.Target + " " + a.Path, true
	case meaning.FileAccess:
		if a.Path == doing+"/" {
			return "", false
		}
		place(a.Path, a.Owner, a.Want != meaning.MayCreate)
		directory := strings.HasSuffix(a.Path, "/")
		commands := map[uint32]string{meaning.MayRead: "open %s r", meaning.MayWrite: "open %s w", meaning.MayAppend: "append %s",
			meaning.MayDelete: "unlink %s", meaning.MayCreate: "symlink x %s", meaning.MayChmod: "chmod %s"}
		if directory {
			commands = map[uint32]string{meaning.MayRead: "open %s r", meaning.MayCreate: "mkdir %s", meaning.MayDelete: "rmdir %s",
				meaning.MayChmod: "chmod %s"}
		}
		command, ok := commands[a.Want]
		return fmt.Sprintf(command, a.Path), ok
	}
	return "", false
}

// Where a pattern shows that a program goes on, it does.
func TestWitnessesHappenToPrograms(t *testing.T) {
	guesttest.Require(t)
	guesttest.EnoughIn(t, guesttest.Forky)
	guesttest.RemoveProfilesAtEnd(t)
	t.Cleanup(func() { clearDoing(t) })
	guesttest.LoadProfile(t, "profile m-other { file, signal, }\n")
	rules := `  /m/** mr,
  /m/[ab] ix,
  /m/c Ux,
  /m/d px -> m-other,
  /m/e Cx -> kid,
  /m/f pix -> m-none,
  /m/g PUx -> m-none,
  /m/h px -> m-none,
  /m/sub/** ix,
  deny /m/sub/no x,
  profile kid { file, signal, }
  ^hat { file, }
  ^hut { file, }
`
	s := confined(t, "m-programs", rules)
	for line, label := range map[string]string{
		"x /m/*": "", "x /m/sub/*": "", "x /m/sub/no": "", "x /m/{i,a}": "", "ix /m/*": "m-programs", "ix /m/[c-e]": "m-programs",
		"ix /m/f": "m-programs", "ux /m/*": "unconfined", "ux /m/g": "unconfined", "x /m/c -> unconfined": "unconfined",
		"x /m/[a-d] -> m-other": "m-other", "px /m/* -> m-other": "m-other", "cx /m/[a-e] -> kid": "m-programs//kid",
		"x /m/* -> m-programs//kid": "m-programs//kid",
	} {
		for allowed, a := range patternShows(t, line, s) {
			program := a.(meaning.ExecAccess).Path
			clearDoing(t)
			guesttest.MustRun(t, "mkdir", "-p", filepath.Dir(program))
			guesttest.MustRun(t, "cp", probeProgram, program)
			got, _, _ := strings.Cut(probed(t, "m-programs", "output", program, "label"), " (")
			t.Logf("%s: allowed %v, %s", access.Format(a), allowed, got)
			is := !strings.Contains(got, "errno") && (label == "" || got == label)
			if is != allowed {
				t.Errorf("%s is shown as allowed: %v; it goes on under %s", access.Format(a), allowed, got)
			}
		}
	}
	// That the profile is missing, only the kernel knows.
	guesttest.MustRun(t, "cp", probeProgram, "/m/h")
	if got := probed(t, "m-programs", "output", "/m/h", "label"); !strings.HasPrefix(got, "errno") {
		t.Errorf("without the profile to go to: %s", got)
	}
	t.Run("environment", scrubbed)
	t.Run("environment after a change", scrubbedAfterChange)
	t.Run("children", takenByChildren)
	for _, line := range []string{"change_hat", "change_hat h?t", "change_hat {hat,hut}", "change_hat kid"} {
		for allowed, a := range patternShows(t, line, s) {
			happens(t, rules, a, allowed, probed(t, "m-programs", "change-hat", a.(meaning.ChangeHatAccess).Hat))
		}
	}
}

// scrubbed checks for each way to go on that the kernel sets AT_SECURE where the evaluator says so. The profile m-none is
// not loaded.
func scrubbed(t *testing.T) {
	ways := map[string]string{ // and the label under which the program runs, or an error
		"ix": "m-scrub", "px -> m-other": "m-other", "Px -> m-other": "m-other", "px -> m-scrub": "m-scrub", "Px -> m-scrub": "m-scrub",
		"ux": "unconfined", "Ux": "unconfined", "cx -> kid": "m-scrub//kid", "Cx -> kid": "m-scrub//kid",
		"pix -> m-none": "m-scrub", "Pix -> m-none": "m-scrub", "Pix": "m-scrub", "Pix -> m-other": "m-other", "pix -> m-other": "m-other",
		"Cix -> gone": "m-scrub", "Cix -> kid": "m-scrub//kid", "pux -> m-none": "unconfined", "PUx -> m-none": "unconfined",
	}
	rules := "  /m/** mr,\n  profile kid { file, signal, }\n"
	programs := make(map[string]string)
	for i, way := range slices.Sorted(maps.Keys(ways)) {
		programs[way] = fmt.Sprintf("/m/scrub%02d", i)
		rules += "  " + programs[way] + " " + way + ",\n"
	}
	s := confined(t, "m-scrub", rules)
	clearDoing(t)
	guesttest.MustRun(t, "mkdir", "-p", doing)
	for way, program := range programs {
		guesttest.MustRun(t, "cp", probeProgram, program)
		_, goes := s[0].Exec(meaning.ExecAccess{Path: program, Owner: true})
		want := "0"
		if goes.Scrub && !(goes.Else == meaning.TargetSame && ways[way] == "m-scrub") {
			want = "1"
		}
		label, _, _ := strings.Cut(probed(t, "m-scrub", "output", program, "label"), " (")
		got := probed(t, "m-scrub", "output", program, "secure")
		t.Logf("%s: under %s, AT_SECURE %s", way, label, got)
		if label != ways[way] || got != want {
			t.Errorf("%s: under %s with AT_SECURE %s, want %s with %s", way, label, got, ways[way], want)
		}
	}
}

// scrubbedAfterChange checks that the kernel sets AT_SECURE for the program with which a change takes effect, unless the rule says
// "unsafe".
func scrubbedAfterChange(t *testing.T) {
	clearDoing(t)
	guesttest.MustRun(t, "mkdir", "-p", doing)
	confined(t, "m-changes", "  file,\n  change_profile safe /m/safe -> m-other,\n  change_profile unsafe /m/unsafe -> m-other,\n"+
		"  change_profile /m/neither -> m-other,\n")
	for program, want := range map[string]string{"/m/safe": "1", "/m/unsafe": "0", "/m/neither": "1"} {
		guesttest.MustRun(t, "cp", probeProgram, program)
		cmd := exec.Command("sh", "-c", "printf 'exec m-other' >/proc/self/attr/exec; exec "+program+" each label secure")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		startUnder(t, cmd, "m-changes")
		cmd.Wait()
		if got := out.String(); !strings.Contains(got, "m-other") || !strings.HasSuffix(strings.TrimSpace(got), want) {
			t.Errorf("%s: %q, want AT_SECURE %s under m-other", program, got, want)
		}
	}
}

// takenByChildren checks which child takes hold of a program to which several attach: none if the kernel finds no best one.
func takenByChildren(t *testing.T) {
	clearDoing(t)
	guesttest.MustRun(t, "mkdir", "-p", doing)
	confined(t, "m-takes", "  /m/* mrcx,\n  profile all /m/* { file, }\n  profile some /m/[x-z] { file, }\n  profile one /m/y { file, }\n"+
		"  profile long /m/longer { file, }\n")
	for program, want := range map[string]string{"/m/a": "m-takes//all", "/m/x": "errno EACCES", "/m/y": "errno EACCES", "/m/longer": "m-takes//long"} {
		guesttest.MustRun(t, "cp", probeProgram, program)
		if got := probed(t, "m-takes", "output", program, "label"); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %s", program, got, want)
		}
	}
}

// What a pattern shows of roots and of what is mounted happens. What parser 3.0.8 makes of rules about binds, moves,
// remounts and changes of how mounts are shared allows new mounts as well, and patterns show these.
func TestWitnessesHappenToMounts(t *testing.T) {
	guesttest.Require(t)
	guesttest.EnoughIn(t, guesttest.Forky)
	guesttest.RemoveProfilesAtEnd(t)
	t.Cleanup(func() { clearDoing(t) })
	for i, rules := range []string{"pivot_root oldroot=/m/a/old/ /m/a/, mount,", "pivot_root /m/[bc]/,", "pivot_root, deny pivot_root oldroot=/m/b/**,",
		"mount fstype=tmpfs options=(ro) -> /m/*/,", "umount /m/[a-c]/,", "mount options=(rw,bind) /m/a/ -> /m/*/,", "remount options=(ro) /m/a/,"} {
		name := fmt.Sprintf("m-mounts%d", i)
		s := confined(t, name, "  "+rules)
		for _, line := range []string{"pivot_root oldroot=/m/*/old/ /m/*/", "pivot_root oldroot=/m/b/old/ /m/b/", "umount /m/*/",
			"umount /m/d/", "mount fstype=tmpfs options=(ro) -> /m/*/", "mount fstype=tmpfs options=(rw) -> /m/*/",
			"bind /m/*/ -> /m/*/", "mount options=(rw,bind) /m/*/ -> /m/b/"} {
			for allowed, a := range patternShows(t, line, s) {
				if script, ok := mountScript(a, name); ok {
					out := guesttest.RunCommand(t, exec.Command("unshare", "-m", "sh", "-c", script))
					happens(t, rules, a, allowed, strings.TrimSpace(out.Stdout+out.Stderr))
				}
			}
		}
	}
}

// mountScript makes in a mount namespace what an access is about, and has a probe do it under a profile.
func mountScript(a meaning.Access, profile string) (script string, ok bool) {
	script = "set -e; mount -t tmpfs m /m 2>/dev/null || { mkdir -p /m; mount -t tmpfs m /m; }; "
	become := fmt.Sprintf("printf 'exec %s' >/proc/self/attr/exec; exec %s ", profile, probeProgram)
	switch a := a.(type) {
	case meaning.PivotRootAccess:
		under := strings.HasPrefix(a.Old, a.New) && a.Old != a.New
		return script + fmt.Sprintf("mkdir -p %s; mount -t tmpfs m %s; mkdir -p %s; ", a.New, a.New, a.Old) +
			become + fmt.Sprintf("pivot-root %s %s", a.New, a.Old), under
	case meaning.UmountAccess:
		return script + fmt.Sprintf("mkdir -p %s; mount -t tmpfs m %s; ", a.Target, a.Target) + become + "umount " + a.Target, true
	case meaning.MountAccess:
		script += "mkdir -p " + a.Target + "; "
		switch {
		case a.Data != "":
			return "", false
		case a.Flags == unix.MS_BIND:
			return script + "mkdir -p " + a.Source + "; " + become + "bind " + a.Source + " " + a.Target, true
		case a.Type == "tmpfs":
			return script + become + fmt.Sprintf("mount-as '%s' %s %s %d", a.Source, a.Target, a.Type, a.Flags), true
		}
	}
	return "", false
}

// Linux since 6.17 knows addresses of unix sockets, and parsers of Debian write no rules about them: these are of 5.0.2.
func TestWitnessesHappenToAddresses(t *testing.T) {
	guesttest.Require(t)
	if !takesTables(t) {
		t.Skip("this kernel takes no tables of permissions as parsers write them")
	}
	data, err := os.ReadFile(compiledTables + "/sockets.permissions5")
	if err != nil {
		t.Fatal(err)
	}
	all, err := meaning.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	guesttest.RemoveProfilesAtEnd(t)
	loadBlob(t, data)
	guesttest.LoadProfile(t, "profile a flags=(unconfined) { }\nprofile b flags=(unconfined) { }\n")
	for _, line := range []string{"unix stream bind addr=@*", "unix stream bind addr=@s*", "unix stream bind addr=@srv?",
		"unix stream connect protocol=0 addr=none peer=(addr=@p*, label={a,b})",
		"unix stream connect protocol=0 addr=none peer=(addr=@peer, label=a)", "unix stream connect protocol=0 addr=none peer=(addr=@peer, label=b)",
		"unix stream connect protocol=0 addr=none peer=(addr=@n*, label={a,b})"} {
		for allowed, a := range patternShows(t, line, all) {
			u := a.(meaning.UnixAccess)
			if u.Want == meaning.MayBind {
				happens(t, "", a, allowed, probed(t, all[0].Name, "unix-bind", u.Address))
				continue
			}
			t.Run("connect", func(t *testing.T) { // at whose end the server ends
				if got := startProbe(t, u.Peer)("unix-listen " + u.PeerAddress); got != "ok" {
					t.Fatalf("%s: %s", u.PeerAddress, got)
				}
				happens(t, "", a, allowed, probed(t, all[0].Name, "unix-connect", u.PeerAddress))
			})
		}
	}
}
