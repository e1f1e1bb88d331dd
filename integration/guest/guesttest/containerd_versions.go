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

// A ContainerdVersion is one of the containerds that a guest has.
type ContainerdVersion struct {
	Name string // such as "1.7.24"
	Bin  string // directory of containerd, ctr and containerd-shim-runc-v2
}

// Present reports whether this is the newest containerd that tests have, which one guest has beside Debian's.
func (v ContainerdVersion) Present() bool { return v.Bin == presentContainerd }

// Oldest reports whether this is the oldest containerd that tests have.
func (v ContainerdVersion) Oldest() bool { return strings.HasPrefix(v.Name, "1.6.") }

var presentContainerd = "/usr/local/containerd-" + guest.Containerd24.Version

// Containerds returns the containerds of this guest: Debian's, and in one guest the present one, which comes last.
func Containerds(t testing.TB) []ContainerdVersion {
	t.Helper()
	var found []ContainerdVersion
	built, err := filepath.Glob("/usr/local/containerd-*")
	if err != nil {
		t.Fatal(err)
	}
	built = slices.DeleteFunc(built, func(dir string) bool { return dir == presentContainerd })
	for _, bin := range slices.Concat([]string{"/usr/bin"}, built, []string{presentContainerd}) {
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

// EachContainerd runs the test as a subtest for every containerd of this guest, and skips it where Require does.
func EachContainerd(t *testing.T, test func(t *testing.T, v ContainerdVersion)) {
	t.Helper()
	Require(t)
	for _, v := range Containerds(t) {
		t.Run(v.Name, func(t *testing.T) {
			Require(t)
			test(t, v)
		})
	}
}

// OldestAndPresent is EachContainerd for a test of what no version in between does in its own way: make test runs it with the
// oldest containerd that a guest has and with the present one, and make test-all with every one.
func OldestAndPresent(t *testing.T, test func(t *testing.T, v ContainerdVersion)) {
	t.Helper()
	EachContainerd(t, func(t *testing.T, v ContainerdVersion) {
		if !v.Oldest() && !v.Present() {
			Leave(t, "make test has the oldest containerd, and the present one")
		}
		test(t, v)
	})
}
