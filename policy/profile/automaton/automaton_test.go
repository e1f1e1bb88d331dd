package automaton_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
)

func glob(t testing.TB, pattern string) *Glob {
	t.Helper()
	g, err := NewGlob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func matches(g *Glob, text string) bool {
	s := g.Start()
	for i := range len(text) {
		s = g.Step(s, text[i])
	}
	return g.Accepts(s)
}

func TestGlob(t *testing.T) {
	for pattern, texts := range map[string]struct{ yes, no string }{
		"/srv/x":           {"/srv/x", "/srv /srv/x/ /srv/xx srv/x"},
		"/srv/*":           {"/srv/a /srv/ab", "/srv/ /srv/a/ /srv/a/b"},
		"/srv/**":          {"/srv/a /srv/a/b /srv/a/", "/srv/ /srv"},
		"/srv/*.so":        {"/srv/.so /srv/a.so", "/srv/a/b.so /srv/a.s"},
		"/*/x":             {"/a/x", "//x /a/b/x"},
		"/a**":             {"/a /a/ /ab/c", "/b"},
		"/?":               {"/a", "/ // /ab"},
		"/[a-c]":           {"/a /b /c", "/d /- /"},
		"/[^a-c]":          {"/d /-", "/a /"},
		"/[ac-]":           {"/a /c /-", "/b"},
		"/{a,bc,}/x":       {"/a/x /bc/x //x", "/b/x /abc/x"},
		"/{a,{b,c}d}":      {"/a /bd /cd", "/d /ad"},
		`/\*\{`:            {"/*{", "/a{"},
		"/a{b,c*}/{d,e}":   {"/ab/d /ac/e /acx/d", "/ac/x /ax/d"},
		"/**/":             {"/a/ /a/b/", "/ /a"},
		"/proc/[0-9]*/**":  {"/proc/1/x /proc/12/x/y", "/proc/x/y /proc/1/"},
		"*":                {"a ab", "a/b"},
		"/with^and$and.":   {"/with^and$and.", "/withandand."},
		"/{a,b}{c,d}[^/]?": {"/acxy /bdxy", "/acx /ac/x"},
	} {
		g := glob(t, pattern)
		for _, text := range strings.Fields(texts.yes) {
			if !matches(g, text) {
				t.Errorf("%s does not match %s", pattern, text)
			}
		}
		for _, text := range strings.Fields(texts.no) {
			if matches(g, text) {
				t.Errorf("%s matches %s", pattern, text)
			}
		}
	}
	for _, pattern := range []string{"{", "{a", "{a}", "}", "]", "[", "[]", "[b-a]", `\`, "{a,[b}", "a\x00",
		strings.Repeat("{a,", 60), strings.Repeat("a", 5000)} {
		if _, err := NewGlob(pattern); err == nil {
			t.Errorf("%q is taken", pattern)
		}
	}
}

// difference finds what a matches and b does not.
func difference(t testing.TB, a, b *Glob) (string, bool) {
	t.Helper()
	text, found, err := Shortest(func(s []State) bool { return a.Accepts(s[0]) && !b.Accepts(s[1]) }, 100_000, a, b)
	if err != nil {
		t.Fatal(err)
	}
	return text, found
}

func TestShortest(t *testing.T) {
	for _, test := range []struct{ a, b, want string }{ // want is empty where all of a is in b
		{"/srv/*", "/srv/**", ""},
		{"/srv/**", "/srv/*", "/srv/a/"},
		{"/{a,b}/*", "/[ab]/**", ""},
		{"/a", "/b", "/a"},
		{"/{a,b}", "/a", "/b"},
		{"/**", "/{a,b,c}**", "/d"},
		{"/**", "/**", ""},
		{"/*", "/[^a]*", "/a"},
	} {
		got, found := difference(t, glob(t, test.a), glob(t, test.b))
		if got != test.want || found != (test.want != "") {
			t.Errorf("%s without %s: %q, %v, want %q", test.a, test.b, got, found, test.want)
		}
	}
	// Nothing is in both.
	a, b := glob(t, "/a/**"), glob(t, "/b/**")
	both := func(s []State) bool { return a.Accepts(s[0]) && b.Accepts(s[1]) }
	if text, found, err := Shortest(both, 1000, a, b); found || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	if _, _, err := Shortest(func([]State) bool { return false }, 3, a); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
	if _, _, err := Shortest(func([]State) bool { return false }, 3, make([]Machine, 9)...); err == nil {
		t.Error("9 machines are taken")
	}
}

// What is found for random patterns is so, nothing shorter is, and what is not found is not met by chance.
func TestRandomGlobs(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	of := func(list ...string) string { return list[random.IntN(len(list))] }
	pattern := func() string {
		p := ""
		for range 1 + random.IntN(3) {
			p += "/" + of("a", "b", "*", "**", "?", "[ab]", "[^a]", "{a,b}", "{a,*}", "a*")
		}
		return p
	}
	text := func() string {
		b := []byte("/")
		for range random.IntN(8) {
			b = append(b, "ab/c"[random.IntN(4)])
		}
		return string(b)
	}
	for range 300 {
		pa, pb := pattern(), pattern()
		a, b := glob(t, pa), glob(t, pb)
		witness, found := difference(t, a, b)
		if found && (!matches(a, witness) || matches(b, witness)) {
			t.Fatalf("%s without %s: %q is none", pa, pb, witness)
		}
		for range 200 {
			if text := text(); matches(a, text) && !matches(b, text) && (!found || len(text) < len(witness)) {
				t.Fatalf("%s without %s: %q, %v, and %q is there", pa, pb, witness, found, text)
			}
		}
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("/srv/**{a,b*}[^c-d]?", "/srv/a")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if g, err := NewGlob(pattern); err == nil && len(text) < 1000 {
			matches(g, text)
		}
	})
}
