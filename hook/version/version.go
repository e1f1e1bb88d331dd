// Package version has the version of the programs.
package version

import (
	"fmt"
	"io"
	"runtime/debug"
)

// set is what make puts here: -ldflags "-X github.com/oci-apparmor/oci-apparmor/hook/version.set=VERSION", where
// VERSION is by default the output of git describe.
var set string

// String returns the version that make has set. Without one it returns the module's version: that of go install, or the
// one that the go command makes of the commit that it builds. If there is neither, it returns "unknown".
func String() string {
	if set != "" {
		return set
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "unknown"
	}
	return info.Main.Version
}

// Flag is the argument by which each of the programs prints its name and its version, and ends. Engines read what runc and a
// shim print by --version and by -v, so the wrapper and the shim have those of what they stand for. Neither runc, crun nor a
// shim takes this one, so no engine gives it.
const Flag = "--oci-apparmor-version"

// Answer answers a command line, with the program's name first, that is just Flag, and reports whether it was that.
func Answer(out io.Writer, name string, argv []string) bool {
	if len(argv) != 2 || argv[1] != Flag {
		return false
	}
	fmt.Fprintln(out, name, String())
	return true
}
