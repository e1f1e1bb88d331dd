package source

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// denied is the record that the kernel writes of a canary, from the head on.
func denied(profile string, serial int) string {
	head, _, _ := strings.Cut(record(serial), ": ")
	_, stamp, _ := strings.Cut(head, "(")
	_, number, _ := strings.Cut(stamp, ":")
	return "audit(" + strconv.FormatInt(time.Now().Unix(), 10) + ".000:" + number + `: apparmor="DENIED" operation="change_onexec" info="label not found" error=-2 profile="unconfined" name="` + profile + `" pid=1 comm="x"`
}

// served is a node on which auditd runs.
func served(t *testing.T) *Host {
	t.Helper()
	h := host(t)
	h.Status = func() (Status, error) { return Status{Auditd: 77}, nil }
	return h
}

func TestALogIsAliveIfOurOwnDenialComesBack(t *testing.T) {
	h := served(t)
	write(t, h.AuditLog, auditd(1))
	h.Deny = func(profile string) error {
		add(t, h.AuditLog, "type=AVC msg="+denied(profile, 2)+"\n")
		return nil
	}
	s := open(t, h, AuditLog, Options{})
	if lost, err := Alive(t.Context(), s); err != nil || len(lost) > 0 {
		t.Errorf("%v, lost %v", err, lost)
	}
	wantAll(t, s, 1)
}

func TestALogWithoutOurOwnDenialIsDead(t *testing.T) {
	for name, c := range map[string]struct {
		deny func(h *Host) func(profile string) error
		says string
	}{
		"nothing comes": {func(h *Host) func(string) error {
			return func(string) error { return nil }
		}, "auditd runs and does not write it"},
		"nobody writes": {func(h *Host) func(string) error {
			h.Status = func() (Status, error) { return Status{}, nil }
			return func(string) error { t.Error("it was tried in vain"); return nil }
		}, "auditd does not run"},
		"somebody else's comes": {func(h *Host) func(string) error {
			return func(profile string) error {
				add(t, h.AuditLog, "type=AVC msg="+denied(profile+"x", 2)+"\n")
				return nil
			}
		}, "is dead"},
		"somebody else says that it came": {func(h *Host) func(string) error {
			return func(profile string) error {
				add(t, h.AuditLog, "Nov 30 10:00:00 h web: audit: type=1400 "+denied(profile, 2)+"\n")
				return nil
			}
		}, "is dead"},
		"the records are off": {func(h *Host) func(string) error {
			h.Status = func() (Status, error) { return Status{}, ErrNoAudit }
			return func(string) error { return nil }
		}, "audit=0"},
		"AppArmor is quiet": {func(h *Host) func(string) error {
			write(t, h.Parameters+"/audit", "quiet\n")
			return func(string) error { return nil }
		}, "write normal to"},
		"there is no AppArmor": {func(h *Host) func(string) error {
			return func(string) error { return errNoAppArmor }
		}, "AppArmor is not on"},
	} {
		t.Run(name, func(t *testing.T) {
			h := served(t)
			write(t, h.AuditLog, auditd(1))
			h.Patience = 30 * time.Millisecond
			h.Deny = c.deny(h)
			if _, err := Alive(t.Context(), open(t, h, AuditLog, Options{})); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %s", err, c.says)
			}
		})
	}
}

func TestOfAFileNobodyKnowsWhatShouldBeInIt(t *testing.T) {
	h := host(t)
	write(t, h.AuditLog, auditd(1))
	if _, err := Alive(t.Context(), open(t, h, h.AuditLog, Options{})); err == nil || !strings.Contains(err.Error(), "says nothing") {
		t.Error(err)
	}
}

func TestAutoTakesTheFirstThatIsAlive(t *testing.T) {
	h := journaled(t, bySocket(1))
	write(t, h.Journald, "")
	program(t, h, `case "$*" in *follow*) exec tail -n +1 -f "$0.denied";; *) cat "$0.export";; esac`)
	write(t, h.Journalctl+".denied", "")
	h.Deny = func(profile string) error {
		e := bySocket(3)
		e["MESSAGE"] = `AVC apparmor="DENIED" operation="change_onexec" info="label not found" error=-2 profile="unconfined" name="` + profile + `" pid=1 comm="x"`
		add(t, h.Journalctl+".denied", exported(e))
		return nil
	}
	h.Patience = 10 * time.Second
	s := open(t, h, Auto, Options{})
	if s.Name() != Journal {
		t.Errorf("took %s", s.Name())
	}
	wantAll(t, s, 1)

	write(t, h.AuditLog, auditd(2))
	h.Deny = func(string) error { return nil }
	h.Patience = 30 * time.Millisecond
	_, err := h.Open(t.Context(), Auto, Options{})
	for _, what := range []string{"no source of records is alive", "audit.log is dead", "journal is dead", "the kernel's log cannot be read"} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v, want %s", err, what)
		}
	}

	ctx, stop := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	stop(why)
	if _, err := h.Open(ctx, Auto, Options{}); !errors.Is(err, why) {
		t.Errorf("told to stop: %v", err)
	}
}

// multicastOf returns a multicast without a socket that messages come by.
func multicastOf(t *testing.T, h *Host, o Options) *multicast {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	m, err := h.newMulticast(fds[0], o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(); unix.Close(fds[1]) })
	return m
}

