package command

import (
	"strings"
	"testing"
)

// What oci-apparmor would not load can be read: profiles that are called by a path, and those of no confinement.
func TestProfilesOfOthersAreRead(t *testing.T) {
	m := newCompiling(t)
	m.write("man", "abi <abi/3.0>,\nprofile /usr/bin/man { /srv/** r, }\n")
	m.write("more", "abi <abi/3.0>,\nprofile /usr/bin/man { /srv/** rw, }\n")
	m.write("free", "abi <abi/3.0>,\nprofile free flags=(unconfined) { }\n")
	m.write("within", "abi <abi/3.0>,\nprofile :ns:x { /srv/** r, }\n")
	m.write("two", "abi <abi/3.0>,\nprofile x { /srv/** r, }\nprofile y { /srv/** r, }\n")
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"diff", "--meaning", "man", "more"}, 1, "w /srv/**"},
		{[]string{"contains", "man", "more"}, 0, ""},
		{[]string{"contains", "more", "man"}, 1, "/srv/"},
		{[]string{"contains", "man", "free"}, 0, ""},
		{[]string{"contains", "within", "man"}, 0, ""},
		{[]string{"contains", "two", "man"}, 2, ""},
		{[]string{"why", "man", "r /srv/a"}, 0, "/srv/** r"},
	} {
		if code, out := m.run(append([]string{"profile"}, test.args...)...); code != test.code || !strings.Contains(out, test.says) {
			t.Errorf("%v: exit code %d, %s", test.args, code, out)
		}
	}
}
