package automaton_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
)

// without returns patterns of what a matches and b does not.
func without(t testing.TB, a, b *Glob) ([]string, error) {
	t.Helper()
	return Patterns(func(s []State) bool { return false },
		func(s []State) bool { return a.Accepts(s[0]) && !b.Accepts(s[1]) }, 10_000, a, b)
}

func TestPatterns(t *testing.T) {
	for _, test := range []struct{ a, b, want string }{
		{"/a/**", "/a/**", ""},
		{"/a", "/b", "/a"},
		{"/a/*", "/a/b", "/a/[^/b]* /a/b?*"},
		{"/a/**", "/a/*", "/a/*/{,**}"},
		{"/a/**", "/a/b*", "/a/[^/b]** /a/b*/{,**}"},
		{"/{a,b}", "/a", "/b"},
	} {
		got, err := without(t, glob(t, test.a), glob(t, test.b))
		if err != nil {
			t.Errorf("%s without %s: %v", test.a, test.b, err)
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s without %s: %q, want %q", test.a, test.b, got, test.want)
		}
	}
	if got, err := without(t, glob(t, "/**"), glob(t, "/**.so")); !errors.Is(err, ErrNoPatterns) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := without(t, glob(t, "/**"), glob(t, "/{a,b}{c,d}{e,f}{g,h}/{i,j}{k,l}{m,n}{o,p}")); err != nil && !errors.Is(err, ErrTooMany) {
		t.Errorf("%q, %v", got, err)
	}
}

// What Patterns returns matches what it should, and nothing else: for all texts.
func TestRandomPatterns(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 7))
	of := func(list ...string) string { return list[random.IntN(len(list))] }
	pattern := func() string {
		p := ""
		for range 1 + random.IntN(3) {
			p += "/" + of("", "a", "ab", "*", "a*", "?", "[ab]", "[^a]", "{a,b}", "{,*}", "**")
		}
		return p
	}
	said := 0
	for range 1000 {
		pa, pb := pattern(), pattern()
		a, b := glob(t, pa), glob(t, pb)
		found, err := without(t, a, b)
		if errors.Is(err, ErrNoPatterns) || errors.Is(err, ErrTooMany) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 {
			said++
		}
		machines := []Machine{a, b}
		for _, p := range found {
			machines = append(machines, glob(t, p))
		}
		if len(machines) > 8 {
			continue
		}
		text, differs, err := Shortest(func(s []State) bool {
			one := false
			for i := range found {
				one = one || machines[i+2].(*Glob).Accepts(s[i+2])
			}
			return (a.Accepts(s[0]) && !b.Accepts(s[1])) != one
		}, 1<<18, machines...)
		if err != nil {
			t.Fatal(err)
		}
		if differs {
			t.Fatalf("%s without %s: %q is wrong about %q", pa, pb, found, text)
		}
	}
	if said < 200 {
		t.Errorf("only %d were said", said)
	}
}
