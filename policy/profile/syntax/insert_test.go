package syntax

import (
	"strings"
	"testing"
)

func TestInsert(t *testing.T) {
	for _, test := range []struct{ name, text, block, rules, want string }{
		{"behind the last of its kind", "profile a {\n  capability chown,\n  /x r,\n}\n", "a", "capability kill,|/y r,",
			"profile a {\n  capability chown,\n  capability kill,\n  /x r,\n  /y r,\n}\n"},
		{"behind another kind", "profile a {\n  capability chown,\n}\n", "a", "/y r,", "profile a {\n  capability chown,\n  /y r,\n}\n"},
		{"behind an include", "profile a {\n  include <x>\n}\n", "a", "/y r,", "profile a {\n  include <x>\n  /y r,\n}\n"},
		{"an empty block", "profile a {\n}\n", "a", "/y r,|/z r,", "profile a {\n  /y r,\n  /z r,\n}\n"},
		{"a line", "profile a { }", "a", "/y r,", "profile a { /y r, }"},
		{"a line with a rule", "profile a { /x r, }", "a", "/y r,", "profile a { /x r, /y r, }"},
		{"a comment behind the brace", "profile a { # }\n}\n", "a", "/y r,", "profile a { # }\n  /y r,\n}\n"},
		{"a comment behind the rule", "profile a {\n\t/x r, # }\n}\n", "a", "/y r,", "profile a {\n\t/x r, # }\n\t/y r,\n}\n"},
		{"two rules in a line", "profile a {\n  /x r, deny /y r,\n}\n", "a", "/z r,", "profile a {\n  /x r,\n  /z r, deny /y r,\n}\n"},
		{"a brace behind the last rule", "profile a {\n  /x r, }\n", "a", "/z r,", "profile a {\n  /x r,\n  /z r, }\n"},
		{"a child", "profile a {\n  /x r,\n  profile b {\n    /y r,\n  }\n}\n", "a//b", "/z r,", "profile a {\n  /x r,\n  profile b {\n    /y r,\n    /z r,\n  }\n}\n"},
		{"no child", "profile a {\n  profile b {\n    /y r,\n  }\n}\n", "a", "/z r,", "profile a {\n  /z r,\n  profile b {\n    /y r,\n  }\n}\n"},
		{"a condition", "profile a {\n  /x r,\n  if $y {\n    /y r,\n  }\n}\n", "a", "/z r,", "profile a {\n  /x r,\n  /z r,\n  if $y {\n    /y r,\n  }\n}\n"},
	} {
		read := Read(test.text)
		for _, b := range read.Blocks {
			if b.Name != test.block {
				continue
			}
			got := read.Insert(b, strings.Split(test.rules, "|"))
			if got != test.want {
				t.Errorf("%s:\n%s\nwant\n%s", test.name, got, test.want)
			}
			if !Read(got).Whole {
				t.Errorf("%s: what comes of it is not whole", test.name)
			}
		}
	}
}
