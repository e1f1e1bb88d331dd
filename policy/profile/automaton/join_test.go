package automaton_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
)

func TestJoin(t *testing.T) {
	for _, test := range []struct{ patterns, want string }{
		{"/a /b", "/{a,b}"},
		{"/a/x /b/y", "/a/x /b/y"},
		{"/lib/p/**.py /lib/p/**.egg /lib32/p/**.py /lib32/p/**.egg", "/lib{,32}/p/**.{egg,py}"},
		{"/a/* /a/b", "/a/* /a/b"},
		{"/a /ab /ac", "/a{,b,c}"},
		{"/[a]b /[a]c", "/{[a]b,[a]c}"},
		{"/a** /a*", "/a{*,**}"},
		{"/x{a,b} /xc", "/x{c,a,b}"},
	} {
		if got := strings.Join(Join(strings.Fields(test.patterns)), " "); got != test.want {
			t.Errorf("%s: %s, want %s", test.patterns, got, test.want)
		}
	}
}

// What is joined matches what it did.
func TestRandomJoins(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 9))
	of := func(list ...string) string { return list[random.IntN(len(list))] }
	for range 1000 {
		var patterns []string
		for range 2 + random.IntN(2) {
			p := ""
			for range 1 + random.IntN(2) {
				p += "/" + of("", "a", "ab") + of("", "*", "**", "?", "[ab]", `\*`, "{a,b}", "{,*}") + of("", "", "c")
			}
			patterns = append(patterns, p)
		}
		joined := Join(patterns)
		var machines []Machine
		for _, p := range append(patterns, joined...) {
			machines = append(machines, glob(t, p))
		}
		text, differs, err := Shortest(func(s []State) bool {
			var one, other bool
			for i := range s {
				if i < len(patterns) {
					one = one || machines[i].(*Glob).Accepts(s[i])
				} else {
					other = other || machines[i].(*Glob).Accepts(s[i])
				}
			}
			return one != other
		}, 1<<18, machines...)
		if err != nil {
			t.Fatal(err)
		}
		if differs {
			t.Fatalf("%q became %q, and %q is wrong", patterns, joined, text)
		}
	}
}
