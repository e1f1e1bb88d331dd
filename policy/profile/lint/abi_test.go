package lint

import (
	"slices"
	"testing"
)

func TestIncludesAndABI(t *testing.T) {
	const text = "abi <abi/3.0>,\n#include <tunables/global>\nprofile web {\n  include if exists \"/etc/x\"\n  include <abstractions/base>\n}\n"
	if got, want := Includes(text), []string{"tunables/global", "/etc/x", "abstractions/base"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if name, line := ABI(text); name != "abi/3.0" || line != 1 {
		t.Errorf("%q in line %d", name, line)
	}
	if name, line := ABI("profile web { file, }"); name != "" || line != 0 {
		t.Errorf("%q in line %d", name, line)
	}
}
