package why

import (
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

const nearly = `abi <abi/3.0>,
profile near {
  link /a/x -> /b,
  owner link /a/y -> /b,
  /e/z l,
  change_profile -> /usr/sbin/foo,
}
`

// What a near rule allows is an access that can be asked about, and that the rule allows.
func TestNearRulesSayWhatTheyAllow(t *testing.T) {
	r, _ := reader(t, nil)
	text, err := r.Read(t.Context(), "near", []byte(nearly))
	if err != nil {
		t.Fatal(err)
	}
	for asked, want := range map[string][]string{
		"other l /a/x -> /c":        {"3 other l /a/x -> /b"},
		"other l /a/y -> /b":        {"4 owner l /a/y -> /b", "3 other l /a/x -> /b"},
		"other l /a/w -> /b":        {"3 other l /a/x -> /b"},
		"other l /e/w -> /b":        {"5 other l /e/z -> /b"},
		"other read /e/z":           {"5 other l /e/z -> /a"},
		"change_profile now -> bar": {"6 change_profile now -> /usr/sbin/foo"},
	} {
		pattern, err := access.Parse(asked)
		if err != nil {
			t.Fatal(err)
		}
		p, err := text.Enforced("")
		if err != nil {
			t.Fatal(err)
		}
		a, found, err := pattern.Denied(meaning.Stack{p})
		if !found || err != nil {
			t.Fatalf("%s is not denied: %v", asked, err)
		}
		answer, err := text.Why(t.Context(), "", a)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, n := range answer.Near {
			got = append(got, string(rune('0'+n.Line))+" "+access.Format(n.Access))
		}
		if !slices.Equal(got, want) {
			t.Errorf("near %s: %s, want %s", asked, strings.Join(got, "; "), strings.Join(want, "; "))
		}
	}
}
