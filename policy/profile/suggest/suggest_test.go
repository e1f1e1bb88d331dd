package suggest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/ruletext"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/why"
)

// reader returns a Reader with these files to include.
func reader(t testing.TB) (r *why.Reader, base string) {
	t.Helper()
	c := profiletest.Including(t, profiletest.Features(), map[string]string{
		"tunables/global": "@{PROC}=/proc/\n@{pid}={[1-9],[1-9][0-9],[1-9][0-9][0-9],[1-9][0-9][0-9][0-9]}\n@{tid}=@{pid}\n@{HOMEDIRS}=/home/\n@{HOME}=@{HOMEDIRS}/*/ /srv/me/\n",
		"local/web":       "deny /srv/secret r,\n",
		"local/kid":       "profile included { /x r, }\n",
	})
	return &why.Reader{Compiler: c}, c.Base
}

const web = `abi <abi/3.0>,
include <tunables/global>

profile web flags=(attach_disconnected) {
  include <local/web>

  capability chown,
  network inet stream,

  /etc/nginx/** r, # configuration
  owner /var/cache/nginx/** rw,
  /usr/bin/kid cx -> kid,
  deny /etc/shadow r,
  signal (send) peer=@{profile_name},
  mount fstype=tmpfs -> /mnt/**,
  set rlimit nofile <= 1024,

  profile kid {
	/kid r,
  }
  ^hat { /hat r, }
}
`

// denied reads a record, as kernels write it of profile web or of another one.
func denied(t testing.TB, line string) Denial {
	t.Helper()
	if !strings.Contains(line, "profile=") {
		line = `profile="web" ` + line
	}
	var r audit.Record
	if _, ok := r.Parse([]byte(`audit(1790000000.100:7): apparmor="DENIED" ` + line)); !ok {
		t.Fatalf("no record: %s", line)
	}
	asked, err := r.Asked()
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	name, _ := r.Profile()
	return Denial{name, asked.Accesses}
}

func file(operation, name, mask string, owner bool) string {
	ouid := 7
	if owner {
		ouid = 0
	}
	return fmt.Sprintf(`operation=%q class="file" name=%q requested_mask=%q denied_mask=%[3]q fsuid=0 ouid=%d`, operation, name, mask, ouid)
}

// added returns the lines that a patch adds, and fails if it takes any away.
func added(t testing.TB, patch string) (lines []string) {
	t.Helper()
	for line := range strings.Lines(patch) {
		if strings.HasPrefix(line, "-") && !strings.HasPrefix(line, "---") && line != "-  ^hat { /hat r, }\n" {
			t.Errorf("the patch takes away %q", line)
		}
		if strings.HasPrefix(line, "+") && !strings.HasPrefix(line, "+++") {
			lines = append(lines, strings.TrimSuffix(line[1:], "\n"))
		}
	}
	return lines
}

