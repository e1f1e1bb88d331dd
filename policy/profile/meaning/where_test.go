package meaning_test

import (
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// A path below one directory is found for which the profile decides otherwise than for the same one below another, by the
// owner of the file and by others.
func TestWherePaths(t *testing.T) {
	p := parse(t, "abi <abi/3.0>,\nprofile x { /usr/bin/* r, /bin/* r, deny /bin/d* r, owner /usr/bin/a w, }\nprofile free flags=(unconfined) { }\n")
	for _, test := range []struct {
		glob, from, to string
		owner          bool
		want           string
		found          bool
		perms          uint32 // that are allowed below to and not below from
	}{
		{"{,?**}", "/bin/", "/usr/bin/", false, "d", true, MayRead},
		{"{,?**}", "/bin/", "/usr/bin/", true, "a", true, MayWrite},
		{"x*", "/bin/", "/usr/bin/", true, "", false, MayRead | MayWrite},
		{"{,?**}", "/usr/bin/", "/bin/", true, "", false, MayRead},
	} {
		text, found, err := WherePaths(test.glob, test.owner, func(perms []uint32) bool {
			return perms[1]&^perms[0]&test.perms != 0
		}, View{p["x"], test.from}, View{p["x"], test.to})
		if err != nil || text != test.want || found != test.found {
			t.Errorf("%+v: %q, %v, %v", test, text, found, err)
		}
	}
	if _, found, _ := WherePaths("?", true, func(perms []uint32) bool { return perms[0] == ^uint32(0) }, View{p["free"], "/"}); !found {
		t.Error("a profile in unconfined mode does not allow all")
	}
	if _, _, err := WherePaths("[", true, func([]uint32) bool { return true }); err == nil {
		t.Error("it reads a glob that is none")
	}
}
