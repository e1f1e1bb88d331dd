package syntax

import (
	"strings"
	"testing"
)

func TestRemove(t *testing.T) {
	for _, test := range []struct{ name, text, rules, want string }{
		{"a line", "profile a {\n  /x r,\n  /y r,\n}\n", "/x r", "profile a {\n  /y r,\n}\n"},
		{"its comment", "profile a {\n  # of all\n  /x r, # of x\n  /y r,\n}\n", "/x r", "profile a {\n  # of all\n  /y r,\n}\n"},
		{"one of two in a line", "profile a {\n  /x r, /y r,\n}\n", "/x r", "profile a {\n   /y r,\n}\n"},
		{"two of two in a line", "profile a {\n  /x r, /y r,\n}\n", "/x r|/y r", "profile a {\n}\n"},
		{"in the line of the profile", "profile a { /x r, }", "/x r", "profile a {  }"},
		{"of several lines", "profile a {\n  signal\n    peer=x,\n  /y r,\n}\n", "signal peer=x", "profile a {\n  /y r,\n}\n"},
		{"an include", "profile a {\n  include <b>\n  /y r,\n}\n", "include <b>", "profile a {\n  /y r,\n}\n"},
		{"all", "profile a {\n  /x r,\n\n  /y r,\n}\n", "/x r|/y r", "profile a {\n\n}\n"},
		{"without a line's end", "profile a {\n  /x r,}", "/x r", "profile a {\n  }"},
		{"nothing", "profile a { /x r, }", "", "profile a { /x r, }"},
	} {
		read := Read(test.text)
		var rules []Rule
		for _, r := range read.Rules() {
			if strings.Contains("|"+test.rules+"|", "|"+r.Text+"|") {
				rules = append(rules, r)
			}
		}
		if test.rules != "" && len(rules) != 1+strings.Count(test.rules, "|") {
			t.Fatalf("%s: %d rules", test.name, len(rules))
		}
		if got := read.Remove(rules); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	shared := Read("profile a {\n  deny {\n    /x r,\n  }\n  if $y {\n    /y r,\n  }\n}\n")
	for _, r := range shared.Rules() {
		if r.Removable() {
			t.Errorf("%s is removable", r.Text)
		}
	}
}
