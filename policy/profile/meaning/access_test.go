package meaning_test

import (
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// features are some that a kernel has.
type features []string

func (f features) Supports(feature string) bool {
	for _, one := range f {
		if one == feature {
			return true
		}
	}
	return false
}

// A kernel that knows version 9 of the rules about networks asks about D-Bus only where a profile has such rules, and one
// that does not, Ubuntu's, asks each profile with rules about D-Bus.
func TestDBusByKernel(t *testing.T) {
	c := profiletest.Compiler(t, append(profiletest.Features(), "dbus {mask {acquire send receive\n}\n}\n"...))
	blob, err := c.CompileText(t.Context(), "x", []byte("abi <abi/3.0>,\nprofile x { dbus bus=system, }\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		kernel   Kernel
		mediates bool
	}{{nil, false}, {features{"dbus", "network_v9"}, false}, {features{"dbus"}, true}, {c, true}} {
		all, err := ReadFor(blob.Data, test.kernel)
		if err != nil {
			t.Fatal(err)
		}
		p := all[0]
		_, asked := p.Query(DBus, "session")
		if !p.Compiled(DBus) || p.Mediates(DBus) != test.mediates || asked != test.mediates {
			t.Errorf("%v: mediates %v, is asked %v", test.kernel, p.Mediates(DBus), asked)
		}
		for bus, allowed := range map[string]bool{"system": true, "session": !test.mediates} {
			a := DBusAccess{Want: DBusSend, Bus: bus, Name: "x", Label: "y", Path: "/", Interface: "i", Member: "m"}
			if p.Decide(a).Allowed != allowed {
				t.Errorf("%v: sending on bus %s: %v, want %v", test.kernel, bus, !allowed, allowed)
			}
		}
	}
	if _, err := ReadFor([]byte("x"), c); err == nil {
		t.Error("it reads what is no blob")
	}
}
