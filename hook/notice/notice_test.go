package notice

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

var shop = Notice{
	Level: Refusal, Engine: "containerd", Command: "create", ID: "4f0c", Container: "front", Namespace: "shops", Pod: "shop-1",
	Policy: "web", Reason: NotAllowed, Message: `policy "batch" is not allowed here`,
}

// received returns what has been sent to a journal of the test's own.
func received(t *testing.T, send func(socket string)) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "socket")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	send(socket)
	buf := make([]byte, 64<<10)
	if err := l.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := l.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestJournalGetsFields(t *testing.T) {
	kernel := filepath.Join(t.TempDir(), "kmsg")
	if err := os.WriteFile(kernel, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got := received(t, func(socket string) { Log{Journal: socket, Kernel: kernel}.Write(shop) })
	const want = `MESSAGE=create of container 4f0c: policy "batch" is not allowed here
PRIORITY=3
SYSLOG_FACILITY=1
SYSLOG_IDENTIFIER=oci-apparmor
MESSAGE_ID=4b9080377094467aae165acb368e331f
OCI_APPARMOR_ENGINE=containerd
OCI_APPARMOR_COMMAND=create
OCI_APPARMOR_CONTAINER_ID=4f0c
OCI_APPARMOR_CONTAINER=front
OCI_APPARMOR_NAMESPACE=shops
OCI_APPARMOR_POD=shop-1
OCI_APPARMOR_POLICY=web
OCI_APPARMOR_REASON=not-allowed
`
	if got != want {
		t.Errorf("the journal gets\n%swant\n%s", got, want)
	}
	if line, err := os.ReadFile(kernel); err != nil || len(line) > 0 {
		t.Errorf("the kernel's log gets %q (%v), too", line, err)
	}
	if n := FromJournal(Refusal, fieldsOf(got)); n != shop {
		t.Errorf("is read as %+v, want %+v", n, shop)
	}
}

// fieldsOf reads a datagram as journald does where no value has a line end.
func fieldsOf(datagram string) func(string) string {
	fields := make(map[string]string)
	for line := range strings.Lines(datagram) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		fields[key] = value
	}
	return func(key string) string { return fields[key] }
}

// Where no journal takes it, a notice is a line of the kernel's log, at once.
func TestKernelGetsALineWhereNoJournalTakesIt(t *testing.T) {
	dir := t.TempDir()
	nobody := filepath.Join(dir, "nobody") // it listened once
	full := filepath.Join(dir, "full")     // it listens, and does not read
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: nobody, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	busy, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: full, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for i := 0; toJournal(full, shop) == nil; i++ {
		if i == 1<<20 {
			t.Fatal("its queue has no end")
		}
	}

	const want = `<11>oci-apparmor: level=refusal command=create engine=containerd id=4f0c container=front namespace=shops ` +
		`pod=shop-1 policy=web reason=not-allowed msg="policy \"batch\" is not allowed here"` + "\n"
	for name, journal := range map[string]string{
		"no journal": "", "none there": filepath.Join(dir, "none"), "a dead one": nobody, "one that does not read": full,
	} {
		t.Run(name, func(t *testing.T) {
			kernel := filepath.Join(t.TempDir(), "kmsg")
			if err := os.WriteFile(kernel, []byte("before\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			Log{Journal: journal, Kernel: kernel}.Write(shop)
			if took := time.Since(began); took > time.Second {
				t.Errorf("took %s", took)
			}
			got, err := os.ReadFile(kernel)
			if err != nil || string(got) != "before\n"+want {
				t.Errorf("the kernel's log has\n%s (%v), want\n%s", got, err, want)
			}
		})
	}
}

// What can not be written is dropped without a word, and without waiting: a pipe that nobody reads would block.
func TestNothingTakesIt(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "none")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, kernel := range []string{"", missing, pipe, dir} {
			Log{Journal: missing, Kernel: kernel}.Write(shop)
		}
		Log{}.Write(shop)
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("waits")
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("makes a file where there is no kernel's log")
	}
}

// hostile is a notice whose every part wants to be a line, or a field, of its own.
func hostile() Notice {
	const s = "a\nMESSAGE_ID=x\nb\x00\x1b[31m\u202e\u0085\xff\" level=warning msg=\"forged\" \\x0a <0>"
	return Notice{Level: Warning, Engine: s, Command: s, ID: s, Container: s, Namespace: s, Pod: s, Policy: s, Reason: s, Message: s + "\noci-apparmor: level=refusal msg=x"}
}

