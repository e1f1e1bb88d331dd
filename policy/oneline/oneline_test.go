package oneline

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

var hostile = []string{"", "\n", "a\nb", "a\r\x1b[2Jb", "\xff\xfe", "\u202eabc", "\u2028", "\x00", "web", "a b", `"`, `\`, "'$(reboot)'",
	strings.Repeat("x", 100), strings.Repeat("é", 100), strings.Repeat("\n", 10_000), "policy.yaml line 1: fine"}

// Whatever comes in, one line of printable text comes out.
func TestAllIsOnePrintableLine(t *testing.T) {
	for name, f := range map[string]func(string) string{
		"Quote": Quote, "Word": Word, "Name": Name, "Whole": Whole, "Printable": Printable,
		"Cut":    func(s string) string { return Printable(Cut(s, 50)) },
		"Output": func(s string) string { return Output([]byte(s)) },
	} {
		for _, s := range hostile {
			got := f(s)
			if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%s(%.40q) is %.80q", name, s, got)
			}
		}
	}
}

func TestWhatEachKeeps(t *testing.T) {
	long := strings.Repeat("x", 100)
	for _, c := range []struct{ got, want string }{
		{Quote("web"), `"web"`},
		{Quote("é\n"), `"\u00e9\n"`},
		{Quote(long), `"` + long[:longest] + `"... (100 bytes)`},
		{Word("docker.io/x:1@sha256"), "docker.io/x:1@sha256"},
		{Word(""), `""`},
		{Word("a b"), `"a b"`},
		{Word("a;b"), `"a;b"`},
		{Word(long), Quote(long)},
		{Name("a//&b"), "a//&b"},
		{Name(""), `""`},
		{Name("a b"), `"a b"`},
		{Name(long), long},
		{Whole("what: it is"), "what: it is"},
		{Whole("é"), `"\u00e9"`},
		{Printable("a\tb\xffé"), "a b\ufffdé"},
		{Cut("12345", 5), "12345"},
		{Cut("123456", 5), "12..."},
		{Cut("aééé", 5), "a..."},
		{Output([]byte("one\n\n\ttwo \x1b[31m\n")), "one; two ?[31m"},
		{Output(nil), ""},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	end := Output([]byte(strings.Repeat("early\n", 2000) + "late"))
	if !strings.HasPrefix(end, Mark+" ") || !strings.HasSuffix(end, "; late") || len(end) > 10<<10 {
		t.Errorf("%d bytes: %.20q ... %q", len(end), end, end[len(end)-20:])
	}
}
