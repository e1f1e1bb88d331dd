package source

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/audit"
)

// host returns a node with nothing on it.
func host(t *testing.T) *Host {
	t.Helper()
	dir := t.TempDir()
	write(t, dir+"/printk_ratelimit", "0\n")
	return &Host{Kmsg: dir + "/kmsg", RateLimit: dir + "/printk_ratelimit", AuditLog: dir + "/audit.log",
		AuditConf: dir + "/auditd.conf", Journald: dir + "/journald", Journalctl: dir + "/journalctl",
		Parameters: dir, Proc: dir + "/proc",
		Status: func() (Status, error) { return Status{}, nil }}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// record is the record of an event, from the head on. Each serial has its own second.
func record(serial int) string {
	return "audit(" + strconv.Itoa(1700000000+serial) + ".123:" + strconv.Itoa(serial) + `): apparmor="DENIED" operation="open" class="file" profile="web" name="/etc/shadow" pid=7 comm="cat" requested_mask="r" denied_mask="r" fsuid=0 ouid=0`
}

// at is when the record of that serial was made.
func at(serial int) time.Time { return time.Unix(1700000000+int64(serial), 123e6) }

// auditd returns lines of auditd's log with the records of these serials.
func auditd(serials ...int) string {
	var b strings.Builder
	for _, n := range serials {
		b.WriteString("type=AVC msg=" + record(n) + "\x1dFSUID=\"root\" OUID=\"root\"\n")
	}
	return b.String()
}

// read returns the serials that a source has, those that it does not vouch for as negative numbers, and the error that ended it.
func read(t *testing.T, s Source) (serials []int, err error) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	var e Entry
	for {
		if err = s.Next(ctx, &e); err != nil {
			return serials, err
		}
		serials = append(serials, signed(&e))
	}
}

func signed(e *Entry) int {
	if !e.Kernel {
		return -int(e.Record.Serial)
	}
	return int(e.Record.Serial)
}

// wantAll checks what a source has up to its end.
func wantAll(t *testing.T, s Source, want ...int) {
	t.Helper()
	if got, err := read(t, s); !errors.Is(err, io.EOF) || !slices.Equal(got, want) {
		t.Errorf("%s has %v (%v), want %v", s.Name(), got, err, want)
	}
}

