package syntax

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestIncludesAndABI(t *testing.T) {
	const text = "abi <abi/3.0>,\n#include <tunables/global>\nprofile web {\n  include if exists \"/etc/x\"\n  include <abstractions/base>\n}\n"
	if got, want := Read(text).Includes(), []string{"tunables/global", "/etc/x", "abstractions/base"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if name, line := Read(text).ABI(); name != "abi/3.0" || line != 1 {
		t.Errorf("%q in line %d", name, line)
	}
	if name, line := Read("profile web { file, }").ABI(); name != "" || line != 0 {
		t.Errorf("%q in line %d", name, line)
	}
}

// shown is what a text was taken apart to: a line for each block, and for each rule its block, words and what is said of it.
func shown(text *Text) string {
	var b strings.Builder
	show := func(in string, r Rule) {
		said := ""
		if r.Audit {
			said += " audit"
		}
		if r.Deny {
			said += " deny"
		}
		if r.Branch > 0 {
			said += " branch"
		}
		if !r.Own {
			said += " included"
		}
		fmt.Fprintf(&b, "%d%s: %s%s\n", r.Line, in, strings.Join(r.Words, "|"), said)
	}
	for _, r := range text.Preamble {
		show("", r)
	}
	for _, block := range text.Blocks {
		fmt.Fprintf(&b, "%d %s {\n", block.Line, block.Name)
		for _, r := range block.Rules {
			show(" "+block.Name, r)
		}
	}
	return b.String()
}

func TestRead(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"a profile", "profile web flags=(complain) {\n  /a r,\n  audit deny /b w,\n}\n", "1 web {\n2 web: /a|r\n3 web: /b|w audit deny\n"},
		{"on one line", "abi <abi/3.0>, profile web {/a r, /b w,}", "1: abi|<abi/3.0>\n1 web {\n1 web: /a|r\n1 web: /b|w\n"},
		{"children and hats", "/bin/web {\n ^hat { /a r, }\n profile kid { hat deep { /b r, } }\n /c r,\n}\n",
			"1 /bin/web {\n4 /bin/web: /c|r\n2 /bin/web//hat {\n2 /bin/web//hat: /a|r\n3 /bin/web//kid {\n3 /bin/web//kid//deep {\n" +
				"3 /bin/web//kid//deep: /b|r\n"},
		{"qualifiers of several", "profile web {\n audit {\n  deny /a w,\n  allow /b r,\n }\n owner { /c r, }\n priority=1 deny { /d w, }\n}\n",
			"1 web {\n3 web: /a|w audit deny\n4 web: /b|r audit\n6 web: /c|r\n7 web: /d|w deny\n"},
		{"branches", "profile web {\n if defined $x {\n  /a r,\n } else if $y { /b r, } else { /c r, }\n /d r,\n}\n",
			"1 web {\n3 web: /a|r branch\n4 web: /b|r branch\n4 web: /c|r branch\n5 web: /d|r\n"},
		{"patterns", "profile web {\n /{a,b}/**, r,\n @{x}/[{] r,\n \"/c d,{\" r,\n /e\\ f r,\n /g -> {h,i},\n /j px ->{k},\n}\n",
			"1 web {\n2 web: /{a,b}/**\n2 web: r\n3 web: @{x}/[{]|r\n4 web: /c d,{|r\n5 web: /e\\ f|r\n6 web: /g|->|{h,i}\n7 web: /j|px|->{k}\n"},
		{"values", "profile web {\n signal (send) peer={a,b},\n signal peer = c,\n mount options=(rw, bind) {/a,/b}/ -> /c/,\n network inet #,\n}\n",
			"1 web {\n2 web: signal|(send)|peer={a,b}\n3 web: signal|peer=c\n4 web: mount|options=(rw, bind)|{/a,/b}/|->|/c/\n5 web: network|inet|#\n"},
		{"a list over lines", "profile web {\n signal (send,\n  receive),\n /a r,\n}\n", "1 web {\n2 web: signal|(send,   receive)\n4 web: /a|r\n"},
		{"comments", "# a {\nprofile web { # b {\n /a r, # c\n #include <d>\n #includes, not\n # /e w,\n}\n", "2 web {\n3 web: /a|r\n4 web: #include|<d>\n"},
		{"what is set", "@{a}=/b,c /d {e\n@{a} += /f \\\n /g # h\n@i=j\n$k = true\nprofile web { @{a} r, }\n", "5: $k|=|true\n6 web {\n6 web: @{a}|r\n"},
	} {
		text := Read(test.text)
		if got := shown(text); got != test.want || !text.Whole {
			t.Errorf("%s, whole %v:\n%swant\n%s", test.name, text.Whole, got, test.want)
		}
	}
	got, want := Read("@{a}=/b,c /d {e\n@{a} += /f \\\n /g # h\n@i=j\n").Variables, map[string][]string{"a": {"/b,c", "/d", "{e", "/f", "/g"}, "i": {"j"}}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestLine(t *testing.T) {
	text := Read("# profile web {}\nprofile web {\n  ^h { /a r, }\n  profile kid@{x} {\n    hat deep { }\n  }\n  hat hat { }\n}\n")
	for name, want := range map[string]int{"web": 2, "web//hat": 7, "web//h": 3, "web//kid1": 2, "web//hat2": 2, "web//kid1//deep": 2, "other": 0, "other//hat": 0} {
		if got := text.Line(name); got != want {
			t.Errorf("%s: line %d, want %d", name, got, want)
		}
	}
}