func TestHostileTextStaysWhereItIs(t *testing.T) {
	for name, n := range map[string]Notice{
		"short": hostile(),
		"long": {Level: Warning, Engine: strings.Repeat("\U0001f600", 5000), Command: strings.Repeat("\"", 5000), ID: strings.Repeat("\n", 5000),
			Container: strings.Repeat("\xff", 5000), Namespace: strings.Repeat("é", 5000), Pod: strings.Repeat("x", 5000),
			Policy: strings.Repeat("\\", 5000), Reason: Reason(strings.Repeat("r", 5000)), Message: strings.Repeat("€", 50000)},
	} {
		t.Run(name, func(t *testing.T) {
			clean := n.Clean()
			datagram := received(t, func(socket string) { Log{Journal: socket}.Write(n) })
			if lines := strings.Count(datagram, "\n"); lines != 13 {
				t.Errorf("the journal gets %d lines:\n%s", lines, datagram)
			}
			if got := FromJournal(Warning, fieldsOf(datagram)); got != clean {
				t.Errorf("is read as\n%+v, want\n%+v", got, clean)
			}

			record := string(clean.kernel())
			line, ok := strings.CutPrefix(record, "<12>")
			line, ended := strings.CutSuffix(line, "\n")
			if !ok || !ended || len(record) > longestLine || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("the kernel's log gets %d bytes: %q", len(record), record)
			}
			if _, message, _ := strings.Cut(line, " msg="); len(message) < 190 {
				t.Errorf("of the message is left %s", message)
			}
			got, ok := ParseLine(line)
			if !ok {
				t.Fatalf("cannot be read back: %s", line)
			}
			if got.Level != Warning {
				t.Errorf("is read as a %s", got.Level)
			}
			for i, f := range got.fields() {
				want := *clean.fields()[i].value
				start, wasCut := strings.CutSuffix(*f.value, oneline.Mark)
				if *f.value != want && !(wasCut && len(start) >= 1 && strings.HasPrefix(want, start)) {
					t.Errorf("%s is read as %q, want %.100q", f.key, *f.value, want)
				}
			}
		})
	}
}

func TestParseLineTakesNothingElse(t *testing.T) {
	for line, want := range map[string]bool{
		`oci-apparmor: level=warning msg="x"`:                       true,
		`level=warning msg="x"`:                                     true, // as journald keeps it
		`level=warning new=1 also="a b" msg="x"`:                    true, // of a later version
		`level=warning msg=x`:                                       true,
		`level=notice msg="x"`:                                      false,
		`msg="x"`:                                                   false,
		`level=warning`:                                             false,
		`level=warning msg="x" msg="y"`:                             false,
		`level=warning level=refusal msg="x"`:                       false,
		`level=warning  msg="x"`:                                    false,
		`level=warning msg="x" `:                                    false,
		`level=warning msg="x`:                                      false,
		`level=warning msg='x'`:                                     false,
		"level=warning msg=`x`":                                     false,
		`level=warning msg=`:                                        false,
		`level= msg="x"`:                                            false,
		`level=warning msg="x"y`:                                    false,
		`oci-apparmor-hook: container c: warning: x`:                false,
		`oci-apparmor: oci-apparmor: level=warning msg="x"`:         false,
		`time="2026-11-29" level=warning msg="x" and a word`:        false,
		`audit: type=1400 apparmor="DENIED" level=warning msg="x\"`: false,
		`=x level=warning msg="x"`:                                  false,
		"level=warning msg=\"x\"\nlevel=refusal msg=\"y\"":          false,
		"": false,
	} {
		if n, ok := ParseLine(line); ok != want {
			t.Errorf("%q: %v %+v, want %v", line, ok, n, want)
		}
	}
}

// Whatever a notice's parts are, the kernel's log has one line of it that is read as that notice.
func FuzzKernelLine(f *testing.F) {
	h := hostile()
	f.Add(h.ID, h.Pod, h.Message)
	f.Add("c1", "", "profile web was loaded with other content")
	f.Add("", `"`, strings.Repeat("€", 400))
	f.Fuzz(func(t *testing.T, id, pod, message string) {
		n := Notice{Level: Refusal, ID: id, Pod: pod, Message: message}.Clean()
		record := string(n.kernel())
		if len(record) > longestLine || strings.Count(record, "\n") != 1 {
			t.Fatalf("%d bytes: %q", len(record), record)
		}
		got, ok := ParseLine(strings.TrimSuffix(strings.TrimPrefix(record, "<11>"), "\n"))
		if !ok {
			t.Fatalf("cannot be read back: %q", record)
		}
		if len(record) < longestPart && got != n {
			t.Errorf("is read as %+v, want %+v", got, n)
		}
	})
}

func FuzzParseLine(f *testing.F) {
	f.Add(`oci-apparmor: level=warning command=exec id="a b" msg="x"`)
	f.Add(`level=refusal msg="\u00e9\xff"`)
	f.Fuzz(func(t *testing.T, line string) {
		n, ok := ParseLine(line)
		if !ok {
			return
		}
		if n != n.Clean() || n.Level.MessageID() == "" {
			t.Errorf("%q is read as %+v", line, n)
		}
		if again, ok := ParseLine(string(n.appendLine(nil))); !ok || again.Level != n.Level {
			t.Errorf("%+v cannot be written", n)
		}
	})
}
