package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// The commands that work on profiles by hand, against the kernel: what they say of it is true, what they load confines, and
// what they refuse they leave as it was.

// noPolicy begins a test without any policy, with nothing of ours in the kernel or on disk. It gives a directory for texts.
func noPolicy(t *testing.T) (dir string) {
	t.Helper()
	guesttest.Require(t)
	guesttest.RemoveProfilesAtEnd(t)
	for _, dir := range []string{"/etc/oci-apparmor", "/var/lib/oci-apparmor", "/run/oci-apparmor"} {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	return t.TempDir()
}

// textIn writes a profile's text and gives its path.
func textIn(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	write(t, path, text)
	return path
}

// wantFailure runs oci-apparmor, which must fail with lines that say every one of words and nothing beside, and leave the
// kernel as it is.
func wantFailure(t *testing.T, code, lines int, words []string, args ...string) {
	t.Helper()
	wantFailureOf(t, code, lines, words, exec.Command("oci-apparmor", args...))
}

func wantFailureOf(t *testing.T, code, lines int, words []string, cmd *exec.Cmd) {
	t.Helper()
	before, profiles := revision(t), guesttest.Profiles(t)
	o := guesttest.RunCommand(t, cmd)
	if o.Code != code || strings.Count(o.Stderr, "\n") != lines {
		t.Errorf("%q: exit code %d, want %d; %d lines, want %d:\n%s", cmd.Args[1:], o.Code, code, strings.Count(o.Stderr, "\n"), lines,
			o.Stderr)
	}
	for _, w := range words {
		if !strings.Contains(o.Stderr, w) {
			t.Errorf("%q: does not say %q:\n%s", cmd.Args[1:], w, o.Stderr)
		}
	}
	if after := revision(t); after != before {
		t.Errorf("%q: the kernel's revision went from %d to %d, its profiles from %v to %v", cmd.Args[1:], before, after, profiles,
			guesttest.Profiles(t))
	}
}

func TestProfileLoad(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm, guesttest.Forky) // the oldest parser and kernel, and the newest
	dir := noPolicy(t)
	web, work := textIn(t, dir, "web", texts["web"]), textIn(t, dir, "work", texts["work"])
	out := guesttest.MustRun(t, "oci-apparmor", "profile", "load", web, work)
	for _, line := range []string{web + ": defines web (enforce)", "web: loaded", "work: loaded"} {
		if !strings.Contains(out, line) {
			t.Errorf("does not say %q:\n%s", line, out)
		}
	}
	if i := strings.Index(out, "web: loaded"); i < strings.Index(out, "defines work") {
		t.Errorf("loads before it has listed everything:\n%s", out)
	}
	rt := armsOf(t, "runc")
	c := guesttest.NewBundle(t, names("web")).Start(t, rt.bare)
	wantConfined(t, c, webTries, "web")

	t.Run("again changes nothing", func(t *testing.T) {
		before := revision(t)
		if out := guesttest.MustRun(t, "oci-apparmor", "profile", "load", web); !strings.Contains(out, "loaded already") {
			t.Error(out)
		}
		if after := revision(t); after != before {
			t.Errorf("the kernel's revision went from %d to %d", before, after)
		}
	})
	t.Run("another text holds at once", func(t *testing.T) {
		write(t, web, strings.Replace(texts["web"], "/etc", "/mnt", 1))
		if out := guesttest.MustRun(t, "oci-apparmor", "profile", "load", web); !strings.Contains(out, "web: replaced") {
			t.Error(out)
		}
		wantConfined(t, c, workTries, "web")
	})
	unload(t, "work")
	guesttest.LoadProfile(t, loose("work"))
	worker := guesttest.NewBundle(t, names("work")).Start(t, rt.bare)
	t.Run("leaves a foreign one alone", func(t *testing.T) {
		write(t, web, texts["web"]) // which could be loaded
		wantFailure(t, 3, 2, []string{"work is loaded with other content, and not by oci-apparmor", "--replace", "nothing was loaded"},
			"profile", "load", web, work)
		wantConfined(t, worker, freeTries, "work")
		guesttest.MustRun(t, "oci-apparmor", "profile", "load", "--replace", work)
		wantConfined(t, worker, workTries, "work")
	})
	t.Run("and one that was loaded by us and replaced by somebody else is ours", func(t *testing.T) {
		guesttest.LoadProfile(t, loose("work"))
		if out := guesttest.MustRun(t, "oci-apparmor", "profile", "list"); !strings.Contains(out, "changed") {
			t.Error(out)
		}
		guesttest.MustRun(t, "oci-apparmor", "profile", "load", work)
		wantConfined(t, worker, workTries, "work")
	})
	t.Run("a child that the new text has not is told of", func(t *testing.T) {
		const head, foot = "abi <abi/3.0>,\nprofile hatted flags=(attach_disconnected) {\n  file,\n", "}\n"
		hatted := textIn(t, dir, "hatted", head+"  ^hat { file, }\n"+foot)
		guesttest.MustRun(t, "oci-apparmor", "profile", "load", "--quiet", hatted)
		write(t, hatted, head+"  audit deny /etc/** w,\n"+foot)
		o := guesttest.Run(t, "oci-apparmor", "profile", "load", hatted)
		if o.Code != 3 || !strings.Contains(o.Stdout, "hatted: replaced") || strings.Contains(o.Stderr, "nothing was loaded") ||
			!strings.Contains(o.Stderr, "hatted//hat is left") {
			t.Errorf("exit code %d\n%s%s", o.Code, o.Stdout, o.Stderr)
		}
		if list := guesttest.MustRun(t, "oci-apparmor", "profile", "list"); strings.Contains(list, "changed") {
			t.Error(list)
		}
		guesttest.MustRun(t, "oci-apparmor", "profile", "unload", "hatted//hat")
		if profiles := guesttest.Profiles(t); profiles["hatted"] == "" || profiles["hatted//hat"] != "" {
			t.Errorf("%v", profiles)
		}
		if out := guesttest.MustRun(t, "oci-apparmor", "profile", "load", hatted); !strings.Contains(out, "loaded already") {
			t.Error(out)
		}
	})
}