func TestWhole(t *testing.T) {
	for _, text := range []string{"profile web {", "profile web { /a r, }\n/b", "profile web { signal (send, }\n"} {
		if Read(text).Whole {
			t.Errorf("%q ends", text)
		}
	}
}

// What a text includes is put in, and the rest has the lines that it had.
func TestWithIncludes(t *testing.T) {
	own := Read("include <tunables>\nprofile web {\n  include <base>\n  /a r,\n  /a r,\n}\n")
	all := own.WithIncludes("@{x}=y\n\n\n# tunables\nprofile web {\n  /a r,\n  /c r,\n  /a r,\n  ^hat { /d r, }\n}\n")
	const want = "2 web {\n4 web: /a|r\n0 web: /c|r included\n5 web: /a|r\n0 web//hat {\n0 web//hat: /d|r included\n"
	if got := shown(all); got != want {
		t.Errorf("%swant\n%s", got, want)
	}
	if ownIn(own) != 3 || ownIn(all) != 3 {
		t.Errorf("of the text itself are %d and %d", ownIn(own), ownIn(all))
	}
}

// A mode is put where the parser looks for it, and comments are left out.
func TestWithMode(t *testing.T) {
	for text, want := range map[string]string{
		"profile web { # a {\n  # b\n\n  /a r, # c\n}\n":                       "profile web  flags=(complain) { \n  /a r, \n}\n",
		"profile web flags=(enforce,\"kill\" attach_disconnected) {}\n":        "profile web flags=(complain, attach_disconnected) {}\n",
		"profile web (audit) { ^h { } }\n":                                     "profile web (audit,complain) { ^h  flags=(complain) { } }\n",
		"profile web xattrs=(a=b) flags =\n(audit) # {\n\n{ audit { /a r, } }": "profile web xattrs=(a=b) flags =\n(audit,complain) \n{ audit { /a r, } }",
		"profile web { signal (send), if $x { /a r, } }":                       "profile web  flags=(complain) { signal (send), if $x { /a r, } }",
	} {
		if got := Read(text).WithMode("complain", "enforce", "complain", "kill"); got != want {
			t.Errorf("%q\nbecomes %q\nwant    %q", text, got, want)
		}
	}
	if got := Read("profile web flags=(kill) { # a\n}\n").WithMode(""); got != "profile web flags=(kill) { \n}\n" {
		t.Errorf("without a mode it becomes %q", got)
	}
}

func TestGlobs(t *testing.T) {
	text := Read("@{a}=/b /{c,d}\n@{e}=@{a}/f\n")
	for _, test := range []struct{ pattern, expanded, matches, not string }{
		{"/a/*", "/a/*", "/a/b /a/.c", "/a/ /a/b/c"},
		{"/a/**", "/a/**", "/a/b /a/b/c", "/a/ /a"},
		{"/a{,/}b?", "/ab? /a/b?", "/abc", "/ab /ab/"},
		{"@{e}/[^g-i]", "/b/f/[^g-i] /c/f/[^g-i] /d/f/[^g-i]", "/b/f/a", "/b/f/h"},
		{"/@{a}", "/b /c /d", "/b", "/c"},
		{"/x/@{profile_name}", "/x/web", "/x/web", "/x/we"},
		{`/a\*[{]`, `/a\*[{]`, "/a*{", "/ab{"},
		{"/@{unknown}", "", "", ""},
		{"/{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}", "", "", ""},
	} {
		all := text.Expand(test.pattern, "web")
		if got := strings.Join(all, " "); got != test.expanded {
			t.Errorf("%s is %q, want %q", test.pattern, got, test.expanded)
		}
		for i, paths := range []string{test.matches, test.not} {
			for path := range strings.FieldsSeq(paths) {
				if Matcher(all[0]).MatchString(path) != (i == 0) {
					t.Errorf("%s of %s: match %v", path, all[0], i != 0)
				}
			}
		}
	}
}

