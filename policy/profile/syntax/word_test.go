package syntax

import "testing"

// Where words end was seen at apparmor_parser 3.0.8.
func TestWords(t *testing.T) {
	for _, test := range []struct {
		name       string
		end        func(string, int) int
		text, want string
	}{
		{"quoted", quotedEnd, `"/a b" w`, `"/a b"`},
		{"an escaped quote", quotedEnd, `"/a\"b" w`, `"/a\"b"`},
		{"a backslash that ends a string", quotedEnd, `"/a\\" w`, `"/a\\"`},
		{"a backslash where another quote ends it", quotedEnd, `"/a\\" w, deny "/b w`, `"/a\\" w, deny "`},
		{"a string without end", quotedEnd, `"/a w`, `"/a w`},
		{"a path", wordEnd, "/a w", "/a"},
		{"commas", wordEnd, "/{a,b}/**, /c", "/{a,b}/**"},
		{"what nothing closes", wordEnd, "/foo[{](bar w", "/foo[{](bar"},
		{"an escaped blank", wordEnd, `/a\ b w`, `/a\ b`},
		{"an escaped comma", wordEnd, `/a\, w`, `/a\,`},
		{"a backslash at the line's end", wordEnd, "/a\\\nb", "/a\\"},
		{"a path of a variable", variableEnd, "@{PROC}/[{] w", "@{PROC}/[{]"},
		{"a variable that is set", variableEnd, "@{x}=a", "@{x}"},
		{"an open variable", variableEnd, "@{x w\n", "@{x w\n"},
	} {
		if got := test.text[:test.end(test.text, 0)]; got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
