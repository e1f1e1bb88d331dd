package source

import (
	"bytes"
	"fmt"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/audit"
)

// A daemon reads in auditd's log when auditd ran. It writes there itself when it begins, ends, and goes on after the disk was
// full (AUDIT_DAEMON_*, lib/audit-records.h of the audit project). While it does not run, what the kernel has goes elsewhere.
// Only auditd can write such records: the kernel takes none of their numbers from a process.
type daemon struct {
	since time.Time
	line  []byte    // the beginning of the present line
	ended time.Time // when it ended, if nothing says that it began again

	from, to time.Time // the first time at which it did not run; from is zero if it has not said that it ended
	more     int       // how often it did not run after that
}

// stamped is how much of a line has its type and its time.
const stamped = 256

// read takes the next part of the text.
func (d *daemon) read(b []byte) {
	for len(b) > 0 {
		part, rest, whole := bytes.Cut(b, []byte{'\n'})
		if whole && len(d.line) == 0 {
			d.look(part)
		} else {
			d.line = append(d.line, part[:min(len(part), stamped-len(d.line))]...)
			if whole {
				d.look(d.line)
				d.line = d.line[:0]
			}
		}
		b = rest
	}
}

// look looks at a line.
func (d *daemon) look(line []byte) {
	if node, rest, ok := bytes.Cut(line, []byte{' '}); ok && bytes.HasPrefix(node, []byte("node=")) {
		line = rest
	}
	line, ok := bytes.CutPrefix(line, []byte("type=DAEMON_"))
	if !ok {
		return
	}
	kind, message, _ := bytes.Cut(line, []byte(" msg="))
	at, _, ok := audit.Stamp(message)
	if !ok {
		return
	}
	switch string(kind) {
	case "END", "ABORT":
		d.ended = at
	case "START", "RESUME":
		switch {
		case !at.After(d.since): // before what was asked for
		case d.to.IsZero():
			d.from, d.to = d.ended, at
		default:
			d.more++
		}
		d.ended = time.Time{}
	}
}

// lost returns what auditd cannot have written.
func (d *daemon) lost() (all []Loss) {
	if !d.to.IsZero() {
		by := "auditd, which did not run before " + d.to.Format(time.DateTime)
		if !d.from.IsZero() {
			by = fmt.Sprintf("auditd, which did not run from %s to %s", d.from.Format(time.DateTime), d.to.Format(time.DateTime))
		}
		l := Loss{By: by, Unknown: true}
		if d.more > 0 {
			l.Detail = fmt.Sprintf("it began %d more times after that", d.more)
		}
		all = append(all, l)
	}
	if !d.ended.IsZero() {
		all = append(all, Loss{By: "auditd, which has not run since " + d.ended.Format(time.DateTime), Unknown: true})
	}
	return all
}
