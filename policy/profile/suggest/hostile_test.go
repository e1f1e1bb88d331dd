package suggest

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// hostile are names that would mean something else if they stood in a rule as they are.
var hostile = []string{
	"a\nb", "\n", "a\rb", "a\tb", "a b", " a", "a ", `a"b`, `"`, `"a"`, "a'b", "a*b", "**", "*", "a?b", "a[b]c", "[", "]", "[^a]", "a{b,c}d",
	"{", "}", "a,b", "a,", ",", "a, /b rw,", "r,\n  /** rw", "#", "# a", "#include <x>", "include <abstractions/base>", "@{HOME}", "@{PROC}", "@{x", "@x",
	"$x", "${x}", "^a", `\`, `\\`, `\a`, `\052`, `\x2a`, `\d042`, `a\`, `\n`, "->", "=", "a=b", "(", ")", "!a", "%s", "&", "//&a"[2:], "ü", "日本", "\x01",
	"\x7f", "\x80", "\xff\xfe", "\u202e", "a}\nprofile x { /** rwlkmix, }\nprofile y {", "-", "--", "~", "a:b", ":", "owner", "deny", "audit", "😀", "|;`",
}

// worst are those of them that the other kinds are asked about, unless everything is tested.
var worst = []string{"a\nb", "a b", `a"b`, "a*b", "[^a]", "a{b,c}d", "}", "a, /b rw,", "#include <x>", "@{HOME}", `\052`, `a\`, "\xff\xfe", "日本",
	"a}\nprofile x { /** rwlkmix, }\nprofile y {"}

// A rule for a name from a record is about that name and no other, whatever characters the name has.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	r, _ := reader(t)
	const text = "abi <abi/3.0>,\ninclude <tunables/global>\nprofile web {\n  /etc/x r,\n}\nprofile other {\n  /etc/y r,\n}\n"
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
			hostile := hostile
			if !everything && kind.name != "file" {
				hostile = worst
			}
			var denials []Denial
			for _, name := range hostile {
				denials = append(denials, Denial{"web", []meaning.Access{kind.access(name)}})
			}
			s, err := For(t.Context(), r, "web", []byte(text), denials, Options{Exact: true})
			if err != nil {
				t.Fatal(err)
			}
			if names := strings.Join(syntax.Read(s.Text).Profiles(), " "); names != "web other" {
				t.Errorf("the text has the profiles %q", names)
			}
			read, err := r.Read(t.Context(), "web", []byte(s.Text))
			if err != nil {
				t.Fatal(err)
			}
			p, err := read.Enforced("web")
			if err != nil {
				t.Fatal(err)
			}
			suggested := make(map[string]bool)
			for _, name := range hostile {
				suggested[name] = true
			}
			for i, name := range hostile {
				if s.Answers[i].Outcome != Suggested {
					t.Errorf("%q: %s", name, s.Answers[i].Message)
				} else if !p.Decide(kind.access(name)).Allowed {
					t.Errorf("%q is denied by\n%s", name, s.Text)
				}
				for _, near := range neighbours(name) {
					if !suggested[near] && p.Decide(kind.access(near)).Allowed {
						t.Errorf("%q is allowed as well as %q by\n%s", near, name, rulesFor(s, i))
					}
				}
			}
		})
	}
}

// neighbours are names that differ from another one in one byte, or in what an escape or a pattern could stand for.
func neighbours(name string) (all []string) {
	for i := 0; i <= len(name); i++ {
		for _, c := range []string{"x", "/", "/x/y", "*", "\\", "?"} {
			all = append(all, name[:i]+c+name[i:])
			if i < len(name) {
				all = append(all, name[:i]+c+name[i+1:])
			}
		}
		if i < len(name) {
			all = append(all, name[:i]+name[i+1:])
		}
	}
	return append(all, "b", "a", "bc", "abd", "acd", "me", "/home/me", "b/c", "anything", "7", "x y")
}

func rulesFor(s *Suggestion, denial int) (text string) {
	for _, r := range s.Rules {
		for _, d := range r.For {
			if d == denial {
				text += fmt.Sprintln(r.Text)
			}
		}
	}
	return text
}
