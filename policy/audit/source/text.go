package source

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/oci-apparmor/oci-apparmor/policy/audit"
)

// A text is a source of lines: auditd's log, a file, a pipe.
type text struct {
	origin
	in      waiting
	records *audit.Reader
	o       Options
	trusted bool          // nobody but root and the reader could have written the text, as far as can be seen
	more    func() []Loss // what else was lost; nil for none
}

// waiting is an io.Reader whose Read can wait.
type waiting interface {
	io.ReadCloser
	// until sets the context of the next calls of Read.
	until(ctx context.Context)
}

func newText(name string, in waiting, h *Host, o Options) *text {
	t := &text{origin: origin{host: h, name: name}, in: in, o: o}
	t.records = audit.NewReader(telling{in, t})
	return t
}

// telling is a text's reader that tells when something comes.
type telling struct {
	io.Reader
	of *text
}

func (r telling) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if n > 0 {
		r.of.came()
	}
	return n, err
}

func (t *text) Close() error { return t.in.Close() }

func (t *text) Next(ctx context.Context, e *Entry) error {
	t.in.until(ctx)
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := t.records.Next(&e.Record); err != nil {
			return err
		}
		if !t.o.wants(&e.Record) {
			continue
		}
		e.Kernel = t.believes(&e.Record)
		return nil
	}
}

func (t *text) Lost() []Loss {
	var lost []Loss
	if t.more != nil {
		lost = t.more()
	}
	if t.records.Long > 0 {
		lost = append(lost, Loss{By: "the reader, which saw only the beginnings of lines of more than 64 KiB",
			Detail: fmt.Sprintf("%d until now", t.records.Long), Unknown: true})
	}
	return lost
}

// believes reports whether the kernel wrote a record that stands in a text.
//
// A line of auditd begins with the record. Nobody else can begin one: auditd takes line breaks out of messages, and syslog
// puts its own words before each line. The kernel's log itself is another matter: a container with CAP_AUDIT_WRITE can
// send a message with a line break in it, of which syslog makes a line like the kernel's.
func (t *text) believes(r *audit.Record) bool {
	switch r.Carrier {
	case audit.Auditd:
		return (t.trusted || t.o.Vouched) && len(r.Before) == 0
	case audit.User:
		return (t.trusted || t.o.Vouched) && len(r.Before) == 0 && t.host.fromDBus(r)
	case audit.Kernel:
		return t.o.Vouched && kernelsPrefix(r.Before)
	}
	return false
}

// kernelsPrefix reports whether what stands before a record is what dmesg or syslog writes before the kernel's lines:
// nothing, "[   12.345678] ", "Nov 30 10:00:00 host kernel: [   12.345678] ", with or without each of its parts.
func kernelsPrefix(b []byte) bool {
	b = bytes.TrimRight(b, " ")
	if i := bytes.LastIndexByte(b, '['); i >= 0 && bytes.HasSuffix(b, []byte("]")) && len(bytes.Trim(b[i:], "[] .0123456789")) == 0 {
		b = bytes.TrimRight(b[:i], " ")
	}
	level := bytes.TrimLeft(b, "<0123456789>") // of dmesg --raw
	return len(level) == 0 || string(level) == "kernel:" || bytes.HasSuffix(b, []byte(" kernel:"))
}
