package guesttest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
)

// A ContainerdVersion is a containerd that a guest has.
type ContainerdVersion struct {
	Name string // such as "1.7.24"
	Bin  string // directory of containerd, ctr and containerd-shim-runc-v2
}

// Present reports whether this is the newest containerd that tests use. Two guests have it in addition to Debian's.
func (v ContainerdVersion) Present() bool { return v.Bin == presentContainerd }

// built reports whether this containerd is built for tests, and is not Debian's.
func (v ContainerdVersion) built() bool { return v.Bin != debianContainerd }

// Oldest reports whether this is the oldest containerd that tests use.
func (v ContainerdVersion) Oldest() bool { return strings.HasPrefix(v.Name, "1.6.") }

const debianContainerd = "/usr/bin"

var presentContainerd = "/usr/local/containerd-" + guest.Containerd24.Version

// Containerds returns the containerds of this guest: Debian's, and then, in two guests, the present one.
func Containerds(t testing.TB) []ContainerdVersion {
	t.Helper()
	var found []ContainerdVersion
	built, err := filepath.Glob("/usr/local/containerd-*")
	if err != nil {
		t.Fatal(err)
	}
	built = slices.DeleteFunc(built, func(dir string) bool { return dir == presentContainerd })
	for _, bin := range slices.Concat([]string{debianContainerd}, built, []string{presentContainerd}) {
		if _, err := os.Stat(filepath.Join(bin, "containerd")); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		// containerd github.com/containerd/containerd 1.7.24~ds1 1.7.24~ds1-6
		words := strings.Fields(MustRun(t, filepath.Join(bin, "containerd"), "--version"))
		if len(words) < 3 {
			t.Fatalf("%s/containerd --version: %q", bin, words)
		}
		name := strings.TrimPrefix(words[2], "v")
		if i := strings.IndexAny(name, "~+-"); i > 0 {
			name = name[:i]
		}
		found = append(found, ContainerdVersion{Name: name, Bin: bin})
	}
	if len(found) == 0 {
		t.Fatal("this guest has no containerd")
	}
	return found
}

// builtIn is the suite in whose guest make test has the containerds that are built. They are the same in each guest, and
// this suite's kernel runs in user mode where the host can do that, in which tests take a fourth of the time.
const builtIn = Forky

// EnoughElsewhere skips the test of a containerd that make test has in another guest.
func (v ContainerdVersion) EnoughElsewhere(t testing.TB) {
	t.Helper()
	if v.built() && Suite() != builtIn {
		Leave(t, "make test has this containerd in "+builtIn)
	}
}

// EachContainerd runs the test as a subtest for each containerd of this guest. make test runs it with Debian's in each
// guest, and with those that are built in one. It skips the test if Require does.
func EachContainerd(t *testing.T, test func(t *testing.T, v ContainerdVersion)) {
	t.Helper()
	Require(t)
	for _, v := range Containerds(t) {
		t.Run(v.Name, func(t *testing.T) {
			Require(t)
			v.EnoughElsewhere(t)
			test(t, v)
		})
	}
}

// OldestAndPresent is EachContainerd for a test in which versions between the oldest and the present one cannot behave
// in a third way. make test runs it with the oldest containerd in bookworm, and with the present one where EachContainerd
// has that. make test-all runs it with every one.
func OldestAndPresent(t *testing.T, test func(t *testing.T, v ContainerdVersion)) {
	t.Helper()
	EachContainerd(t, func(t *testing.T, v ContainerdVersion) {
		if !v.Oldest() && !v.Present() {
			Leave(t, "make test has the oldest containerd, and the present one")
		}
		test(t, v)
	})
}