func open(t *testing.T, h *Host, name string, o Options) Source {
	t.Helper()
	s, err := h.Open(t.Context(), name, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestAFileIsReadHoweverItIsCompressed(t *testing.T) {
	var gz, zs bytes.Buffer
	g := gzip.NewWriter(&gz)
	g.Write([]byte(auditd(1, 2)))
	g.Close()
	z, _ := zstd.NewWriter(&zs)
	z.Write([]byte(auditd(1, 2)))
	z.Close()
	for name, content := range map[string]string{"plain": auditd(1, 2), "gzip": gz.String(), "zstd": zs.String()} {
		path := filepath.Join(t.TempDir(), "log")
		write(t, path, content)
		wantAll(t, open(t, host(t), path, Options{}), 1, 2)
		wantAll(t, open(t, host(t), path, Options{Since: at(2)}), 2)
		if got := open(t, host(t), path, Options{}).Lost(); len(got) > 0 {
			t.Errorf("%s lost %v", name, got)
		}
	}
}

func TestAFileThatCannotBeUnpackedIsNoEnd(t *testing.T) {
	var gz bytes.Buffer
	g := gzip.NewWriter(&gz)
	g.Write([]byte(auditd(1, 2)))
	g.Close()
	path := filepath.Join(t.TempDir(), "log.gz")
	write(t, path, gz.String()[:gz.Len()-9])
	if got, err := read(t, open(t, host(t), path, Options{})); errors.Is(err, io.EOF) && err == io.EOF {
		t.Errorf("read %v and ended without an error", got)
	} else if !strings.Contains(err.Error(), "cannot be unpacked") {
		t.Error(err)
	}
	write(t, path, "\xfd7zXZ\x00...")
	if _, err := host(t).Open(t.Context(), path, Options{}); err == nil || !strings.Contains(err.Error(), "xz -dc") {
		t.Errorf("of xz: %v", err)
	}
}

func TestWhatIsNoFileIsNotRead(t *testing.T) {
	for _, path := range []string{t.TempDir(), "/dev/null", "/dev/zero"} {
		if _, err := host(t).Open(t.Context(), path, Options{}); err == nil {
			t.Errorf("%s was opened", path)
		}
	}
	if _, err := host(t).Open(t.Context(), "jurnal", Options{}); err == nil || !strings.Contains(err.Error(), "journal") {
		t.Errorf("an unknown name: %v", err)
	}
}

// In each of these, somebody else's words could stand where the record does.
func TestInAFileOnlyAuditdIsBelieved(t *testing.T) {
	for name, c := range map[string]struct {
		line          string
		told, vouched int
	}{
		"auditd":                      {"type=AVC msg=" + record(1), 1, 1},
		"auditd with a host":          {"node=a type=AVC msg=" + record(1), 1, 1},
		"auditd within a line":        {"Nov 30 10:00:00 h web[3]: type=AVC msg=" + record(1), -1, -1},
		"a program of auditd":         {"type=USER_AVC msg=audit(1700000001.123:1): pid=3 uid=0 subj=web msg='apparmor=\"DENIED\" operation=\"dbus_method_call\" exe=\"/usr/bin/dbus-daemon\"'", -1, -1},
		"the kernel":                  {"audit: type=1400 " + record(1), -1, 1},
		"dmesg":                       {"[   12.345678] audit: type=1400 " + record(1), -1, 1},
		"dmesg with levels":           {"<5>[   12.345678] audit: type=1400 " + record(1), -1, 1},
		"syslog":                      {"Nov 30 10:00:00 h kernel: [   12.345678] audit: type=1400 " + record(1), -1, 1},
		"syslog without kernel time":  {"2026-11-30T10:00:00.1+01:00 h kernel: audit: type=1400 " + record(1), -1, 1},
		"a container through syslog":  {"Nov 30 10:00:00 h 4f0c[12]: audit: type=1400 " + record(1), -1, -1},
		"a container named kernel":    {"Nov 30 10:00:00 h kernel[12]: audit: type=1400 " + record(1), -1, -1},
		"a container that says it is": {"Nov 30 10:00:00 h app: xkernel: audit: type=1400 " + record(1), -1, -1},
		"a second one in a line":      {"Nov 30 10:00:00 h app: audit: type=1300 audit(1.000:1): x audit: type=1400 " + record(1), -1, -1},
		"auditd's behind another's":   {"Nov 30 10:00:00 h app: type=SYSCALL msg=audit(1.000:1): x=1 type=AVC msg=" + record(1), -1, -1},
	} {
		path := filepath.Join(t.TempDir(), "log")
		write(t, path, c.line+"\n")
		t.Run(name, func(t *testing.T) {
			wantAll(t, open(t, host(t), path, Options{}), c.told)
			wantAll(t, open(t, host(t), path, Options{Vouched: true}), c.vouched)
		})
	}
}

func TestAFileThatOthersCouldWriteIsNotBelieved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, auditd(1))
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	wantAll(t, open(t, host(t), path, Options{}), -1)
}

func TestOurOwnDenialIsNobodysDenial(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	canary := `type=AVC msg=audit(1700000002.123:2): apparmor="DENIED" operation="change_onexec" info="label not found" error=-2 profile="unconfined" name="oci-apparmor.canary.1" pid=1 comm="x"` + "\n"
	write(t, path, auditd(1)+canary+auditd(3)+strings.Replace(canary, "change_onexec", "open", 1))
	wantAll(t, open(t, host(t), path, Options{}), 1, 3, 2)
}

// A log is a kernel's log that the test writes: one write, one entry.
type log struct {
	t  *testing.T
	fd int
}

func newLog(t *testing.T, h *Host, o Options) (log, Source) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := h.newKmsg(fds[0], o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[1]); s.Close() })
	return log{t, fds[1]}, s
}

func (l log) write(entries ...string) {
	l.t.Helper()
	for _, e := range entries {
		if _, err := unix.Write(l.fd, []byte(e)); err != nil {
			l.t.Fatal(err)
		}
	}
}

// entry is the kernel's own, or that of a facility.
func entry(number int, text string) string {
	return "5," + strconv.Itoa(number) + ",1000,-;" + text + "\n SUBSYSTEM=x\n"
}

