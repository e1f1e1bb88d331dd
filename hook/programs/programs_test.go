package programs

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const place = "../../install/place.sh"

func TestCalled(t *testing.T) {
	for program, want := range map[string]string{
		"/usr/local/lib/oci-apparmor/programs/1.2/oci-apparmor":          "/usr/local/bin/oci-apparmor",
		"/usr/lib/oci-apparmor/programs/1.2/containerd-shim-apparmor-v2": "/usr/bin/containerd-shim-apparmor-v2",
		"/lib/oci-apparmor/programs/1.2/oci-apparmor":                    "/bin/oci-apparmor", // PREFIX=/
		"/usr/local/bin/oci-apparmor":                                    "/usr/local/bin/oci-apparmor",
		"/usr/local/lib/oci-apparmor/programs/oci-apparmor":              "/usr/local/lib/oci-apparmor/programs/oci-apparmor",
		"/usr/lib/oci-apparmor/programs/1.2/more/oci-apparmor":           "/usr/lib/oci-apparmor/programs/1.2/more/oci-apparmor",
		"/srv/lib-oci-apparmor/programs/1.2/oci-apparmor":                "/srv/lib-oci-apparmor/programs/1.2/oci-apparmor",
	} {
		if got := Called(program); got != want {
			t.Errorf("%s is called by %s, want %s", program, got, want)
		}
	}
}

// The programs are named in three places, none of which can read another.
func TestNamesAreTheSameEverywhere(t *testing.T) {
	script, err1 := os.ReadFile(place)
	makefile, err2 := os.ReadFile("../../Makefile")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if list := "for program in " + strings.Join(Names, " ") + "; do"; strings.Count(string(script), list) != 2 {
		t.Errorf("place.sh has not twice %q", list)
	}
	_, list, _ := strings.Cut(string(makefile), "\nPROGRAMS := ")
	list, _, _ = strings.Cut(list, "\n")
	var built []string
	for _, dir := range strings.Fields(list) {
		built = append(built, filepath.Base(dir))
	}
	if slices.Sort(built); !slices.Equal(built, slices.Sorted(slices.Values(Names))) {
		t.Errorf("make builds %q, and the programs are %q", built, Names)
	}
}

// node is a prefix with versions in it, and the processes that run.
type node struct {
	t            *testing.T
	prefix, proc string
	processes    int
}

func newNode(t *testing.T) *node {
	t.Helper()
	for _, program := range []string{"install", "mv", "ln"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("there is no program %s, which install/place.sh calls: %v", program, err)
		}
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	return &node{t: t, prefix: filepath.Join(dir, "usr"), proc: filepath.Join(dir, "proc")}
}

func (n *node) write(path, text string) {
	n.t.Helper()
	path = filepath.Join(n.prefix, path)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o755)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// install puts a version in place by install/place.sh. After it some time passes.
func (n *node) install(version string) {
	n.t.Helper()
	for _, name := range Names {
		n.write("../from/"+name, name+" of "+version)
	}
	if out, err := exec.Command(place, filepath.Join(n.prefix, "../from"), n.prefix, version).CombinedOutput(); err != nil {
		n.t.Fatalf("place.sh: %v, %s", err, out)
	}
	time.Sleep(20 * time.Millisecond) // more than a tick of the clock from which times of change are
}

func (n *node) home(version string) Home { return Home{n.prefix, version} }

// run adds a process.
func (n *node) run(exe string, args ...string) (end func()) {
	n.t.Helper()
	n.processes++
	dir := filepath.Join(n.proc, fmt.Sprint(n.processes))
	err := errors.Join(os.Mkdir(dir, 0o755), os.Symlink(exe, dir+"/exe"),
		os.WriteFile(dir+"/cmdline", []byte(strings.Join(args, "\x00")), 0o644))
	if err != nil {
		n.t.Fatal(err)
	}
	return func() { os.RemoveAll(dir) }
}

func (n *node) prune(by string) {
	n.t.Helper()
	if err := n.home(by).prune(n.proc, 0); err != nil {
		n.t.Error(err)
	}
}

func (n *node) want(versions ...string) {
	n.t.Helper()
	entries, _ := os.ReadDir(n.home("").versions())
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, versions) {
		n.t.Errorf("there are the versions %q, want %q", names, versions)
	}
}

func TestCurrentVersionIsTheOneThatIsCalled(t *testing.T) {
	n := newNode(t)
	for _, version := range []string{"1.0", "2.0", "1.0"} { // a downgrade is the same
		n.install(version)
		for _, name := range Names {
			at, err := filepath.EvalSymlinks(filepath.Join(n.prefix, "bin", name))
			if want := n.home(version).Program(name); err != nil || at != want {
				t.Errorf("%s leads to %s (%v), want %s", name, at, err, want)
			}
			if text, err := os.ReadFile(at); err != nil || string(text) != name+" of "+version {
				t.Errorf("%s has %q (%v)", at, text, err)
			}
		}
		if n.home(version).Superseded() {
			t.Errorf("%s is superseded after its install", version)
		}
	}
	if !n.home("2.0").Superseded() {
		t.Error("2.0 is not superseded after the downgrade")
	}
}

