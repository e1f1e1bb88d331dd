package token

import "testing"

// Where words end was seen at apparmor_parser 3.0.8.
func TestWords(t *testing.T) {
	for _, test := range []struct {
		name       string
		end        func(string, int) int
		text, want string
	}{
		{"quoted", Quoted, `"/a b" w`, `"/a b"`},
		{"an escaped quote", Quoted, `"/a\"b" w`, `"/a\"b"`},
		{"a backslash that ends a string", Quoted, `"/a\\" w`, `"/a\\"`},
		{"a backslash where another quote ends it", Quoted, `"/a\\" w, deny "/b w`, `"/a\\" w, deny "`},
		{"a string without end", Quoted, `"/a w`, `"/a w`},
		{"a path", Word, "/a w", "/a"},
		{"commas", Word, "/{a,b}/**, /c", "/{a,b}/**"},
		{"what nothing closes", Word, "/foo[{](bar w", "/foo[{](bar"},
		{"an escaped blank", Word, `/a\ b w`, `/a\ b`},
		{"an escaped comma", Word, `/a\, w`, `/a\,`},
		{"a backslash at the line's end", Word, "/a\\\nb", "/a\\"},
		{"a path of a variable", Variable, "@{PROC}/[{] w", "@{PROC}/[{]"},
		{"a variable that is set", Variable, "@{x}=a", "@{x}"},
		{"an open variable", Variable, "@{x w\n", "@{x w\n"},
	} {
		if got := test.text[:test.end(test.text, 0)]; got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
