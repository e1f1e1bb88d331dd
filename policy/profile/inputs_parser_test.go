package profile

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var marked = regexp.MustCompile(`(?m)^##included [<"](.*)[>"]$`)

// oddIncludes returns a compiler whose base directory has files that texts include: one ends before the name that it
// includes.
func oddIncludes(t testing.TB) *Compiler {
	c := realCompiler(t)
	for name, text := range map[string]string{
		"x/a": "/a r,\n", "x/b": "/b r,\n", "x/c d": "/c r,\n", "x/e,f": "/e r,\n", "x/open": "include ", "x/dir/one": "/one r,\n",
		"abi/3.0": string(testFeatures(t)),
	} {
		path := filepath.Join(c.Base, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// missed returns which files the parser includes from a text, itself or through others, that its key does not hold. keyed is
// false where the text has no key.
func missed(ctx context.Context, t testing.TB, c *Compiler, text string) (paths []string, read int, keyed bool) {
	in, err := c.Inputs(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keyOf(in, "web", Enforce, text); err != nil {
		return nil, 0, false
	}
	whole, err := c.Preprocess(ctx, []byte(text))
	if err != nil { // not a text that compiles
		return nil, 0, true
	}
	for _, m := range marked.FindAllStringSubmatch(string(whole), -1) {
		if !slices.ContainsFunc(in.places(m[1]), func(path string) bool { return in.files[path] != nil }) {
			paths = append(paths, m[1])
		}
		read++
	}
	return paths, read, true
}

// What the parser includes is in the key, however it is written.
func TestKeysHoldOddIncludes(t *testing.T) {
	c := oddIncludes(t)
	for form, want := range map[string]int{
		"profile web {\n include <x/a>include <x/b>\n}\n":                     2,
		"profile web {\n #include <x/a> #include <x/b>\n}\n":                  2,
		"profile web {\n #include " + c.Base + "/x/a #include <x/b>\n}\n":     2,
		"profile web {\n #include " + c.Base + "/x/a include <x/b> # c\n}\n":  2,
		"profile web {\n #include x/nowhere #include <x/b>\n}\n":              0,
		"profile web {\n #include \"" + c.Base + "/x/a\"#include<x/b>\n}\n":   2,
		"profile web {\n include <x/a>#include <x/b>\n}\n":                    2,
		"profile web {\n /q r,include <x/b>\n}\n":                             1,
		"profile web {\n include <x/a>\tinclude if exists <x/b>\n}\n":         2,
		"profile web {\n #include  if exists\t<x/b>include\t<x/a>\n}\n":       2,
		"profile web {include <x/a>}\n":                                       1,
		"@{A}=include <x/a>\nprofile web {\n}\n":                              0,
		"profile web {\n include <x/c d>\n include\n}\n":                      1,
		"profile web {\n include < x/a >\n}\n":                                1,
		"profile web {\n include <\"x/c d\">\n}\n":                            1,
		"profile web {\n include \"" + c.Base + "/x/c d\"\n}\n":               1,
		"profile web {\n include " + c.Base + "/x/e,f\n}\n":                   1,
		"profile web {\n include \n\n <x/a>\n}\n":                             1,
		"profile web {\n include <x/dir>\n}\n":                                1,
		"profile web {\n include <x/open>\n<x/a>\n}\n":                        0,
		"#include <x/nowhere\nprofile web {\n include <x/a>\n}\n":             1,
		"profile web {\n # we include <x/b>, not\n #include <x/a>\n}\n":       1,
		"profile web {\n deny /a w, # as #include <x/b>\n include <x/a>\n}\n": 1,
	} {
		paths, read, keyed := missed(t.Context(), t, c, form)
		if len(paths) > 0 {
			t.Errorf("%q has a key without %q", form, paths)
		}
		if keyed && read < want {
			t.Errorf("%q: the parser includes %d files of %d", form, read, want)
		}
	}
}

// A file's change makes another key where the parser reads the file.
func TestKeysFollowIncludesOnOneLine(t *testing.T) {
	in := newInputs(t)
	c := in.compiler()
	in.write("a", "/a r,\n")
	in.write("b", "/b r,\n")
	for _, text := range []string{
		"profile web {\n  #include " + in.dir + "/a #include " + in.dir + "/b\n}\n",
		"profile web {\n  include <" + in.dir + "/a>include <" + in.dir + "/b>\n}\n",
		"profile web {\n  # a priority=1include " + in.dir + "/b\n}\n",
	} {
		in.write("b", "/b r,\n")
		before := in.key(c, "web", Enforce, text)
		in.write("b", "deny /three w,\n")
		if in.key(c, "web", Enforce, text) == before {
			t.Errorf("%q: the key stays, and the second file has changed", text)
		}
	}
}

func FuzzKeysHoldWhatTheParserIncludes(f *testing.F) {
	parts := []string{
		"include", "#include", " ", "\t", "\n", "if", "exists", "<x/a>", "<x/b>", "\"BASE/x/a\"", "BASE/x/b", ",", "{", "}", ">", "<", "\"",
		"profile web ", "#", "/q r,", "<x/c d>", "BASE/x/e,f", "abi", "<abi/3.0>", "=", "(", ")", "priority=1", "\\", "\r\n", "@{A}", "deny",
		"if exists ", "include ", "\n#include ", "<x/open>", "<\"x/c d\">", "profile web {\n", "\n}\n", "# ", "->", "a", "\v", "!",
	}
	for seed := range 60 { // each with another step through the parts
		var order []byte
		for i := range 24 {
			order = append(order, byte((seed*7+i*(2*seed+3))%len(parts)))
		}
		f.Add(order)
	}
	for _, order := range [][]byte{{0, 2, 7, 0, 2, 8}, {1, 2, 10, 2, 1, 2, 7, 4}, {13, 2, 1, 2, 9, 1, 8, 4}, {0, 2, 35, 4, 7}} {
		f.Add(order)
	}
	c := oddIncludes(f)
	f.Fuzz(func(t *testing.T, order []byte) {
		var text strings.Builder
		text.WriteString("profile web {\n")
		for _, n := range order {
			text.WriteString(strings.ReplaceAll(parts[int(n)%len(parts)], "BASE", c.Base))
		}
		text.WriteString("\n}\n")
		if paths, _, _ := missed(t.Context(), t, c, text.String()); len(paths) > 0 {
			t.Errorf("%q has a key without %q", text.String(), paths)
		}
	})
}
