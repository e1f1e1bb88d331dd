// Package programs knows where the versions of our programs are on a node, and removes those that nothing runs from any
// more. The programs of a version stay together for as long as one of them runs: a shim of containerd goes on with its own
// program until the last container of its pod ends. install/place.sh makes these files:
//
//	PREFIX/bin/NAME                                   link to ../lib/oci-apparmor/current/NAME; engines call this
//	PREFIX/lib/oci-apparmor/current                   link to programs/VERSION, replaced by an upgrade in one step
//	PREFIX/lib/oci-apparmor/programs/VERSION/NAME     the program, whose path the kernel shows in /proc/PID/exe
//
// The package knows no engine, and nothing of containers. A program that is elsewhere, as one of a checkout, has no versions
// beside it.
package programs

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Names are those of the programs.
var Names = []string{"oci-apparmor", "oci-apparmor-hook", "oci-apparmor-runtime", "containerd-shim-apparmor-v2"}

// below is where the directories of versions are in a prefix.
const below = "lib/oci-apparmor/programs"

// Home is the directory of one version's programs.
type Home struct {
	prefix  string
	version string // as the directory is called; another file may have "/" in its place
}

// HomeOf returns the home of a program, by its path without links, as os.Executable returns it. ok is false for a program
// that is elsewhere.
func HomeOf(program string) (h Home, ok bool) {
	dir := filepath.Dir(filepath.Clean(program))
	prefix, ok := strings.CutSuffix(filepath.Dir(dir), "/"+below)
	return Home{cmp.Or(prefix, "/"), filepath.Base(dir)}, ok
}

// Called returns the path by which engines call the program whose path without links is given. That is the same for every
// version. It is the path itself for a program that has no home.
func Called(program string) string {
	h, ok := HomeOf(program)
	if !ok {
		return program
	}
	return filepath.Join(h.prefix, "bin", filepath.Base(program))
}

// Program returns the path of a program of this version.
func (h Home) Program(name string) string { return filepath.Join(h.versions(), h.version, name) }

// Superseded reports whether another version is the current one, or none, and this one is there only for what runs.
func (h Home) Superseded() bool { return h.current() != h.version }

// versions returns the directory of all versions.
func (h Home) versions() string { return filepath.Join(h.prefix, below) }

// link returns the path of the link to the current version.
func (h Home) link() string { return filepath.Join(filepath.Dir(h.versions()), "current") }

// current returns the version that is called; an empty string where none is.
func (h Home) current() string {
	to, err := os.Readlink(h.link())
	if dir, name := filepath.Split(to); err == nil && filepath.Clean(dir) == filepath.Base(below) {
		return name
	}
	return ""
}

// PruneCommand is the command of the program oci-apparmor that calls Prune. With AfterShim it ends with 0 whatever comes of it:
// an engine takes its exit status for the shim's.
const (
	PruneCommand = "prune"
	AfterShim    = "--after-shim"
)

// Leave is for the end of a program that runs for long. If another version is the current one, this process becomes
// "oci-apparmor prune" of its own version. It then counts no more as one that runs from there, and looks for others. Of
// programs that end at the same moment the last one sees no other, and removes the version. Leave returns if there is nothing
// to do, or if that fails: then the next one does it.
func Leave() {
	self, err := os.Executable()
	if err != nil {
		return
	}
	if h, ok := HomeOf(self); ok && h.Superseded() {
		h.become()
	}
}

// LeaveOthers is Leave for a program that ends where one of another version may have been killed.
func LeaveOthers() {
	self, err := os.Executable()
	if err != nil {
		return
	}
	if h, ok := HomeOf(self); ok && len(h.others()) > 0 {
		h.become()
	}
}

func (h Home) become() {
	_ = unix.Exec(h.Program(Names[0]), []string{Names[0], PruneCommand, AfterShim}, os.Environ())
}
