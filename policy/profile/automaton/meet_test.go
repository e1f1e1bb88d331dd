package automaton_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
)

func TestMeet(t *testing.T) {
	for _, test := range []struct{ a, b, want string }{
		{"/srv/**", "/srv/a", "/srv/a"},
		{"/a", "/b", ""},
		{"/srv/*", "/srv/**", "/srv/*"},
		{"/a*", "/*b", "/a*b"},
		{"/ab*", "/*ba", "/ab*ba /aba"},
		{"/[abc]", "/[b-d]", "/[bc]"},
		{"/[^a]", "/[^b]", "/[^ab]"},
		{"/[+a-]", "/[^bc]", "/[+a-]"},
		{"/[+-.a]", "/[^,b]", "/[+.a-]"},
		{"/{a,b}/**", "/*/x", "/a/x /b/x"},
		{"/proc/**", "/**/attr/*", "/proc/**/attr/* /proc/attr/*"},
		{"/a/{,**}", "/a/*", "/a/*"},
		{"/a/{,b}*", "/a/{,?}", "/a/{,?}"},
		{`/a\*`, "/a?", `/a\*`},
		{"/?*", "/{a,}*", "/?*"},
	} {
		got, err := Meet(test.a, test.b)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s and %s: %q, want %q", test.a, test.b, got, test.want)
		}
	}
	if _, err := Meet("{", "/a"); err == nil {
		t.Error("half a pattern is taken")
	}
	long := strings.Repeat("{a,b}", 10)
	if _, err := Meet("*"+long, long+"*"); !errors.Is(err, ErrTooMany) {
		t.Errorf("%v", err)
	}
}

// What Meet returns matches what both match, and nothing else: for all texts.
func TestRandomMeets(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 2))
	of := func(list ...string) string { return list[random.IntN(len(list))] }
	pattern := func() string {
		p := ""
		for range 1 + random.IntN(3) {
			p += "/"
			for range random.IntN(4) {
				p += of("a", "b", "c", "*", "**", "?", "[ab]", "[^a]", "{a,b}", "{,*}", "{a,*b}", `\*`)
			}
		}
		return strings.NewReplacer("***", "**", "****", "**").Replace(p)
	}
	met := 0
	for range 2000 {
		a, b := pattern(), pattern()
		found, err := Meet(a, b)
		if err != nil {
			t.Fatalf("%s and %s: %v", a, b, err)
		}
		machines := []Machine{glob(t, a), glob(t, b)}
		if len(found) > 0 {
			met++
		}
		for _, p := range found {
			machines = append(machines, glob(t, p))
		}
		if len(machines) > 8 {
			continue
		}
		text, differs, err := Shortest(func(s []State) bool {
			both := machines[0].(*Glob).Accepts(s[0]) && machines[1].(*Glob).Accepts(s[1])
			one := false
			for i := range found {
				one = one || machines[i+2].(*Glob).Accepts(s[i+2])
			}
			return both != one
		}, 1<<18, machines...)
		if err != nil {
			t.Fatal(err)
		}
		if differs {
			t.Fatalf("%s and %s: %q is wrong about %q", a, b, found, text)
		}
	}
	if met < 200 {
		t.Errorf("only %d had something in common", met)
	}
}
