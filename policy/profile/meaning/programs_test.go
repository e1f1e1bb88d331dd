package meaning_test

import (
	"testing"

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
  profile named { }
  ^hat { }
}
`)
	for _, test := range []struct {
		a, b         string
		meet, within bool
	}{
		{"sh", "shell", true, true},
		{"shell", "sh", true, true},
		{"/bin/sh", "sh", true, true},
		{"sh", "/bin/sh", true, false},
		{"sh", "all", true, true},
		{"all", "sh", true, false},
		{"named", "sh", false, true}, // which attaches to none
		{"sh", "named", false, false},
		{"hat", "all", false, true},
	} {
		a, b := read(t, all, "p//"+test.a).Programs(), read(t, all, "p//"+test.b).Programs()
		meet, err := a.Meet(b)
		within, err2 := a.Within(b)
		if err != nil || err2 != nil || meet != test.meet || within != test.within {
			t.Errorf("%s and %s: %v, %v, %v, %v", test.a, test.b, meet, within, err, err2)
		}
	}
}