func TestVersionStaysAsLongAsSomethingRunsFromIt(t *testing.T) {
	n := newNode(t)
	n.install("1.0")
	shim := n.home("1.0").Program("containerd-shim-apparmor-v2")
	one, two := n.run(shim), n.run(shim+" (deleted)") // the second one from before the same version was put in place again
	n.install("2.0")
	n.run(n.home("2.0").Program("oci-apparmor"), "oci-apparmor", "status", "--watch")
	n.prune("2.0")
	n.want("1.0", "2.0")
	if earlier, err := n.home("2.0").earlier(n.proc); err != nil || !maps.Equal(earlier, map[string]int{"1.0": 2}) {
		t.Errorf("there run %v (%v), want two of 1.0", earlier, err)
	}
	one()
	n.prune("1.0")
	n.want("1.0", "2.0")
	two()
	n.run(n.home("1.0").Program("oci-apparmor"), "oci-apparmor", PruneCommand) // as another shim that ends at the same moment
	n.prune("1.0")
	n.want("2.0")
}

func TestVersionThatRunsUnderAnotherPathStays(t *testing.T) {
	n := newNode(t)
	n.install("1.0")
	other := filepath.Join(t.TempDir(), "shim")
	if err := os.Link(n.home("1.0").Program("containerd-shim-apparmor-v2"), other); err != nil {
		t.Fatal(err)
	}
	end := n.run(other)
	n.install("2.0")
	n.prune("2.0")
	n.want("1.0", "2.0")
	end()
	n.prune("2.0")
	n.want("2.0")
}

// A call of place.sh that was interrupted has put programs in place, and not the link.
func TestVersionThatIsBeingInstalledStays(t *testing.T) {
	n := newNode(t)
	n.install("1.0")
	n.write("lib/oci-apparmor/programs/2.0/oci-apparmor", "")
	n.write("lib/oci-apparmor/programs/2.0/.oci-apparmor-hook.new", "")
	n.prune("1.0")
	n.want("1.0", "2.0")
	n.install("3.0")
	n.prune("3.0")
	n.want("3.0")
}

// While place.sh goes back to a version that is there still, and nothing runs from, a prune removes it before or not at all: the
// programs that are called are always there.
func TestDowngradeWhilePruned(t *testing.T) {
	t.Parallel() // it waits, mostly
	n := newNode(t)
	for i := range 500 { // so that a prune takes a while
		n.run(fmt.Sprint("/usr/bin/", i))
	}
	n.install("1.0")
	n.install("2.0")
	for _, versions := range [][2]string{{"1.0", "2.0"}, {"2.0", "1.0"}, {"1.0", "2.0"}, {"2.0", "1.0"}} {
		var both sync.WaitGroup
		both.Go(func() { n.home(versions[1]).prune(n.proc, 0) })
		both.Go(func() { n.install(versions[0]) })
		both.Wait()
		if got, err := os.ReadFile(filepath.Join(n.prefix, "bin/oci-apparmor")); err != nil || string(got) != "oci-apparmor of "+versions[0] {
			t.Fatalf("after an install of %s it is %q: %v", versions[0], got, err)
		}
	}
}

func TestPruneWaitsForWhoHasTheLock(t *testing.T) {
	t.Parallel() // it waits, mostly
	n := newNode(t)
	n.install("1.0")
	n.install("2.0")
	release, err := n.home("1.0").lock()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.home("1.0").prune(n.proc, 0); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("a prune beside another one: %v", err)
	}
	n.want("1.0", "2.0")
	go func() {
		time.Sleep(50 * time.Millisecond)
		release()
	}()
	n.prune("1.0")
	n.want("2.0")
}

// killed is a program that does what the real one does, and kills who calls it before the call whose number is in a file.
const killed = `#!/bin/sh
read n <"$CALLS"
[ "$n" -gt 0 ] || { kill -9 "$PPID"; exit; }
echo "$((n - 1))" >"$CALLS"
PATH=$REAL exec "${0##*/}" "$@"
`

