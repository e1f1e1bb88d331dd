package profile

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestWarnings(t *testing.T) {
	for _, test := range []struct {
		name, said string
		want       []Warning
	}{
		{"nothing", "\n \n", nil},
		{"in a line of the text", "Warning from stdin (stdin line 5): RLIMIT 'cpu' no units\n", []Warning{{Line: 5, Message: "RLIMIT 'cpu' no units"}}},
		{"in a line, of an older parser", "Warning from stdin (line 7): x\n", []Warning{{Line: 7, Message: "x"}}},
		{"in an included file", "Warning from stdin (/etc/apparmor.d/abstractions/base line 13): PARSER: it differs\n",
			[]Warning{{File: "/etc/apparmor.d/abstractions/base", Line: 13, Message: "it differs"}}},
		{"of a profile, and a line's end too many", "Warning from profile web (stdin): userns rules not enforced\n\n",
			[]Warning{{Profile: "web", Message: "userns rules not enforced"}}},
		{"of a profile of a file", "Warning from profile web//kid (/x y): z\n", []Warning{{File: "/x y", Profile: "web//kid", Message: "z"}}},
		{"over several lines", "Warning from stdin (stdin line 5): Uppercase is deprecated\nSee the manpage.\n",
			[]Warning{{Line: 5, Message: "Uppercase is deprecated; See the manpage."}}},
		{"twice", strings.Repeat("Warning from profile web (stdin): x\n", 3), []Warning{{Profile: "web", Message: "x"}}},
		{"in no known form", "something else\nWarning of tomorrow\n", []Warning{{Message: "something else"}, {Message: "Warning of tomorrow"}}},
		{"hostile", "Warning from profile a (b): c (stdin): d\x1b[2J\x00\xff\n", []Warning{{File: "b", Profile: "a", Message: "c (stdin): d?[2J??"}}},
		{"a line that no text has", "Warning from stdin (stdin line 99999999999999999999): x\n",
			[]Warning{{Message: "Warning from stdin (stdin line 99999999999999999999): x"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &Compiler{Parser: "PARSER"}
			if got := c.warnings([]byte(test.said)); !slices.Equal(got, test.want) {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
	var many strings.Builder
	for i := range maxWarnings + 5 {
		fmt.Fprintf(&many, "Warning from profile web (stdin): %d\n%s\n", i, strings.Repeat("long ", maxWarning))
	}
	got := new(Compiler).warnings([]byte(many.String()))
	if len(got) != maxWarnings+1 || !strings.HasPrefix(got[maxWarnings].Message, "5 more") {
		t.Errorf("%d warnings, the last of them %q", len(got), got[len(got)-1].Message)
	}
	for _, w := range got {
		if len(w.Message) > maxWarning+10 {
			t.Errorf("%d bytes in one warning", len(w.Message))
		}
	}
}

// What the parser says of a text that compiles comes up with what it compiles to.
func TestCompileKeepsWhatTheParserSays(t *testing.T) {
	c := realCompiler(t)
	const text = "profile web {\n  file,\n  dbus,\n  set rlimit cpu <= 5,\n  /x Rw,\n}\n"
	b, err := c.Compile(t.Context(), "web", Enforce, "text", []byte(text))
	wantError(t, err)
	b2, err := c.CompileText(t.Context(), "text", []byte(text))
	wantError(t, err)
	if !slices.Equal(b.Warnings, b2.Warnings) {
		t.Errorf("%+v and %+v", b.Warnings, b2.Warnings)
	}
	for _, want := range []struct {
		line    int
		profile string
		says    string
	}{{4, "", "RLIMIT 'cpu'"}, {5, "", "Uppercase"}, {0, "web", "dbus rules not enforced"}} {
		if !slices.ContainsFunc(b.Warnings, func(w Warning) bool {
			return w.Line == want.line && w.Profile == want.profile && strings.Contains(w.Message, want.says)
		}) {
			t.Errorf("no %+v in %+v", want, b.Warnings)
		}
	}
}
