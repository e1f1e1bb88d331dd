package ruletext

import (
	"os"
	"strings"
	"testing"
	"unicode"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// worst are those names of profiletest.Hostile that the other kinds are asked about, unless everything is tested.
var worst = []string{"a\nb", "a b", `a"b`, "a*b", "[^a]", "a{b,c}d", "}", "a, /b rw,", "#include <x>", "@{HOME}", `\052`, `a\`, "\xff\xfe", "日本",
	"a}\nprofile x { /** rwlkmix, }\nprofile y {"}

// A rule for a name from a record is about that name and no other, whatever characters the name has.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	c := profiletest.Compiler(t, profiletest.Features())
	for _, kind := range []struct {
		name   string
		access func(name string) meaning.Access
	}{
		{"file", func(name string) meaning.Access {
			return meaning.FileAccess{Path: "/srv/" + name, Want: meaning.MayRead}
		}},
		{"directory", func(name string) meaning.Access {
			return meaning.FileAccess{Path: "/srv/" + name + "/f", Want: meaning.MayWrite, Owner: true}
		}},
		{"exec", func(name string) meaning.Access { return meaning.ExecAccess{Path: "/srv/" + name} }},
		{"link", func(name string) meaning.Access { return meaning.LinkAccess{Path: "/srv/l", Target: "/srv/" + name} }},
		{"mount", func(name string) meaning.Access {
			return meaning.MountAccess{Target: "/srv/" + name + "/", Source: "/s", Flags: 1 << 12}
		}},
		{"source", func(name string) meaning.Access {
			return meaning.MountAccess{Target: "/srv/", Source: "/srv/" + name + "/", Flags: 1 << 12}
		}},
		{"umount", func(name string) meaning.Access { return meaning.UmountAccess{Target: "/srv/" + name + "/"} }},
		{"pivot_root", func(name string) meaning.Access {
			return meaning.PivotRootAccess{New: "/srv/" + name + "/", Old: "/srv/" + name + "/o/"}
		}},
		{"signal", func(name string) meaning.Access {
			return meaning.SignalAccess{Want: meaning.MayWrite, Signal: meaning.SIGTERM, Peer: "p" + name}
		}},
		{"ptrace", func(name string) meaning.Access { return meaning.PtraceAccess{Want: meaning.MayRead, Peer: "p" + name} }},
		{"change_profile", func(name string) meaning.Access { return meaning.ChangeProfileAccess{Label: "p" + name} }},
	} {
		everything := os.Getenv("OCI_APPARMOR_EVERYTHING") == "yes"
		if !everything && !strings.Contains("file link mount signal", kind.name) {
			continue
		}
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			var style Style
			hostile := profiletest.Hostile()
			if !everything && kind.name != "file" {
				hostile = worst
			}
			rules := make(map[string]string)
			text := "abi <abi/3.0>,\ninclude <tunables/global>\nprofile web {\n"
			for _, name := range hostile {
				rules[name] = style.Rules(kind.access(name), true)[0][0].Text(style)
				if strings.ContainsFunc(rules[name], func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Errorf("%q: the rule %q cannot be printed", name, rules[name])
				}
				text += "  " + rules[name] + "\n"
			}
			text += "  /etc/y r,\n}\n"
			if names := strings.Join(syntax.Read(text).Profiles(), " "); names != "web" {
				t.Errorf("the text has the profiles %q", names)
			}
			blob, err := c.CompileText(t.Context(), "web", []byte(text))
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			all, err := meaning.ReadFor(blob.Data, c)
			if err != nil {
				t.Fatal(err)
			}
			p := all[0]
			if end := (meaning.FileAccess{Path: "/etc/y", Want: meaning.MayRead}); len(all) != 1 || !p.Decide(end).Allowed {
				t.Errorf("%d profiles were made, and the last rule is not read, of\n%s", len(all), text)
			}
			for _, name := range hostile {
				if !p.Decide(kind.access(name)).Allowed {
					t.Errorf("%q is denied by\n%s", name, rules[name])
				}
				for _, near := range profiletest.Neighbours(name) {
					if rules[near] == "" && p.Decide(kind.access(near)).Allowed {
						t.Errorf("%q is allowed as well as %q by\n%s", near, name, rules[name])
					}
				}
			}
		})
	}
}