func TestProfileLoadRefuses(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm) // the refusals are ours
	dir := noPolicy(t)
	web := textIn(t, dir, "web", texts["web"])
	big := textIn(t, dir, "big", "#")
	link := filepath.Join(dir, "link")
	for _, err := range []error{os.Truncate(big, 50<<20), os.Symlink("web", link)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	nothing := "nothing was loaded"
	for name, tc := range map[string]struct {
		path, says string
	}{
		"a second profile called unconfined": {textIn(t, dir, "two", texts["web"]+"profile unconfined { file, }\n"), `"unconfined"`},
		"a second profile":                   {textIn(t, dir, "both", texts["web"]+"profile work { file, }\n"), "it defines"},
		"a name with blanks and brackets":    {textIn(t, dir, "blank", "profile \"a b (enforce)\" { file, }\n"), `"a b (enforce)"`},
		"a beginning of unconfined":          {textIn(t, dir, "u", "profile u { file, }\n"), "no confinement"},
		"a namespace":                        {textIn(t, dir, "ns", "profile :ns:web { file, }\n"), "ns"},
		"an attachment":                      {textIn(t, dir, "attached", "profile web /bin/true { file, }\n"), "on the whole node"},
		"a name that is too long":            {textIn(t, dir, "long", "profile "+strings.Repeat("p", 253)+" { file, }\n"), "253 bytes"},
		"a mode that confines nothing":       {textIn(t, dir, "free", "profile web flags=(unconfined) { file, }\n"), "confines nothing"},
		"50 MB":                              {big, "52428800 bytes"},
		"a directory":                        {dir, "it is a directory"},
		"a fault":                            {textIn(t, dir, "fault", "profile web {\n  file\n}\n"), "fault:3: "},
	} {
		t.Run(name, func(t *testing.T) {
			wantFailure(t, 1, 2, []string{tc.says, nothing}, "profile", "load", tc.path)
		})
	}
	t.Run("the last of several", func(t *testing.T) {
		wantFailure(t, 1, 2, []string{"fault:3: ", nothing}, "profile", "load", web, filepath.Join(dir, "fault"))
	})
	t.Run("a full disk", func(t *testing.T) {
		if err := os.MkdirAll("/var/lib/oci-apparmor", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("tmpfs", "/var/lib/oci-apparmor", "tmpfs", 0, "size=16k,mode=0700"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount("/var/lib/oci-apparmor", 0); err != nil {
				t.Error(err)
			}
		})
		if err := os.WriteFile("/var/lib/oci-apparmor/full", make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		wantFailure(t, 3, 2, []string{"no space left on device", nothing}, "profile", "load", web)
	})
	t.Run("a parser that prints errors and succeeds", func(t *testing.T) {
		replaceParser(t, `case "$*" in *--version*) echo "AppArmor parser version 4.1.0";; `+
			`*) cat >/dev/null; echo "AppArmor parser error at line 2: it is late" >&2;; esac`)
		wantFailure(t, 1, 2, []string{"it is late", "web:2: ", nothing}, "profile", "load", web)
	})
	t.Run("a parser that hangs", func(t *testing.T) {
		started := filepath.Join(dir, "started")
		replaceParser(t, "echo $$ >"+started+".new; mv "+started+".new "+started+"; exec sleep 1000")
		cmd := exec.Command("oci-apparmor", "profile", "load", web)
		go func() { // the time limit has a unit test
			waitFor(t, "the parser to start", func() bool { _, err := os.Stat(started); return err == nil })
			cmd.Process.Signal(syscall.SIGINT)
		}()
		wantFailureOf(t, 1, 2, []string{"interrupt", nothing}, cmd)
		pid := strings.TrimSpace(read(t, started))
		if _, err := os.Stat("/proc/" + pid); err == nil {
			t.Errorf("the parser, process %s, still runs", pid)
		}
	})
	t.Run("somebody who is not root", func(t *testing.T) {
		wantFailureOf(t, 3, 1, []string{"root"}, asNobody("profile", "load", web))
		wantFailureOf(t, 3, 1, []string{"root"}, asNobody("profile", "unload", "web"))
	})
	t.Run("a link is followed", func(t *testing.T) {
		if out := guesttest.MustRun(t, "oci-apparmor", "profile", "load", link); !strings.Contains(out, "(a link to "+web+")") {
			t.Error(out)
		}
		if _, ok := guesttest.Profiles(t)["web"]; !ok {
			t.Error("it is not loaded")
		}
	})
}

// replaceParser puts a script in the place of apparmor_parser for one test.
func replaceParser(t *testing.T, script string) {
	t.Helper()
	parser, err := filepath.EvalSymlinks(program(t, "apparmor_parser"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(parser, parser+".real"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Rename(parser+".real", parser); err != nil {
			t.Error(err)
		}
	})
	write(t, parser, "#!/bin/sh\nPATH=/usr/bin:/bin\n"+script+"\n")
	if err := os.Chmod(parser, 0o755); err != nil {
		t.Fatal(err)
	}
}

// asNobody returns a command of oci-apparmor by a user without any right.
func asNobody(args ...string) *exec.Cmd {
	cmd := exec.Command("oci-apparmor", args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return cmd
}

// A profile is not removed while anything would be set free by it, and what would is named.
func TestProfileUnload(t *testing.T) {
	dir := noPolicy(t)
	web := textIn(t, dir, "web", texts["web"])
	work := textIn(t, dir, "work", texts["work"])
	guesttest.MustRun(t, "oci-apparmor", "profile", "load", "--quiet", web, work)
	// A container uses it between create and start, and after.
	eachRuntime(t, func(t *testing.T, rt arms) {
		b := guesttest.NewBundle(t, names("web"), func(s *specs.Spec) {
			s.Process.Args = []string{"/bin/sh", "-c", "touch /tmp/ran; touch /etc/ran; exec probe sleep"}
		})
		t.Cleanup(func() { guesttest.Run(t, rt.bare, "delete", "--force", b.ID) })
		if o := guesttest.RunCommand(t, exec.Command(rt.bare, "create", "--bundle", b.Dir, b.ID)); o.Code != 0 {
			t.Fatal(o.Stderr)
		}
		wantFailure(t, 3, 2, []string{b.ID}, "profile", "unload", "web")
		guesttest.MustRun(t, rt.bare, "start", b.ID)
		waitFor(t, "its process to run", func() bool { _, err := os.Stat(b.Rootfs() + "/tmp/ran"); return err == nil })
		c := &guesttest.Container{Bundle: b, Runtime: rt.bare}
		wantLabel(t, c, "web")
		if _, err := os.Stat(b.Rootfs() + "/etc/ran"); err == nil {
			t.Error("its process could write to /etc")
		}
		wantFailure(t, 3, 2, []string{c.ID, fmt.Sprint(c.Pid(t)), "runs under it"}, "profile", "unload", "web")
		wantFailure(t, 3, 2, []string{c.ID}, "profile", "unload", "work", "web")
		wantLabel(t, c, "web")
	})
	rt := armsOf(t, "runc")
	t.Run("in use by an exec'd process only", func(t *testing.T) {
		c := guesttest.NewBundle(t, names("work")).Start(t, rt.bare)
		args := append([]string{"exec", "--detach"}, byFile(t, c, new("web"))("/bin/probe", "sleep")...)
		guesttest.MustRun(t, rt.bare, args...)
		var pid int
		waitFor(t, "the exec'd process", func() bool {
			pid = slices.Max(append(processesUnder("web"), 0))
			return pid > 0
		})
		wantFailure(t, 3, 2, []string{c.ID, fmt.Sprint(pid), "runs under it"}, "profile", "unload", "web")
		if label := guesttest.Label(t, pid); !strings.HasPrefix(label, "web ") {
			t.Errorf("the exec'd process is under %s", label)
		}
		wantConfined(t, c, workTries, "work")
	})
	t.Run("when idle", func(t *testing.T) {
		c := guesttest.NewBundle(t, names("web")).Start(t, rt.bare)
		cmd := exec.Command("oci-apparmor", "profile", "unload", "--when-idle", "work", "web")
		said := waiting{"waiting until", func() {
			wantConfined(t, c, webTries, "web")
			if _, ok := guesttest.Profiles(t)["work"]; !ok {
				t.Error("profile work was removed before web is idle")
			}
			guesttest.MustRun(t, rt.bare, "delete", "--force", c.ID)
		}}
		cmd.Stderr = &said
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		if said.then != nil {
			t.Error("it did not wait")
		}
		if profiles := guesttest.Profiles(t); profiles["web"] != "" || profiles["work"] != "" {
			t.Errorf("profiles %v are loaded", profiles)
		}
		if o := guesttest.Run(t, rt.bare, "run", "--bundle", guesttest.NewBundle(t, names("web")).Dir, "without"); o.Code == 0 {
			t.Error("a container started under a profile that is not there")
		}
	})
	t.Run("a foreign one", func(t *testing.T) {
		guesttest.LoadProfile(t, loose("theirs"))
		wantFailure(t, 3, 1, []string{"theirs", "--foreign"}, "profile", "unload", "theirs")
		guesttest.MustRun(t, "oci-apparmor", "profile", "unload", "--foreign", "theirs")
		if _, ok := guesttest.Profiles(t)["theirs"]; ok {
			t.Error("it is loaded")
		}
	})
}

// waiting calls a function once something is said.
type waiting struct {
	words string
	then  func()
}

func (w *waiting) Write(p []byte) (int, error) {
	if w.then != nil && strings.Contains(string(p), w.words) {
		w.then()
		w.then = nil
	}
	return len(p), nil
}

// processesUnder returns the processes under a profile.
func processesUnder(profile string) (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*/attr/current")
	for _, path := range dirs {
		label, err := os.ReadFile(path)
		var pid int
		if err == nil && strings.HasPrefix(string(label), profile+" ") {
			fmt.Sscanf(path, "/proc/%d/", &pid)
			pids = append(pids, pid)
		}
	}
	return pids
}

// A container of ours that is created is known by its record, also where the kernel does not tell what is pending.
func TestProfileUnloadKnowsOurContainers(t *testing.T) {
	setPolicy(t, webPolicy)
	out := guesttest.MustRun(t, "oci-apparmor", "profile", "diff", "policy:web", "/etc/oci-apparmor/profiles/web")
	if !strings.HasPrefix(out, "the same content") {
		t.Error(out)
	}
	eachRuntime(t, func(t *testing.T, rt arms) {
		b := guesttest.NewBundle(t, asks("web"), func(s *specs.Spec) { s.Process.Args = []string{"/bin/probe", "sleep"} })
		t.Cleanup(func() { guesttest.Run(t, rt.wrapped, "delete", "--force", b.ID) })
		if o := guesttest.RunCommand(t, exec.Command(rt.wrapped, "create", "--bundle", b.Dir, b.ID)); o.Code != 0 {
			t.Fatal(o.Stderr)
		}
		wantFailure(t, 3, 2, []string{b.ID, "is created and not started"}, "profile", "unload", "web")
		c := guesttest.NewBundle(t).Start(t, rt.wrapped)
		wantFailure(t, 3, 2, []string{c.ID, "runs under it"}, "profile", "unload", "work")
		guesttest.MustRun(t, rt.wrapped, "start", b.ID)
		wantLabel(t, &guesttest.Container{Bundle: b, Runtime: rt.wrapped}, "web")
		guesttest.MustRun(t, rt.wrapped, "delete", "--force", b.ID)

		// One whose policy keeps the engine's choice: no label is in its record.
		guesttest.LoadProfile(t, loose("chosen"))
		spec := b.Spec(t)
		spec.Process.ApparmorProfile = "chosen"
		spec.Annotations = nil
		b.SetSpec(t, spec)
		b.ID = "kept-" + b.ID
		if o := guesttest.RunCommand(t, exec.Command(rt.wrapped, "create", "--bundle", b.Dir, b.ID)); o.Code != 0 {
			t.Fatal(o.Stderr)
		}
		wantFailure(t, 3, 2, []string{b.ID, "is created and not started"}, "profile", "unload", "--foreign", "chosen")
		guesttest.MustRun(t, rt.wrapped, "delete", "--force", c.ID)
		if out := guesttest.MustRun(t, "oci-apparmor", "profile", "unload", "web"); !strings.Contains(out, "loads it again") {
			t.Error(out)
		}
		guesttest.MustRun(t, rt.wrapped, "start", b.ID)
		wantLabel(t, &guesttest.Container{Bundle: b, Runtime: rt.wrapped}, "chosen")
		guesttest.MustRun(t, rt.wrapped, "delete", "--force", b.ID)
		wantConfined(t, guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped), webTries, "web")
	})
}

// What is listed and shown is what the kernel has, to root and to others.
func TestProfileListAndShow(t *testing.T) {
	dir := noPolicy(t)
	web := textIn(t, dir, "web", texts["web"])
	guesttest.MustRun(t, "oci-apparmor", "profile", "load", "--quiet", web)
	c := guesttest.NewBundle(t, names("web")).Start(t, armsOf(t, "runc").bare)
	for who, cmd := range map[string]*exec.Cmd{
		"root": exec.Command("oci-apparmor", "profile", "list", "--json"), "nobody": asNobody("profile", "list", "--json"),
	} {
		o := guesttest.RunCommand(t, cmd)
		var all []struct {
			Name, Mode, LoadedBy string
			Processes            int
		}
		if err := json.Unmarshal([]byte(o.Stdout), &all); err != nil || o.Code != 0 {
			t.Fatalf("%s: exit code %d, %v: %s%s", who, o.Code, err, o.Stdout, o.Stderr)
		}
		listed := map[string]string{}
		for _, p := range all {
			listed[p.Name] = p.Mode
			if p.Name == "web" && (p.Processes != 1 || who == "root" && p.LoadedBy != "hand") {
				t.Errorf("%s: %+v", who, p)
			}
		}
		if want := guesttest.Profiles(t); !equalMaps(listed, want) {
			t.Errorf("%s: lists %v, want %v", who, listed, want)
		}
	}
	out := guesttest.MustRun(t, "oci-apparmor", "profile", "show", "web")
	for _, words := range []string{"enforce mode", "by oci-apparmor", "the kernel has what this text compiles to",
		fmt.Sprintf("%d (probe)", c.Pid(t)), strings.TrimSuffix(texts["web"], "\n")} {
		if !strings.Contains(out, words) {
			t.Errorf("does not say %q:\n%s", words, out)
		}
	}
	var shown struct {
		Loaded struct{ Hash, By string }
	}
	if err := json.Unmarshal([]byte(guesttest.MustRun(t, "oci-apparmor", "profile", "show", "web", "--json")), &shown); err != nil {
		t.Fatal(err)
	}
	function, digits, _ := strings.Cut(shown.Loaded.Hash, ":")
	files, err := filepath.Glob(securityfs + "/policy/profiles/web.*/" + function)
	if err != nil || len(files) != 1 || strings.TrimSpace(read(t, files[0])) != digits {
		t.Errorf("hash %s, of the kernel's files %q", shown.Loaded.Hash, files)
	}
	// Somebody who is not root gets what anybody may see, or a sentence.
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	secret := textIn(t, dir, "secret", texts["web"])
	if err := os.Chmod(secret, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"show", "web"}, 0, "only root may read the texts"},
		{[]string{"check", web}, 0, "defines web (enforce)"},
		{[]string{"diff", "kernel:web", web}, 0, "the same content"},
		{[]string{"check", secret}, 3, "run this as root"},
		{[]string{"diff", "kernel:web", secret}, 3, "run this as root"},
	} {
		o := guesttest.RunCommand(t, asNobody(append([]string{"profile"}, tc.args...)...))
		said := o.Stdout
		if tc.code != 0 {
			said = o.Stderr
		}
		if o.Code != tc.code || !strings.Contains(said, tc.says) || tc.code != 0 && strings.Count(said, "\n") != 1 {
			t.Errorf("nobody's %q: exit code %d\n%s%s", tc.args, o.Code, o.Stdout, o.Stderr)
		}
	}
	guesttest.LoadProfile(t, loose("web"))
	if out := guesttest.MustRun(t, "oci-apparmor", "profile", "show", "web"); strings.Contains(out, "audit deny") ||
		!strings.Contains(out, "neither the policy's nor what was") {
		t.Errorf("of another content:\n%s", out)
	}
	o := guesttest.Run(t, "oci-apparmor", "profile", "diff", "kernel:web", web)
	if o.Code != 1 || !strings.Contains(o.Stdout, "only hashes can be compared") || !strings.Contains(o.Stdout, "other content") {
		t.Errorf("diff: exit code %d\n%s%s", o.Code, o.Stdout, o.Stderr)
	}
}