func TestInTheKernelsLogOnlyTheKernelIsBelieved(t *testing.T) {
	l, s := newLog(t, host(t), Options{})
	l.write(
		entry(0, "audit: type=1400 "+record(1)),
		strings.Replace(entry(1, "audit: type=1400 "+record(2)), "5,", "13,", 1), // written by a process
		entry(2, "overlayfs: unrecognized mount option \"audit: type=1400 "+record(3)),
		entry(3, "overlayfs: unrecognized mount option \"x\\x0aaudit: type=1400 "+record(4)),
		entry(4, "audit: type=1112 audit(1.000:1): pid=3 msg='x\\x0aaudit: type=1400 "+record(5)),
		entry(5, "audit: type=1400 "+record(6)),
		entry(6, "audit: type=1400 "+record(6)), // a reader that begins anew reads twice
		entry(7, "audit: type=1400 "+strings.Replace(record(7), "/etc/shadow", `a\x5cb`, 1)),
	)
	wantAll(t, s, 1, -2, -3, -4, 6, 7)
	if lost := s.Lost(); len(lost) > 0 {
		t.Errorf("lost %v", lost)
	}
}

func TestWhatTheKernelsLogLostIsSaid(t *testing.T) {
	limited := host(t)
	write(t, limited.RateLimit, "5\n")
	served := host(t)
	served.Status = func() (Status, error) { return Status{Auditd: 77}, nil }
	for name, c := range map[string]struct {
		host    *Host
		o       Options
		entries []string
		by      string
		records uint64
	}{
		"overwritten before":         {host(t), Options{}, []string{entry(5, "x")}, "overwritten its beginning", 0},
		"overwritten after the time": {host(t), Options{Since: time.Unix(1, 0)}, []string{entry(5, "x")}, "overwritten its beginning", 0},
		"overwritten meanwhile":      {host(t), Options{}, []string{entry(0, "x"), entry(9, "x")}, "before it could be read", 0},
		"suppressed":                 {host(t), Options{}, []string{entry(0, "kauditd_printk_skb: 41 callbacks suppressed")}, "limit on messages", 41},
		"limited":                    {limited, Options{}, nil, "printk_ratelimit", 0},
		"read by auditd":             {served, Options{}, nil, "process 77", 0},
		"backlog":                    {host(t), Options{}, []string{entry(0, "audit: backlog limit exceeded")}, "waited", 0},
	} {
		t.Run(name, func(t *testing.T) {
			l, s := newLog(t, c.host, c.o)
			l.write(c.entries...)
			wantAll(t, s)
			if lost := s.Lost(); len(lost) != 1 || !strings.Contains(lost[0].By, c.by) || lost[0].Records != c.records || !lost[0].Unknown {
				t.Errorf("lost %v", lost)
			}
		})
	}
	l, s := newLog(t, host(t), Options{Since: time.Now()})
	l.write(entry(5, "x"))
	wantAll(t, s)
	if lost := s.Lost(); len(lost) > 0 {
		t.Errorf("lost %v of a time that nobody asked for", lost)
	}
}

func TestFollowingWaitsUntilItIsToldToStop(t *testing.T) {
	l, s := newLog(t, host(t), Options{Follow: true})
	l.write(entry(0, "audit: type=1400 "+record(1)))
	var e Entry
	if err := s.Next(t.Context(), &e); err != nil || e.Record.Serial != 1 {
		t.Fatalf("record %d (%v)", e.Record.Serial, err)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	time.AfterFunc(20*time.Millisecond, func() { stop(why) })
	if err := s.Next(ctx, &e); !errors.Is(err, why) {
		t.Errorf("ended with %v", err)
	}
	time.AfterFunc(20*time.Millisecond, func() { l.write(entry(1, "audit: type=1400 "+record(2))) })
	if err := s.Next(t.Context(), &e); err != nil || e.Record.Serial != 2 {
		t.Errorf("after that: record %d (%v)", e.Record.Serial, err)
	}
	time.AfterFunc(20*time.Millisecond, func() { s.Close() })
	if err := s.Next(t.Context(), &e); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("closed, it ended with %v", err)
	}
}

func TestAPipeIsReadAsItComes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, host(t), path, Options{Vouched: true})
	var e Entry
	half := auditd(1)[:40]
	w.WriteString(half)
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if err := s.Next(ctx, &e); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("of half a line: %v", err)
	}
	w.WriteString(auditd(1)[40:])
	if err := s.Next(t.Context(), &e); err != nil || signed(&e) != 1 {
		t.Errorf("of its other half: %d (%v)", signed(&e), err)
	}
	w.Close()
	wantAll(t, s)
}

func TestNothingIsAllocatedForARecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	serials := make([]int, 2000)
	for i := range serials {
		serials[i] = i + 1
	}
	write(t, path, auditd(serials...))
	s := open(t, host(t), path, Options{})
	var e Entry
	if n := testing.AllocsPerRun(1000, func() {
		if err := s.Next(t.Context(), &e); err != nil || e.Record.Type != audit.Denied {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%.1f allocations a record", n)
	}
}
