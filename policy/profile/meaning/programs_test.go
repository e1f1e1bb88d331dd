package meaning_test

import (
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// Profiles attach to the same programs whatever they are called, and to programs of which some are the same.
func TestPrograms(t *testing.T) {
	all := profiletest.Several(t, `abi <abi/3.0>,
profile p {
  profile sh /bin/{,da}sh { }
  profile shell /bin/{sh,dash} { }
  profile /bin/sh { }
  profile all /bin/* { }
  profile every /bin/[^/]* { }
  profile named { }
  ^hat { }
}
`)
	for _, test := range []struct {
		a, b                string
		meet, within, alike bool
	}{
		{"sh", "shell", true, true, true},
		{"shell", "sh", true, true, true},
		{"/bin/sh", "sh", true, true, false},
		{"sh", "/bin/sh", true, false, false},
		{"sh", "all", true, true, false},
		{"all", "sh", true, false, false},
		{"named", "sh", false, true, false}, // which attaches to none
		{"sh", "named", false, false, false},
		{"all", "every", true, true, true},
		{"hat", "all", false, true, false},
	} {
		a, b := read(t, all, "p//"+test.a).Programs(), read(t, all, "p//"+test.b).Programs()
		meet, err := a.Meet(b)
		more, err2 := SomePath([]Programs{a, b}, func(among []bool) bool { return among[0] && !among[1] })
		alike, err3 := a.Alike(b)
		if err != nil || err2 != nil || err3 != nil || meet != test.meet || more == test.within || alike != test.alike {
			t.Errorf("%s and %s: %v, %v, %v, %v, %v, %v", test.a, test.b, meet, !more, alike, err, err2, err3)
		}
	}
}