func equalMaps(a, b map[string]string) bool {
	for name, mode := range a {
		if b[name] != mode {
			return false
		}
	}
	return len(a) == len(b)
}

// What show prints of docker-default is a text that loads, and that is then known for what it is.
func TestProfileDockerDefault(t *testing.T) {
	dir := noPolicy(t)
	unload(t, "docker-default")
	path := textIn(t, dir, "docker-default", guesttest.MustRun(t, "oci-apparmor", "profile", "show", "docker-default"))
	guesttest.MustRun(t, "oci-apparmor", "profile", "load", path)
	out := guesttest.MustRun(t, "oci-apparmor", "profile", "diff", "kernel:docker-default", "node:docker-default")
	if !strings.Contains(out, "the same content") {
		t.Error(out)
	}
	c := guesttest.NewBundle(t, names("docker-default"), capable).Start(t, armsOf(t, "runc").bare)
	const allowed = "errno EINVAL" // the kernel has looked at what is written
	firmware := ""                 // a kernel in user mode has none
	filepath.WalkDir("/sys/firmware", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.HasPrefix(path, "/sys/firmware/memmap/") {
			firmware = path
			return fs.SkipAll
		}
		return nil
	})
	try := func(t *testing.T, pattern, shm, reading, tracing string, noCrypto bool) {
		t.Helper()
		want := tries{"write /proc/sys/kernel/core_pattern": pattern, "write /proc/sys/kernel/shmmni": shm,
			"mount": denied, "write /tmp/x": "ok", "ptrace-child": tracing}
		if firmware != "" || !guesttest.UserMode(t) {
			want["read "+firmware] = reading
		}
		wantConfined(t, c, want, "docker-default")
		if got := c.Ask(t, "socket alg seqpacket"); (got == denied) != noCrypto { // allowed is not there, without the module
			t.Errorf("socket alg seqpacket: %s", got)
		}
	}
	try(t, denied, allowed, denied, "ok", true)

	old := textIn(t, dir, "2015", guesttest.MustRun(t, "oci-apparmor", "profile", "show", "docker-default", "--variant", "2015"))
	o := guesttest.Run(t, "oci-apparmor", "profile", "diff", "2015:docker-default", "kernel:docker-default")
	if o.Code != 1 || !strings.Contains(o.Stdout, "-  deny @{PROC}/mem") || !strings.Contains(o.Stdout, "other content") {
		t.Errorf("diff: exit code %d\n%s%s", o.Code, o.Stdout, o.Stderr)
	}
	// As its notes say, and only with the rights to it.
	pattern := read(t, "/proc/sys/kernel/core_pattern")
	t.Cleanup(func() { write(t, "/proc/sys/kernel/core_pattern", pattern) })
	guesttest.MustRun(t, "oci-apparmor", "profile", "load", old)
	try(t, "ok", denied, "ok", denied, false)
}