// gets has a message come, and returns what becomes of it, as follow does; 0 if it is no record to be returned.
func (m *multicast) gets(of uint16, text string) int {
	message := make([]byte, unix.SizeofNlMsghdr, longestMessage)
	binary.NativeEndian.PutUint16(message[4:], of)
	n := copy(m.buf[shift:], append(message, text...))
	var e Entry
	if !m.message(n, &e) {
		return 0
	}
	return signed(&e)
}

func TestOfTheAuditSocketWhatProcessesSendIsNotBelieved(t *testing.T) {
	m := multicastOf(t, host(t), Options{Follow: true})
	sent := "audit(1700000002.123:2): pid=3 uid=0 subj=web msg='apparmor=\"DENIED\" operation=\"dbus_method_call\" exe=\"/usr/bin/dbus-daemon\"'"
	for text, c := range map[string]struct {
		of   uint16
		want int
	}{
		record(1):                   {1400, 1},
		record(3) + "\x00":          {1503, 3},
		sent:                        {1107, -2},
		record(4):                   {1300, 0},
		record(5):                   {1112, 0},
		"":                          {1400, 0},
		denied(canaryPrefix+"x", 6): {1400, 0},
	} {
		if got := m.gets(c.of, text); got != c.want {
			t.Errorf("of type %d, %q: %d, want %d", c.of, text, got, c.want)
		}
	}
	var e Entry
	if m.message(3, &e) {
		t.Error("a message of three bytes is a record")
	}
}

// Who asks for records of an hour ago must not take their absence for peace.
func TestTheAuditSocketSaysThatItHasNoPast(t *testing.T) {
	for name, c := range map[string]struct {
		since time.Time
		lacks bool
	}{
		"of all that it has":  {time.Time{}, false},
		"from now on":         {time.Now(), false},
		"from a later time":   {time.Now().Add(time.Hour), false},
		"from an hour ago on": {time.Now().Add(-time.Hour), true},
	} {
		m := multicastOf(t, host(t), Options{Follow: true, Since: c.since})
		lost := m.Lost()
		if says := len(lost) == 1 && lost[0].Unknown && strings.Contains(lost[0].Sentence(), "has no past"); says != c.lacks || len(lost) > 0 != c.lacks {
			t.Errorf("%s: lost %v", name, lost)
		}
	}
}

func TestWhatTheAuditSocketLostIsCounted(t *testing.T) {
	h := host(t)
	var now Status
	h.Status = func() (Status, error) { return now, nil }
	now = Status{Lost: 5, BacklogLimit: 64}
	m := multicastOf(t, h, Options{Follow: true})
	m.gets(1400, record(1))
	m.overrun()
	m.overrun() // which has to be another loss for who compares them
	if lost := m.Lost(); len(lost) != 1 || lost[0].Records != 2 || !lost[0].Unknown || !strings.Contains(lost[0].By, "audit socket") {
		t.Errorf("before anything comes, lost %v", lost)
	}
	m.gets(1400, record(2)) // which the socket has kept
	m.gets(1327, "audit(1.000:10): proctitle=x")
	m.gets(1400, record(11))
	m.gets(1400, record(15)) // whatever this lacks the kernel has not written to the socket
	if lost := m.Lost(); len(lost) != 1 || lost[0].Records != 7 || !lost[0].Unknown {
		t.Errorf("lost %v", lost)
	}
	now.Lost = 8
	if lost := m.Lost(); len(lost) != 2 || lost[1].Records != 3 || lost[1].Unknown || !strings.Contains(lost[1].By, "keeps 64") {
		t.Errorf("with the kernel's own: %v", lost)
	}
	now.Lost = 2
	if lost := m.Lost(); len(lost) != 2 || lost[1].Records != 2 || !lost[1].Unknown {
		t.Errorf("after the count was set back: %v", lost)
	}
}

func TestOnlyTheBussServiceSpeaksForTheBus(t *testing.T) {
	h := host(t)
	process := func(pid int, cgroup string, ticks int64) {
		dir := h.Proc + "/" + strconv.Itoa(pid)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, dir+"/cgroup", cgroup)
		write(t, dir+"/stat", strconv.Itoa(pid)+" (a) b) S"+strings.Repeat(" 0", 18)+" "+strconv.FormatInt(ticks, 10)+" 0 0\n")
	}
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		t.Fatal(err)
	}
	hour := int64(3600 * 100)
	now := up.Nano() / 1e7
	process(1, "0::/system.slice/dbus.service\n", now-hour)
	process(2, "12:pids:/system.slice\n1:name=systemd:/system.slice/dbus-broker.service\n", now-hour)
	process(3, "0::/system.slice/docker-4f0c.scope/system.slice/dbus.service\n", now-hour)
	process(4, "0::/../system.slice/dbus.service\n", now-hour)
	process(5, "0::/system.slice/dbus.service\n", now)
	for pid, want := range map[uint64]bool{1: true, 2: true, 3: false, 4: false, 5: false, 6: false} {
		if got := h.isBus(pid, time.Now().Add(-time.Minute)); got != want {
			t.Errorf("process %d: %v, want %v", pid, got, want)
		}
	}
	var e Entry
	if _, ok := e.Record.Parse([]byte("type=USER_AVC msg=audit(" + strconv.FormatInt(time.Now().Unix(), 10) + ".000:1): pid=6 uid=0 msg='apparmor=\"DENIED\" pid=1 exe=\"/usr/bin/dbus-daemon\" pid=1'")); !ok || h.fromDBus(&e.Record) {
		t.Error("a process that says it is another one is believed")
	}
}
