// Package audit reads what the kernel wrote of accesses: AppArmor's audit records, as they stand in the kernel's log, in
// the log of auditd, in the journal and in syslog's files.
//
// The order of a record's fields is that of security/apparmor/audit.c, and of the file of each class beside it. A string
// that a workload can choose is in quotes if it is of printable ASCII without blank and quote, and else in hexadecimal digits
// without quotes (audit_log_untrustedstring, kernel/audit.c). Only the quotes tell which.
//
// A line is hostile: a container can write lines that look like records into most logs. Whether to believe a line is
// decided by who reads the log; see Record.Carrier. Parse itself takes any bytes, drops none silently, and never lets
// what stands in one field become another one.
package audit

import (
	"bytes"
	"strconv"
	"time"
)

// A Type is what a record says of an access or of the kernel's policy (aa_audit_type, security/apparmor/audit.c).
type Type uint8

const (
	Unknown Type = iota // the kernel was told to leave it out (apparmor.audit_header=0), or has a type that is not here
	Audited             // allowed, and a rule asks for a record
	Allowed             // by a profile in complain mode, that would have denied it
	Denied
	Hint
	Status // of the policy: a profile was loaded, replaced or removed, or could not be
	Error
	Killed // denied by a profile in kill mode
)

// types are the words after apparmor=.
var types = [...]string{Audited: "AUDIT", Allowed: "ALLOWED", Denied: "DENIED", Hint: "HINT", Status: "STATUS",
	Error: "ERROR", Killed: "KILLED"}

// String returns the kernel's word for a type, or "UNKNOWN".
func (t Type) String() string {
	if int(t) >= len(types) || types[t] == "" {
		return "UNKNOWN"
	}
	return types[t]
}

// A Carrier is the form in which a line brings a record.
type Carrier uint8

const (
	Bare   Carrier = iota // apparmor="DENIED" ..., as the journal has it of transport audit, and as dbus-daemon logs it
	Event                 // audit(...): ..., as the multicast socket has it
	Kernel                // audit: type=1400 audit(...): ..., in dmesg and in syslog's files
	Auditd                // type=AVC msg=audit(...): ..., in auditd's log
	User                  // type=USER_AVC msg=audit(...): ... msg='...': by a program, such as dbus-daemon
)

// A Field is one KEY=VALUE of a record.
type Field struct {
	Key    []byte // empty for text that is not KEY=VALUE
	Text   []byte // the value as it is written, without its quotes
	Quoted bool
	Cut    bool // the record ends within the value
	Added  bool // not by whom the record is of, but around it: by auditd (UID="root"), or of the program that sent a USER_AVC
}

// untrusted are the keys whose values are written in hexadecimal digits where they are not fit for quotes. Those of the
// second line are of dbus-daemon, which writes them as it has them.
var untrusted = map[string]bool{
	"name": true, "profile": true, "namespace": true, "label": true, "comm": true, "target": true, "peer": true,
	"srcname": true, "trans": true, "fstype": true, "options": true, "addr": true, "peer_addr": true, "capname": true,
	"tcontext": true, "exe": true, "path": true, "dev": true, "netif": true, "execpath": true,
}

// Plain reports whether the value stands in Text as the kernel had it.
func (f Field) Plain() bool { return f.Quoted || len(f.Text)%2 != 0 || !untrusted[string(f.Key)] }

// Value returns the value as the kernel had it. An untrusted string without quotes is decoded from its hexadecimal digits.
// Where they are none, it is returned as it stands.
func (f Field) Value() string {
	if f.Plain() {
		return string(f.Text)
	}
	decoded := make([]byte, len(f.Text)/2)
	for i := range decoded {
		high, low := hexDigit(f.Text[2*i]), hexDigit(f.Text[2*i+1])
		if high < 0 || low < 0 {
			return string(f.Text)
		}
		decoded[i] = byte(high<<4 | low)
	}
	return string(decoded)
}

// hexDigit returns the value of an upper-case hexadecimal digit, as the kernel writes them, or -1.
func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// A Record is one record. Its fields point into the line that was parsed, and hold as long as the line does.
type Record struct {
	Carrier Carrier
	Type    Type
	Time    time.Time // of the event, to a millisecond; zero if the line has none
	Serial  uint64    // of the event. The two records of a signal share one
	Host    []byte    // node=HOST, which auditd puts before lines, if it does

	// Before is what stands in the line before the record: such as the time, the host and the program's name that syslog
	// writes. Whoever wrote the line also chose what follows.
	Before []byte

	// Cut is whether the line ends before the record does, or another record begins within it.
	Cut bool

	// Fields are all fields, in the record's order. A key can stand there twice.
	Fields []Field

	written []byte // the event's stamp and the record
}

// Field returns the first field of a key that the record's own author wrote.
func (r *Record) Field(key string) (Field, bool) {
	for _, f := range r.Fields {
		if !f.Added && string(f.Key) == key {
			return f, true
		}
	}
	return Field{}, false
}

// Get returns the value of a field (Field.Value), or "" if the record does not have it.
func (r *Record) Get(key string) string {
	f, ok := r.Field(key)
	if !ok {
		return ""
	}
	return f.Value()
}

// Number returns the value of a field that is a decimal number, such as pid, error, fsuid or capability. ok is false if the
// record does not have it, or if it is no number or was cut.
func (r *Record) Number(key string) (n int64, ok bool) {
	f, found := r.Field(key)
	if !found || f.Quoted || f.Cut {
		return 0, false
	}
	n, err := strconv.ParseInt(string(f.Text), 10, 64)
	return n, err == nil
}

// Profile returns the profile that decided: the part of a stack that the record is of. Some records name the whole label
// instead; then stack is true if it has several parts.
func (r *Record) Profile() (name string, stack bool) {
	if f, ok := r.Field("profile"); ok {
		return f.Value(), false
	}
	if f, ok := r.Field("label"); ok {
		name = f.Value()
	}
	return name, bytes.Contains([]byte(name), []byte("//&"))
}

// Masks returns what was asked for and what of it was denied, in the kernel's words: letters for files ("wr", "c"), words
// for other classes ("send", "create").
func (r *Record) Masks() (requested, denied string) {
	for _, keys := range [...][2]string{{"requested_mask", "denied_mask"}, {"requested", "denied"}, {"mask", "mask"}} {
		if f, ok := r.Field(keys[0]); ok {
			return f.Value(), r.Get(keys[1])
		}
	}
	return "", ""
}