// capable gives a container what only its profile then keeps it from.
func capable(s *specs.Spec) {
	all := []string{"CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SYS_RESOURCE"}
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
	s.Linux.ReadonlyPaths, s.Linux.MaskedPaths = nil, nil
	for i := range s.Mounts {
		if s.Mounts[i].Destination == "/proc" {
			s.Mounts[i].Options = nil
		}
	}
}

// The faults that the profile of Docker's page was seen to have are found by itself, with the parser of this node, and
// what is advised in place of them does what it should.
func TestProfileCheckAdvice(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm, guesttest.Forky) // the oldest parser, and the newest
	dir := noPolicy(t)
	page := filepath.Join("testdata", "docker-nginx")
	before := revision(t)
	out := guesttest.MustRun(t, "oci-apparmor", "profile", "check", page)
	if after := revision(t); after != before {
		t.Errorf("the kernel's revision went from %d to %d", before, after)
	}
	for _, check := range []string{"abi", "peers", "ping", "silent", "dev-null", "usr-merge", "busybox", "matches-nothing"} {
		if !strings.Contains(out, "["+check+"]") {
			t.Errorf("%s was not found:\n%s", check, out)
		}
	}
	if o := guesttest.Run(t, "oci-apparmor", "profile", "check", "--strict", page); o.Code != 1 {
		t.Errorf("with --strict: exit code %d", o.Code)
	}
	web := textIn(t, dir, "web", texts["web"])
	if out := guesttest.MustRun(t, "oci-apparmor", "profile", "check", web); strings.Contains(out, "warning:") {
		t.Errorf("of a profile without fault:\n%s", out)
	}

	// The rules for peers, taken from the advice.
	bare := func(name, rules string) string {
		return "abi <abi/3.0>,\nprofile " + name + " flags=(attach_disconnected) {\n  file,\n  capability,\n  umount,\n" + rules + "}\n"
	}
	one, rules := textIn(t, dir, "one", bare("one", "")), ""
	for line := range strings.Lines(guesttest.MustRun(t, "oci-apparmor", "profile", "check", one)) {
		if _, advice, ok := strings.Cut(line, ": add "); ok {
			rules += "  " + strings.TrimSuffix(strings.TrimSpace(advice), " [peers]") + "\n"
		}
	}
	write(t, one, bare("one", rules))
	if out := guesttest.MustRun(t, "oci-apparmor", "profile", "check", one); strings.Contains(out, "warning:") {
		t.Errorf("with the advised rules:\n%s", out)
	}
	guesttest.MustRun(t, "oci-apparmor", "profile", "load", one, textIn(t, dir, "two", bare("two", rules)))
	for _, label := range []string{"one", "one//&two"} {
		c := guesttest.NewBundle(t, names(label)).Start(t, armsOf(t, "runc").bare)
		wantLabel(t, c, strings.Split(label, "//&")...)
		wantSignalsAndTraces(t, c)
	}
}