// Whenever place.sh is killed, all programs that are called are those of one version, or are not there yet.
func TestInstallIsKilledAtEachStep(t *testing.T) {
	t.Parallel() // it waits, mostly
	n := newNode(t)
	bin, calls := filepath.Join(t.TempDir(), "bin"), filepath.Join(t.TempDir(), "calls")
	for _, name := range []string{"mkdir", "ln", "install", "mv"} {
		n.write("../killed/"+name, killed)
	}
	if err := os.Rename(filepath.Join(n.prefix, "../killed"), bin); err != nil {
		t.Fatal(err)
	}
	n.install("1.0")
	for _, first := range []bool{false, true} {
		for step := 0; ; step++ {
			if first {
				if err := os.RemoveAll(n.prefix); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range Names {
				n.write("../from/"+name, name+" of 2.0")
			}
			if err := os.WriteFile(calls, fmt.Appendln(nil, step), 0o644); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(place, filepath.Join(n.prefix, "../from"), n.prefix, "2.0")
			cmd.Env = append(os.Environ(), "CALLS="+calls, "REAL="+os.Getenv("PATH"), "PATH="+bin+":"+os.Getenv("PATH"))
			err := cmd.Run()
			of := map[string]bool{}
			for _, name := range Names {
				text, err := os.ReadFile(filepath.Join(n.prefix, "bin", name))
				if _, version, _ := strings.Cut(string(text), " of "); err == nil || !first {
					of[version] = true
				}
			}
			if whole := len(of) <= 1 && !of[""]; !whole || err == nil && !of["2.0"] {
				t.Errorf("killed at step %d (a first install: %v), the programs are of the versions %v", step, first, of)
			}
			if err == nil {
				if step < 15 {
					t.Errorf("it was done after %d steps", step)
				}
				break
			}
		}
	}
}

func TestWhatIsNotOursStays(t *testing.T) {
	n := newNode(t)
	n.install("1.0")
	n.write("lib/oci-apparmor/programs/1.0/notes", "")
	n.write("lib/oci-apparmor/programs/backup/oci-apparmor/file", "")
	n.install("2.0")
	n.prune("2.0")
	n.want("1.0", "2.0", "backup")
}

func TestPruneFinishesWhatWasInterrupted(t *testing.T) {
	n := newNode(t)
	n.install("1.0")
	n.write("lib/oci-apparmor/programs/"+doomed+"0.9/oci-apparmor", "")
	n.prune("1.0")
	n.want("1.0")
}

func TestNothingIsRemovedWhereProcessesAreNotKnown(t *testing.T) {
	n := newNode(t)
	n.install("1.0")
	n.install("2.0")
	if err := os.MkdirAll(filepath.Join(n.proc, "1/exe"), 0o755); err != nil { // no link: as good as any error
		t.Fatal(err)
	}
	if err := n.home("2.0").prune(n.proc, 0); err == nil {
		t.Error("no error")
	}
	n.want("1.0", "2.0")
}

func TestPruneRefusesWhatOthersCanWrite(t *testing.T) {
	n := newNode(t)
	n.install("1.0")
	n.install("2.0")
	if err := os.Chmod(n.home("").versions(), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := n.home("2.0").prune(n.proc, 0); err == nil || !strings.Contains(err.Error(), "others can write to it") {
		t.Errorf("gave %v", err)
	}
	n.want("1.0", "2.0")
}

// make uninstall takes the links away, and what nothing runs from.
func TestLastVersionGoesAfterAnUninstall(t *testing.T) {
	n := newNode(t)
	n.install("1.0")
	end := n.run(n.home("1.0").Program("containerd-shim-apparmor-v2"))
	if err := os.Remove(n.home("1.0").link()); err != nil {
		t.Fatal(err)
	}
	n.prune("1.0")
	n.want("1.0")
	end()
	n.prune("1.0")
	if _, err := os.Stat(filepath.Join(n.prefix, "lib/oci-apparmor")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is left: %v", err)
	}
}

func TestPlaceRefusesWhatIsNoDirectorysName(t *testing.T) {
	n := newNode(t)
	for _, version := range []string{"", "..", ".hidden"} {
		out, err := exec.Command(place, n.prefix, n.prefix, version).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "set VERSION") {
			t.Errorf("%q: %v, %s", version, err, out)
		}
	}
}

// A package's own file is linked and not copied, also where that has been done before.
func TestPlaceLinksFilesOfAPackage(t *testing.T) {
	n := newNode(t)
	for _, name := range Names {
		n.write("lib/oci-apparmor/package/"+name, name)
	}
	for range 2 {
		if out, err := exec.Command(place, n.prefix+"/lib/oci-apparmor/package", n.prefix, "1.0").CombinedOutput(); err != nil {
			t.Fatalf("place.sh: %v, %s", err, out)
		}
	}
	for _, name := range Names {
		a, err1 := os.Stat(filepath.Join(n.prefix, "bin", name))
		b, err2 := os.Stat(filepath.Join(n.prefix, "lib/oci-apparmor/package", name))
		if err := errors.Join(err1, err2); err != nil || !os.SameFile(a, b) {
			t.Errorf("%s is another file than the package's (%v)", name, err)
		}
	}
	entries, err := os.ReadDir(n.home("1.0").Program(""))
	if err != nil || len(entries) != len(Names) {
		t.Errorf("there are %v (%v)", entries, err)
	}
}
