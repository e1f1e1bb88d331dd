package compare

import (
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// A profile is what others allow together, or an access shows that it is not.
func TestDeparts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		p, a, b  string
		all      bool
		departed string // empty where it does not; "+" for what p allows
	}{
		{"/x rw,", "/x r,", "/x w,", false, ""},
		{"/x r,", "/x rw,", "/x r,", true, ""},
		{"/x r,", "/x r,", "/y r,", false, "-other read /y"},
		{"/x r,\n/y r,", "/x r,", "/x r,\n/z r,", true, "+other read /y"},
		{"change_profile -> /u/*//b,", "change_profile -> /u/*//b,", "change_profile -> /u/foo//b,", true, "+change_profile now -> /u/a//b"},
		{"change_profile /b/* -> a//b,", "change_profile /b/* -> a//b,", "change_profile /b/x -> a//b,\nchange_profile /b/x -> c//d,", true,
			"+change_profile onexec other /b/a -> a//b"},
		{"change_profile -> /u/foo//a,", "change_profile -> /u/foo//a,", "change_profile -> /u/bar//b,", false, "-change_profile now -> /u/bar//b"},
		{"change_profile /b/x -> a//&b,", "change_profile /b/* -> a//&b,", "change_profile /b/x -> a//&b,", false,
			"-change_profile onexec other /b/a -> a//&b"},
		{"change_profile safe /x -> q,", "change_profile safe /x -> q,", "change_profile unsafe /x -> q,", false,
			"-change_profile onexec other /x -> q: with its environment scrubbed, and not with its environment as it is"},
		{"change_profile unsafe /x -> q,", "change_profile safe /x -> q,", "change_profile unsafe /x -> q,", false, ""},
		{"change_profile unsafe /x -> q,", "change_profile safe /x -> q,", "change_profile unsafe /x -> q,", true,
			"+change_profile onexec other /x -> q: with its environment as it is, and not with its environment scrubbed"},
		{"change_profile safe /x -> q,", "change_profile safe /x -> q,", "change_profile unsafe /x -> q,", true, ""},
		{"change_profile safe /x -> q,", "change_profile safe /x -> q,", "/x r,\nchange_profile unsafe /y -> q,", true,
			"+change_profile onexec other /x -> q"},
		{"/x Px,", "/x Px,", "/x px,", false, "-other x /x: under the profile that attaches to it, with its environment scrubbed, and not under the profile that attaches to it"},
		{"/x px,", "/x Px,", "/x px,", false, ""},
		{"/x px,", "/x Px,", "/x px,", true, "+other x /x: under the profile that attaches to it, and not under the profile that attaches to it, with its environment scrubbed"},
		{"/x Px,", "/x Px,", "/x px,", true, ""},
		{"/x ux,", "/x Ux,", "/x Ux,", false, "+other x /x: unconfined, and not unconfined, with its environment scrubbed"},
		{"/x Ux,", "/x px,", "/x px,", false, "-other x /x: unconfined, with its environment scrubbed, and not under the profile that attaches to it"},
		{"signal peer={a,b},", "signal peer=a,", "signal peer=b,", false, ""}, // also of a//&b, which none of both does
		{"signal peer=a,", "signal peer={a,c},", "signal peer={a,a//&b},", true, ""},
		{"signal peer=a//&b,", "signal peer={a,c},", "signal peer=a//&b,", true, "+signal send set=exists peer=a//&b"},
	} {
		a, b := profileOf(t, test.a), profileOf(t, test.b)
		for _, of := range [][]*meaning.Profile{{a, b}, {b, a}} {
			d, departs, err := Departs(profileOf(t, test.p), meaning.Combination{Profiles: of, All: test.all})
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if departs {
				got = map[bool]string{true: "+", false: "-"}[d.More] + access.Format(d.Access)
			}
			if d.Ways[0] != "" {
				got += ": " + d.Ways[0] + ", and not " + d.Ways[1]
			}
			if got != test.departed {
				t.Errorf("%s, of %s and %s, all %v: %s, want %s", test.p, test.a, test.b, test.all, got, test.departed)
			}
		}
	}
}
