package why

import (
	"fmt"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// reader returns a Reader with these files to include.
func reader(t testing.TB, files map[string]string) (*Reader, *profile.Compiler) {
	t.Helper()
	c := profiletest.Including(t, profiletest.Features(), files)
	return &Reader{Compiler: c}, c
}

var included = map[string]string{
	"tunables/global":       "include <tunables/proc>\n@{HOMEDIRS}=/home/\n@{HOME}=@{HOMEDIRS}/*/\n",
	"tunables/proc":         "@{PROC}=/proc/\n",
	"abstractions/base":     "  abi <abi/3.0>,\n  /dev/null rw,\n  include <abstractions/base.d>\n  signal (receive) peer=unconfined,\n",
	"abstractions/base.d/x": "  /etc/localtime r,\n",
	"local/web":             "deny @{HOME}/.ssh/** r,\n/srv/www/** r,",
}

const web = `abi <abi/3.0>,
include <tunables/global>
$strict = true
profile web flags=(attach_disconnected) {
  include <abstractions/base>
  include if exists <local/web>
  include if exists <local/none>
  /** r,
  owner /home/** w,
  /var/log/*.log
    w,
  audit deny /etc/shadow r,
  if $strict {
    deny @{PROC}/kcore r,
  } else {
    deny @{PROC}/version r,
  }
  audit {
    deny /usr/bin/dash r,
  }
  /usr/bin/* ix,
  /usr/bin/tool cx -> kid,
  capability chown setuid,
  network inet stream,
  deny network raw,
  signal (send) set=(term) peer=web,
  signal (send) set=(term) peer=floor,
  signal (send) set=(kill) peer=@{profile_name},
  ptrace (read) peer=web,
  mount fstype=tmpfs -> /mnt/**,
  umount /mnt/**,
  /tmp/l* l,
  /tmp/link w,
  set rlimit nofile <= 1024,
  change_profile -> other,
  "/srv/a b/**" w,
  profile kid { /kid r, }
  ^hat { /hat r, }
}
`

func TestWhy(t *testing.T) {
	r, c := reader(t, included)
	text, err := r.Read(t.Context(), "web", []byte(web))
	if err != nil {
		t.Fatal(err)
	}
	const tcp, udp, raw = 1, 2, 3
	for _, test := range []struct {
		name    string
		profile string
		access  meaning.Access
		want    string
	}{
		{"a rule", "", meaning.FileAccess{Path: "/x", Want: meaning.MayRead}, "allowed: 8"},
		{"one of an included file", "", meaning.FileAccess{Path: "/dev/null", Want: meaning.MayWrite}, "allowed: abstractions/base:2<5"},
		{"one of a file in a directory", "", meaning.FileAccess{Path: "/etc/localtime", Want: meaning.MayRead},
			"allowed: abstractions/base.d/x:1<abstractions/base:3<5 8"},
		{"a drop-in, by a variable", "", meaning.FileAccess{Path: "/home/u/.ssh/id", Want: meaning.MayRead},
			"denied: local/web:1<6 HOME=tunables/global:3 HOMEDIRS=tunables/global:2; overruled 8"},
		{"its last line, without an end", "", meaning.FileAccess{Path: "/srv/www/i", Want: meaning.MayRead}, "allowed: local/web:2<6 8"},
		{"the owner", "", meaning.FileAccess{Path: "/home/u/x", Want: meaning.MayWrite, Owner: true}, "allowed: 9"},
		{"not the owner", "", meaning.FileAccess{Path: "/home/u/x", Want: meaning.MayWrite}, "nothing: near 9:owner 8:permission"},
		{"over two lines", "", meaning.FileAccess{Path: "/var/log/a.log", Want: meaning.MayWrite}, "allowed: 10"},
		{"a directory's slash", "", meaning.FileAccess{Path: "/var/log/a.log/", Want: meaning.MayWrite}, "nothing: near 8:permission 10:form"},
		{"another path", "", meaning.FileAccess{Path: "/var/log/a.txt", Want: meaning.MayWrite}, "nothing: near 8:permission 10:path"},
		{"both are needed", "", meaning.FileAccess{Path: "/var/log/a.log", Want: meaning.MayWrite | meaning.MayRead}, "allowed: 8 10"},
		{"one part is denied", "", meaning.FileAccess{Path: "/etc/shadow", Want: meaning.MayWrite | meaning.MayRead}, "denied: 12; overruled 8"},
		{"a branch that is taken", "", meaning.FileAccess{Path: "/proc/kcore", Want: meaning.MayRead}, "denied: 14 PROC=tunables/proc:1; overruled 8"},
		{"one that is not", "", meaning.FileAccess{Path: "/proc/version", Want: meaning.MayRead}, "allowed: 8"},
		{"qualifiers of a block", "", meaning.FileAccess{Path: "/usr/bin/dash", Want: meaning.MayRead}, "denied: 19; overruled 8"},
		{"an exec", "", meaning.ExecAccess{Path: "/usr/bin/id"}, "allowed: 21"},
		{"an exec into a child", "", meaning.ExecAccess{Path: "/usr/bin/tool"}, "allowed: 22; overruled 21"},
		{"an exec of the merged path", "", meaning.ExecAccess{Path: "/bin/id"}, "nothing: near 8:permission 21:form"},
		{"a capability", "", meaning.CapabilityAccess(0), "allowed: 23"},
		{"another", "", meaning.CapabilityAccess(21), "nothing:"},
		{"a socket", "", meaning.SocketAccess{Family: 2, Type: tcp, Want: meaning.MayCreate}, "allowed: 24"},
		{"another type", "", meaning.SocketAccess{Family: 2, Type: udp, Want: meaning.MayCreate}, "nothing: near 24:permission"},
		{"a denied type", "", meaning.SocketAccess{Family: 2, Type: raw, Want: meaning.MayCreate}, "denied: 25"},
		{"a signal", "", meaning.SignalAccess{Want: meaning.MayWrite, Signal: meaning.SIGTERM, Peer: "web"}, "allowed: 26"},
		{"a stack, by two rules", "", meaning.SignalAccess{Want: meaning.MayWrite, Signal: meaning.SIGTERM, Peer: "floor//&web"}, "allowed: 27 26 together"},
		{"a stack, by one", "", meaning.SignalAccess{Want: meaning.MayWrite, Signal: meaning.SIGKILL, Peer: "floor//&web"},
			"nothing: near 28:peer"},
		{"the profile's name", "", meaning.SignalAccess{Want: meaning.MayWrite, Signal: meaning.SIGKILL, Peer: "web"}, "allowed: 28"},
		{"another peer", "", meaning.SignalAccess{Want: meaning.MayRead, Signal: meaning.SIGKILL, Peer: "runc"},
			"nothing: near abstractions/base:4<5:peer"},
		{"ptrace", "", meaning.PtraceAccess{Want: meaning.MayRead, Peer: "web"}, "allowed: 29"},
		{"a mount", "", meaning.MountAccess{Target: "/mnt/x/", Type: "tmpfs"}, "allowed: 30"},
		{"another one", "", meaning.MountAccess{Target: "/mnt/x/", Type: "proc"}, "nothing: near 30:permission"},
		{"an umount", "", meaning.UmountAccess{Target: "/mnt/x/"}, "allowed: 31"},
		{"a link", "", meaning.LinkAccess{Path: "/tmp/l", Target: "/x"}, "allowed: 32"},
		{"a link with more than its target", "", meaning.LinkAccess{Path: "/tmp/link", Target: "/x", Owner: true}, "denied: 33 together; overruled 32"},
		{"a limit", "", meaning.RlimitAccess{Resource: 7, Hard: 4096}, "denied: 34"},
		{"a lower one", "", meaning.RlimitAccess{Resource: 7, Hard: 4}, "unmediated:"},
		{"a change of profile", "", meaning.ChangeProfileAccess{Label: "other"}, "allowed: 35"},
		{"another change", "", meaning.ChangeProfileAccess{Label: "unconfined"}, "nothing: near 35:peer"},
		{"quotes", "", meaning.FileAccess{Path: "/srv/a b/c", Want: meaning.MayWrite}, "allowed: 36"},
		{"a child", "web//kid", meaning.FileAccess{Path: "/kid", Want: meaning.MayRead}, "allowed: 37"},
		{"what only its parent has", "web//kid", meaning.FileAccess{Path: "/x", Want: meaning.MayRead}, "nothing: near 37:path"},
		{"a hat", "web//hat", meaning.FileAccess{Path: "/hat", Want: meaning.MayRead}, "allowed: 38"},
		{"into a hat", "", meaning.ChangeHatAccess{Hat: "hat"}, "allowed: 38"},
		{"into none", "", meaning.ChangeHatAccess{Hat: "kid"}, "nothing:"},
		{"what a hat brings", "", meaning.FileAccess{Path: "/proc/1/attr/current", Want: meaning.MayWrite, Owner: true}, "allowed: 35 37 38"},
		{"what is not mediated", "", meaning.UsernsAccess{}, "unmediated:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer, err := text.Why(t.Context(), test.profile, test.access)
			if err != nil {
				t.Fatal(err)
			}
			if got := said(c.Base, answer); got != test.want {
				t.Errorf("%s\nwant %s\n%+v", got, test.want, answer.Decision)
			}
			if answer.Doubt != "" {
				t.Error(answer.Doubt)
			}
		})
	}
}

