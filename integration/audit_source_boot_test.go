package integration

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
)

func TestAuditSourcesNoAppArmor(t *testing.T) {
	guesttest.Need(t, guest.NoAppArmor)
	if _, err := source.ReadStatus(); !errors.Is(err, source.ErrNoAudit) {
		t.Errorf("booted with audit=0: %v", err)
	}
	if _, err := source.Open(t.Context(), source.Multicast, source.Options{Follow: true}); !errors.Is(err, source.ErrNoAudit) {
		t.Errorf("the audit socket: %v", err)
	}
	wantDead(t, source.Kmsg, "kmsg is dead", "boot without audit=0")
}

// byNumbers returns how many records may be lost, as their numbers are missing.
func byNumbers(lost []source.Loss) (n uint64) {
	for _, l := range lost {
		if strings.Contains(l.By, "numbers of audit records are missing") {
			n += l.Missing
		}
	}
	return n
}

// wholeJournal reads the journal since a time. It waits until it has so many denials of a path, and returns what is lost.
func wholeJournal(t *testing.T, since time.Time, path string, want int) (lost []source.Loss) {
	t.Helper()
	waitFor(t, fmt.Sprint(want, " denials in the journal"), func() bool {
		guesttest.MustRun(t, "journalctl", "--sync")
		s := openSource(t, source.Journal, source.Options{Since: since})
		defer s.Close()
		n := 0
		var e source.Entry
		for s.Next(t.Context(), &e) == nil {
			if e.Kernel && e.Record.Get("name") == path {
				n++
			}
		}
		lost = s.Lost()
		return n == want
	})
	return lost
}

// Under systemd the journal has the same record if its audit socket is on, and is not taken for silent if it is off.
func TestSystemdAuditSources(t *testing.T) {
	guesttest.Need(t, guest.Systemd)
	guesttest.LoadProfile(t, heard)
	const socket = "systemd-journald-audit.socket"
	// A journald that runs keeps its sockets until it ends, and a message to the first of them starts it: then the second one
	// is refused, and all is done again.
	restart := func(sockets ...string) {
		t.Helper()
		var o guesttest.Outcome
		for range 5 {
			guesttest.Run(t, "systemctl", "stop", "systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket", socket)
			o = guesttest.Run(t, "systemctl", append([]string{"start", "systemd-journald.socket", "systemd-journald-dev-log.socket"}, sockets...)...)
			if o.Code == 0 {
				guesttest.MustRun(t, "systemctl", "start", "systemd-journald.service")
				return
			}
		}
		t.Fatalf("journald does not start with its sockets and %q: %+v", sockets, o)
	}
	if strings.TrimSpace(guesttest.Run(t, "systemctl", "is-active", socket).Stdout) == "active" {
		t.Cleanup(func() { restart(socket) })
		restart()
	} else {
		t.Cleanup(func() { restart() })
	}
	t.Run("without the audit socket", func(t *testing.T) {
		setting(t, "/proc/sys/kernel/printk_ratelimit", "5")
		setting(t, "/proc/sys/kernel/printk_ratelimit_burst", "0")
		wantDead(t, source.Journal, "journal is dead", socket)
		s := openSource(t, source.Journal, source.Options{Since: time.Now()})
		if lost := s.Lost(); !slices.ContainsFunc(lost, func(l source.Loss) bool { return strings.Contains(l.By, socket) }) {
			t.Errorf("it lost %v", lost)
		}
	})
	restart(socket)
	t.Run("a part of the time without the audit socket", func(t *testing.T) {
		setting(t, "/proc/sys/kernel/printk_ratelimit", "5")
		setting(t, "/proc/sys/kernel/printk_ratelimit_burst", "0")
		before := deniedFile(t)
		provoke(t, before, 1)
		wholeJournal(t, time.Now().Add(-time.Minute), before, 1)
		time.Sleep(2 * time.Second) // what the restart brought about is before the last number of before
		began := time.Now()
		path := deniedFile(t)
		provoke(t, path, 3)
		if lost := wholeJournal(t, began, path, 3); byNumbers(lost) > 0 {
			t.Errorf("of a time in which the socket was on it lost %v", lost)
		}
		restart()
		away := deniedFile(t)
		provoke(t, away, 5)
		restart(socket)
		provoke(t, path, 1)
		if lost := wholeJournal(t, began, path, 4); byNumbers(lost) < 5 {
			t.Errorf("with five denials in the meantime it lost %v", lost)
		}
		o := guesttest.Run(t, "oci-apparmor", "audit", "--source", "journal", "--since", began.Format(time.RFC3339Nano), "--profile", "none")
		if o.Code != 3 || !strings.Contains(o.Stderr, "numbers of audit records are missing: ") {
			t.Errorf("audit says %+v", o)
		}
	})
	t.Run("with the audit socket", func(t *testing.T) {
		setting(t, "/proc/sys/kernel/printk_ratelimit", "5")
		setting(t, "/proc/sys/kernel/printk_ratelimit_burst", "0")
		wantSame(t, source.Multicast, source.Journal)
		s := openSource(t, source.Auto, source.Options{Since: time.Now().Add(-time.Minute)})
		if s.Name() != source.Journal {
			t.Errorf("auto took %s of the past", s.Name())
		}
		path := deniedFile(t)
		provoke(t, path, 1)
		guesttest.MustRun(t, "journalctl", "--sync")
		recordOf(t, openSource(t, source.Journal, source.Options{Since: time.Now().Add(-time.Minute)}), path)
	})
	t.Run("what others write is not believed", func(t *testing.T) {
		head := fmt.Sprintf("audit: type=1400 audit(%d.000:4000000): ", time.Now().Unix())
		forged := head + `apparmor="DENIED" operation="open" profile="victim" name="/forged" pid=1 comm="x" requested_mask="r" denied_mask="r" fsuid=0 ouid=0`
		guesttest.MustRun(t, "systemd-cat", "--identifier=kernel", "echo", forged)
		guesttest.MustRun(t, "logger", "--priority=kern.notice", "--tag=kernel", forged)
		write(t, "/dev/kmsg", forged+"\n")
		send(t, 1107, "x\n"+forged)
		guesttest.MustRun(t, "journalctl", "--sync")
		s := openSource(t, source.Journal, source.Options{Since: time.Now().Add(-time.Minute)})
		var e source.Entry
		for s.Next(t.Context(), &e) == nil {
			if e.Kernel && e.Record.Get("profile") == "victim" {
				t.Errorf("it believes a record of carrier %d, %q", e.Record.Carrier, e.Record.Before)
			}
		}
		if out := guesttest.MustRun(t, "journalctl", "--grep=victim", "--output=cat"); strings.Count(out, "victim") < 3 {
			t.Errorf("the journal has only %q of what was forged: this shows nothing", out)
		}
	})
}
