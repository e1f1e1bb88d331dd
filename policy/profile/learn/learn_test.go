package learn_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/learn"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

var update = flag.Bool("update", false, "write testdata/shell.golden anew")

// recorded returns a recording of the profile rec that saw these records.
func recorded(t *testing.T, lines ...string) *learn.Recording {
	t.Helper()
	r := &learn.Recording{Of: func(name string) bool { return name == "rec" }}
	for _, line := range lines {
		var record audit.Record
		if _, ok := record.Parse([]byte(line)); !ok {
			t.Fatalf("not a record: %s", line)
		}
		r.Add(&record)
	}
	return r
}

// made returns the text for a recording, and its compiled profile.
func made(t *testing.T, r *learn.Recording) (*learn.Learned, *meaning.Profile) {
	t.Helper()
	c := profiletest.Compiler(t, profiletest.Features())
	text, err := r.Text(t.Context(), c, learn.Target{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	blob, err := c.CompileText(t.Context(), "web", text.Text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text.Text)
	}
	all, err := meaning.ReadFor(blob.Data, c)
	if err != nil {
		t.Fatal(err)
	}
	return text, all[0]
}

// file returns a record of an access to a file.
func file(operation, path, mask string, owner bool) string {
	ouid := 1
	if owner {
		ouid = 0
	}
	return fmt.Sprintf(`apparmor="ALLOWED" operation=%q class="file" profile="rec" name=%s pid=7 comm="sh" requested_mask=%q denied_mask=%q fsuid=0 ouid=%d`,
		operation, untrusted(path), mask, mask, ouid)
}

// untrusted writes a string as the kernel does (audit_log_untrustedstring).
func untrusted(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r == '"' || r < 0x21 || r > 0x7e }) {
		return fmt.Sprintf("%X", s)
	}
	return `"` + s + `"`
}

// shell are records of a shell script in a container, of each class that kernels of the three guests log in complain mode.
var shell = []string{
	file("file_mmap", "/usr/bin/dash", "rm", true),
	file("open", "/etc/passwd", "r", true),
	file("mknod", "/srv/out", "c", true),
	file("open", "/srv/out", "ac", true),
	file("file_lock", "/srv/lock", "k", false),
	file("mkdir", "/srv/dir/", "c", true),
	file("rename_src", "/srv/a", "wrd", false),
	file("rename_dest", "/srv/b", "wc", false),
	file("chmod", "/srv/b", "w", false),
	file("open", "/proc/4711/status", "r", true),
	file("open", "/tmp/tmp.Ab3dE6gH1j", "wrc", true),
	file("open", "/srv/d/#131242", "wr", true),
	`apparmor="ALLOWED" operation="link" class="file" profile="rec" name="/srv/l" pid=7 comm="ln" requested_mask="l" denied_mask="l" fsuid=0 ouid=0 target="/srv/b"`,
	`apparmor="ALLOWED" operation="exec" class="file" profile="rec" name="/usr/bin/id" pid=7 comm="sh" requested_mask="x" denied_mask="x" fsuid=0 ouid=0 target="rec//null-/usr/bin/id"`,
	`apparmor="ALLOWED" operation="file_mmap" class="file" profile="rec//null-/usr/bin/id" name="/usr/bin/id" pid=8 comm="id" requested_mask="rm" denied_mask="rm" fsuid=0 ouid=0`,
	`apparmor="ALLOWED" operation="open" class="file" profile="rec//null-/usr/bin/id//null-/usr/bin/env" name="/etc/group" pid=8 comm="id" requested_mask="r" denied_mask="r" fsuid=0 ouid=0`,
	`apparmor="ALLOWED" operation="capable" class="cap" profile="rec" pid=7 comm="sh" capability=0  capname="chown"`,
	`apparmor="ALLOWED" operation="create" class="net" profile="rec" pid=7 comm="curl" family="inet" sock_type="stream" protocol=6 requested_mask="create" denied_mask="create"`,
	`apparmor="ALLOWED" operation="create" class="net" profile="rec" pid=7 comm="curl" family="unix" sock_type="dgram" protocol=0 requested_mask="create" denied_mask="create"`,
	`apparmor="ALLOWED" operation="signal" class="signal" profile="rec" pid=7 comm="sh" requested_mask="send" denied_mask="send" signal=usr1 peer="other"`,
	`apparmor="ALLOWED" operation="signal" class="signal" profile="rec" pid=7 comm="sh" requested_mask="send" denied_mask="send" signal=hup peer="other"`,
	`apparmor="ALLOWED" operation="signal" class="signal" profile="rec" pid=7 comm="sh" requested_mask="send" denied_mask="send" signal=term peer="rec//null-/usr/bin/id"`,
	`apparmor="ALLOWED" operation="ptrace" class="ptrace" profile="rec" pid=7 comm="strace" requested_mask="trace" denied_mask="trace" peer="rec"`,
	`apparmor="ALLOWED" operation="mount" class="mount" profile="rec" name="/mnt/" pid=7 comm="mount" fstype="tmpfs" srcname="none" flags="rw, nosuid"`,
	`apparmor="ALLOWED" operation="mount" class="mount" profile="rec" name="/mnt/" pid=7 comm="mount" srcname="/srv/" flags="rw, rbind"`,
	`apparmor="ALLOWED" operation="mount" class="mount" profile="rec" name="/" pid=7 comm="mount" flags="rw, rslave"`,
	`apparmor="ALLOWED" operation="umount" class="mount" profile="rec" name="/mnt/" pid=7 comm="umount"`,
}

