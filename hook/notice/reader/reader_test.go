package reader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
)

// entry is one as journalctl -o json of systemd 257 prints it, with the fields that count and some that do not.
func entry(t *testing.T, change func(map[string]any)) string {
	t.Helper()
	e := map[string]any{
		"__REALTIME_TIMESTAMP":      "1764398281000001",
		"__CURSOR":                  "s=1;i=2",
		"_TRANSPORT":                "journal",
		"_UID":                      "0",
		"_COMM":                     "runc",
		"SYSLOG_IDENTIFIER":         "oci-apparmor",
		"SYSLOG_FACILITY":           "1",
		"PRIORITY":                  "4",
		"MESSAGE_ID":                notice.Warning.MessageID(),
		"MESSAGE":                   "start of container 4f0c: profile web was loaded with other content",
		"OCI_APPARMOR_COMMAND":      "start",
		"OCI_APPARMOR_CONTAINER_ID": "4f0c",
		"OCI_APPARMOR_POD":          "shop-1",
		"OCI_APPARMOR_POLICY":       "web",
	}
	if change != nil {
		change(e)
	}
	line, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return string(line)
}

// viaKernel is an entry that came by way of the kernel's log.
func viaKernel(e map[string]any) {
	for k := range e {
		if strings.HasPrefix(k, "OCI_") || k == "MESSAGE_ID" || k == "_UID" || k == "_COMM" {
			delete(e, k)
		}
	}
	e["_TRANSPORT"] = "kernel"
	e["MESSAGE"] = `level=refusal command=precreate engine=podman id=x msg="policy \"a\" does not exist"`
}

func TestOnlyWhatRootWroteIsBelieved(t *testing.T) {
	at := time.UnixMicro(1764398281000001).UTC()
	own := notice.Notice{Time: at, Level: notice.Warning, Command: "start", ID: "4f0c", Pod: "shop-1", Policy: "web",
		Message: "profile web was loaded with other content"}
	kernel := notice.Notice{Time: at, Level: notice.Refusal, Command: "precreate", Engine: "podman", ID: "x",
		Message: `policy "a" does not exist`}
	set := func(key string, value any) func(map[string]any) {
		return func(e map[string]any) {
			if e[key] = value; value == nil {
				delete(e, key)
			}
		}
	}
	both := func(a, b func(map[string]any)) func(map[string]any) {
		return func(e map[string]any) { a(e); b(e) }
	}
	user := own
	user.Message = "x"
	for name, c := range map[string]struct {
		change func(map[string]any)
		want   notice.Notice // the zero one for an entry that is left out
	}{
		"ours":                          {nil, own},
		"the reader's own":              {set("_UID", "1000"), own},
		"another user's":                {set("_UID", "1001"), notice.Notice{}},
		"nobody's":                      {set("_UID", nil), notice.Notice{}},
		"a container's output":          {set("MESSAGE_ID", nil), notice.Notice{}}, // of engines that log to the journal, by the name that a user chose
		"another program's":             {set("MESSAGE_ID", "00000000000000000000000000000000"), notice.Notice{}},
		"a service's output":            {set("_TRANSPORT", "stdout"), notice.Notice{}},
		"syslog's":                      {set("_TRANSPORT", "syslog"), notice.Notice{}},
		"without a time":                {set("__REALTIME_TIMESTAMP", nil), notice.Notice{}},
		"the kernel's log":              {viaKernel, kernel},
		"the kernel itself":             {both(viaKernel, set("SYSLOG_FACILITY", "0")), notice.Notice{}},
		"another's in the kernel's log": {both(viaKernel, set("SYSLOG_IDENTIFIER", "x")), notice.Notice{}},
		"an unlike line in the same":    {both(viaKernel, set("MESSAGE", "create of container c: no")), notice.Notice{}},
		"the line, but from a socket":   {both(viaKernel, both(set("_TRANSPORT", "journal"), set("_UID", "0"))), notice.Notice{}},
		"a message without the subject": {set("MESSAGE", "x"), user},
		"a message of no text":          {set("MESSAGE", []int{120, 255}), notice.Notice{Time: at, Level: notice.Warning, Command: "start", ID: "4f0c", Pod: "shop-1", Policy: "web"}},
		"a field that was given twice":  {set("MESSAGE_ID", []string{notice.Warning.MessageID(), "x"}), notice.Notice{}},
		"a field that is an object":     {set("_UID", map[string]int{}), notice.Notice{}},
		"a time that is none":           {set("__REALTIME_TIMESTAMP", "-"), notice.Notice{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := Reader{UID: 1000}.parseEntry([]byte(entry(t, c.change)))
			if got != c.want || ok != (c.want != notice.Notice{}) {
				t.Errorf("read as %v %+v, want %+v", ok, got, c.want)
			}
		})
	}
}