// said puts an answer into a line.
func said(base string, a *Answer) string {
	place := func(r *Rule) string {
		name := func(p Place) string {
			if p.File == "" {
				return fmt.Sprint(p.Line)
			}
			return fmt.Sprintf("%s:%d", strings.TrimPrefix(p.File, base+"/"), p.Line)
		}
		s := name(r.Place)
		for i := range r.Via {
			s += "<" + name(r.Via[len(r.Via)-1-i])
		}
		return s
	}
	s := map[Verdict]string{Allowed: "allowed:", Unmediated: "unmediated:", Denied: "denied:", NotAllowed: "nothing:"}[a.Verdict]
	for _, u := range a.By {
		s += " " + place(u.Rule)
		for _, v := range u.Variables {
			s += fmt.Sprintf(" %s=%s:%d", v.Name, strings.TrimPrefix(v.Places[0].File, base+"/"), v.Places[0].Line)
		}
	}
	if a.Together {
		s += " together"
	}
	if len(a.Overruled) > 0 {
		s += "; overruled"
		for _, u := range a.Overruled {
			s += " " + place(u.Rule)
		}
	}
	if len(a.Near) > 0 {
		s += " near"
		for _, n := range a.Near {
			s += " " + place(n.Rule) + ":" + [...]string{"owner", "permission", "form", "peer", "path", "further"}[n.Differs]
		}
	}
	return s
}
