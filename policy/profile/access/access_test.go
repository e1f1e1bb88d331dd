package access_test

import (
	"strings"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// asked is profiles that patterns are asked of.
const asked = `abi <abi/3.0>,
profile files {
  /srv/** r,
  /srv/www/** rw,
  owner /home/*/** rwk,
  deny /home/*/.ssh/** wl,
  /var/log/*.log a,
  /usr/lib/** mr,
  /links/a* l,
  /links/x* rw,
  link /links/x* -> /srv/www/*,
  /usr/bin/* ix,
  /usr/bin/free ux,
  /usr/bin/other Px,
  /usr/bin/named px -> elsewhere,
  /usr/bin/kid cx -> kid,
  /usr/bin/perhaps pux,
  deny /usr/bin/never x,
  capability chown,
  capability wake_alarm,
  profile kid { }
}
profile all { file, capability, }
profile learns flags=(complain) { deny /etc/** w, }
profile free flags=(unconfined) { }
`

func profiles(t testing.TB, text string) map[string]*meaning.Profile {
	t.Helper()
	all, err := meaning.Read(profiletest.Several(t, text))
	if err != nil {
		t.Fatal(err)
	}
	named := make(map[string]*meaning.Profile)
	for _, p := range all {
		named[p.Name] = p
	}
	return named
}

func stack(t testing.TB, p map[string]*meaning.Profile, names string) (s meaning.Stack) {
	t.Helper()
	for _, name := range strings.Fields(names) {
		if p[name] == nil {
			t.Fatalf("no profile %s", name)
		}
		s = append(s, p[name])
	}
	return s
}

// A verdict is what a pattern says of a stack: the shortest accesses that are allowed and that are denied, if any are.
type verdict struct{ stack, pattern, allowed, denied string }

func (v verdict) check(t *testing.T, p map[string]*meaning.Profile) {
	t.Helper()
	pattern, err := Parse(v.pattern)
	if err != nil {
		t.Error(err)
		return
	}
	s := stack(t, p, v.stack)
	for _, test := range []struct {
		name, want string
		find       func(meaning.Stack) (meaning.Access, bool, error)
	}{{"allowed", v.allowed, pattern.Allowed}, {"denied", v.denied, pattern.Denied}} {
		witness, found, err := test.find(s)
		got := ""
		if found {
			got = Format(witness)
			if s.Decide(witness).Allowed != (test.name == "allowed") {
				t.Errorf("%s: %q is not %s", v.stack, got, test.name)
			}
		}
		if err != nil || got != test.want {
			t.Errorf("%s: of %q is %s %q, want %q: %v", v.stack, v.pattern, test.name, got, test.want, err)
		}
	}
}

func TestFiles(t *testing.T) {
	p := profiles(t, asked)
	for _, v := range []verdict{
		{"files", "r /srv/**", "owner read /srv/a", ""},
		{"files", "r /srv/", "", "owner read /srv/"},
		{"files", "/srv/www/** w", "owner write /srv/www/a", ""},
		{"files", "w /srv/**", "owner write /srv/www/a", "owner write /srv/a"},
		{"files", "w /home/me/x", "owner write /home/me/x", "other write /home/me/x"},
		{"files", "owner w /home/me/x", "owner write /home/me/x", ""},
		{"files", "other w /home/me/x", "", "other write /home/me/x"},
		{"files", "w /home/me/.ssh/*", "", "owner write /home/me/.ssh/a"},
		{"files", "w /var/log/x.log", "owner append /var/log/x.log", "owner write /var/log/x.log"},
		{"files", "a /var/log/*.log", "owner append /var/log/.log", ""},
		{"files", "m /usr/lib/x.so", "owner mmap /usr/lib/x.so", ""},
		{"files", "k /home/*/x", "owner lock /home/a/x", "other lock /home/a/x"},
		{"files", "read+write /srv/**", "owner read+write /srv/www/a", "owner read+write /srv/a"},
		{"files", "rename /srv/www/x", "", "owner rename /srv/www/x"},
		{"files", "getattr /**", "owner getattr /a", ""},
		{"files", "rm /usr/lib/*", "owner read /usr/lib/a", ""},
		{"files", `w "/srv/www/a b\052"`, `owner write "/srv/www/a b\*"`, ""},
		{"files", "x /usr/bin/never", "", "owner x /usr/bin/never"},
		{"files", "x /usr/bin/*", "owner x /usr/bin/a", "owner x /usr/bin/never"},
		{"files", "ix /usr/bin/*", "owner ix /usr/bin/a", "owner ix /usr/bin/kid"},
		{"files", "ux /usr/bin/*", "owner ux /usr/bin/free", "owner ux /usr/bin/a"},
		{"files", "x /usr/bin/free -> unconfined", "owner ux /usr/bin/free", ""},
		{"files", "x /usr/bin/perhaps -> unconfined", "owner ux /usr/bin/perhaps", ""},
		{"files", "px /usr/bin/other", "owner px /usr/bin/other", ""},
		{"files", "px /usr/bin/** -> elsewhere", "owner px /usr/bin/named -> elsewhere", "owner px /usr/bin/a -> elsewhere"},
		{"files", "x /usr/bin/named -> elsewhere", "owner x /usr/bin/named -> elsewhere", ""},
		{"files", "x /usr/bin/kid -> files//kid", "owner x /usr/bin/kid -> files//kid", ""},
		{"files", "cx /usr/bin/kid -> kid", "owner cx /usr/bin/kid -> kid", ""},
		{"files", "cx /usr/bin/kid -> boy", "", "owner cx /usr/bin/kid -> boy"},
		{"files", "cx /**", "owner cx /usr/bin/kid", "owner cx /a"},
		{"files", "l /links/a*", "owner l /links/a -> /a", ""},
		{"files", "l /links/x -> /srv/www/*", "owner l /links/x -> /srv/www/a", ""},
		{"files", "link /links/x -> /**", "owner l /links/x -> /srv/www/a", "owner l /links/x -> /a"},
		{"files", "l /home/me/.ssh/x", "", "owner l /home/me/.ssh/x -> /a"},

		{"all files", "w /srv/**", "owner write /srv/www/a", "owner write /srv/a"},
		{"all free", "file", "owner x /a", ""},
		{"learns", "w /**", "owner write /a", "owner write /etc/a"},
		{"free", "file", "owner x /a", ""},
		{"", "file", "owner x /a", ""},

		{"files", "capability", "capability chown", "capability dac_override"},
		{"files", "capability chown wake_alarm", "capability chown", ""},
		{"files", "capability sys_admin", "", "capability sys_admin"},
		{"learns", "capability", "capability chown", ""},
	} {
		v.check(t, p)
	}
}

// What Parse refuses, and the word that it names.
func TestWrongWords(t *testing.T) {
	for line, says := range map[string]string{
		"":                                "an access is missing",
		"   ":                             "an access is missing",
		"write":                           "a path is missing",
		"/etc/passwd":                     "followed by no permission",
		"w":                               "a path is missing",
		"w etc/passwd":                    `"etc/passwd" matches none of the paths: they begin with "/"`,
		"w /etc/./passwd":                 "matches none of the paths",
		"w /etc/[]":                       "a set without an end",
		"w /etc/{a":                       "braces without an end",
		"w @{PROC}/x":                     "variables are not known here",
		"w /etc /var":                     `"/var" is too much`,
		`w "/etc/x`:                       "a text in quotes does not end",
		`w "/etc/x"y`:                     "something follows a quote",
		`w /etc/x\000`:                    "a byte 0",
		"w /etc/x\x1b[2J":                 "three octal digits",
		"owner":                           "a permission of a file and a path are missing",
		"owner capability chown":          `"capability" is no permission of a file`,
		"pix /usr/bin/x":                  `"pix" begins no access`,
		"owner pix /usr/bin/x":            `"pix" is no permission of a file`,
		"wq /etc/x":                       `"wq" begins no access`,
		"ux /usr/bin/x -> y":              "only x, px and cx go on under a label",
		"x /usr/bin/x -> a*":              `"a*" is no single label`,
		"x /usr/bin/x y":                  `"y" is wrong: here can stand "->"`,
		"x /usr/bin/x ->":                 "followed by nothing",
		"l /a -> b":                       "matches none of the paths",
		"capability sys_adminx":           `"sys_adminx" is no capability: here can stand chown, dac_override`,
		"capability (chown":               "a list in parentheses does not end",
		"capability ((chown))":            "a list is in another list",
		"network inet foo":                `"foo" is wrong: here can stand a type of sockets (stream, dgram`,
		"inet packet6":                    `"packet6" is wrong`,
		"unix tcp":                        `"tcp" is wrong`,
		"unix create addr=@x":             "addr= is not about create",
		"unix bind peer=x":                "peer= is only about connect",
		"unix addr=x":                     "matches none of the addresses",
		"netlink tcp":                     "only inet and inet6 have it",
		"mount options=rx":                `"rx" is no option of a mount: here can stand ro`,
		"mount /a -> b":                   "matches none of the paths",
		"mount /a /b":                     `"/b" is wrong: here can stand "->"`,
		"mount foo=x":                     "here can stand fstype=",
		"mount options=bind fstype=ext4":  "no mount is like that",
		"signal set=foo":                  `"set=foo" is no signal`,
		"bind options=ro /a":              `options have no meaning behind bind: write mount options=(bind, ...)`,
		"bind options in (rbind) /a":      `options have no meaning behind bind`,
		"signal snd":                      `"snd" is wrong: here can stand peer or set`,
		"signal (snd)":                    `"snd" is no permission of this kind: here can stand send or receive`,
		"signal peer=a//&":                "matches none of the labels",
		"ptrace peer=a peer=b":            "there is a peer= ahead of it",
		"dbus send name=x":                "name= about bind",
		"rlimit foo":                      `"foo" is no resource`,
		"rlimit nofile <= 1k":             `"1k" is no number`,
		"change_profile now /x -> y":      "only onexec is about one",
		"io_uring sqpoll label=x":         "only override_creds is about a label",
		"w " + strings.Repeat("a", 1<<16): "bytes",
		"w /" + strings.Repeat("a", 5000): "the pattern is too long",
		"w /{**,**a" + strings.Repeat("?", 40) + "}": "is too large a pattern",
		"w /**a" + strings.Repeat("?", 40):           "is too large a pattern",
	} {
		_, err := Parse(line)
		if err == nil || !strings.Contains(err.Error(), says) || strings.ContainsAny(err.Error(), "\x1b\n") {
			t.Errorf("%.40q: %v, want %q", line, err, says)
		}
	}
}

func TestPeers(t *testing.T) {
	p := profiles(t, `abi <abi/3.0>,
profile peers {
  signal (receive) set=(term,kill) peer=unconfined,
  signal (send) peer=peers,
  signal (send) set=(rtmin+3) peer=peers//&**,
  ptrace (read,readby) peer=peers,
  ptrace (trace) peer={a,b},
  change_profile -> elsewhere,
  change_profile /usr/bin/start -> second,
  ^hat { }
  ^hut { }
  profile kid { }
}
profile silent { capability sys_ptrace, }
profile all { signal, ptrace, change_profile, }
`)
	for _, v := range []verdict{
		{"peers", "signal", "signal send set=hup peer=peers", "signal send set=hup peer=a"},
		{"peers", "signal receive set=(kill term) peer=unconfined", "signal receive set=kill peer=unconfined", ""},
		{"peers", "signal (receive) set=kill", "signal receive set=kill peer=unconfined", "signal receive set=kill peer=a"},
		{"peers", "signal send set=rtmin+3 peer=peers//&*", "signal send set=rtmin+3 peer=peers//&a", ""},
		{"peers", "signal send set=kill peer=peers//&*", "signal send set=kill peer=peers//&peers", "signal send set=kill peer=peers//&a"},
		{"all", "signal", "signal send set=hup peer=a", ""},
		{"all", "ptrace", "ptrace trace peer=a", ""},
		{"all peers", "ptrace readby", "ptrace readby peer=peers", "ptrace readby peer=a"},
		{"peers", "ptrace trace peer=unconfined", "", "ptrace trace peer=unconfined"},
		{"peers", "ptrace (tracedby readby) peer=unconfined", "ptrace tracedby peer=unconfined", ""},
		{"peers", "ptrace tracedby", "ptrace tracedby peer=unconfined", "ptrace tracedby peer=a"},
		{"peers", "ptrace trace peer=a//&*", "ptrace trace peer=a//&a", "ptrace trace peer=a//&c"},
		{"peers", "userns", "userns create", ""},
		{"peers", "io_uring", "io_uring sqpoll", ""},
		{"peers", "change_profile -> elsewhere", "change_profile now -> elsewhere", ""},
		{"peers", "change_profile -> second", "change_profile now -> second", "change_profile onexec owner /a -> second"},
		{"peers", "change_profile request -> /b", "change_profile request -> /b", ""}, // a path of a program
		{"peers", "change_profile onexec -> /b", "", "change_profile onexec owner /a -> /b"},
		{"peers", "change_profile", "change_profile now -> second", "change_profile now -> a"},
		{"peers", "change_profile -> unconfined", "", "change_profile now -> unconfined"},
		{"peers", "change_profile -> &elsewhere", "", "change_profile now stack -> elsewhere"},
		{"peers", "change_profile /usr/bin/* -> second", "change_profile onexec owner /usr/bin/start -> second", "change_profile onexec owner /usr/bin/a -> second"},
		{"peers", "change_profile onexec /** -> second", "change_profile onexec owner /usr/bin/start -> second", "change_profile onexec owner /a -> second"},
		{"all", "change_profile onexec /** -> second", "change_profile onexec owner /a -> second", ""},
		{"peers", "change_hat", "change_hat hat", "change_hat a"},
		{"peers", "change_hat h?t", "change_hat hat", "change_hat hbt"},
		{"peers", "change_hat kid", "", "change_hat kid"},
		{"peers//hut", "change_hat {hat,hut}", "change_hat hat", ""},
		{"all", "change_hat", "", "change_hat a"},
	} {
		v.check(t, p)
	}
}