// Whatever a text holds, it is read, and what is written of it is the same text again but for a mode.
func FuzzRead(f *testing.F) {
	for _, text := range []string{
		"abi <abi/3.0>,\n#include <a>\nprofile web flags=(audit) { # c\n audit { deny /{a,b}/** w, }\n signal (send) peer={a,b},\n}\n",
		"@{a}=@{a}@{a}\nprofile x {\n@{a} r,", "@{a}=[[[{{{((\nprofile x { deny /x w, }", "profile x (\"", "^\\\n#\n,", "profile x flags=(\\)){}#",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, written string) {
		text := Read(written)
		lines := 1 + strings.Count(written, "\n")
		for _, r := range text.Rules() {
			if r.Line < 1 || r.Line > lines || len(r.Words) == 0 || r.Branch < 0 || r.Branch > len(written) {
				t.Errorf("%q: %+v", written, r)
			}
			for _, p := range text.Expand(r.Words[0], "web") {
				if re := Matcher(p); re != nil {
					re.MatchString("/usr/bin/web")
				}
			}
		}
		for _, takes := range text.Attachments() {
			takes("/usr/bin/web")
		}
		text.Head()
		for _, b := range text.Blocks {
			text.Empty(b)
			for _, r := range b.Rules {
				text.Alone(r)
			}
		}
		if ownIn(text) != ownIn(text.WithIncludes(written)) {
			t.Errorf("%q is not found in itself", written)
		}
		moded := text.WithMode("complain", "complain")
		if again := Read(moded); len(again.Blocks) != len(text.Blocks) && text.Whole {
			t.Errorf("%q has %d blocks, and %q has %d", written, len(text.Blocks), moded, len(again.Blocks))
		}
		MayInclude([]byte(written))
	})
}

// A rule is cut out as it is written, with the conditions and qualifiers around it.
func TestAlone(t *testing.T) {
	text := Read(`abi <abi/3.0>, @{a}=/b # c
profile web {
  /a r, "/b c"
    w, # d
  if $x { /c r, } else if $y { audit { deny /d r, } } else { /e r, }
  owner { /f r, }
  ^hat flags=(complain) { /g r, }
  /h r,
}
@{z}=/y
`)
	var all []string
	for _, b := range text.Blocks {
		all = append(all, text.Empty(b))
		for _, r := range b.Rules {
			alone, ok := text.Alone(r)
			if !ok {
				t.Errorf("%s is not cut out", r.Text)
			}
			all = append(all, alone)
		}
	}
	const want = `profile web {}
/a r,
"/b c"
    w,
if $x {
/c r,
}
if $x {}
else if $y {
audit {
deny /d r,
}
}
if $x {}
else if $y {}
else {
/e r,
}
owner {
/f r,
}
/h r,
^hat flags=(complain) {}
/g r,`
	if got := strings.Join(all, "\n"); got != want {
		t.Errorf("%s", got)
	}
	if got := text.Head(); got != "abi <abi/3.0>, @{a}=/b # c\n\n@{z}=/y\n" {
		t.Errorf("%q stands outside of all blocks", got)
	}
	deep := Read("profile x {" + strings.Repeat("if $x {", 5000) + "/a r," + strings.Repeat("}", 5000) + "}")
	if _, ok := deep.Alone(deep.Blocks[0].Rules[0]); ok {
		t.Error("a rule is cut out of any number of conditions")
	}
}

// ownIn returns how many blocks and rules a text itself has, without statements that include files. If it differs
// between two readings, these are of different texts, or one of them is wrong.
func ownIn(t *Text) int {
	n := 0
	for _, r := range t.Rules() {
		if r.Own && !r.IsInclude() {
			n++
		}
	}
	for _, b := range t.Blocks {
		if b.Own {
			n++
		}
	}
	return n
}
