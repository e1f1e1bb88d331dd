// Package version has the version of the programs.
package version

import "runtime/debug"

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
