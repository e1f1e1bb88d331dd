package automaton_test

import (
	"strings"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
)

func accepts(l Language, text string) bool {
	s := l.Start()
	for i := range len(text) {
		s = l.Step(s, text[i])
	}
	return l.Accepts(s)
}

func TestLanguages(t *testing.T) {
	for name, test := range map[string]struct {
		language Language
		yes, no  string
	}{
		"words":  {Words("kill", "kilo", "k", "term"), "kill kilo k term", "kil killo x ki"},
		"none":   {Words(), "", "a b"},
		"both":   {Both(glob(t, "a*"), glob(t, "*b")), "ab axb", "a b ba a/b"},
		"either": {Either(glob(t, "a*"), glob(t, "*b")), "ab axb a b", "ba a/b c"},
		"in turn": {InTurn(Part{Language: Words("x", "yy")}, Part{Words("12", "3"), 2}, Part{Language: glob(t, "a*")}),
			"x\x0012a yy\x0012ab", "x\x0012b x\x003a x\x0012 x12a x\x0012a\x00 xx\x0012a y\x0012a"},
		"in turn at last": {InTurn(Part{Words("12"), 2}, Part{Words("34", "5", "678"), 2}), "1234", "125 12345 12678 1235"},
	} {
		for _, text := range strings.Fields(test.yes) {
			if !accepts(test.language, text) {
				t.Errorf("%s does not accept %q", name, text)
			}
		}
		for _, text := range strings.Fields(test.no) {
			if accepts(test.language, text) {
				t.Errorf("%s accepts %q", name, text)
			}
		}
	}
}

// Of no text that is accepted is a beginning dead, and ShortestIn finds what Shortest does.
func TestShortestIn(t *testing.T) {
	l := InTurn(Part{Language: glob(t, "/srv/*")}, Part{Language: glob(t, "/**b")})
	every := glob(t, "/srv/x*")
	s := l.Start()
	for _, b := range []byte("/srv/x\x00/a/b") {
		if s = l.Step(s, b); l.Dead(s) {
			t.Errorf("dead at %q", b)
		}
	}
	never := func([]State) bool { return false }
	looked := 0
	text, found, err := ShortestIn(l, func(states []State) bool {
		looked++
		return len(states) == 1
	}, never, 1000, every)
	if text != "/srv/a\x00/ab" && text != "/srv/a\x00/b" || !found || err != nil || looked != 1 {
		t.Errorf("%q, %v, %v, after %d looks", text, found, err, looked)
	}
	in := func(states []State) bool { return every.Accepts(states[0]) }
	if text, found, err := ShortestIn(glob(t, "/srv/*"), in, never, 100, every); text != "/srv/x" || !found || err != nil {
		t.Errorf("%q, %v, %v", text, found, err)
	}
	if text, found, err := ShortestIn(glob(t, "/srv/*"), in, func(s []State) bool { return !every.Dead(s[0]) }, 100, every); found || err != nil {
		t.Errorf("%q is found where it is hopeless: %v", text, err)
	}
	if _, found, err := Some(Words(), 10); found || err != nil {
		t.Errorf("of no text is found %v, %v", found, err)
	}
	if text, _, _ := Some(glob(t, "/x/**"), 8); text != "/x/a" {
		t.Errorf("%q, with what is dead left out", text)
	}
}

// A Lazy with more states than it remembers the steps of goes on as before.
func TestManyStates(t *testing.T) {
	const last = 1 << 15
	l := NewLazy(Apart("a"), 0, func(n int, b byte) int {
		if b == 'a' {
			return n + 1
		}
		return n
	})
	for range 2 {
		s := l.Start()
		for n := range last {
			if s = l.Step(l.Step(s, 'b'), 'a'); l.Value(s) != n+1 {
				t.Fatalf("%d behind %d", l.Value(s), n)
			}
		}
	}
}
