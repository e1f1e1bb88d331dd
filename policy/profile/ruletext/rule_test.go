package ruletext

import (
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// uuid returns the pattern of a UUID whose digits have a pattern.
func uuid(digit string) string {
	var parts []string
	for _, n := range []int{8, 4, 4, 4, 12} {
		parts = append(parts, strings.Repeat(digit, n))
	}
	return strings.Join(parts, "-")
}

// What differs from one run to the next is open, and a name that somebody chose is not.
func TestWiden(t *testing.T) {
	text := syntax.Read("@{PROC}=/proc/\n@{pid}=[0-9]*\n@{tid}=[0-9]*\n@{HOME}=/home/*/ " + RootsHome + "/\n")
	for path, want := range map[string]string{
		"/srv/x":                  "",
		"x":                       "",
		"/":                       "",
		"/proc/":                  "",
		"/proc/sys/kernel/x":      "",
		"/proc/self-made":         "",
		"/proc/7/status":          "@{PROC}/@{pid}/status",
		"/proc/7/fd/3":            "@{PROC}/@{pid}/fd/[0-9]*",
		"/proc/7/task/8/fdinfo/9": "@{PROC}/@{pid}/task/@{tid}/fdinfo/[0-9]*",
		"/proc/7/task/8/net/9":    "@{PROC}/@{pid}/task/@{tid}/net/9",
		RootsHome + "/x":          "@{HOME}/x",
		"/home/me/x":              "@{HOME}/x",
		"/home/me":                "",
		"/srv/#131242":            "/srv/#[0-9]*",
		"/srv/#13124x":            "",
		"/srv/0123456789abcdef0123456789abcdef/f":   "/srv/" + strings.Repeat("[0-9a-f]", 32) + "/f",
		"/srv/0123456789ABCDEF0123456789ABCDEF/f":   "/srv/" + strings.Repeat("[0-9A-F]", 32) + "/f",
		"/srv/0123456789abcdef0123456789ABCDEF/f":   "",
		"/srv/0000000100000001":                     "/srv/" + strings.Repeat("[0-9A-Fa-f]", 16), // which letters will come, nobody knows
		"/srv/12345678-1234-1234-1234-123456789ABC": "/srv/" + uuid("[0-9A-F]"),
		"/srv/12345678-1234-1234-1234-123456789abc": "/srv/" + uuid("[0-9a-f]"),
		"/srv/12345678-1234-1234-1234-123456789Abc": "/srv/" + uuid("[0-9A-Fa-f]"),
		"/srv/12345678-1234-1234-1234-123456789.d":  "",
		"/x/snapshots/12/fs":                        "/x/snapshots/[0-9]*/fs",
		"/x/body/0000000001":                        "/x/body/" + strings.Repeat("[0-9]", 10),
		"/x/body/2024":                              "",
		"/srv/sessAbC1eF":                           "",
		"/tmp/sessAbC1eF":                           "/tmp/sess??????",
		"/tmp/d/sess_AbC1eF.sock":                   "/tmp/d/sess_??????.sock",
		"/dev/shm/tmp.aB3dE6gH9j":                   "/dev/shm/tmp.??????????",
		"/var/tmp/tmpab1_defg":                      "/var/tmp/tmp????????",
		"/tmp/go-build123456789/x.go":               "/tmp/go-build[0-9]*/x.go",
		"/tmp/x-123456789.go":                       "/tmp/x-[0-9]*.go",
		"/tmp/AbC1eF":                               "", // all names of that length would be open
		"/tmp/BACKUP":                               "",
		"/tmp/settings":                             "",
		"/tmp/theScript":                            "",
		"/tmp/app.sock":                             "",
		"/tmp/image001.png":                         "",
	} {
		pattern, notes := Widen(path, true, text)
		if want == "" && len(notes) > 0 || want != "" && (pattern != want || len(notes) == 0) {
			t.Errorf("%s: %s (%v), want %s", path, pattern, notes, want)
		}
	}
}

// However many ids a path has, the parser takes the rule, and in a moment: nested ids of 64 digits have classes of digits twice.
func TestPatternsOfIDsStayShort(t *testing.T) {
	id, hexadecimal := strings.Repeat("0a", 32), strings.Repeat("[0-9a-f]", 64)
	pattern, notes := Widen("/"+id+"/"+id+"/"+id+"/x", false, syntax.Read(""))
	if want := "/" + hexadecimal + "/" + hexadecimal + "/" + strings.Repeat("?", 64) + "/x"; pattern != want {
		t.Errorf("%s, want %s", pattern, want)
	}
	if want := "64 hexadecimal digits for " + id; len(notes) != 3 || notes[0] != want || notes[2] != want {
		t.Errorf("%q, want %q", notes, want)
	}
	c := profiletest.Compiler(t, profiletest.Features())
	for _, name := range []string{id, "1234567"} {
		const longest = 4095 // of a path (PATH_MAX)
		path := strings.Repeat("/"+name, longest/(len(name)+1))
		rule := Style{}.Rules(meaning.FileAccess{Path: path, Want: meaning.MayRead}, false)[0][0].Text(Style{})
		blob, err := c.CompileText(t.Context(), "x", []byte("profile x {\n  "+rule+"\n}\n"))
		if err != nil {
			t.Errorf("%s...: %v", rule[:40], err)
			continue
		}
		all, err := meaning.ReadFor(blob.Data, c)
		if err != nil || !all[0].Decide(meaning.FileAccess{Path: path, Want: meaning.MayRead}).Allowed {
			t.Errorf("%s... does not allow what it is for: %v", rule[:40], err)
		}
	}
}

// What is executed is named, however its name was chosen.
func TestProgramsAreNeverWidened(t *testing.T) {
	for _, path := range []string{"/usr/local/bin/0123456789abcdef0123456789abcdef", "/tmp/tmp.aB3dE6gH9j", "/x/1234567", "/tmp/go-build123456789/x"} {
		if _, notes := Widen(path, false, syntax.Read("")); len(notes) == 0 {
			t.Errorf("%s: nothing is open where it is read", path)
		}
		rules := Style{}.Rules(meaning.ExecAccess{Path: path}, false)
		if want := path + " ix,"; len(rules) != 1 || rules[0][0].Text(Style{}) != want {
			t.Errorf("%+v, want %s", rules, want)
		}
	}
}

// One rule stands for two only where it says no more than they do.
func TestRulesJoin(t *testing.T) {
	of := func(a meaning.Access) Rule { return Style{}.Rules(a, true)[0][0] }
	signal := func(want uint32, s meaning.Signal) meaning.Access {
		return meaning.SignalAccess{Want: want, Signal: s, Peer: "q"}
	}
	const send, receive = meaning.MayWrite, meaning.MayRead
	for _, test := range []struct {
		a, b meaning.Access
		want string // empty if they do not join
	}{
		{signal(send, meaning.SIGTERM), signal(send, 1), "signal (send) set=(hup, term) peer=q,"},
		{signal(send, meaning.SIGTERM), signal(receive, meaning.SIGTERM), "signal (send, receive) set=(term) peer=q,"},
		{signal(send, meaning.SIGTERM), signal(receive, 1), ""},
		{signal(send, meaning.SIGTERM), signal(send, 0), "signal (send) peer=q,"},
		{signal(send, 0), signal(receive, meaning.SIGTERM), ""},
		{meaning.PtraceAccess{Want: send, Peer: "q"}, meaning.PtraceAccess{Want: receive, Peer: "q"}, "ptrace (trace, read) peer=q,"},
		{meaning.PtraceAccess{Want: send, Peer: "q"}, meaning.PtraceAccess{Want: send, Peer: "p"}, ""},
		{meaning.FileAccess{Path: "/x", Want: meaning.MayAppend}, meaning.ExecAccess{Path: "/x"}, "/x aix,"},
		{meaning.FileAccess{Path: "/x", Want: meaning.MayAppend}, meaning.FileAccess{Path: "/x", Want: meaning.MayWrite}, "/x w,"},
		{meaning.FileAccess{Path: "/x", Want: send}, meaning.FileAccess{Path: "/x", Want: send, Owner: true}, ""},
		{meaning.UsernsAccess{}, meaning.FileAccess{Path: "/x", Want: send}, ""},
	} {
		for _, pair := range [][2]Rule{{of(test.a), of(test.b)}, {of(test.b), of(test.a)}} {
			got := ""
			if pair[0].Joins(pair[1]) {
				got = pair[0].Join(pair[1]).Text(Style{})
			}
			if got != test.want {
				t.Errorf("%v and %v: %q, want %q", test.a, test.b, got, test.want)
			}
		}
	}
}

// Where the kernel decides about unix sockets by their addresses, a rule says these, but for paths, about which rules about
// files decide.
func TestRulesForAddresses(t *testing.T) {
	const stream = 1
	for _, test := range []struct {
		access meaning.UnixAccess
		want   string
	}{
		{meaning.UnixAccess{Type: stream, Want: meaning.MayCreate}, "unix (create) type=stream,"},
		{meaning.UnixAccess{Type: stream, Want: meaning.MayBind, Address: "@a b"}, `unix (bind) type=stream addr="@a b",`},
		{meaning.UnixAccess{Type: stream, Want: meaning.MayConnect | meaning.MaySend, Peer: "q", PeerAddress: "@srv"},
			"unix (connect, send) type=stream addr=none peer=(label=q, addr=@srv),"},
		{meaning.UnixAccess{Type: stream, Want: meaning.MayConnect, Peer: "q", PeerAddress: "/run/s"}, "unix (connect) type=stream addr=none peer=(label=q),"},
	} {
		candidates := Style{Addressed: true, Permitted: true}.Rules(test.access, true)
		if got := candidates[0][0].Text(Style{}); got != test.want {
			t.Errorf("%+v: %s, want %s", test.access, got, test.want)
		}
	}
}
