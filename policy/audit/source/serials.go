package source

import (
	"fmt"
	"slices"
	"time"
)

// serials tells which audit records a log lacks. The kernel numbers its events from the boot on, of all kinds in one row
// (audit_serial, kernel/audit.c), and takes a number only for what it writes. So a number that is not there is an event that went
// elsewhere, or nowhere: as while nobody listened to the audit socket, when more came than the socket keeps, or when the
// kernel's limit on messages kept it out of the kernel's log. Or it is one that journald leaves out: it takes no type below 1100
// but 1005 (systemd's journald-audit.c), and the kernel writes a LOGIN (1006) for each login. Whether it was of AppArmor, no number says.
type serials struct {
	boots []*bootSerials // the newest last
	anew  bool           // of the first boot, nothing is asked for of before the first number
}

// bootSerials are the numbers of a boot.
type bootSerials struct {
	id   string
	last uint64 // the highest one that is there
	at   time.Time
	gaps []gap
	more uint64 // how many are missing in gaps that are not kept one by one
}

// gap is numbers that are missing, and between which records.
type gap struct {
	from, to      uint64
	after, before time.Time
	noted         time.Time // when it was seen, by the present clock
}

// mostGaps bounds the gaps of a boot that are kept one by one.
const mostGaps = 256

// begin has what was added until now be what was there before: nothing of it is missing. Boots of which nothing was there begin
// with number 1.
func (s *serials) begin() {
	for _, b := range s.boots {
		b.gaps, b.more = nil, 0
	}
}

// add notes a number that is there. Several records of an event have the same one.
func (s *serials) add(boot string, number uint64, at time.Time) {
	if boot == "" || number == 0 {
		return
	}
	i := slices.IndexFunc(s.boots, func(b *bootSerials) bool { return b.id == boot })
	if i < 0 {
		i = len(s.boots)
		s.boots = append(s.boots, &bootSerials{id: boot})
		if s.anew && i == 0 {
			s.boots[i].last, s.boots[i].at = number, at
		}
	}
	b := s.boots[i]
	switch {
	case number <= b.last:
		b.fill(number)
		return
	case number > b.last+1:
		b.miss(gap{b.last + 1, number - 1, b.at, at, time.Now()})
	}
	b.last, b.at = number, at
}

func (b *bootSerials) miss(g gap) {
	if len(b.gaps) == mostGaps {
		old := b.gaps[0]
		b.more += old.to - old.from + 1
		b.gaps[1].after = old.after
		b.gaps = slices.Delete(b.gaps, 0, 1)
	}
	b.gaps = append(b.gaps, g)
}

// fill notes that a number has come late: two processors write at once, or it came by another way.
func (b *bootSerials) fill(number uint64) {
	for i, g := range slices.Backward(b.gaps) {
		if number < g.from || number > g.to {
			continue
		}
		left, right := g, g
		left.to, right.from = number-1, number+1
		some := slices.DeleteFunc([]gap{left, right}, func(g gap) bool { return g.from > g.to })
		b.gaps = slices.Replace(b.gaps, i, i+1, some...)
		return
	}
}

// missing returns what may be lost, as one loss of all boots. Numbers that were noted as missing after a time are left out: they may
// come yet.
func (s *serials) missing(log string, noted time.Time) []Loss {
	var count uint64
	var from, to time.Time
	for _, b := range s.boots {
		count += b.more
		for _, g := range b.gaps {
			if g.noted.After(noted) {
				continue
			}
			if to.IsZero() {
				from = g.after
			}
			count, to = count+g.to-g.from+1, g.before
		}
	}
	if count == 0 {
		return nil
	}
	when := "the boot"
	if !from.IsZero() {
		when = from.Format(time.DateTime)
	}
	return []Loss{{
		By:     log + ", in which numbers of audit records are missing: they were lost, or are of logins, which journald leaves out",
		Detail: fmt.Sprintf("%d in all, from %s to %s", count, when, to.Format(time.DateTime)), Missing: count, Unknown: true,
	}}
}