func TestFor(t *testing.T) {
	r, base := reader(t)
	for _, test := range []struct {
		name    string
		records []string
		want    string // lines that are added, or what is said instead
	}{
		{"a read", []string{file("open", "/srv/x", "r", false)}, "  /srv/x r,"},
		{"by the owner", []string{file("open", "/srv/x", "wc", true)}, "  owner /srv/x w,"},
		{"append", []string{file("open", "/srv/x", "a", false)}, "  /srv/x a,"},
		{"append to what may have to be made", []string{file("open", "/srv/x", "ac", false)}, "  /srv/x w,"},
		{"what of it is missing", []string{file("open", "/etc/nginx/x", "wr", false)}, "  /etc/nginx/x w,"},
		{"reading and writing", []string{file("open", "/srv/x", "r", false), file("mknod", "/srv/x", "c", false)}, "  /srv/x rw,"},
		{"the owner and others", []string{file("open", "/srv/x", "r", false), file("open", "/srv/x", "r", true)}, "  /srv/x r,"},
		{"a process", []string{file("open", "/proc/77/stat", "r", true), file("open", "/proc/78/stat", "r", true)}, "  owner @{PROC}/@{pid}/stat r,"},
		{"a thread", []string{file("open", "/proc/77/task/9/comm", "w", true)}, "  owner @{PROC}/@{pid}/task/@{tid}/comm w,"},
		{"a home", []string{file("open", "/home/me/.x", "r", true)}, "  owner @{HOME}/.x r,"},
		{"another one's home", []string{file("open", "/home/me/.x", "r", false)}, "  /home/me/.x r,"},
		{"temporary files", []string{file("mknod", "/tmp/tmp.aB3dE6gH9j", "c", true), file("open", "/tmp/tmp.zzzzzzzzz1", "r", true)},
			"  owner /tmp/tmp.?????????? rw,"},
		{"a temporary file of mkstemp", []string{file("mknod", "/tmp/sess_aB3dE6", "c", true)}, "  owner /tmp/sess_?????? w,"},
		{"a name that is none by chance", []string{file("mknod", "/tmp/BACKUP", "c", true), file("mknod", "/tmp/aB3dE6", "c", true)},
			"  owner /tmp/BACKUP w,\n  owner /tmp/aB3dE6 w,"},
		{"a file of Go's", []string{file("mknod", "/tmp/go-build123456789/", "c", true)}, "  owner /tmp/go-build[0-9]*/ w,"},
		{"a file without a name", []string{file("open", "/srv/d/#131242", "wr", true)}, `  owner "/srv/d/#[0-9]*" rw,`},
		{"a container's id", []string{file("open", "/var/lib/x/"+strings.Repeat("0a", 32)+"/f", "r", false)}, "  /var/lib/x/" + strings.Repeat("[0-9a-f]", 64) + "/f r,"},
		{"a snapshot of containerd", []string{file("open", "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/12/fs/f", "r", false)},
			"  /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/[0-9]*/fs/f r,"},
		{"an exec", []string{file("exec", "/usr/bin/id", "x", false), file("file_mmap", "/usr/bin/id", "rm", false)}, "  /usr/bin/id mrix,"},
		{"a link", []string{`operation="link" class="file" name="/srv/l" requested_mask="l" denied_mask="l" fsuid=0 ouid=0 target="/srv/f"`},
			"  owner link /srv/l -> /srv/f,"},
		{"a capability", []string{`operation="capable" capability=10  capname="net_bind_service"`}, "  capability net_bind_service,"},
		{"a socket", []string{`operation="create" family="inet" sock_type="dgram" protocol=0 requested_mask="create" denied_mask="create"`},
			"  network inet dgram,"},
		{"a unix socket", []string{`operation="create" family="unix" sock_type="dgram" protocol=0 requested_mask="create" denied_mask="create"`},
			"  network unix dgram,"},
		{"a mount", []string{`operation="mount" name="/srv/m/" fstype="tmpfs" srcname="none" flags="ro, nosuid"`},
			"  mount fstype=tmpfs options=(ro, nosuid) none -> /srv/m/,"},
		{"a bind", []string{`operation="mount" name="/srv/m/" srcname="/srv/d/" flags="rw, rbind"`}, "  mount options=(rbind) /srv/d/ -> /srv/m/,"},
		{"a remount", []string{`operation="mount" name="/srv/m/" flags="ro, remount, bind"`}, "  remount options=(ro, bind) /srv/m/,"},
		{"propagation", []string{`operation="mount" name="/" flags="rw, rprivate"`}, "  mount options=(rprivate) -> /,"},
		{"a move from nowhere", []string{`operation="mount" name="/srv/m/" flags="rw, move"`}, "  mount options=(move) -> /srv/m/,"},
		{"umount", []string{`operation="umount" name="/srv/m/"`}, "  umount /srv/m/,"},
		{"pivot_root", []string{`operation="pivotroot" name="/new/" srcname="/new/old/"`}, "  pivot_root oldroot=/new/old/ /new/,"},
		{"a signal", []string{`operation="signal" requested_mask="send" denied_mask="send" signal=term peer="a//&b"`}, `  signal (send) set=(term) peer=a//&b,`},
		{"a signal of its own kind", []string{`operation="signal" requested_mask="receive" denied_mask="receive" signal=rtmin+1 peer="web"`},
			"  signal (receive) set=(rtmin+1) peer=@{profile_name},"},
		{"both sides of a signal", []string{`operation="signal" requested_mask="send" denied_mask="send" signal=term peer="b"`,
			`operation="signal" requested_mask="receive" denied_mask="receive" signal=term peer="b"`}, "  signal (send, receive) set=(term) peer=b,"},
		{"ptrace", []string{`operation="ptrace" requested_mask="readby" denied_mask="readby" peer="other"`}, "  ptrace (readby) peer=other,"},
		{"change_profile", []string{`operation="change_profile" name="q" target="q"`}, "  change_profile -> q,"},
		{"change_onexec", []string{`operation="change_onexec" name="q" target="q"`}, "  change_profile -> q,"},
		{"stack", []string{`operation="stack" name="q" target="q"`}, `  change_profile -> "&q",`},
		{"a child", []string{`profile="web//kid" ` + file("open", "/srv/x", "r", false)}, "\t/srv/x r,"},
		{"a hat in a line", []string{`profile="web//hat" ` + file("open", "/srv/x", "r", false)}, "  ^hat { /hat r, /srv/x r, }"},
		{"a stack's part", []string{`profile="floor//&web" ` + file("open", "/srv/x", "r", false)}, "  /srv/x r,"},
		{"several kinds", []string{file("open", "/srv/x", "r", false), `operation="capable" capability=0  capname="chown"`,
			`operation="capable" capability=1  capname="dac_override"`}, "  capability dac_override,\n  /srv/x r,"},

		{"one of several without a rule", []string{file("open", "/srv/x", "r", false), `operation="capable" capability=62  capname="new"`,
			file("open", "/etc/shadow", "r", false), file("open", "/srv/y", "w", true)}, "  /srv/x r,\n  owner /srv/y w,"},
		{"what is allowed", []string{file("open", "/etc/nginx/x", "r", false)}, "already allowed: the text allows it: load it, if the kernel has another one"},
		{"what a rule denies", []string{file("open", "/etc/shadow", "r", false)}, "blocked: line 13 (deny /etc/shadow r) denies it, and what a rule " +
			"denies no other rule allows: take it out, or narrow it to what is not needed"},
		{"what an included rule denies", []string{file("open", "/srv/secret", "r", false)}, "blocked: line 1 of local/web (deny /srv/secret r) denies it, and what a rule " +
			"denies no other rule allows: take it out, or narrow it to what is not needed"},
		{"a limit", []string{`operation="setrlimit" rlimit=nofile value=4096`}, "blocked: line 16 (set rlimit nofile <= 1024) limits it: write the higher limit there"},
		{"a hat that is not there", []string{`operation="change_hat" target="web//no"`},
			"no rule: no rule allows a change into a hat: write the hat, as in \"^no { }\", with what it needs"},
		{"another profile", []string{`profile="no" ` + file("open", "/x", "r", false)}, `elsewhere: policy.d/web has no profile "no"`},
		{"a learning profile", []string{`profile="web//null-/usr/bin/id" ` + file("open", "/x", "r", false)}, `elsewhere: in complain mode, the program ` +
			`"/usr/bin/id" of "web" ran without a profile of its own: allow the exec first, and look at what it does then`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var denials []Denial
			for _, line := range test.records {
				denials = append(denials, denied(t, line))
			}
			s, err := For(t.Context(), r, "policy.d/web", []byte(web), denials, Options{})
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(added(t, s.Patch), "\n")
			if got == "" {
				a := s.Answers[0]
				got = a.Outcome.String() + ": " + strings.ReplaceAll(a.Message, base+"/", "")
			}
			if got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
			prove(t, r, s, denials)
		})
	}
}

