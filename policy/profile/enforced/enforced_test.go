package enforced

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// newCompiler returns a compiler with the machine's apparmor_parser for a kernel that lacks features, and a directory
// of ABIs and abstractions: abi/1.0 knows neither signals nor ptrace, abi/2.0 signals, and the ABI that TestCheck
// configures ptrace.
func newCompiler(t *testing.T, lacks ...string) *profile.Compiler {
	t.Helper()
	text := profiletest.Features()
	without := func(text, feature string) string {
		return regexp.MustCompile(`(?m)^`+feature+` \{[^{}]*(\{[^{}]*\}[^{}]*)*\}\n?`).ReplaceAllString(text, "")
	}
	features := string(text)
	for _, feature := range lacks {
		features = without(features, feature)
	}
	c := profiletest.Compiler(t, []byte(features))
	c.Base = t.TempDir()
	const exo = "deny dbus send\n  bus=session\n  path=/org/gtk/vfs/mounttracker,\n"
	c.Conf = filepath.Join(c.Base, "parser.conf")
	for name, text := range map[string]string{
		"abi/1.0":               without(without(string(text), "signal"), "ptrace"),
		"abi/2.0":               without(string(text), "ptrace"),
		"configured":            without(string(text), "signal"),
		"abstractions/audited":  "audit deny signal peer=audited,\n",
		"abstractions/dbus":     "dbus,\nunix (connect) peer=(addr=\"@x\"),\n",
		"local/web":             "# local rules\n\n  deny signal peer=x,\n",
		"local/none":            "/none r,\n",
		"local/branch":          "if $t {\n  deny dbus,\n}\n",
		"abstractions/a.d/own":  "deny dbus,\n",
		"abstractions/exo-open": exo, "abstractions/z": exo,
		"abstractions/branch": "deny dbus,\n",
		"abstractions/leave":  "\nchange_profile -> unconfined,\n",
		"local/leave":         "/none r,\n/usr/bin/x\n  Ux,\nprofile kid {\n  /y ux,\n}\n",
	} {
		path := filepath.Join(c.Base, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// What a rule says and the compiled profile does not do is found by what was compiled, with its place and what would make it
// hold; what holds is no finding, whatever the parser says.
func TestCheck(t *testing.T) {
	const abi = "abi <abi/1.0>,\n"
	for _, test := range []struct {
		name, text string
		lacks      []string
		want       []string // of each: FILE:LINE, ! for a fault, and words
	}{
		{"all holds", "profile web { file, audit deny ptrace, network, unix, deny mount, }\n", nil, nil},
		{"a deny that the ABI does not know", abi + "profile web {\n  file,\n  audit deny signal (send) peer=x,\n}\n", nil,
			[]string{`:4! "audit deny signal (send) peer=x" denies nothing: under the ABI that the text names, <abi/1.0> in line 1, ` +
				`there are no such rules; name abi <abi/2.0>,`}},
		{"a deny that only the configured ABI knows", "abi <abi/1.0>,\nprofile web {\n  deny ptrace,\n}\n", nil,
			[]string{`:3! "deny ptrace" denies nothing: under the ABI that the text names, <abi/1.0> in line 1, there are no such rules; ` +
				`take line 1 out`}},
		{"a limit of mounts that an old kernel does not hold against all calls", "profile web {\n  capability,\n  mount fstype=tmpfs,\n  deny mount,\n}\n", nil,
			[]string{`:4 "deny mount" does not hold for the newer mount calls`}},
		{"mounts that are allowed in part", "profile web {\n  capability sys_admin,\n  mount fstype=tmpfs,\n}\n", nil,
			[]string{`:3 "mount fstype=tmpfs" does not hold for the newer mount calls`}},
		{"mounts that are all allowed", "profile web {\n  capability,\n  mount fstype=tmpfs,\n  mount,\n}\n", nil, nil},
		{"mounts without the capability", "profile web {\n  capability,\n  deny capability sys_admin,\n  deny mount,\n}\n", nil, nil},
		{"an audit", abi + "profile web {\n  audit signal,\n}\n", nil, []string{`:3! "audit signal" logs nothing`}},
		{"an allow", abi + "profile web {\n  signal,\n}\n", nil, []string{`:3 "signal" is not needed`}},
		{"in a child", abi + "profile web {\n  profile kid {\n    deny signal,\n  }\n}\n", nil, []string{`:4! "deny signal"`}},
		{"no ABI, and one configured without it", "profile web {\n  deny signal,\n}\n", nil,
			[]string{`:2! "deny signal" denies nothing: the text names no ABI, and under the one that apparmor_parser is configured to take ` +
				`for it there are no such rules; name abi <abi/2.0>,`}},
		{"a deny that the kernel does not know", "abi <abi/2.0>,\nprofile web {\n  deny signal,\n}\n", []string{"signal"},
			[]string{`:3! "deny signal" denies nothing: this kernel does not mediate signals`}},
		{"D-Bus", "abi <abi/2.0>,\nprofile web {\n  deny dbus,\n}\n", nil, []string{`:3! "deny dbus" denies nothing: this kernel does not mediate D-Bus`}},
		{"an address of a unix socket", "abi <abi/2.0>,\nprofile web {\n  unix (connect) peer=(addr=\"@x\"),\n}\n", nil,
			[]string{`:3 "unix (connect) peer=(addr=@x)" allows more than it says`}},
		{"a denied address of a unix socket", "abi <abi/2.0>,\nprofile web {\n  network,\n  deny unix (connect) peer=(addr=\"@x\"),\n}\n", nil,
			[]string{`:4! "deny unix (connect) peer=(addr=@x)" denies nothing: this kernel does not tell addresses of unix sockets`, "write deny network unix"}},
		{"a denied address where nothing allows unix sockets",
			"abi <abi/2.0>,\nprofile web {\n  network inet,\n  deny unix (connect) peer=(addr=\"@x\"),\n}\n", nil, nil},
		{"one of another type", "abi <abi/2.0>,\nprofile web {\n  unix type=dgram,\n  deny unix type=stream,\n}\n", nil, nil},
		{"what the parser warns of and compiles", "abi <abi/2.0>,\nprofile web {\n  network,\n  deny network raw,\n  deny network unix stream,\n}\n", nil, nil},
		{"AppArmor's own, that allows", "abi <abi/2.0>,\nprofile web {\n  include <abstractions/dbus>\n}\n", nil, nil},
		{"the author's, among AppArmor's own", abi + "profile web {\n  include <abstractions/audited>\n}\n", nil,
			[]string{`abstractions/audited:1! "audit deny signal peer=audited" denies nothing`}},
		{"AppArmor's own, that denies", "abi <abi/2.0>,\nprofile web {\n  include <abstractions/exo-open>\n}\n", nil,
			[]string{`abstractions/exo-open:1 "deny dbus send bus=session path=/org/gtk/vfs/mounttracker" denies nothing`}},
		{"its rule in another file, too", "abi <abi/2.0>,\nprofile web {\n  include <abstractions/exo-open>\n  include <abstractions/z>\n}\n", nil,
			[]string{`abstractions/z:1! "deny dbus send bus`}},
		{"the author's, among AppArmor's own and elsewhere", "abi <abi/2.0>,\n$t = true\nprofile web {\n  include <abstractions/branch>\n  include <local/branch>\n}\n", nil,
			[]string{`local/branch:2! "deny dbus"`}},
		{"the author's, in another file", abi + "profile web {\n  include <local/web>\n}\n", nil, []string{`local/web:3! "deny signal peer=x" denies nothing`}},
		{"the administrator's, among AppArmor's own", "abi <abi/2.0>,\nprofile web {\n  dbus,\n  include <abstractions/a.d/own>\n}\n", nil,
			[]string{`:3 "dbus" is not needed`, `abstractions/a.d/own:1! "deny dbus" denies nothing`}},
		{"in a branch that is not taken", "abi <abi/2.0>,\n$t = false\nprofile web {\n  if $t {\n    deny dbus,\n  }\n}\n", nil, nil},
		{"in one that is taken", "abi <abi/2.0>,\n$t = true\nprofile web {\n  if $t {\n    deny dbus,\n  } else {\n    deny dbus,\n  }\n}\n", nil,
			[]string{`:5! "deny dbus" denies nothing`}},
		{"in the other", "abi <abi/2.0>,\n$t = false\nprofile web {\n  if $t {\n    deny dbus,\n  } else {\n    deny dbus,\n    deny dbus bus=system,\n  }\n}\n", nil,
			[]string{`:7! "deny dbus" denies nothing`, `:8! "deny dbus bus=system" denies nothing`}},
		{"in a branch of an included file that is not taken", "abi <abi/2.0>,\n$t = false\nprofile web {\n  include <local/branch>\n}\n", nil, nil},
		{"in one that is taken there", "abi <abi/2.0>,\n$t = true\nprofile web {\n  include <local/branch>\n}\n", nil,
			[]string{`local/branch:2! "deny dbus" denies nothing`}},
		{"after an escaped quote", "abi <abi/2.0>,\nprofile web {\n  include <local/none>\n  deny \"/a\\\"b\" w,\n  audit deny dbus,\n}\n", nil,
			[]string{`:5! "audit deny dbus" denies nothing`}},
		{"after a brace in brackets", "abi <abi/2.0>,\nprofile web {\n  deny /foo[{] w, audit deny dbus,\n}\n", nil,
			[]string{`:3! "audit deny dbus" denies nothing`}},
		{"after a bracket that nothing closes", "abi <abi/2.0>,\nprofile web {\n  deny /foo(bar w,\n  audit deny dbus,\n  deny /foo[(\\{] w, deny dbus,\n}\n", nil,
			[]string{`:4! "audit deny dbus" denies nothing`, `:5! "deny dbus" denies nothing`}},
		{"without a blank", "abi <abi/2.0>,\nprofile web {deny dbus(send),}\n", nil, []string{`:2! "deny dbus (send)" denies nothing`}},
		{"a denied change of the profile", "abi <abi/2.0>,\nprofile web {\n  change_profile -> a,\n  deny change_profile -> b,\n}\n", nil, nil},
		{"an audited change of the profile", "abi <abi/2.0>,\nprofile web {\n  change_profile -> a,\n  audit change_profile -> b,\n}\n", nil,
			[]string{`:4! "audit change_profile -> b" logs nothing`}},
		{"a rule without end", abi + "profile web {\n  deny signal peer=" + strings.Repeat("x", 1000) + ",\n}\n", nil,
			[]string{strings.Repeat("x", 100) + `..." denies nothing: `}},
		{"what leaves its confinement", "abi <abi/2.0>,\nprofile web {\n  /x ux,\n}\n", nil, []string{":3 what is executed as /x runs without any confinement"}},
		{"what does in another file", "abi <abi/2.0>,\nprofile web {\n  include <local/leave>\n}\n", nil,
			[]string{"local/leave:2 what is executed as /usr/bin/x runs without", "local/leave:5 what is executed as /y runs without"}},
		{"what does in an abstraction", "abi <abi/2.0>,\nprofile web {\n  include <abstractions/leave>\n}\n", nil,
			[]string{"abstractions/leave:2 a process may change its profile to unconfined"}},
		{"what else the parser says", "abi <abi/2.0>,\nprofile web {\n  set rlimit cpu <= 5,\n}\n", nil, []string{":3 RLIMIT 'cpu'"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newCompiler(t, test.lacks...)
			if err := os.WriteFile(c.Conf, []byte("policy-features="+c.Base+"/configured\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			blob, err := c.CompileText(t.Context(), "web", []byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range Check(t.Context(), c, []byte(test.text), blob, nil) {
				fault := map[bool]string{true: "!"}[w.Fault]
				got = append(got, fmt.Sprintf("%s:%d%s %s", strings.TrimPrefix(strings.TrimPrefix(w.File, c.Base), "/"), w.Line, fault, w.Message))
			}
			all := strings.Join(got, "\n")
			found := 0
			for _, want := range test.want {
				if !strings.Contains(all, want) {
					t.Errorf("does not say %q", want)
				}
				if strings.Contains(want, ":") {
					found++
				}
			}
			if len(got) != found {
				t.Errorf("%d findings, want %d", len(got), found)
			}
			if t.Failed() {
				t.Log(all)
			}
		})
	}
}

// What the parser says of a kind of rules is said of that kind in all of its forms (parser/*.cc, 3.0 to 5.0).
func TestClassOf(t *testing.T) {
	for message, want := range map[string]string{
		"profile web network rules not enforced":                                          "network",
		"profile a b network rules not enforced":                                          "network",
		"network rules not enforced":                                                      "network",
		"extended network unix socket rules not enforced":                                 "unix",
		"mount rules not enforce":                                                         "mount",
		"mqueue type=posix rules not enforced":                                            "mqueue",
		"deny unix socket rule not enforced, can't be downgraded to generic network rule": "unix",
		"RLIMIT 'cpu' no units specified using default units":                             "",
	} {
		if got := classOf(message); got != want {
			t.Errorf("%q: %q, want %q", message, got, want)
		}
	}
}

// What the parser leaves out and nobody finds in the text may be a rule that denies, whatever the text includes.
func TestCheckOfWhatIsNotSeen(t *testing.T) {
	c := newCompiler(t)
	for text, faults := range map[string]int{
		"profile web { file, include <local/none>\n}\n":            1,
		"profile web { file, include <abstractions/audited>\n}\n":  1,
		"profile web { file, }\n":                                  1,
		"profile web { dbus, }\n":                                  0,
		"profile web { file, include <abstractions/dbus>\n}\n":     0,
		"$t = false\nprofile web { file, if $t { deny dbus, } }\n": 1,
	} {
		blob, err := c.CompileText(t.Context(), "web", []byte("abi <abi/2.0>,\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		blob.Warnings = []profile.Warning{{Profile: "web", Message: "dbus rules not enforced"}}
		found := 0
		for _, w := range Check(t.Context(), c, []byte("abi <abi/2.0>,\n"+text), blob, nil) {
			if w.Fault {
				found++
				if w.Line != 0 || w.Profile != "web" || !strings.Contains(w.Message, `"dbus rules not enforced"`) ||
					!strings.Contains(w.Message, "this kernel does not mediate D-Bus") {
					t.Errorf("%q: %+v", text, w)
				}
			}
		}
		if found != faults {
			t.Errorf("%q: %d faults, want %d", text, found, faults)
		}
	}
}

// What would make a rule about an address of a unix socket hold is an ABI, a newer parser or another kernel.
func TestCheckOfUnixAddresses(t *testing.T) {
	const unix = " {af_unix {yes\n}\n}\n"
	for _, test := range []struct{ name, kernel, abi, want string }{
		{"Ubuntu's kernel, and an ABI without them", "network" + unix, "abi/2.0", "under the ABI that the text names, <abi/2.0> in line 1, there are " +
			"no such rules; name abi <abi/unix>,"},
		{"Ubuntu's kernel, and its ABI", "network" + unix, "kernel", ""},
		{"Linux 7.2, and a parser before 5.0", "network_v9" + unix, "abi/2.0", "that takes version 5.0 or later"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCompiler(t)
			// The parser finds network/af_unix only ahead of network_v8, where the kernel has it.
			of := profiletest.Compiler(t, append([]byte(test.kernel), profiletest.Features()...))
			of.Base, of.Conf = c.Base, c.Conf
			abi, err := os.ReadFile(c.Base + "/abi/2.0")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(c.Base+"/abi/unix", append([]byte(test.kernel), abi...), 0o644); err != nil {
				t.Fatal(err)
			}
			if test.abi == "kernel" {
				test.abi = "abi/unix"
			}
			if version, err := of.Version(t.Context()); err != nil || strings.Contains(test.want, "5.0") && version >= "5" {
				t.Skipf("apparmor_parser %s compiles them (%v)", version, err)
			}
			text := []byte("abi <" + test.abi + ">,\nprofile web {\n  network, unix,\n  deny unix (connect) peer=(addr=\"@x\"),\n}\n")
			blob, err := of.CompileText(t.Context(), "web", text)
			if err != nil {
				t.Fatal(err)
			}
			said := ""
			for _, w := range Check(t.Context(), of, text, blob, nil) {
				if strings.Contains(w.Message, "denies nothing") {
					said += w.Message + "\n"
				}
			}
			if test.want == "" && said != "" || !strings.Contains(said, test.want) {
				t.Errorf("%q, want %q in it", said, test.want)
			}
		})
	}
}

// Rules about D-Bus hold on a kernel that has it, but for one that takes them only of profiles with rules of version 9.
func TestCheckOfDBus(t *testing.T) {
	const dbus = "dbus {mask {acquire send receive\n}\n}\n"
	for _, test := range []struct {
		name, kernel, want string
	}{
		{"Ubuntu's kernel", dbus, ""},
		{"Linux 7.2", dbus + "network_v9 {af_mask {unix inet\n}\n}\n", "whose network rules are of version 9"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCompiler(t)
			abi, err := os.ReadFile(c.Base + "/abi/2.0")
			if err != nil {
				t.Fatal(err)
			}
			of := profiletest.Compiler(t, append(profiletest.Features(), test.kernel...))
			of.Base, of.Conf = c.Base, c.Conf
			if err := os.WriteFile(c.Base+"/abi/2.0", append(abi, dbus...), 0o644); err != nil {
				t.Fatal(err)
			}
			for _, rule := range []string{"audit deny dbus,", "include <abstractions/branch>"} {
				text := []byte("abi <abi/2.0>,\nprofile web {\n  file,\n  " + rule + "\n}\n")
				blob, err := of.CompileText(t.Context(), "web", text)
				if err != nil {
					t.Fatal(err)
				}
				var said string
				for _, w := range Check(t.Context(), of, text, blob, nil) {
					said += w.Message + "\n"
				}
				if test.want == "" && said != "" || !strings.Contains(said, test.want) {
					t.Errorf("%q: %q, want %q in it", rule, said, test.want)
				}
			}
		})
	}
}

// A kernel that mediates the newer mount calls says so by a feature, and needs no warning.
func TestALimitOfMountsHoldsOnANewKernel(t *testing.T) {
	features := strings.Replace(string(profiletest.Features()), "\nmount {", "\nmount {move_mount {detached\n}\n", 1)
	c := profiletest.Compiler(t, []byte(features))
	if !c.Supports(profile.NewMountFeature) {
		t.Fatal("the features were not changed")
	}
	text := []byte("profile web {\n  capability,\n  deny mount,\n}\n")
	blob, err := c.CompileText(t.Context(), "web", text)
	if err != nil {
		t.Fatal(err)
	}
	if got := Check(t.Context(), c, text, blob, nil); len(got) > 0 {
		t.Errorf("%+v", got)
	}
}
