package profile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCompileText(t *testing.T) {
	c := realCompiler(t)
	for _, test := range []struct {
		name, text string
		line       int
		says       string // empty where it compiles
		defines    string
	}{
		{"a profile", "profile web { file, }", 0, "", "web"},
		{"with children", "profile web flags=(complain) { file, profile kid { file, } ^hat { file, } }", 0, "", "web web//hat web//kid"},
		{"two profiles", "profile web { file, }\nprofile work { file, }", 0, "it defines", ""},
		{"two profiles, of which one is called unconfined", "profile web { file, }\nprofile unconfined { file, }", 0,
			`profile name "unconfined" is a beginning of "unconfined"`, ""},
		{"no profile", "# nothing\n", 0, "defines no profile", ""},
		{"a profile that confines nothing", "profile web flags=(unconfined) { file, }", 0, "confines nothing", ""},
		{"a child that confines nothing", "profile web { file, profile kid flags=(unconfined) { } }", 0, "confines nothing", ""},
		{"a name with blanks and brackets", "profile \"a b (enforce)\" { file, }", 0, `holds " "`, ""},
		{"a namespace", "profile :ns:web { file, }", 0, "ns", ""},
		{"an attachment", "profile web /usr/bin/web { file, }", 1, "attaches to programs", ""},
		{"a fault", "profile web {\n  file\n}\n", 3, "syntax error", ""},
		{"a byte order mark", "\xef\xbb\xbfprofile web { file, }\n", 0, "begins with a byte order mark (bytes ef bb bf)", ""},
		{"UTF-16", "\xff\xfep\x00r\x00", 0, "is UTF-16", ""},
		{"a flag that confines nothing", "profile web flags=(unconfined) { file, }", 0, "flag unconfined or default_allow", ""},
		{"a NUL", "profile web {\n \x00 file, }\n", 0, "NUL", ""},
		{"a text that is too long", "profile web { file, }" + strings.Repeat(" ", MaxText), 0, "are allowed", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, err := c.CompileText(t.Context(), "FILE", []byte(test.text))
			if test.says == "" {
				var names []string
				for _, p := range b.Profiles {
					names = append(names, p.Name)
				}
				if err != nil || strings.Join(names, " ") != test.defines {
					t.Errorf("defines %q, %v", names, err)
				}
				return
			}
			var e *TextError
			if !errors.As(err, &e) || !strings.Contains(e.Msg, test.says) || e.Source != "FILE" || e.Line != test.line {
				t.Errorf("%v, want %q in line %d", err, test.says, test.line)
			}
		})
	}
}

// Of a text that does not compile is said what stands in it, and not what the parser's grammar calls that; and which line
// lacks a comma, where it is one before the line that the parser names.
func TestFaultsAreNamedByWhatIsInTheText(t *testing.T) {
	c := realCompiler(t)
	for _, test := range []struct{ text, says string }{
		{"profile web {\n  file\n}\n", `:3: syntax error, unexpected "}", expecting a name or path or permissions or a variable; line 2 ends without a comma`},
		{"profile web {\n  /etc/x r\n\n  # of no matter\n  network,\n}\n", `:5: syntax error, unexpected "network", expecting ","; line 2 ends without a comma`},
		{"profile web {\n  /etc/** r # all\n  /srv/** w,\n}\n", `; line 2 ends without a comma`},
		{"abi <abi/3.0>\nprofile web { file, }\n", `; line 1 ends without a comma`},
		{"profile web {\n  file,\n", `unexpected end of file`},
		{"profile web {\n  file,\n  bogus foo,\n}\n", `:3: syntax error, unexpected a name or path, expecting permissions`},
		{"profile web\n  file,\n}\n", `:2: syntax error, unexpected "file", expecting "{"`},
		{"@{x}=/a\nfile,\n", `:2: syntax error`},
		{"profile web {\n  capability sysadmin,\n}\n", `:2: Invalid capability sysadmin`},
	} {
		_, err := c.CompileText(t.Context(), "FILE", []byte(test.text))
		if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "TOK_") {
			t.Errorf("%s%v, want %q", test.text, err, test.says)
		} else if strings.Contains(err.Error(), "comma") != strings.Contains(test.says, "comma") {
			t.Errorf("%s%v", test.text, err)
		}
	}
}

// A byte order mark in an included file, which the parser calls an unexpected character of line 1, is named with its file.
func TestByteOrderMarkInAnIncludedFile(t *testing.T) {
	c := realCompiler(t)
	for name, text := range map[string]string{
		"outer": "  include <inner>\n", "inner": "\xef\xbb\xbf  audit deny /x w,\n", "utf16": "\xff\xfe \x00f\x00", "odd": "  \xef,\n",
	} {
		if err := os.WriteFile(filepath.Join(c.Base, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for included, want := range map[string]string{
		"inner": "FILE: " + c.Base + "/inner, which it includes: the text begins with a byte order mark (bytes ef bb bf)",
		"outer": "FILE: " + c.Base + "/inner, which it includes: the text begins with a byte order mark (bytes ef bb bf)",
		"utf16": "FILE: " + c.Base + "/utf16, which it includes: the text is UTF-16",
		"odd":   "unexpected character",
	} {
		_, err := c.CompileText(t.Context(), "FILE", []byte("profile web {\n  include <"+included+">\n  file,\n}\n"))
		wantError(t, err, want)
		if strings.Contains(want, "includes") && strings.Contains(err.Error(), "unexpected character") {
			t.Errorf("%s: %v", included, err)
		}
	}
}

func TestPreprocess(t *testing.T) {
	c := realCompiler(t)
	if err := os.WriteFile(c.Base+"/extra", []byte("  audit deny /x w,\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	text, err := c.Preprocess(t.Context(), []byte("profile web {\n  include <extra>\n  file,\n}\n"))
	if err != nil || !strings.Contains(string(text), "audit deny /x w") || !strings.Contains(string(text), "file,") {
		t.Errorf("%s, %v", text, err)
	}
	if text, err := c.Preprocess(t.Context(), []byte("profile web {\n  include <missing>\n}\n")); err == nil {
		t.Errorf("%s", text)
	}
}
