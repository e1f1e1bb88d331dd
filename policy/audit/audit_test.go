package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// show prints what a record says, a field a word.
func show(r *Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", r.Type)
	for _, f := range r.Fields {
		switch {
		case len(f.Key) == 0:
			fmt.Fprintf(&b, " ?%q", f.Text)
		case f.Added:
			fmt.Fprintf(&b, " +%s=%q", f.Key, f.Value())
		case string(f.Key) != "apparmor":
			fmt.Fprintf(&b, " %s=%q", f.Key, f.Value())
		}
		if f.Cut {
			b.WriteString("…")
		}
	}
	if r.Cut {
		b.WriteString(" (cut)")
	}
	return b.String()
}

func TestParse(t *testing.T) {
	const open = `apparmor="DENIED" operation="open" class="file" profile="web" name="/etc/shadow" pid=7 comm="cat" requested_mask="r" denied_mask="r" fsuid=0 ouid=0`
	const opened = `DENIED operation="open" class="file" profile="web" name="/etc/shadow" pid="7" comm="cat" requested_mask="r" denied_mask="r" fsuid="0" ouid="0"`
	const stamp = "audit(1790000000.100:7): "
	for _, test := range []struct{ name, line, want string }{
		{"dmesg", "[   10.111019] audit: type=1400 " + stamp + open, opened},
		{"syslog", "Nov 30 10:00:00 node-1 kernel: [   10.111019] audit: type=1400 " + stamp + open, opened},
		{"multicast", stamp + open, opened},
		{"auditd", "type=AVC msg=" + stamp + open, opened},
		{"auditd of another host", "node=node-1 type=AVC msg=" + stamp + open, opened},
		{"auditd, enriched", "type=AVC msg=" + stamp + open + "\x1dFSUID=\"root\" OUID=\"root\"", opened + ` +FSUID="root" +OUID="root"`},
		{"journal", "AVC " + open, opened},
		{"end of line of another system", stamp + open + "\r\n", opened},
		{"no apparmor=", "audit: type=1400 " + stamp + strings.TrimPrefix(open, `apparmor="DENIED"`), "UNKNOWN" + strings.TrimPrefix(opened, "DENIED")},
		{"type by its number", "audit: type=1503 " + stamp + strings.TrimPrefix(open, `apparmor="DENIED" `), opened},
		{"killed", stamp + `apparmor="KILLED" operation="capable" class="cap" profile="k" pid=7 comm="x" capability=21  capname="sys_admin"`,
			`KILLED operation="capable" class="cap" profile="k" pid="7" comm="x" capability="21" capname="sys_admin"`},
		{"error, with what the kernel says of it", "audit: type=1400 " + stamp + `apparmor="ERROR" operation="change_hat" info="failed token match" error=-13 profile="web//hat" pid=7 comm="x"`,
			`ERROR operation="change_hat" info="failed token match" error="-13" profile="web//hat" pid="7" comm="x"`},
		{"hint, by its number", "type=APPARMOR_HINT msg=" + stamp + `operation="change_hat" profile="web" pid=7 comm="x"`,
			`HINT operation="change_hat" profile="web" pid="7" comm="x"`},
		{"hint", stamp + `apparmor="HINT" operation="exec" profile="web" name="/a" pid=7 comm="x"`, `HINT operation="exec" profile="web" name="/a" pid="7" comm="x"`},
		{"type that is new", stamp + `apparmor="FORGIVEN" operation="open"`, `UNKNOWN operation="open"`},
		{"hexadecimal by the lack of quotes", stamp + `apparmor="DENIED" operation="open" name=2F6120622271 comm="2F61" peer=61`,
			`DENIED operation="open" name="/a b\"q" comm="2F61" peer="a"`},
		{"hexadecimal of keys that have none", stamp + `apparmor="DENIED" operation="signal" signal=term pid=10 rlimit=AB`,
			`DENIED operation="signal" signal="term" pid="10" rlimit="AB"`},
		{"equals sign and key in a value", stamp + `apparmor="DENIED" operation="open" name="/a=b,name=c" pid=7`,
			`DENIED operation="open" name="/a=b,name=c" pid="7"`},
		{"no blank before a signal without a name", stamp + `apparmor="DENIED" operation="signal" denied_mask="send"signal=unknown(35) peer="x"`,
			`DENIED operation="signal" denied_mask="send" signal="unknown(35)" peer="x"`},
		{"key twice", stamp + `apparmor="STATUS" info="x" error=-71 profile="unconfined" name="p" pid=1 comm="a" name="p//c" offset=28`,
			`STATUS info="x" error="-71" profile="unconfined" name="p" pid="1" comm="a" name="p//c" offset="28"`},
		{"unknown keys and words", stamp + `apparmor="DENIED" operation="open" colour=red odd new="a b" 7`,
			`DENIED operation="open" colour="red" ?"odd" new="a b" ?"7"… (cut)`},
		{"execpath with quotes and keys", stamp + `apparmor="DENIED" operation="userns_create" pid=7 denied="userns_create" execpath="/tmp/a" profile="b" name="c"`,
			`DENIED operation="userns_create" pid="7" denied="userns_create" execpath="/tmp/a\" profile=\"b\" name=\"c"`},
		{"execpath with a record", stamp + `apparmor="DENIED" operation="userns_create" execpath="/a audit: type=1400 ` + stamp + open + `"`,
			`DENIED operation="userns_create" execpath="/a audit: type=1400 ` + stamp + strings.ReplaceAll(open, `"`, `\"`) + `"`},
		{"cut in a value", stamp + `apparmor="DENIED" operation="open" name="/etc/sha`, `DENIED operation="open" name="/etc/sha"… (cut)`},
		{"cut behind a key", stamp + `apparmor="DENIED" operation="open" name=`, `DENIED operation="open" name=""… (cut)`},
		{"cut in a key", stamp + `apparmor="DENIED" operation="open" na`, `DENIED operation="open" ?"na"… (cut)`},
		{"beginning is cut off", `0:7): ` + open, opened},
		{"dbus-daemon by auditd", `type=USER_AVC msg=` + stamp + `pid=1 uid=102 auid=4294967295 ses=4294967295 subj=unconfined msg='apparmor="DENIED" operation="dbus_method_call"  bus="system" path="/org/x" interface="org.x" member="Get" mask="send" name="org.x" pid=77 label="web" peer_pid=5 peer_label="unconfined" exe="/usr/bin/dbus-daemon" sauid=102 hostname=? addr=? terminal=?'` + "\x1dUID=\"bus\"",
			`DENIED operation="dbus_method_call" bus="system" path="/org/x" interface="org.x" member="Get" mask="send" name="org.x" pid="77" label="web" peer_pid="5" peer_label="unconfined" +pid="1" +uid="102" +auid="4294967295" +ses="4294967295" +subj="unconfined" +exe="/usr/bin/dbus-daemon" +sauid="102" +hostname="?" +addr="?" +terminal="?" +UID="bus"`},
		{"dbus-daemon by syslog", `Nov 30 10:00:00 node-1 dbus-daemon[5]: apparmor="DENIED" operation="dbus_signal" bus="session" label="web"`,
			`DENIED operation="dbus_signal" bus="session" label="web"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var r Record
			rest, ok := r.Parse([]byte(test.line))
			if got := show(&r); !ok || got != test.want || len(rest) > 0 {
				t.Errorf("%v, rest %q\n got %s\nwant %s", ok, rest, got, test.want)
			}
		})
	}
}

func TestTimeAndSerial(t *testing.T) {
	var r Record
	if _, ok := r.Parse([]byte(`node=a.example type=AVC msg=audit(1790000000.123:42): apparmor="AUDIT" operation="open"`)); !ok ||
		!r.Time.Equal(time.UnixMilli(1790000000123)) || r.Serial != 42 || string(r.Host) != "a.example" || r.Carrier != Auditd {
		t.Errorf("%v %+v", ok, r)
	}
}

// What others wrote is no record of AppArmor, also where a value looks like one.
func TestNotARecord(t *testing.T) {
	const forged = `apparmor="DENIED" operation="open" profile="web"`
	for _, line := range []string{
		"",
		"audit(",
		`audit(1.1:1): ` + forged[:0],
		`audit: type=1400 audit(1790000000.100:7): avc:  denied  { read } for  pid=1 comm="x" scontext=a tcontext=b`,
		`type=SYSCALL msg=audit(1790000000.100:7): arch=c000003e syscall=257 success=no exit=-13 comm="cat"`,
		`type=EXECVE msg=audit(1790000000.100:7): argc=2 a0="/x/audit(1790000000.100:8):operation=open" a1="operation="`,
		`type=USER_CMD msg=audit(1790000000.100:7): pid=9 msg='cmd="audit: type=1400 audit(1790000000.100:8): ` + forged + `'`,
		`audit: type=1105 audit(1790000000.100:7): pid=9 msg='op=x audit: type=1400 audit(1790000000.100:8): ` + forged + `'`,
		`xapparmor="DENIED" operation="open"`,
	} {
		var r Record
		if _, ok := r.Parse([]byte(line)); ok && line != "audit(1.1:1): " {
			t.Errorf("%s\nis read as %s", line, show(&r))
		}
	}
}

// A file's name that holds a head is of the record that it stands in.
func TestNameWithAHead(t *testing.T) {
	var r Record
	rest, ok := r.Parse([]byte(`audit: type=1400 audit(1790000000.100:7): apparmor="DENIED" operation="open" name="/x/audit(1790000000.100:8):operation=open" pid=7`))
	if !ok || len(rest) > 0 || r.Get("name") != "/x/audit(1790000000.100:8):operation=open" {
		t.Errorf("%v %s, rest %q", ok, show(&r), rest)
	}
}

// all reads all records of a text.
func all(t testing.TB, text string) (records []string, in *Reader) {
	t.Helper()
	in = NewReader(strings.NewReader(text))
	var r Record
	for {
		err := in.Next(&r)
		if errors.Is(err, io.EOF) {
			return records, in
		}
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, show(&r))
	}
}

func TestReader(t *testing.T) {
	record := func(serial int, rest string) string {
		return fmt.Sprintf(`audit: type=1400 audit(1790000000.100:%d): apparmor="DENIED" operation="open"%s`, serial, rest)
	}
	for _, test := range []struct {
		name, text    string
		want          []string
		doubled, long uint64
	}{
		{"lines that ran together", "[ 1.000001] " + record(1, ` name="/[1]" pid=1`) + "[    1.000002] " + record(2, ` pid=2`) + record(3, ` pid=3`),
			[]string{`DENIED operation="open" name="/[1]" pid="1"`, `DENIED operation="open" pid="2"`, `DENIED operation="open" pid="3"`}, 0, 0},
		{"a line within a value", record(1, ` name="/et`) + record(2, ` pid=2`) + "\n",
			[]string{`DENIED operation="open" name="/et"… (cut)`, `DENIED operation="open" pid="2"`}, 0, 0},
		{"another's record before it", `audit: type=1300 audit(1790000000.100:1): arch=c000003e` + record(2, ` pid=2`),
			[]string{`DENIED operation="open" pid="2"`}, 0, 0},
		{"one event by two carriers", record(1, " pid=1") + "\nnoise\n" + "type=AVC msg=" + strings.TrimPrefix(record(1, " pid=1"), "audit: type=1400 "),
			[]string{`DENIED operation="open" pid="1"`}, 1, 0},
		{"two records of one event", record(1, " pid=1") + "\n" + record(1, " pid=2"),
			[]string{`DENIED operation="open" pid="1"`, `DENIED operation="open" pid="2"`}, 0, 0},
		{"journal, which has no serial", strings.Repeat("AVC apparmor=\"DENIED\" operation=\"open\"\n", 2),
			[]string{`DENIED operation="open"`, `DENIED operation="open"`}, 0, 0},
		{"binary", "\x00\xff\x00\n\n\n\r\n" + record(1, " pid=1") + "\x00\x00\n\x1b[2J", []string{`DENIED operation="open" pid="1"`}, 0, 0},
		{"a line of 100 KB", record(1, ` pid=1 name="`+strings.Repeat("a", 100<<10)+`" ouid=0`) + "\n" + record(2, " pid=2"),
			[]string{`DENIED operation="open" pid="1" name="` + strings.Repeat("a", longestLine-len(record(1, ` pid=1 name="`))) + `"… (cut)`, `DENIED operation="open" pid="2"`}, 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, in := all(t, test.text)
			if strings.Join(got, "\n") != strings.Join(test.want, "\n") || in.Doubled != test.doubled || in.Long != test.long {
				t.Errorf("doubled %d, long %d\n got %.2000s\nwant %.2000s", in.Doubled, in.Long, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

// What three kernels wrote in guests.
func TestKernels(t *testing.T) {
	files, err := filepath.Glob("testdata/linux-*")
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		operations := map[string]int{}
		for line := range bytes.Lines(text) {
			var r Record
			rest, ok := r.Parse(bytes.TrimSpace(line))
			if !ok || r.Cut || len(rest) > 0 || r.Time.IsZero() || r.Type == Unknown {
				t.Errorf("%s: %s%s", file, line, show(&r))
			}
			operations[r.Get("operation")]++
			for _, f := range r.Fields {
				if len(f.Key) == 0 || f.Added {
					t.Errorf("%s: a stray %q in %s", file, f.Text, line)
				}
			}
			if pid, ok := r.Number("pid"); !ok || pid <= 0 {
				t.Errorf("%s: no pid: %s", file, line)
			}
			if profile, _ := r.Profile(); profile == "" {
				t.Errorf("%s: no profile: %s", file, line)
			}
			if _, denied := r.Masks(); denied == "" && r.Type == Denied && bytes.Contains(line, []byte("denied")) {
				t.Errorf("%s: no mask: %s", file, line)
			}
		}
		for _, operation := range []string{"open", "mknod", "capable", "ptrace", "signal", "mount", "create", "exec", "profile_replace"} {
			if operations[operation] == 0 {
				t.Errorf("%s has no record of %s", file, operation)
			}
		}
	}
}

func TestKmsg(t *testing.T) {
	for _, test := range []struct {
		entry, text string
		kernel      bool
	}{
		{"5,1,2,-;audit: x", "audit: x", true},
		{"5,1,2,-,caller=T1;a;b\n SUBSYSTEM=x\n", "a;b", true},
		{"12,1,2,-;audit: x", "audit: x", false}, // a process wrote it
		{`6,1,2,-;name="/a\x5cb\x0ac\x5" \xzz \`, "name=\"/a\\b\nc\\x5\" \\xzz \\", true},
		{"no head", "", false},
		{"x,1;y", "", false},
	} {
		if text, kernel := Kmsg([]byte(test.entry)); string(text) != test.text || kernel != test.kernel {
			t.Errorf("%q: %q, %v", test.entry, text, kernel)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	line := []byte(`type=AVC msg=audit(1790000000.100:7): apparmor="DENIED" operation="open" class="file" profile="web" name=2F6120 pid=7 comm="cat" requested_mask="r" denied_mask="r" fsuid=0 ouid=0` + "\x1dFSUID=\"root\"")
	var r Record
	r.Parse(line)
	if n := testing.AllocsPerRun(100, func() { r.Parse(line) }); n > 0 {
		t.Errorf("%v allocations a record, want none", n)
	}
}

// written is a string as the kernel writes one that a workload chose (audit_log_untrustedstring).
func written(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r == '"' || r < 0x21 || r > 0x7e }) {
		return fmt.Sprintf("%X", s)
	}
	return `"` + s + `"`
}

// Whatever strings a workload chooses, they come back as they are, and no other field changes.
func FuzzValues(f *testing.F) {
	f.Add("/a b", "x", `web"`, `/tmp/a" name="b`)
	f.Add("", "audit(1790000000.100:8):", "2F", "/a audit: type=1400 audit(1790000000.100:8): ")
	f.Add("/[1.2]", "[1]", "=", "\x1dFSUID=\"root\"")
	f.Fuzz(func(t *testing.T, name, comm, peer, execpath string) {
		line := fmt.Sprintf(`audit: type=1400 audit(1790000000.100:7): apparmor="DENIED" operation="x" profile="p" name=%s pid=7 comm=%s requested="y" peer=%s execpath="%s"`,
			written(name), written(comm), written(peer), execpath)
		var r Record
		rest, ok := r.Parse([]byte(line))
		if !ok || len(rest) > 0 || r.Cut || len(r.Fields) != 9 {
			t.Fatalf("%v, rest %q\n%q\n%s", ok, rest, line, show(&r))
		}
		for key, want := range map[string]string{"operation": "x", "profile": "p", "name": name, "comm": comm, "peer": peer, "execpath": execpath} {
			if got := r.Get(key); got != want {
				t.Errorf("%s: %q, want %q in %q", key, got, want, line)
			}
		}
	})
}

// No line panics, and of a record no byte is lost.
func FuzzParse(f *testing.F) {
	for _, file := range []string{"testdata/linux-6.1", "testdata/linux-7.2"} {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			f.Add(bytes.TrimSpace(line))
		}
	}
	f.Add([]byte("audit(1790000000.100:7): apparmor=\"DENIED\" operation=\"x\" a b=\"c\x1dUID=\"r\""))
	f.Fuzz(func(t *testing.T, line []byte) {
		var r Record
		rest, ok := r.Parse(line)
		if !ok {
			return
		}
		for _, f := range r.Fields {
			f.Value()
		}
		r.Profile()
		r.Masks()
		if len(rest) >= len(line) {
			t.Fatalf("the rest of %q is %q", line, rest)
		}
		if r.Carrier == Bare || r.Carrier == User {
			return
		}
		_, body, _ := bytes.Cut(r.written, []byte("):"))
		var again []byte
		for _, f := range r.Fields {
			again = append(again, f.Key...)
			if len(f.Key) > 0 {
				again = append(again, '=')
			}
			if f.Quoted {
				again = append(again, '"')
			}
			again = append(again, f.Text...)
			if f.Quoted && !f.Cut {
				again = append(again, '"')
			}
		}
		if squeeze(again) != squeeze(body) {
			t.Fatalf("%q\nbecomes %q", body, again)
		}
	})
}

// squeeze leaves out what separates fields.
func squeeze(b []byte) string {
	return string(slices.DeleteFunc(bytes.Clone(b), func(c byte) bool { return strings.IndexByte(" \t\r\n\x00\x1d", c) >= 0 }))
}

func BenchmarkParse(b *testing.B) {
	text, err := os.ReadFile("testdata/linux-7.2")
	if err != nil {
		b.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	var r Record
	for i := 0; b.Loop(); i++ {
		r.Parse(lines[i%len(lines)])
	}
}
