package lint

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/why"
)

// files are what texts include here: what matters of AppArmor's own.
var files = map[string]string{
	"tunables/global": "@{PROC}=/proc/\n@{run}=/run/ /var/run/\n@{HOME}=@{HOMEDIRS}/*/\n@{HOMEDIRS}=/home/\n",
	"abstractions/base": `  abi <abi/3.0>,
  @{run}/systemd/journal/socket w,
  /dev/null rw,
  /lib{,32,64}/** r,
  /usr/lib{,32,64}/** mr,
  ptrace (readby),
  ptrace (tracedby),
  ptrace (read) peer=@{profile_name},
  signal (receive) peer=unconfined,
  signal peer=@{profile_name},
  signal (receive, send) set=("exists"),
`,
}

// read compiles a text with the machine's parser, for a kernel that has what the features of profile's tests say.
func read(t testing.TB, text string) *why.Text {
	t.Helper()
	r := why.Reader{Compiler: profiletest.Including(t, profiletest.Features(), files)}
	read, err := r.Read(t.Context(), "text", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return read
}

func compile(t testing.TB, text string) []*meaning.Profile { return read(t, text).Profiles() }

// judged returns the warnings about a text of which all is known.
func judged(t testing.TB, text string) (warnings []Warning, partial bool) {
	t.Helper()
	warnings, partial, err := Text(t.Context(), text, Options{Rules: read(t, text)})
	if err != nil {
		t.Fatal(err)
	}
	return warnings, partial
}

func checksOf(warnings []Warning) string {
	var all []string
	for _, w := range warnings {
		all = append(all, fmt.Sprintf("%s:%d", w.Check, w.Line))
	}
	return strings.Join(all, " ")
}

// Every fault that the profile of Docker's page was seen to have is found by itself.
func TestPage(t *testing.T) {
	text, err := os.ReadFile("../../../integration/testdata/docker-nginx")
	if err != nil {
		t.Fatal(err)
	}
	warnings, partial := judged(t, string(text))
	const want = "abi:0 peers:4 peers:4 peers:4 ping:11 silent:11 dev-null:20 usr-merge:42 usr-merge:43 busybox:43 " +
		"matches-nothing:59 matches-nothing:60"
	if got := checksOf(warnings); got != want || partial {
		t.Errorf("found  %s\nwant   %s\npartial %v", got, want, partial)
	}
	for _, w := range warnings {
		if Checks()[w.Check] == "" || strings.Contains(w.Message, "\n") || len(w.Message) > 400 {
			t.Errorf("%+v", w)
		}
	}
}

// What we generate ourselves is without fault, but for its deny rules being as silent as moby's.
func TestTemplate(t *testing.T) {
	base := t.TempDir()
	for _, name := range []string{"abi/3.0", "tunables/global", "abstractions/base"} {
		os.MkdirAll(base+"/"+name[:strings.IndexByte(name, '/')], 0o755)
		if err := os.WriteFile(base+"/"+name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range []templates.Target{{Base: base}, {Base: base + "/none"}} {
		text, err := templates.Text("docker-default", "docker-default", node)
		if err != nil {
			t.Fatal(err)
		}
		warnings, _ := judged(t, string(text))
		warnings = slices.DeleteFunc(warnings, func(w Warning) bool {
			return w.Check == "silent" || w.Check == "abi" && node.Base != base
		})
		if len(warnings) > 0 {
			t.Errorf("%+v", warnings)
		}
	}
}

// sound has nothing to warn of, with rules in its place.
func sound(rules string) string {
	return "abi <abi/3.0>,\ninclude <tunables/global>\nprofile web flags=(attach_disconnected) {\ninclude <abstractions/base>\n" +
		"signal, ptrace,\n" + rules + "\n}\n"
}

func TestChecks(t *testing.T) {
	for _, test := range []struct {
		name, text, want string
	}{
		{"nothing", sound("file,"), ""},
		{"on one line", "abi <abi/3.0>, profile web flags=(complain, attach_disconnected) {signal, ptrace, file,}", ""},
		{"no flag", "abi <abi/3.0>,\nprofile web {\n signal, ptrace, file,\n}", "attach-disconnected:2"},
		{"another flag", "abi <abi/3.0>,\nprofile attach_disconnected flags=(no_attach_disconnected) {\n signal, ptrace, file,\n}",
			"attach-disconnected:2"},
		{"the flag in its old form", "abi <abi/3.0>,\nprofile web (attach_disconnected) {\n signal, ptrace, file,\n}", ""},
		{"no ABI", strings.Replace(sound("file,"), "abi <abi/3.0>,", "", 1), "abi:0"},
		{"a child", sound("file,\nprofile kid {\nsignal, ptrace, file,\ndeny /etc w,\n}"),
			"attach-disconnected:7 matches-nothing:9 silent:9"},
		{"a hat, and a rule behind it", sound("^hat flags=(attach_disconnected) { signal, ptrace, file, }\naudit deny /tmp w,"),
			"matches-nothing:7"},

		{"a child that is not there", sound("/srv/x cx -> gone,\n/srv/y Cx,\n/srv/** r,"), "no-child:6 no-child:7"},
		{"a child that is there", sound("/srv/x cx -> kid,\n/srv/kid cx,\nprofile kid /srv/kid flags=(attach_disconnected) { signal, ptrace, file, }"), ""},
		{"a child for some programs", sound("/srv/* cx,\nprofile /srv/kid flags=(attach_disconnected) { signal, ptrace, file, }"), ""},
		{"something else where there is no child", sound("/srv/x cix -> gone,\n/srv/y pix,\n/srv/z px -> other,"), ""},
		{"a child that is not there in a child", sound("profile kid flags=(attach_disconnected) {\nsignal, ptrace,\n/srv/x cx,\n}"), "no-child:8"},
		{"a missing child for what is denied", sound("/srv/x cx -> gone,\naudit deny /srv/x x,"), ""},

		{"peers alone", "abi <abi/3.0>,\nprofile web flags=(attach_disconnected) {\nfile,\n}", "peers:2 peers:2 peers:2"},
		{"peers in stacks", strings.Replace(sound("file,"), "signal, ptrace,", `
signal (receive) peer={unconfined,runc,crun},
signal (send receive) peer="web",
ptrace peer={web,web//&**,**//&web,**//&web//&**},`, 1), "peers:3"},
		{"a star does not cross a slash", strings.Replace(sound("file,"), "signal, ptrace,", `
signal (receive) peer={unconfined,runc,crun},
ptrace,
signal peer={web,web//&**,**//&web,*//&web//&*},`, 1), ""},
		{"a denied peer", sound("file,\nsignal (receive) peer=runc,\ndeny signal (receive) peer=runc,"), "peers:3 silent:8"},

		{"tracing denied on purpose", strings.Replace(sound("file,\naudit deny ptrace,"), "signal, ptrace,", "signal,", 1), ""},
		{"tracing of one denied", strings.Replace(sound("file,\naudit deny ptrace peer=x,"), "signal, ptrace,", "signal,", 1), "peers:3"},
		{"tracing denied in a branch", strings.Replace(sound("file,\nif defined $x {\naudit deny ptrace,\n}"), "signal, ptrace,", "signal,", 1), "peers:3"},

		{"usr-merge", sound("file,\naudit deny /bin/dash x,"), "usr-merge:7"},
		{"usr-merge with another rule", sound("file,\naudit deny /bin/dash x,\naudit deny /usr/bin/d* x,"), "busybox:8"}, // by which dmesg is not
		{"usr-merge of a part", sound("file,\naudit deny /bin/d* x,\naudit deny /usr/bin/dash x,"), "usr-merge:7 busybox:7"},
		{"usr-merge by too many patterns to write out", sound("file,\naudit deny /bin/{a,b,c,d}{a,b,c,d}{a,b,c,d}{a,b,c,d}{a,b,c,d}{a,b,c,d} x,"), "usr-merge:7"},
		{"usr-merge in braces", sound("file,\naudit deny /{usr/,}bin/dash x,"), ""},
		{"usr-merge in braces without it", sound("file,\naudit deny /{,s}bin/** w,"), "usr-merge:7 usr-merge:7"},
		{"usr-merge where all is denied", sound("file,\naudit deny /** w,\naudit deny /bin/** w,"), "dev-null:7"},
		{"usr-merge of what is allowed", sound("/bin/dash ix,"), "usr-merge:6"},
		{"usr-merge of nothing allowed", sound("audit deny /bin/dash x,"), ""},
		{"in an included file", sound(""), ""},

		{"link", sound("file,\naudit deny /var/run/** w,"), "link:7"},
		{"link by a variable", sound("file,\naudit deny @{run}/** w,"), ""},
		{"link to the process", sound("file,\naudit deny @{PROC}/self/mem rw,\naudit deny /dev/fd/* r,"), "link:7 link:8"},

		{"busybox", sound("file,\naudit deny /{usr/,}bin/{ash,dash,top} x,"), "busybox:7"},
		{"busybox denied", sound("file,\naudit deny /{usr/,}bin/{sh,dash,bash,busybox} x,"), ""},
		{"sh without what it is", sound("file,\naudit deny /{usr/,}bin/{sh,busybox} mrwklx,"), "link:7"},
		{"sh without one that it is", sound("file,\naudit deny /{usr/,}bin/{sh,dash,busybox} x,"), "link:7"},
		{"sh where what it is is not allowed", sound("/etc/** r,\naudit deny /{usr/,}bin/{sh,busybox} x,"), ""},
		{"sh may not be written to", sound("file,\naudit deny /{usr/,}bin/sh w,"), ""},
		{"sh, ineffective already", sound("file,\naudit deny /bin/{sh,busybox} x,\naudit deny /usr/bin/busybox x,"), "usr-merge:7"},
		{"busybox not allowed", sound("audit deny /{usr/,}bin/sh x,"), ""},

		{"ping", sound("file,\nnetwork inet udp,\naudit deny network raw,"), "ping:8"},
		{"ping by every network", sound("file,\nnetwork,\naudit deny network inet raw,"), "ping:8"},
		{"ping denied", sound("file,\nnetwork,\naudit deny network raw,\naudit deny /{usr/,}bin/ping* x,"), "busybox:9"},
		{"ping without datagrams", sound("file,\nnetwork inet tcp,\naudit deny network raw,"), ""},
		{"ping and packet sockets", sound("file,\nnetwork,\naudit deny network packet,"), ""},

		{"dev-null", sound("file,\naudit deny /dev/** wl,"), "dev-null:7"},
		{"dev-null left out", sound("file,\naudit deny /dev/{[^n],n[^u]}** wl,"), ""},

		{"silent", sound("file,\ndeny /x w,\ndeny capability,\naudit deny /y w,"), "silent:7"},

		{"a caret", sound("file,\naudit deny @{PROC}/{*,**^[0-9*]} w,"), "matches-nothing:7"},
		{"a class", sound("file,\naudit deny @{PROC}/{[^1-9],[^1-9]\\^*}/** w,"), ""},
		{"no such file", sound("file,\naudit deny @{PROC}/kmem rwklx,"), "matches-nothing:7"},
		{"a directory", sound("file,\naudit deny /etc/ w,\naudit deny /srv w,\naudit deny /srv/ r,"), "matches-nothing:8"},

		{"permissions first", sound("file,\naudit deny w /bin/dash,"), "usr-merge:7"},
		{"quoted", sound("file,\naudit deny file \"/bin/a b\" w,"), "usr-merge:7"},
		{"a comma within", sound("file,\naudit deny /bin/a{b,c}[,] w, # deny /bin/x w,"), "usr-merge:7"},
		{"over lines", sound("file,\naudit deny\n /bin/dash\n w,"), "usr-merge:7"},
		{"a variable of its own", "@{d} = /bin /sbin\n" + sound("file,\naudit deny @{d}/x w,"), "usr-merge:8 usr-merge:8"},
		{"a variable with an open bracket", "@{u16}={[1-9],[1-9][@{d}}\n" + sound("file,\naudit deny /bin/dash x,"), "usr-merge:8"},
		{"a list over lines", strings.Replace(sound("file,\naudit deny /bin/dash x,"), "signal,", "signal (send,\n receive),", 1),
			"usr-merge:8"},
		{"a directory's own path", sound("file,\naudit deny /srv/keep/ w,"), ""},
		{"qualifiers of a block", sound("file,\naudit {\ndeny /etc/** w,\ndeny /bin/y w,\n}\nowner {\n/home/** rw,\n}\nallow {\n/x r,\n}\n" +
			"audit deny /bin/a w,"), "usr-merge:9 usr-merge:17"},
		{"a branch that is not taken", sound("file,\nif defined $x {\naudit deny /bin/x w,\ndeny /y w,\n}\naudit deny /bin/y w,"), "usr-merge:11"},
		{"a branch that is taken", "$x = true\n" + sound("file,\nif defined $x {\naudit deny /bin/x w,\n}\naudit deny /bin/y w,"), "usr-merge:9 usr-merge:11"},
		{"the other branch", "$x = false\n" + sound("file,\nif $x {\naudit deny /bin/x w,\n} else {\naudit deny /bin/z w,\n}"), "usr-merge:11"},
		{"a defined variable", "@{x}=a\n" + sound("file,\nif defined @{x} {\ndeny /y w,\n} else {\ndeny /z w,\n}"), "silent:9"},
		{"a comma in a variable", "@{x}=a,b\n" + sound("file,\naudit deny /srv/@{x}/y w,\naudit deny /bin/y w,"), "usr-merge:9"},
		{"an alias", "alias /usr/ -> /mnt/usr/,\n" + sound("file,\naudit deny /bin/y w,"), "usr-merge:8"},
		{"some signals", strings.Replace(sound("file,"), "signal, ptrace,", "signal (send,receive) set=(term,kill,exists), ptrace,", 1), "peers:3"},
		{"all signals by name", strings.Replace(sound("file,"), "signal, ptrace,", "signal set=(hup int quit ill trap abrt bus fpe kill usr1 segv "+
			"usr2 pipe alrm term stkflt chld cont stop stp ttin ttou urg xcpu xfsz vtalrm prof winch io pwr sys), ptrace,", 1), ""},
		{"complain mode denies nobody", "abi <abi/3.0>,\nprofile web flags=(attach_disconnected, complain) {\n}", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			warnings, partial := judged(t, test.text)
			if got := checksOf(warnings); got != test.want || partial {
				t.Errorf("%s, partial %v, want %s\n%s\n%+v", got, partial, test.want, test.text, warnings)
			}
		})
	}
}

// A kind of rules that older parsers do not know, by what version 4.1.8 makes of it.
func TestNewerParsers(t *testing.T) {
	for name, want := range map[string]string{"all": ""} {
		text, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		blob, err := os.ReadFile("testdata/" + name + ".blob")
		if err != nil {
			t.Fatal(err)
		}
		compiled, err := meaning.Read(blob)
		if err != nil {
			t.Fatal(err)
		}
		warnings, partial, _ := Text(t.Context(), string(text), Options{Compiled: compiled})
		if got := checksOf(warnings); got != want || partial {
			t.Errorf("%s: %s, partial %v, want %s", name, got, partial, want)
		}
	}
}

// Without what was compiled, what the text shows by itself is judged.
func TestTextAlone(t *testing.T) {
	text := strings.Replace(sound("file,\naudit deny /bin/dash x,\ndeny /y w,\naudit deny /proc/kmem rw,\nif $x {\ndeny capability,\n}\n"+
		"deny {\n/z w,\nsignal,\n}\naudit deny { /a w, }\npriority=2 audit { deny /b w, /c r, }"), "abi <abi/3.0>,", "", 1)
	warnings, _, _ := Text(t.Context(), text, Options{})
	if got := checksOf(warnings); got != "abi:0 silent:8 matches-nothing:9" || !strings.HasPrefix(warnings[1].Message, "3 deny rules") {
		t.Errorf("%s, %+v", got, warnings)
	}
}

// Without the rules what depends on them is not judged, and that is told where there may be more of them.
func TestPartial(t *testing.T) {
	text := strings.Replace(sound("file,\naudit deny /bin/dash x,"), "signal, ptrace,", "", 1)
	warnings, partial, _ := Text(t.Context(), text, Options{Compiled: compile(t, text)})
	if got := checksOf(warnings); got != "peers:3 peers:3 peers:3" || !partial {
		t.Errorf("%s, partial %v", got, partial)
	}
	if _, partial, _ := Text(t.Context(), "profile web {}", Options{}); partial {
		t.Error("of a text that includes nothing")
	}
}

func FuzzText(f *testing.F) {
	page, err := os.ReadFile("../../../integration/testdata/docker-nginx")
	if err != nil {
		f.Fatal(err)
	}
	c := profiletest.Compiler(f, profiletest.Features())
	c.Base = f.TempDir()
	r := why.Reader{Compiler: c}
	f.Add(string(page))
	f.Add(sound("file,\ndeny @{a}/{b,{c,d}[^x]\\} w,"))
	f.Add("@{a}=@{a}@{a}\nprofile x {\n@{a} r,")
	f.Add("@{a}=[[[{{{((\nprofile x { deny /x w, }")
	f.Add("profile x { file, deny /{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b} w, /bin/x ix, deny ptrace, }")
	f.Fuzz(func(t *testing.T, text string) {
		options := Options{}
		if !strings.Contains(text, "include") {
			options.Rules, _ = r.Read(t.Context(), "text", []byte(text))
		}
		warnings, _, _ := Text(t.Context(), text, options)
		lines := 1 + strings.Count(text, "\n")
		for _, w := range warnings {
			if w.Line < 0 || w.Line > lines || strings.ContainsFunc(w.Message, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("%+q: %+v", text, w)
			}
		}
	})
}

// A rule by which what runs leaves its confinement is found by what was compiled, wherever it stands.
func TestLeaving(t *testing.T) {
	for _, test := range []struct {
		rules string
		found bool
	}{
		{"/x ux,", true}, {"/x Ux,", true}, {"/x pux,", true}, {"/x rPUx,", true}, {"/x cux,", true}, {"file /x CUx,", true},
		{"ux /x,", true}, {"/x ix,", false}, {"/x Px,", false}, {"/x Cx -> kid,", false}, {"deny /x x,", false}, {"/ux r,", false},
		{"/x px -> unconfined,", true}, {"file /x Px -> unconfined,", true}, {"/x px -> other,", false}, {"/x pux -> other,", true},
		{"/x cx -> unconfined,", false}, {"/x pix -> other,", false},
		{"change_profile,", true}, {"change_profile -> unconfined,", true}, {"change_profile -> {a,unconfined},", true},
		{"change_profile -> **,", true}, {"change_profile /x -> un*,", true}, {"change_profile unsafe /x -> unconfined,", true},
		{"change_profile -> web2,", false}, {"deny change_profile,", false}, {"if $no { /x ux, }", false},
		{"change_profile -> **, deny change_profile -> unconfined,", false},
	} {
		t.Run(test.rules, func(t *testing.T) {
			text := "$no = false\n" + sound("file,\n"+test.rules)
			rules := read(t, text)
			found := Leaving(t.Context(), rules.Profiles(), rules)
			for _, w := range found {
				if w.Check != "unconfined" || w.Line != 8 || w.Profile != "web" || w.File != "" {
					t.Errorf("%+v", w)
				}
			}
			if len(found) > 1 || (len(found) == 1) != test.found {
				t.Errorf("%d warnings", len(found))
			}
			if found = Leaving(t.Context(), rules.Profiles(), nil); len(found) > 1 || (len(found) == 1) != test.found {
				t.Errorf("without its text: %+v", found)
			}
		})
	}
}
