package meaning_test

import (
	"fmt"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// Labels may begin with a slash, and those of children and stacks have slashes that follow each other. What differs about
// them alone is found.
func TestDeviationOfLabels(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ more, less, deviation string }{
		{"change_profile -> /u/*//b,", "change_profile -> /u/foo//b,", `40000000 "/u/a//b"`},
		{"change_profile -> {/u/foo//a,/u/bar//b},", "change_profile -> /u/foo//a,", `40000000 "/u/bar//b"`},
		{"change_profile -> {a,/usr/bin/a},", "change_profile -> a,", `40000000 "/usr/bin/a"`},
		{"change_profile /b/* -> a//b,", "change_profile /b/x -> a//b,", `20000000 "/b/a\x00a//b"`},
		{"change_profile /b/x -> {a//b,c//d},", "change_profile /b/x -> a//b,\nchange_profile /b/y -> c//d,", `20000000 "/b/x\x00c//d"`},
		{"change_profile /b/* -> a//&b,", "change_profile /b/x -> a//&b,", `20000000 "/b/a\x00a//&b"`},
		{"change_profile /b/* -> &a//b,", "change_profile /b/x -> &a//b,", `20000000 "/b/a\x00&a//b"`},
	} {
		p := parse(t, "abi <abi/3.0>,\nprofile both {\n"+test.more+"\n"+test.less+"\n}\nprofile less {\n"+test.less+"\n}\n")
		d, found, err := Combination{Profiles: []*Profile{p["less"]}}.Deviation(p["both"])
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x %q", d.Perms, d.Key); !found || !d.More || got != test.deviation {
			t.Errorf("%s beyond %s: %v, more %v, %s, want %s", test.more, test.less, found, d.More, got, test.deviation)
		}
		if lacks, err := p["less"].Lacks(p["both"], p["less"]); err != nil || !lacks {
			t.Errorf("%s beyond %s: nothing is lacked, %v", test.more, test.less, err)
		}
		both, err := NewRule(p["both"], ^uint32(0))
		if err != nil {
			t.Fatal(err)
		}
		less, err := NewRule(p["less"], ^uint32(0))
		if err != nil {
			t.Fatal(err)
		}
		if within, err := both.Within(less); err != nil || within {
			t.Errorf("%s is within %s: %v, %v", test.more, test.less, within, err)
		}
		if within, err := less.Within(both); err != nil || !within {
			t.Errorf("%s is not within what has it, too: %v", test.less, err)
		}
	}
}