func TestRecordsOfTheKernelsLog(t *testing.T) {
	booted := time.Date(2026, 11, 29, 6, 0, 0, 0, time.UTC)
	want := notice.Notice{Time: booted.Add(12346 * time.Millisecond), Level: notice.Refusal, ID: "\u00e9 x", Message: `say "no" \x41`}
	const line = `oci-apparmor: level=refusal id="\x5cu00e9 x" msg="say \x5c"no\x5c" \x5c\x5cx41"`
	for record, ok := range map[string]bool{
		"11,339,12345678,-;" + line + "\n":               true,
		"12,339,12345678,-,caller=T1;" + line:            true,
		"11,339,12345678,c;" + line + "\n SUBSYSTEM=x\n": true,
		"3,339,12345678,-;" + line + "\n":                false, // the kernel's own
		"28,339,12345678,-;" + line + "\n":               false, // another's
		"11,339,12345678,-;x: " + line + "\n":            false,
		"11,339,12345678,-;level=refusal msg=x\n":        false,
		"11,339;" + line + "\n":                          false,
		"11,339,x,-;" + line + "\n":                      false,
		"11,339,99999999999999999,-;" + line + "\n":      false,
		"x;" + line: false,
		line:        false,
		"":          false,
		"11,339,12345678,-;oci-apparmor-hook: container c: it is refused\n": false, // of versions before this
	} {
		got, is := parseRecord(record, booted)
		if is != ok || ok && got != want {
			t.Errorf("%q is read as %v %+v", record, is, got)
		}
	}
}

// journalctl makes a program that stands for it: it prints what the test says, and keeps its arguments.
func journalctl(t *testing.T, script string) (r Reader, args func() []string) {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "socket")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	program := filepath.Join(dir, "journalctl")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nprintf '%s\\n' \"$@\" >"+dir+"/args\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return Reader{Log: notice.Log{Journal: socket}, Journalctl: program}, func() []string {
		args, err := os.ReadFile(filepath.Join(dir, "args"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(args))
	}
}

func TestReadJournal(t *testing.T) {
	long := strings.Repeat("x", longestEntry)
	printed := entry(t, nil) + "\n{\"MESSAGE\": \"" + long + "\"}\n-- No entries --\n" + entry(t, viaKernel)
	r, args := journalctl(t, "cat <<'EOT'\n"+printed+"\nEOT\necho 'Hint: not all is seen' >&2\n")
	var got []string
	var warned []string
	since := time.UnixMicro(1764398281000001)
	err := r.Read(t.Context(), Query{Since: since}, func(n notice.Notice) error {
		got = append(got, n.String())
		return nil
	}, func(s string) { warned = append(warned, s) })
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"start of container 4f0c: profile web was loaded with other content", `precreate of container x: policy "a" does not exist`}; !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
	if !slices.Equal(warned, []string{"Hint: not all is seen"}) {
		t.Errorf("warned %q", warned)
	}
	if a := strings.Join(args(), " "); !strings.Contains(a, "--since=@1764398281 ") || strings.Contains(a, "--follow") || !strings.Contains(a, "--output=json") {
		t.Errorf("journalctl gets %s", a)
	}

	got = nil
	if err := r.Read(t.Context(), Query{Since: since.Add(time.Microsecond)}, func(n notice.Notice) error {
		got = append(got, n.String())
		return nil
	}, func(string) {}); err != nil || got != nil {
		t.Errorf("since a moment later: %q, %v", got, err)
	}
}