// prove fails unless the suggestion allows what it says, and each rule of it is needed for that.
func prove(t *testing.T, r *why.Reader, s *Suggestion, denials []Denial) {
	t.Helper()
	allowed := func(text string) bool {
		read, err := r.Read(t.Context(), "proof", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for i, d := range denials {
			p, err := read.Enforced(s.Answers[i].Profile)
			if s.Answers[i].Outcome != Suggested {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range d.Accesses {
				if !p.Decide(a).Allowed {
					return false
				}
			}
		}
		return true
	}
	if len(s.Rules) > 0 && !allowed(s.Text) {
		t.Errorf("the changed text denies it:\n%s", s.Text)
	}
	lines := strings.SplitAfter(s.Text, "\n")
	for _, rule := range s.Rules {
		if rule.Line == 0 || !strings.Contains(lines[rule.Line-1], rule.Text) {
			t.Errorf("%+v does not stand in line %d", rule, rule.Line)
			continue
		}
		if len(rule.For) == 0 {
			t.Errorf("%s is for nothing", rule.Text)
		}
		if len(s.Rules) == 1 {
			continue // without it the text is what it was, and denies it
		}
		without := append([]string{}, lines...)
		without[rule.Line-1] = strings.Replace(without[rule.Line-1], rule.Text, "", 1)
		if allowed(strings.Join(without, "")) {
			t.Errorf("%s is not needed", rule.Text)
		}
	}
}

// A change that would take something away is refused, also where only an exec goes on in another way.
func TestNothingIsTakenAway(t *testing.T) {
	t.Parallel()
	r, _ := reader(t)
	of := func(rules string) *why.Text {
		text, err := r.Read(t.Context(), "web", []byte("abi <abi/3.0>,\nprofile web {\n"+rules+"\n}\n"))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for _, test := range []struct {
		before, after string
		refused       bool
	}{
		{"/x r,", "/x r, /y r,", false},
		{"/x r,", "/y r,", true},
		{"/x r,", "/x r, deny /x r,", true},
		{"/x px,", "/x px, /y ix,", false},
		{"/x px,", "/x ix,", true},
		{"capability chown,", "capability kill,", true},
		{"change_profile -> /u/*//b,", "change_profile -> /u/foo//b,", true},
		{"change_profile /b/* -> a//&b,", "change_profile /b/x -> a//&b,", true},
	} {
		s := &search{path: "web", before: of(test.before), after: of(test.after)}
		s.chosen = []addition{{s.before.Read().Blocks[0], ruletext.Rule{Pattern: "/y", Letters: "r"}}}
		if err := s.takesNothing(); (err != nil) != test.refused {
			t.Errorf("%s to %s: %v", test.before, test.after, err)
		}
	}
}

// Of what dbus-daemon and dbus-broker decide, they write the records. That needs a kernel that tells them to ask (features/dbus), as
// Ubuntu's do and Debian's do not: no guest has one.
func TestMessagesOfABusAreAllowed(t *testing.T) {
	t.Parallel()
	features := profiletest.Features()
	features = append(features, "dbus {mask {acquire send receive\n}\n}\n"...)
	r := &why.Reader{Compiler: profiletest.Including(t, features, map[string]string{"abi/bus": string(features)})}
	const text = "abi <abi/bus>,\nprofile web {\n  /srv/** r,\n  deny dbus send bus=system interface=org.evil,\n}\n"
	const head = `type=USER_AVC msg=audit(1790000000.100:7): pid=612 uid=100 auid=4294967295 ses=4294967295 subj=unconfined msg='`
	const tail = ` exe="/usr/bin/dbus-daemon" sauid=100 hostname=? addr=? terminal=?'`
	for line, want := range map[string]string{
		`apparmor="DENIED" operation="dbus_method_call"  bus="system" path="/org/freedesktop/DBus" interface="org.freedesktop.DBus" member="Hello" mask="send" name="org.freedesktop.DBus" pid=77 label="web" peer_label="unconfined"`: "" +
			"dbus (send) bus=system path=/org/freedesktop/DBus interface=org.freedesktop.DBus member=Hello peer=(label=unconfined, name=org.freedesktop.DBus),",
		`apparmor="DENIED" operation="dbus_signal"  bus="system" path="/o" interface="i.f" member="Changed" mask="receive" name=":1.5" pid=77 label="web" peer_pid=5 peer_label="other"`: "" +
			"dbus (receive) bus=system path=/o interface=i.f member=Changed peer=(label=other, name=:1.5),",
		`apparmor="DENIED" operation="dbus_bind"  bus="session" name="org.web" mask="bind" pid=77 label="web"`: "dbus (bind) bus=session name=org.web,",
		`apparmor="DENIED" operation="dbus_eavesdrop"  bus="system" mask="eavesdrop" pid=77 label="web"`:       "dbus (eavesdrop) bus=system,",
	} {
		var record audit.Record
		if _, ok := record.Parse([]byte(head + line + tail)); !ok || record.Carrier != audit.User {
			t.Fatalf("no record: %s", line)
		}
		asked, err := record.Asked()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		of, _ := record.Profile()
		s, err := For(t.Context(), r, "web", []byte(text), []Denial{{of, asked.Accesses}}, Options{})
		if err != nil || s.Answers[0].Outcome != Suggested || len(s.Rules) != 1 || s.Rules[0].Text != want {
			t.Errorf("%s: %+v, %v, want %s", line, s, err, want)
		}
	}
	const evil = `apparmor="DENIED" operation="dbus_method_call"  bus="system" path="/o" interface="org.evil" member="Do" mask="send" name="org.evil" pid=77 label="web" peer_label="unconfined"`
	var record audit.Record
	record.Parse([]byte(head + evil + tail))
	asked, err := record.Asked()
	if err != nil {
		t.Fatal(err)
	}
	s, err := For(t.Context(), r, "web", []byte(text), []Denial{{"web", asked.Accesses}}, Options{})
	if err != nil || s.Answers[0].Outcome != Blocked || s.Answers[0].By[0].Line != 4 {
		t.Errorf("what a rule denies is answered by %+v, %v", s, err)
	}
}
