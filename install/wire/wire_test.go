package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// What an engine's configuration may be: a file that others read, one that only root may read, and a link to a file.
func newTree(t *testing.T) Tree {
	t.Helper()
	root, err := os.MkdirTemp("/dev/shm", "wire-") // in memory: every step waits for the disk
	if err != nil {
		root = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	write(t, root+"/etc/engine/main.conf", "# mine\nkey = 1\n", 0o640)
	write(t, root+"/srv/real.json", "{}", 0o600)
	if err := os.Symlink("/srv/real.json", root+"/etc/engine/link.json"); err != nil {
		t.Fatal(err)
	}
	return Tree{Root: root}
}

func write(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// snapshot returns all that is below a root but the book: types, modes, owners, targets and contents.
func snapshot(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(path, root)
		if strings.HasPrefix(rel, "/var") {
			return nil
		}
		e, err := Tree{Root: root}.lookup(rel)
		if err == nil {
			all[rel] = fmt.Sprintf("%v %d:%d %s", e.Mode, e.UID, e.GID, e.Data)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func wantTree(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for _, p := range slices.Sorted(maps.Keys(got)) {
		if got[p] != want[p] {
			t.Errorf("%s: %s is %q, want %q", what, p, got[p], want[p])
		}
	}
	for p := range want {
		if _, ok := got[p]; !ok {
			t.Errorf("%s: %s is missing", what, p)
		}
	}
}

const ours = "ours = 1\n"

// wireEngine drafts what an engine's folder would: a link in a directory of our own, and our line in three files.
func wireEngine(t *testing.T, d *Draft) {
	t.Helper()
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	check(d.WriteFile("/etc/engine/conf.d/ours.conf", []byte(ours)))
	for _, p := range []string{"/etc/engine/main.conf", "/etc/engine/link.json"} {
		e, err := d.Read(p)
		check(err)
		if e == nil {
			e = new(Entry)
		}
		check(d.WriteFile(p, append(slices.Clone(e.Data), ours...)))
	}
	check(d.Link("/usr/lib/ours/engine/runc", "/usr/bin/ours"))
}

// strip takes our line out. Nothing is left of a file that there was not before.
func strip(_ string, was, now *Entry) ([]byte, error) {
	left := bytes.ReplaceAll(now.Data, []byte(ours), nil)
	if was == nil && len(left) == 0 {
		return nil, nil
	}
	return left, nil
}

// install and uninstall do what the commands do. They are called in a process of its own, too, which is killed in a step.
func install(t *testing.T, tree Tree) error {
	t.Helper()
	b, err := Open(t.Context(), tree)
	if err != nil {
		return err
	}
	defer b.Close()
	d := NewDraft(tree)
	if _, err := b.Unwire(d, "engine", strip); err != nil {
		return err
	}
	without := d.Copy()
	wireEngine(t, d)
	if len(d.Edits()) == 0 {
		return nil
	}
	return b.Commit("engine", &Options{Via: "wrapper"}, d, without)
}

func uninstall(t *testing.T, tree Tree) error {
	t.Helper()
	b, err := Open(t.Context(), tree)
	if err != nil {
		return err
	}
	defer b.Close()
	d := NewDraft(tree)
	if _, err := b.Unwire(d, "engine", strip); err != nil {
		return err
	}
	return b.Commit("engine", nil, d, d)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestUninstallGivesBackEveryByte(t *testing.T) {
	tree := newTree(t)
	before := snapshot(t, tree.Root)
	must(t, install(t, tree))
	installed := snapshot(t, tree.Root)
	for path, want := range map[string]string{
		"/etc/engine/main.conf": "-rw-r-----", "/srv/real.json": "-rw-------", "/etc/engine/link.json": "L",
		"/usr/lib/ours/engine/runc": "L", "/etc/engine/conf.d/ours.conf": "-rw-r--r--",
	} {
		if !strings.HasPrefix(installed[path], want) {
			t.Errorf("%s is %q, want mode %s", path, installed[path], want)
		}
	}
	if !strings.HasSuffix(installed["/srv/real.json"], "{}"+ours) {
		t.Errorf("the link's file is %q", installed["/srv/real.json"])
	}
	must(t, install(t, tree))
	wantTree(t, "installed twice", snapshot(t, tree.Root), installed)
	must(t, uninstall(t, tree))
	wantTree(t, "uninstalled", snapshot(t, tree.Root), before)
	must(t, uninstall(t, tree))
	wantTree(t, "uninstalled twice", snapshot(t, tree.Root), before)
}

func TestUninstallKeepsWhatOthersWrote(t *testing.T) {
	tree := newTree(t)
	must(t, install(t, tree))
	write(t, tree.Root+"/etc/engine/main.conf", "# mine\nkey = 2\n"+ours+"more = 3\n", 0o644)
	write(t, tree.Root+"/etc/engine/conf.d/theirs.conf", "x\n", 0o644)
	os.Remove(tree.Root + "/srv/real.json")
	before := snapshot(t, tree.Root)
	must(t, install(t, tree))
	if got := snapshot(t, tree.Root)["/srv/real.json"]; !strings.HasSuffix(got, ours) {
		t.Errorf("a file that was removed since is %q, want ours", got)
	}
	os.Remove(tree.Root + "/srv/real.json")
	must(t, uninstall(t, tree))
	want := maps.Clone(before)
	for _, p := range []string{"/usr/lib/ours/engine/runc", "/usr/lib/ours/engine", "/usr/lib/ours", "/usr/lib", "/usr", "/etc/engine/conf.d/ours.conf"} {
		delete(want, p)
	}
	want["/etc/engine/main.conf"] = strings.Replace(before["/etc/engine/main.conf"], ours, "", 1)
	wantTree(t, "uninstalled", snapshot(t, tree.Root), want)
}

// faulty returns a tree whose nth step fails, and how many steps there were when it is through.
func faulty(tree Tree, n int, fault error) (Tree, *int) {
	count := new(int)
	tree.Step = func(string) error {
		if *count++; *count == n {
			return fault
		}
		return nil
	}
	return tree, count
}

func TestFaultAtEveryStepLeavesTheOldTree(t *testing.T) {
	fault := errors.New("pulled the plug")
	for _, verb := range []struct {
		name string
		do   func(*testing.T, Tree) error
		prep func(*testing.T, Tree) error
	}{
		{"install", install, func(*testing.T, Tree) error { return nil }},
		{"uninstall", uninstall, install},
	} {
		for n := 1; ; n++ {
			tree := newTree(t)
			must(t, verb.prep(t, tree))
			before := snapshot(t, tree.Root)
			broken, count := faulty(tree, n, fault)
			err := verb.do(t, broken)
			if *count < n {
				if n < 10 {
					t.Errorf("%s took %d steps", verb.name, *count)
				}
				break
			}
			what := fmt.Sprintf("%s, fault %d", verb.name, n)
			if err == nil { // only the journal could not be removed
				continue
			}
			if !errors.Is(err, fault) {
				t.Errorf("%s: %v", what, err)
			}
			wantTree(t, what, snapshot(t, tree.Root), before)
			must(t, verb.do(t, tree))
		}
	}
}

// killedAt returns the tree of the environment, in which the process is killed before the step of a number.
func killedAt(t *testing.T, number string) Tree {
	n, err := strconv.Atoi(number)
	must(t, err)
	tree, count := Tree{Root: os.Getenv("WIRE_TEST_ROOT")}, 0
	tree.Step = func(string) error {
		if count++; count == n {
			must(t, syscall.Kill(os.Getpid(), syscall.SIGKILL))
			select {} // until it arrives
		}
		return nil
	}
	return tree
}

// The process is killed, as by kill -9, before each of its steps. The next call finds the old tree or makes it, or finishes.
func TestKilledAtEveryStep(t *testing.T) {
	if at := os.Getenv("WIRE_TEST_KILL"); at != "" {
		tree := killedAt(t, at)
		must(t, map[string]func(*testing.T, Tree) error{"install": install, "uninstall": uninstall}[os.Getenv("WIRE_TEST_VERB")](t, tree))
		return
	}
	for _, verb := range []string{"install", "uninstall"} {
		for n, killed := 1, true; killed; n++ {
			tree := newTree(t)
			old := snapshot(t, tree.Root)
			if verb == "uninstall" {
				must(t, install(t, tree))
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestKilledAtEveryStep$")
			cmd.Env = append(os.Environ(), "WIRE_TEST_KILL="+strconv.Itoa(n), "WIRE_TEST_ROOT="+tree.Root, "WIRE_TEST_VERB="+verb)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			killed = errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
			if !killed && err != nil {
				t.Fatalf("%s, kill %d: %v\n%s", verb, n, err, out)
			}
			what := fmt.Sprintf("%s, killed at %d", verb, n)
			b, err := Open(t.Context(), tree)
			must(t, err)
			_, wired := b.Wiring("engine")
			b.Close()
			now := snapshot(t, tree.Root)
			if !wired {
				wantTree(t, what, now, old)
			} else {
				other := newTree(t)
				must(t, install(t, other))
				wantTree(t, what, now, snapshot(t, other.Root))
			}
			must(t, install(t, tree))
			must(t, uninstall(t, tree))
			wantTree(t, what+", then installed and uninstalled", snapshot(t, tree.Root), old)
			if entries, err := os.ReadDir(tree.Real(Dir)); err != nil || len(entries) != 2 {
				t.Errorf("%s: the book has %v, %v", what, entries, err)
			}
			if !killed && n < 10 {
				t.Errorf("%s took %d steps", verb, n)
			}
		}
	}
}

// Somebody has changed a file of a half-done install: what they wrote stays, and uninstall takes ours out.
func TestKilledAndThenChangedByOthers(t *testing.T) {
	tree := newTree(t)
	fault := errors.New("killed")
	broken, dead := tree, false
	broken.Step = func(what string) error {
		if dead = dead || what == "write "+tree.Root+"/srv/real.json"; dead {
			return fault
		}
		return nil
	}
	if err := install(t, broken); !errors.Is(err, fault) || !strings.Contains(err.Error(), "taking it back failed") {
		t.Fatal(err)
	}
	if _, err := Look(tree); err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("to look at: %v", err)
	}
	write(t, tree.Root+"/etc/engine/main.conf", "key = 7\n"+ours, 0o640)
	b, err := Open(t.Context(), tree)
	must(t, err)
	if _, wired := b.Wiring("engine"); b.Recovered == "" || !wired {
		t.Errorf("recovered %q, wired: %v", b.Recovered, wired)
	}
	b.Close()
	must(t, uninstall(t, tree))
	want := snapshot(t, newTree(t).Root)
	want["/etc/engine/main.conf"] = strings.Replace(want["/etc/engine/main.conf"], "# mine\nkey = 1\n", "key = 7\n", 1)
	wantTree(t, "uninstalled", snapshot(t, tree.Root), want)
}

// What runs calls our wrapper by its link, and may need a part of a file, which are gone when nothing does any more.
func TestWhatRunsKeepsWhatItNeeds(t *testing.T) {
	tree := newTree(t)
	old := snapshot(t, tree.Root)
	must(t, install(t, tree))
	const link, file, part = "/usr/lib/ours/engine/runc", "/etc/engine/conf.d/ours.conf", "part = 1\n"
	for range 2 {
		b, err := Open(t.Context(), tree)
		must(t, err)
		d := NewDraft(tree)
		_, err = b.Unwire(d, "engine", strip)
		must(t, err)
		without := d.Copy()
		left, err := b.LeaveLinks(d, "engine")
		must(t, err)
		if !slices.Equal(left, []string{link}) {
			t.Errorf("it leaves %q", left)
		}
		must(t, d.WriteFile(file, []byte(part)))
		must(t, b.Commit("engine", nil, d, without))
		if _, wired := b.Wiring("engine"); wired {
			t.Error("the engine counts as wired")
		}
		b.Close()
		now := snapshot(t, tree.Root)
		if now[link] == "" || now["/srv/real.json"] != old["/srv/real.json"] || !strings.HasSuffix(now[file], " "+part) {
			t.Errorf("the link is %q, a file %q, a part %q", now[link], now["/srv/real.json"], now[file])
		}
	}
	must(t, install(t, tree))
	if now := snapshot(t, tree.Root)[file]; !strings.HasSuffix(now, ours) {
		t.Errorf("after another install the file is %q", now)
	}
	must(t, uninstall(t, tree))
	wantTree(t, "uninstalled", snapshot(t, tree.Root), old)
}

// A directory that we made, and that somebody has changed since, stays as it is when its engine is wired again.
func TestSecondInstallKeepsADirectorysMode(t *testing.T) {
	tree := newTree(t)
	install(t, tree)
	dir := tree.Root + "/etc/engine/conf.d"
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, tree.Root)
	if err := install(t, tree); err != nil {
		t.Fatal(err)
	}
	wantTree(t, "a second install", snapshot(t, tree.Root), before)
}

func TestFileThatChangesUnderTheDraftIsNotWritten(t *testing.T) {
	tree := newTree(t)
	b, err := Open(t.Context(), tree)
	must(t, err)
	defer b.Close()
	d := NewDraft(tree)
	without := d.Copy()
	wireEngine(t, d)
	write(t, tree.Root+"/srv/real.json", "{1}", 0o600)
	before := snapshot(t, tree.Root)
	if err := b.Commit("engine", &Options{}, d, without); err == nil || !strings.Contains(err.Error(), "/srv/real.json was changed") {
		t.Error(err)
	}
	wantTree(t, "refused", snapshot(t, tree.Root), before)
}

func TestLinksEndInTheTree(t *testing.T) {
	tree := newTree(t)
	for link, target := range map[string]string{
		"/a/up": "../../../../srv", "/b": "/a/up/real.json", "/loop": "loop", "/a/none": "/nowhere/x", "/etc/c": "engine/../../b",
	} {
		must(t, os.MkdirAll(filepath.Dir(tree.Root+link), 0o755))
		must(t, os.Symlink(target, tree.Root+link))
	}
	for path, want := range map[string]string{
		"/b": "/srv/real.json", "/a/up/real.json": "/srv/real.json", "/etc/c": "/srv/real.json", "/a/none": "/nowhere/x",
		"/etc/../b": "/srv/real.json", "relative": "/relative",
	} {
		got, err := NewDraft(tree).Resolve(path)
		if err != nil || got != want {
			t.Errorf("%s is %s, %v, want %s", path, got, err, want)
		}
	}
	if _, err := NewDraft(tree).Resolve("/loop"); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a loop: %v", err)
	}
	must(t, syscall.Mkfifo(tree.Root+"/fifo", 0o600))
	if _, err := NewDraft(tree).Read("/fifo"); err == nil || !strings.Contains(err.Error(), "/fifo is neither") {
		t.Errorf("a fifo: %v", err)
	}
	if err := NewDraft(tree).WriteFile("/etc", nil); err == nil {
		t.Error("a directory was written to")
	}
	if err := NewDraft(tree).Link("/srv/real.json", "x"); err == nil {
		t.Error("a file became a link")
	}
	if err := NewDraft(tree).WriteFile("/srv/real.json/x", nil); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("below a file: %v", err)
	}
}

func TestDiff(t *testing.T) {
	d := NewDraft(newTree(t))
	wireEngine(t, d)
	const want = `new directory /etc/engine/conf.d
new directory /usr
new directory /usr/lib
new directory /usr/lib/ours
new directory /usr/lib/ours/engine
new link /usr/lib/ours/engine/runc -> /usr/bin/ours
--- /dev/null
+++ /etc/engine/conf.d/ours.conf
@@ -0,0 +1 @@
+ours = 1
--- /etc/engine/main.conf
+++ /etc/engine/main.conf
@@ -1,2 +1,3 @@
 # mine
 key = 1
+ours = 1
--- /srv/real.json
+++ /srv/real.json
@@ -1 +1 @@
-{}
\ No newline at end of file
+{}ours = 1
`
	if got := Diff(d.Edits()); got != want {
		t.Errorf("got\n%s", got)
	}
	back := Diff(invert(d.Edits()))
	first, _, _ := strings.Cut(back, "\n")
	if !strings.HasPrefix(first, "--- /etc/engine/main.conf") || !strings.HasSuffix(back, "removed directory /usr\nremoved directory /etc/engine/conf.d\n") {
		t.Errorf("the way back is\n%s", back)
	}
}

func TestBookOfALaterVersionIsLeftAlone(t *testing.T) {
	for _, name := range []string{"record.json", "journal.json"} {
		tree := newTree(t)
		write(t, tree.Real(Dir+"/"+name), `{"version": 3}`, 0o600)
		if _, err := Open(t.Context(), tree); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		write(t, tree.Real(Dir+"/"+name), `{"version`, 0o600)
		if _, err := Open(t.Context(), tree); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("half a %s: %v", name, err)
		}
	}
}

// An image's links and its book lead to no place on this machine.
func TestBookOfAnImageStaysInside(t *testing.T) {
	tree, outside := newTree(t), t.TempDir()
	must(t, os.MkdirAll(tree.Root+"/var", 0o755))
	must(t, os.Symlink(outside, tree.Root+"/var/lib"))
	must(t, install(t, tree))
	if _, err := os.Stat(tree.Root + outside + "/oci-apparmor/wiring/record.json"); err != nil {
		t.Error(err)
	}
	must(t, uninstall(t, tree))
	for name, path := range map[string]string{
		"dots": "/../../../../../../../.." + outside + "/x", "a link": "/var/lib/x",
	} {
		write(t, tree.Real(outside+"/oci-apparmor/wiring/journal.json"), fmt.Sprintf(`{"version": 1, "forward": true, "steps": [{"path": %q,
"new": {"mode": 420, "uid": %d, "gid": %d, "data": ""}}], "after": {"version": 1, "serial": 99}}`, path, os.Geteuid(), os.Getegid()), 0o600)
		if b, err := Open(t.Context(), tree); err == nil {
			b.Close()
		} else if name == "dots" {
			t.Error(err)
		}
		must(t, os.RemoveAll(tree.Real(outside+"/oci-apparmor/wiring/journal.json")))
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("outside there is %v, %v", entries, err)
	}
}
