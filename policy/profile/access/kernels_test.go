package access

import (
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// A pattern that is denied tells with which kernels some of it is allowed, and one that is allowed the other way round.
func TestDisputes(t *testing.T) {
	all, err := meaning.Read(profiletest.Several(t, "abi <abi/3.0>,\nprofile p flags=(complain) { /x px -> y, }\nprofile q { mount fstype=proc, signal peer={a,b}, }\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		profile int
		line    string
		allowed bool
		want    string // the access and the kernels
	}{
		{1, "mount", false, "mount options=move / -> /: Linux before 6.7 without a fix of 2023 (157a3537d6bc)"},
		{1, "mount fstype=tmpfs", false, ""},
		{1, "mount fstype=proc", true, ""},
		{1, "signal send set=kill peer=a//&b", true, "signal send set=kill peer=a//&b: Linux before 7.0 without a fix of 2026 (a4c9efa4dbad)"},
		{1, "signal send set=kill peer=a", true, ""},
		{0, "x /x", true, "owner x /x: Linux up to 6.12"},
		{0, "r /x", true, ""},
	} {
		p, err := Parse(test.line)
		if err != nil {
			t.Fatal(err)
		}
		list, err := p.Disputes(meaning.Stack{all[test.profile]}, test.allowed)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, d := range list {
			got += Format(d.Access) + ": " + d.Some.Kernels
		}
		if got != test.want {
			t.Errorf("%s under %s: %q, want %q", test.line, all[test.profile].Name, got, test.want)
		}
	}
}
