package profile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// recorded is a real compiler that writes down how it runs the parser. ran returns the runs since the last call.
func recorded(t *testing.T) (c *Compiler, ran func() []string) {
	t.Helper()
	c = realCompiler(t)
	log := filepath.Join(t.TempDir(), "log")
	script := filepath.Join(t.TempDir(), "apparmor_parser")
	lines := fmt.Sprintf("#!/bin/sh\necho \"$@\" >>%s\nexec %s \"$@\"\n", log, c.Parser)
	if err := os.WriteFile(script, []byte(lines), 0o755); err != nil {
		t.Fatal(err)
	}
	c.Parser = script
	return c, func() []string {
		data, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(log); err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(string(data)), "\n")
	}
}

// lay writes files below the compiler's directory of includes.
func lay(t *testing.T, c *Compiler, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(c.Base, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// A text that includes files as usual stands alone after one run of the parser. One that does so in another way takes two,
// and one of which what was put in proves wrong takes three. They stand alone as well.
func TestIncludesArePutInWithoutTheParser(t *testing.T) {
	for name, one := range map[string]struct {
		text string
		runs int
	}{
		"none":                       {"profile web { /a r, }\n", 1},
		"files":                      {"#include <tunables/all>\nprofile web {\n include <x/a>\n #include <x/a>\n @{T} r,\n}\n", 1},
		"lines that end as Windows'": {"profile web {\r\n  include <x/a>\r\n}\r\n", 1},
		"one that may be missing":    {"profile web {\n include if exists <local/web>\n include if exists <x/a>\n /b r,\n}\n", 1},
		"a directory":                {"profile web {\n  include <x/some.d>\n}\n", 1},
		"in a comment":               {"# include <x/none> as README has it\nprofile web {\n  /b r, # include <x/a>\n}\n", 1},
		"an ABI":                     {"abi <abi/3.0>,\nprofile web {\n  include <x/a>\n}\n", 1},
		"two in a line":              {"profile web {\n  include <x/a> include <x/b>\n}\n", 2},
		"in the line of the brace":   {"profile web { include <x/a>\n}\n", 2},
		"by a path":                  {"profile web {\n  include \"%s/x/a\"\n}\n", 2},
		"a file that includes oddly": {"profile web {\n  include <x/odd>\n}\n", 2},
		"a backup in a directory":    {"profile web {\n  include <x/old.d>\n}\n", 2},
		"what looks so, in quotes":   {"profile web {\n  \"/a\n#include <x/a>\n/c\" r,\n}\n", 3},
		"what looks so, in a rule":   {"profile web {\n  /include/** r,\n  /include r,\n}\n", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, ran := recorded(t)
			lay(t, c, map[string]string{
				"tunables/all": "# variables\n@{T}=/t /u\n", "abi/3.0": string(testFeatures(t)),
				"x/a": "  /a r,\n  include <x/b>", "x/b": "/b w,",
				"x/some.d/1": "/one r,\n", "x/some.d/site.local": "/two r,\n",
				"x/old.d/1": "/one r,\n", "x/old.d/1.dpkg-old": "/two r,\n",
				"x/odd": "include <x/a> include <x/b>\n",
			})
			text := strings.ReplaceAll(one.text, "%s", c.Base)
			want, err := c.Compile(t.Context(), "web", Enforce, "text", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			ran()
			alone, err := c.Standalone(t.Context(), []byte(text), Enforce, func() (Blob, error) { return want, nil })
			if err != nil {
				t.Fatal(err)
			}
			if runs := ran(); len(runs) != one.runs {
				t.Errorf("the parser ran %d times: %q", len(runs), runs)
			}
			for path, left := range map[string]string{"with includes": c.Base, "without": t.TempDir()} { // where there are none
				if err := os.MkdirAll(filepath.Join(left, "abi"), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(left, "abi/3.0"), testFeatures(t), 0o644); err != nil {
					t.Fatal(err)
				}
				other := *c
				other.Base = left
				if b, err := other.AsLoaded(t.Context(), alone); err != nil || string(b.Data) != string(want.Data) {
					t.Errorf("%s: it compiles to something else (%v):\n%s", path, err, alone)
				}
			}
		})
	}
}

func TestWhatExpandLeavesToTheParser(t *testing.T) {
	c := &Compiler{Base: t.TempDir()}
	lay(t, c, map[string]string{
		"loop": "include <loop>\n", "d/sub/x": "/x r,\n",
		"big": strings.Repeat("#\n", MaxText), "fan/a": strings.Repeat("#\n", MaxText/2),
		"hidden/.x": "", "read/README": "", "save/a~": "", "new/a.rpmnew": "",
	})
	if err := os.Symlink("/dev/null", filepath.Join(c.Base, "device")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"loop", "missing", "d", "big", "hidden", "read", "save", "new", "device"} {
		if whole, ok := c.expand([]byte("include <" + name + ">\n")); ok {
			t.Errorf("%s is put in: %.100q", name, whole)
		}
	}
	if _, ok := c.expand([]byte(strings.Repeat("include <fan/a>\n", 5))); ok {
		t.Error("it puts in any amount")
	}
}