// Who has a policy namespace of their own, as an LXD container, can give a profile in it any name.
func TestAProfileOfAnotherNamespaceIsNotOfTheRecording(t *testing.T) {
	r := recorded(t, strings.Replace(file("open", "/etc/shadow", "r", true), "profile=", `namespace="root//lxd-evil" profile=`, 1))
	if r.Seen() != 0 || len(r.Left()) != 0 {
		t.Errorf("%d accesses are learned; left out: %v", r.Seen(), r.Left())
	}
}

func TestTextIsWhatWasSeen(t *testing.T) {
	text, _ := made(t, recorded(t, shell...))
	const golden = "testdata/shell.golden"
	if *update {
		if err := os.WriteFile(golden, text.Text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(text.Text) {
		t.Errorf("the text is not that of %s; if it should not be, run with -update. It is:\n%s", golden, text.Text)
	}
}

func TestTextAllowsEachAccessThatWasSeen(t *testing.T) {
	_, p := made(t, recorded(t, shell...))
	for _, line := range shell {
		var record audit.Record
		record.Parse([]byte(strings.ReplaceAll(strings.ReplaceAll(line, "//null-/usr/bin/id", ""), `"rec"`, `"web"`)))
		asked, err := record.Asked()
		if err != nil {
			t.Fatal(err)
		}
		if a := asked.Accesses[0]; !p.Decide(a).Allowed {
			t.Errorf("not allowed: %s", access.Format(a))
		}
	}
}

func TestTextAllowsNothingElse(t *testing.T) {
	_, p := made(t, recorded(t, shell...))
	for _, line := range []string{
		"w /etc/passwd", "r /etc/passwd2", "r /etc/shadow", "x /etc/passwd", "w /usr/bin/dash", "x /usr/bin/dash", "x /usr/bin/id2",
		"r /srv/out", "w /srv/lock", "r /srv/dir/x", "l /srv/l -> /etc/passwd", "other r /proc/4711/status", "r /proc/4711/mem",
		"r /tmp/other", "other w /tmp/tmp.Ab3dE6gH1j", "r /srv/d/x", "capability sys_admin", "capability dac_override", "inet dgram", "inet6 stream",
		"unix seqpacket create", "signal send set=kill peer=other", "signal receive peer=other", "signal send peer=another",
		"ptrace trace peer=other", "mount fstype=proc -> /mnt/", "bind /etc/ -> /mnt/", "umount /", "pivot_root",
		"change_profile -> unconfined", "x /usr/bin/id -> unconfined",
	} {
		pattern, err := access.Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		if a, found, err := pattern.Allowed(meaning.Stack{p}); err != nil || found {
			t.Errorf("%s: %v is allowed, %v", line, a, err)
		}
	}
}

func TestWhatIsAnotherNameEachTimeIsAllowedNextTime(t *testing.T) {
	for seen, then := range map[string]string{
		"/proc/12/task/13/comm":                       "/proc/99999/task/7/comm",
		"/proc/self-made":                             "",
		"/tmp/tmp.Ab3dE6gH1j":                         "/tmp/tmp.zzzzzzzzzz",
		"/tmp/sortAbC1eF":                             "/tmp/sortxyzxyz",
		"/tmp/tmpab1_defg":                            "/tmp/tmpzzzzzzzz",
		"/tmp/app.sock":                               "",
		"/tmp/settings":                               "",
		"/var/tmp/x/cc1aB2Cd.o":                       "/var/tmp/x/ccZZZZZZ.o",
		"/srv/d/#131242":                              "/srv/d/#7",
		"/var/lib/nginx/body/0000000001":              "/var/lib/nginx/body/0000000999",
		"/run/x/0123456789abcdef0123456789abcdef/":    "/run/x/ffffffffffffffffffffffffffffffff/",
		"/srv/12345678-1234-1234-1234-123456789abc.d": "",
		"/srv/12345678-1234-1234-1234-123456789abc":   "/srv/ffffffff-1234-1234-1234-123456789abc",
		"/srv/JavaScript":                             "",
	} {
		_, p := made(t, recorded(t, file("open", seen, "r", true)))
		if a := (meaning.FileAccess{Path: seen, Want: meaning.MayRead, Owner: true}); !p.Decide(a).Allowed {
			t.Errorf("%s is not allowed", seen)
		}
		if then == "" {
			then = seen + "2"
			if p.Decide(meaning.FileAccess{Path: then, Want: meaning.MayRead, Owner: true}).Allowed {
				t.Errorf("%s was seen, and %s is allowed", seen, then)
			}
			continue
		}
		if !p.Decide(meaning.FileAccess{Path: then, Want: meaning.MayRead, Owner: true}).Allowed {
			t.Errorf("%s was seen, and %s is not allowed", seen, then)
		}
	}
}

func TestAFileThatComesAndGoesIsTemporary(t *testing.T) {
	_, p := made(t, recorded(t, file("mknod", "/srv/sedK3xYz1", "c", true), file("open", "/srv/sedK3xYz1", "wr", true),
		file("rename_src", "/srv/sedK3xYz1", "wrd", true), file("mkdir", "/srv/dirK3xYz1/", "c", true), file("rmdir", "/srv/dirK3xYz1/", "d", true), file("open", "/srv/keptK3xYz1", "wrc", true)))
	if !p.Decide(meaning.FileAccess{Path: "/srv/sedAAAAAA", Want: meaning.MayWrite}).Allowed {
		t.Error("sed -i makes a file of another name next time, which is denied")
	}
	if !p.Decide(meaning.FileAccess{Path: "/srv/dirAAAAAA/", Want: meaning.MayWrite}).Allowed {
		t.Error("mktemp -d makes a directory of another name next time, which is denied")
	}
	if p.Decide(meaning.FileAccess{Path: "/srv/keptAAAAAA", Want: meaning.MayWrite}).Allowed {
		t.Error("a file that stayed has its name, and others are allowed")
	}
}

func TestManyFilesOfADirectoryAreOneRule(t *testing.T) {
	var lines []string
	for i := range 12 {
		lines = append(lines, file("open", fmt.Sprintf("/srv/www/page%c.html", 'a'+i), "r", false), file("open", fmt.Sprintf("/etc/conf%c", 'a'+i), "r", false))
	}
	text, p := made(t, recorded(t, lines...))
	if !p.Decide(meaning.FileAccess{Path: "/srv/www/new.html", Want: meaning.MayRead}).Allowed {
		t.Error("of a directory of pages others are denied")
	}
	for _, a := range []meaning.FileAccess{{Path: "/srv/www/pagea.html", Want: meaning.MayWrite}, {Path: "/srv/www/a/b", Want: meaning.MayRead},
		{Path: "/etc/confz", Want: meaning.MayRead}} {
		if p.Decide(a).Allowed {
			t.Errorf("%s is allowed", access.Format(a))
		}
	}
	if !strings.Contains(string(text.Text), "/srv/www/* r, # sh; also other such names\n") {
		t.Errorf("the text does not say that the rule is about more than was seen:\n%s", text.Text)
	}
}

func TestNamesOfAWorkloadStayNames(t *testing.T) {
	hostile := []string{
		"/etc/*", "/etc/a?", "/etc/[ab]", "/etc/{a,b}", "/etc/^", `/etc/\`, `/etc/\\`, `/etc/a\012b`, `/etc/"`, `/etc/" rwix,`, "/etc/a\n/** rwix,\n",
		"/etc/#x", "/etc/# include <abstractions/base>", "/etc/@{PROC}", "/etc/a,", "/etc/a b", "/etc/a\tb", "/etc/\x7f\xff\x80", "/etc/é",
		"/etc/\x1b[31m", "/etc/}", "/etc/ }", "/etc/!x", "/etc/x ix -> unconfined", "/etc/\u2028", "/etc/$x", "/etc/..x/", "/etc/include <x>", "/etc/%s",
	}
	const letters = `*?[]{}^\,"@! #a01b` + "\n\x01\xff"
	random := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		name := []byte("/etc/")
		for range 1 + random.IntN(12) {
			name = append(name, letters[random.IntN(len(letters))])
		}
		hostile = append(hostile, string(name))
	}
	var lines []string
	for _, name := range hostile {
		lines = append(lines, file("open", name, "r", false))
	}
	text, p := made(t, recorded(t, lines...))
	for _, name := range hostile {
		if !p.Decide(meaning.FileAccess{Path: name, Want: meaning.MayRead}).Allowed {
			t.Errorf("%q was seen and is denied", name)
		}
	}
	for _, other := range []string{"/etc/ab", "/etc/b", "/etc/c", "/etc/a\nb", "/etc/1", "/etc/xx", "/etc/proc/", "/etc/passwd"} {
		if p.Decide(meaning.FileAccess{Path: other, Want: meaning.MayRead}).Allowed {
			t.Errorf("%q is allowed", other)
		}
	}
	if a := (meaning.FileAccess{Path: "/etc/*", Want: meaning.MayWrite}); p.Decide(a).Allowed || p.Decide(meaning.ExecAccess{Path: "/etc/x"}).Allowed {
		t.Error("a name has become a rule")
	}
	if strings.ContainsFunc(string(text.Text), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
		t.Errorf("the text has characters that cannot be printed:\n%q", text.Text)
	}
}

func TestNamesOfProgramsStayInTheirComments(t *testing.T) {
	for _, comm := range []string{"include <x>", "#include", "abi <abi/4.0>,", "a\nb", "x, /** rwix,", "\x1b[31m", `"`} {
		line := strings.Replace(file("open", "/etc/hosts", "r", false), `comm="sh"`, "comm="+untrusted(comm), 1)
		text, p := made(t, recorded(t, line))
		if !strings.Contains(string(text.Text), "/etc/hosts r, # another program\n") {
			t.Errorf("%q:\n%s", comm, text.Text)
		}
		if p.Decide(meaning.FileAccess{Path: "/etc/passwd", Want: meaning.MayWrite}).Allowed {
			t.Errorf("%q has become a rule", comm)
		}
	}
}

func TestWhatIsNotOfTheWorkloadIsLeftOut(t *testing.T) {
	r := recorded(t,
		strings.Replace(file("open", "/proc/sys/x", "w", false), `comm="sh"`, `comm="runc:[2:INIT]"`, 1),
		strings.Replace(file("open", "/other", "r", false), `profile="rec"`, `profile="recorder"`, 1),
		strings.Replace(file("open", "/denied", "r", false), "ALLOWED", "DENIED", 1),
		`apparmor="STATUS" operation="profile_replace" profile="unconfined" name="rec" pid=1 comm="apparmor_parser"`,
		`apparmor="ALLOWED" operation="change_profile" class="file" profile="rec" pid=1 comm="x" name="unconfined" target="unconfined"`,
		file("open", "/etc/hosts", "r", false))
	text, _ := made(t, r)
	if text.Rules != 1 || r.Seen() != 1 {
		t.Errorf("%d rules were made:\n%s", text.Rules, text.Text)
	}
	all := strings.Join(text.Notes, "\n")
	for _, want := range []string{"what the runtime did", "denied", "change of the profile"} {
		if !strings.Contains(all, want) {
			t.Errorf("no note says %q: %s", want, all)
		}
	}
}

// A program is named in its rule, although it came and went under a name that was chosen by chance.
func TestProgramsAreNamed(t *testing.T) {
	const id, temporary = "/usr/local/bin/0123456789abcdef0123456789abcdef", "/srv/sessAbC1eF"
	text, p := made(t, recorded(t, file("exec", id, "x", false), file("open", id, "r", false), file("exec", temporary, "x", false),
		file("mknod", temporary, "c", false), file("unlink", temporary, "d", false)))
	for path, want := range map[string]bool{id: true, temporary: true, strings.Replace(id, "0", "1", 1): false, "/srv/sessAbC1eG": false} {
		if p.Decide(meaning.ExecAccess{Path: path}).Allowed != want {
			t.Errorf("%s may be executed: %v in\n%s", path, !want, text.Text)
		}
	}
}

// What gives a protection up is said of each rule that does, as of one that is suggested.
func TestWhatGivesAProtectionUpIsSaid(t *testing.T) {
	capability := func(number int, name string) string {
		return fmt.Sprintf(`apparmor="ALLOWED" operation="capable" class="cap" profile="rec" pid=7 comm="sh" capability=%d  capname=%q`, number, name)
	}
	text, _ := made(t, recorded(t, append(shell,
		file("open", "/usr/bin/id", "w", false), file("open", "/proc/sys/kernel/x", "w", false), file("open", "/run/docker.sock", "wr", false),
		file("open", "/dev/sda", "wr", true), file("open", "/etc/shadow", "r", false), file("open", "/proc/kcore", "r", false),
		file("open", "/proc/7/mem", "wr", true), file("open", "/srv/www/run", "w", false), file("exec", "/srv/www/run", "x", false),
		capability(21, "sys_admin"), capability(12, "net_admin"),
		`apparmor="ALLOWED" operation="link" class="file" profile="rec" name="/srv/s" pid=7 comm="ln" requested_mask="l" denied_mask="l" fsuid=0 ouid=0 target="/etc/shadow"`,
		`apparmor="ALLOWED" operation="create" class="net" profile="rec" pid=7 comm="ping" family="inet" sock_type="raw" protocol=1 requested_mask="create" denied_mask="create"`)...))
	all := strings.Join(text.Notes, "\n")
	for rule, says := range map[string]string{
		"mount fstype=tmpfs":                "a process that can mount",
		"capability sys_admin":              "sys_admin is most",
		"capability net_admin":              "net_admin changes",
		"network inet raw":                  "raw sockets",
		"@{PROC}/sys/kernel/x w":            "settings of the kernel",
		"/run/docker.sock rw":               "starts containers as root",
		"/dev/sda rw":                       "it is a disk",
		"/etc/shadow r":                     "the hashes",
		"link /srv/s -> /etc/shadow":        "the hashes",
		"@{PROC}/kcore r":                   "the memory of the whole node",
		"owner @{PROC}/@{pid}/mem rw":       "the memory of a process",
		"/usr/bin/id mrwix":                 "written and executed",
		"/srv/www/run wix":                  "written and executed",
		"signal (send) set=(hup, usr1) pee": "signals to processes under another profile",
	} {
		if !slices.ContainsFunc(text.Notes, func(n string) bool { return strings.HasPrefix(n, rule) && strings.Contains(n, says) }) {
			t.Errorf("no note says %q of %q:\n%s", says, rule, all)
		}
	}
	for _, rule := range []string{"/etc/passwd", "/srv/out", "capability chown", "network inet stream", "network unix", "/tmp/"} {
		if strings.Contains(all, "\n"+rule) {
			t.Errorf("%s gives nothing up:\n%s", rule, all)
		}
	}
}

// However many rules give a thing up, the notes can be read.
func TestManyRulesThatGiveTheSameUpAreCounted(t *testing.T) {
	var lines []string
	for i := range 120 {
		lines = append(lines, file("open", fmt.Sprintf("/sys/kernel/x%c%d", 'a'+i%26, i), "w", false))
	}
	text, _ := made(t, recorded(t, lines...))
	if len(text.Notes) != 11 || !strings.HasPrefix(text.Notes[10], "110 other rules") {
		t.Errorf("%d notes: %q", len(text.Notes), text.Notes)
	}
}

func TestARuleThatNoParserTakesIsSaidAndLeftOut(t *testing.T) {
	text, _ := made(t, recorded(t, file("open", "/etc/hosts", "r", false),
		`apparmor="ALLOWED" operation="create" class="net" profile="rec" pid=7 comm="x" family="unknown(99)" sock_type="stream" protocol=6 requested_mask="create" denied_mask="create"`))
	if text.Rules != 1 || !strings.Contains(strings.Join(text.Notes, "\n"), "not learned") {
		t.Errorf("%q\n%s", text.Notes, text.Text)
	}
}

// A path that makes a rule longer than the parser reads is no way to have nothing learned.
func TestARuleThatIsTooLongIsSaidAndLeftOut(t *testing.T) {
	text, _ := made(t, recorded(t, file("open", "/etc/hosts", "r", false), file("open", "/"+strings.Repeat("\x01", 4300), "r", false)))
	if text.Rules != 1 || len(text.Notes) != 1 || !strings.Contains(text.Notes[0], "not learned, as the rule would be too long") || len(text.Notes[0]) > 300 {
		t.Errorf("%d rules, notes %q", text.Rules, text.Notes)
	}
}

func TestARecordingThatIsNotWholeMakesNoText(t *testing.T) {
	r := recorded(t)
	if _, err := r.Text(context.Background(), nil, learn.Target{Name: "web"}); err == nil {
		t.Error("a text was made of nothing")
	}
	for i := range 20_001 {
		var record audit.Record
		record.Parse([]byte(file("open", fmt.Sprintf("/srv/x%dx", i), "r", false)))
		r.Add(&record)
	}
	if _, err := r.Text(context.Background(), nil, learn.Target{Name: "web"}); err == nil || !r.Full() {
		t.Error("a text was made of a part")
	}
}

func TestAnAbstractionStandsForRulesWhereItFits(t *testing.T) {
	c := profiletest.Compiler(t, profiletest.Features())
	lines := []string{file("open", "/etc/ld.so.cache", "r", true), file("file_mmap", "/usr/lib/x86_64-linux-gnu/libc.so.6", "rm", true),
		file("open", "/usr/lib/locale/C.utf8/LC_CTYPE", "r", true), file("open", "/srv/x", "r", true), file("open", "/proc/12/status", "r", true)}
	text, err := recorded(t, lines...).Text(t.Context(), c, learn.Target{Name: "web", Included: true})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text.Text), "include <abstractions/base> # in place of 3 rules\n") || strings.Contains(string(text.Text), "libc") ||
		!strings.Contains(string(text.Text), "/srv/x r,") || strings.Contains(string(text.Text), "perl") {
		t.Errorf("%s", text.Text)
	}
}
