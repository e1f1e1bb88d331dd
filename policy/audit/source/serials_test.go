package source

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestNumbersThatAreMissingAreCounted(t *testing.T) {
	for name, c := range map[string]struct {
		numbers []uint64
		missing uint64
	}{
		"none":                          {[]uint64{1, 2, 3}, 0},
		"several records of an event":   {[]uint64{1, 1, 2, 2}, 0},
		"before the first":              {[]uint64{4, 5}, 3},
		"in between":                    {[]uint64{1, 5, 6, 9}, 5},
		"two processors write at once":  {[]uint64{2, 1, 4, 3}, 0},
		"some come late":                {[]uint64{1, 9, 4, 5, 2}, 4},
		"one that nobody writes":        {[]uint64{1, 0, 2}, 0},
		"the same gap is filled at all": {[]uint64{1, 4, 3, 2, 3}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var s serials
			for _, n := range c.numbers {
				s.add("boot", n, at(int(n)))
			}
			if missing, _ := lacks(t, s.missing("the log", time.Now())); missing != c.missing {
				t.Errorf("%v: %d are missing, want %d", c.numbers, missing, c.missing)
			}
		})
	}
	var s serials
	for n := uint64(1); n < 10*mostGaps; n += 2 {
		s.add("boot", n, at(int(n)))
	}
	if n, says := lacks(t, s.missing("the log", time.Now())); n != 5*mostGaps-1 || len(s.boots[0].gaps) > mostGaps ||
		!strings.Contains(says, "from "+at(1).Format(time.DateTime)+" to "+at(10*mostGaps-1).Format(time.DateTime)) {
		t.Errorf("of many gaps: %d, %s, in %d", n, says, len(s.boots[0].gaps))
	}
}

// ofBoot is an entry that journald has from the audit socket in a boot.
func ofBoot(boot string, entry map[string]string) map[string]string {
	return with(entry, "_BOOT_ID", boot)
}

// lacks returns how many records a journal lacks by its numbers, and what it says. None of them is known to be lost.
func lacks(t *testing.T, lost []Loss) (n uint64, says string) {
	t.Helper()
	for _, l := range lost {
		if !strings.Contains(l.By, "numbers of audit records are missing") {
			continue
		}
		if l.Missing == 0 || l.Records != 0 || !l.Unknown || !strings.Contains(l.By, "logins") ||
			!strings.Contains(l.Sentence(), fmt.Sprintf("(%d in all", l.Missing)) {
			t.Errorf("it is said that some are lost, or not how many may be: %+v", l)
		}
		n, says = n+l.Missing, says+l.Detail
	}
	return n, says
}

// parted is a node whose journal has entries of before the time that is asked for, and others.
func parted(t *testing.T, before, after []map[string]string) *Host {
	h := journaled(t, after...)
	text := ""
	for _, e := range before {
		text += exported(e)
	}
	write(t, h.Journalctl+".before", text)
	program(t, h, `case "$*" in *--until*) cat "$0.before";; *) cat "$0.export";; esac`)
	return h
}

// The socket can be off for a part of the time, and a journal has the rest.
func TestAJournalThatLacksAPartSaysSo(t *testing.T) {
	other := with(bySocket(4), "_AUDIT_TYPE", "1130") // of another kind
	since := Options{Since: at(2)}
	for name, c := range map[string]struct {
		before, after []map[string]string
		o             Options
		lacks         uint64
		says          string
	}{
		"all of it": {after: []map[string]string{ofBoot("b", bySocket(3)), ofBoot("b", other), ofBoot("b", bySocket(5))}},
		"in between, and some by the kernel's log": {
			after: []map[string]string{ofBoot("b", bySocket(3)), ofBoot("b", byKernel(5)), ofBoot("b", bySocket(9))}, lacks: 4,
			says: "from " + at(3).Format(time.DateTime) + " to " + at(9).Format(time.DateTime)},
		"after the last one of before": {
			before: []map[string]string{ofBoot("b", bySocket(2)), ofBoot("b", bySocket(1))},
			after:  []map[string]string{ofBoot("b", bySocket(6))}, o: since, lacks: 3},
		"nothing after the last one of before": {
			before: []map[string]string{ofBoot("b", byKernel(2))}, after: []map[string]string{ofBoot("b", bySocket(3))}, o: since},
		"of a boot of which nothing was there": {
			before: []map[string]string{ofBoot("a", bySocket(70))},
			after:  []map[string]string{ofBoot("b", bySocket(4)), ofBoot("b", bySocket(5))}, o: since, lacks: 3, says: "from the boot to"},
		"of the next boot": {
			after: []map[string]string{ofBoot("a", bySocket(7)), ofBoot("b", bySocket(2))}, lacks: 1},
		"forged numbers are none": {
			after: []map[string]string{ofBoot("b", bySocket(3)), ofBoot("b", with(byKernel(50), "SYSLOG_FACILITY", "1")),
				ofBoot("b", with(byProgram(60, "stdout", "x.service"), "_AUDIT_ID", "60")),
				ofBoot("b", with(byKernel(70), "MESSAGE", "x\naudit: type=1400 "+record(70)))}},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, parted(t, c.before, c.after), Journal, c.o)
			for _, err := read(t, s); err == nil; {
			}
			if n, says := lacks(t, s.Lost()); n != c.lacks || !strings.Contains(says, c.says) {
				t.Errorf("it lost %v, want %d, %s", s.Lost(), c.lacks, c.says)
			}
		})
	}
}

// A service that writes too fast is not heard, and the bus's own is one.
func TestWhatJournaldDropsOfTheBusIsLost(t *testing.T) {
	drops := func(unit string) map[string]string {
		return map[string]string{"_TRANSPORT": "driver", "MESSAGE_ID": droppedID, "MESSAGE": "Suppressed 12 messages from " + unit}
	}
	s := open(t, journaled(t, bySocket(1), drops("web.service"), drops("dbus.service")), Journal, Options{})
	wantAll(t, s, 1)
	if lost := s.Lost(); len(lost) != 1 || !strings.Contains(lost[0].By, "Suppressed 12 messages from dbus.service") {
		t.Errorf("it lost %v", lost)
	}
}

// Whether a journal is alive now says nothing of before, and its number does.
func TestAliveSaysWhatIsMissingUpToNow(t *testing.T) {
	for number, want := range map[int]uint64{6: 0, 9: 3} {
		h := parted(t, []map[string]string{ofBoot("b", bySocket(5))}, nil)
		write(t, h.Journald, "")
		program(t, h, `case "$*" in *--until*) cat "$0.before";; *follow*) exec tail -n +1 -f "$0.denied";; *) cat "$0.before";; esac`)
		write(t, h.Journalctl+".denied", "")
		h.Deny = func(profile string) error {
			e := ofBoot("b", bySocket(number))
			e["MESSAGE"] = `AVC apparmor="DENIED" operation="change_onexec" info="label not found" error=-2 profile="unconfined" name="` + profile + `" pid=1 comm="x"`
			now := strconv.FormatInt(time.Now().UnixMicro(), 10)
			e["_SOURCE_REALTIME_TIMESTAMP"], e["__REALTIME_TIMESTAMP"] = now, now
			add(t, h.Journalctl+".denied", exported(e))
			return nil
		}
		h.Patience = 10 * time.Second
		lost, err := Alive(t.Context(), open(t, h, Journal, Options{}))
		if n, _ := lacks(t, lost); err != nil || n != want {
			t.Errorf("number %d: %v lost, %v, want %d", number, lost, err, want)
		}
	}
}
