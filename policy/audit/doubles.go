package audit

import (
	"bytes"
	"hash/maphash"
)

// Doubles tells which records of events were there shortly before: auditd and syslog may both have written one to a file,
// the journal has it from the kernel's log and from the audit socket, and a reader of a log may begin where it had been
// before.
type Doubles struct {
	seed maphash.Seed
	last [1 << 10]uint64 // hashes of records, each where its own value says
}

// NewDoubles returns Doubles that have seen nothing.
func NewDoubles() Doubles { return Doubles{seed: maphash.MakeSeed()} }

// Seen reports whether a record was seen already, and notes it. A record without an event, of carrier Bare, never was.
func (d *Doubles) Seen(record *Record) bool {
	if len(record.written) == 0 {
		return false
	}
	hash := maphash.Bytes(d.seed, bytes.TrimRight(record.written, " "))
	slot := &d.last[hash%uint64(len(d.last))]
	if *slot == hash {
		return true
	}
	*slot = hash
	return false
}