func TestReadJournalFollowsUntilItIsTold(t *testing.T) {
	r, args := journalctl(t, "cat <<'EOT'\n"+entry(t, nil)+"\nEOT\nexec sleep 60\n")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	began := time.Now()
	n := 0
	if err := r.Read(ctx, Query{Follow: true}, func(notice.Notice) error { n++; stop(); return nil }, func(string) {}); err != nil {
		t.Error(err)
	}
	full := errors.New("no space left")
	if err := r.Read(t.Context(), Query{Follow: true}, func(notice.Notice) error { return full }, func(string) {}); err != full {
		t.Errorf("gave %v, want the reader's own error", err)
	}
	if took := time.Since(began); n != 1 || took > 20*time.Second || !slices.Contains(args(), "--follow") {
		t.Errorf("%d notices, %s, journalctl gets %q", n, took, args())
	}
}

func TestReadSaysWhatItCannotSee(t *testing.T) {
	each := func(notice.Notice) error { return nil }
	r, _ := journalctl(t, "echo 'No journal files were opened due to insufficient permissions.' >&2\nexit 1\n")
	if err := r.Read(t.Context(), Query{}, each, func(string) {}); err == nil || !strings.Contains(err.Error(), "insufficient permissions") {
		t.Errorf("gave %v", err)
	}
	r.Journalctl = "no-such-journalctl"
	if err := r.Read(t.Context(), Query{}, each, func(string) {}); err == nil || !strings.Contains(err.Error(), "no-such-journalctl") {
		t.Errorf("gave %v", err)
	}
	none := filepath.Join(t.TempDir(), "none")
	if err := (Reader{Log: notice.Log{Journal: none, Kernel: none}}).Read(t.Context(), Query{}, each, func(string) {}); !errors.Is(err, os.ErrNotExist) ||
		!strings.Contains(err.Error(), "no journal runs") {
		t.Errorf("gave %v", err)
	}
}

// No entry of a journal and no record of the kernel's log makes a notice that is not fit for a terminal.
func FuzzReader(f *testing.F) {
	f.Add([]byte(`{"_TRANSPORT":"journal","_UID":"0","MESSAGE_ID":"` + notice.Refusal.MessageID() + `","__REALTIME_TIMESTAMP":"1","MESSAGE":"\u001b[31m\n"}`))
	f.Add([]byte(`{"_TRANSPORT":"kernel","SYSLOG_IDENTIFIER":"oci-apparmor","SYSLOG_FACILITY":"1","__REALTIME_TIMESTAMP":"1","MESSAGE":"level=warning msg=\"\\x1b\""}`))
	f.Add([]byte(`11,1,2,-;oci-apparmor: level=warning msg="\x5cx1b"`))
	f.Add([]byte(`11,1,2,-;oci-apparmor: level=warning msg="\x`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for i, read := range []func() (notice.Notice, bool){
			func() (notice.Notice, bool) { return Reader{}.parseEntry(data) },
			func() (notice.Notice, bool) { return parseRecord(string(data), time.Unix(0, 0)) },
		} {
			n, ok := read()
			if ok && (n != n.Clean() || n.Level.MessageID() == "") {
				t.Errorf("%d: %q is read as %+v", i, data, n)
			}
			if !ok && n != (notice.Notice{}) {
				t.Error(fmt.Sprint(i, ": ", n))
			}
		}
	})
}
