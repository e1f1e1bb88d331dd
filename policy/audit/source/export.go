package source

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

const (
	longestField = 64 << 10 // what of a field is kept: more than a record can have
	mostSkipped  = 1 << 30  // a field of more is taken for a broken stream
)

// An export reads the journal's export format (systemd's docs/JOURNAL_EXPORT_FORMATS.md): fields as KEY=VALUE, or KEY and
// a length of eight bytes before the value if that is binary, each with a line break behind it; and an empty line behind
// each entry. After an error of reading it can be read on.
//
// github.com/coreos/go-systemd has a writer of this format and no reader, and reads the journal itself with C.
type export struct {
	in         io.Reader
	buf        []byte
	begin, end int
	skip       int  // how much of a long value comes yet
	over       bool // the rest of a line that is too long comes
	entry      journalEntry
}

// A journalEntry is what of an entry decides. A field that occurs twice has no value: journald writes those once that are
// its own.
type journalEntry struct {
	message, transport, unit, facility, id, kind, serial, source, received, boot field
	any                                                                          bool
}

// A field is a value of which only the beginning is kept.
type field struct {
	value []byte
	times int
}

// text returns the value of a field that occurs once.
func (f field) text() string {
	if f.times != 1 {
		return ""
	}
	return string(f.value)
}

// by returns where a field is kept, or nil if it is not. The names with an underscore are journald's own: it takes them from
// nobody (systemd.journal-fields(7)).
func (e *journalEntry) by(key []byte) *field {
	switch string(key) {
	case "MESSAGE":
		return &e.message
	case "MESSAGE_ID":
		return &e.id
	case "SYSLOG_FACILITY":
		return &e.facility
	case "_TRANSPORT":
		return &e.transport
	case "_SYSTEMD_UNIT":
		return &e.unit
	case "_AUDIT_TYPE":
		return &e.kind
	case "_AUDIT_ID":
		return &e.serial
	case "_SOURCE_REALTIME_TIMESTAMP":
		return &e.source
	case "__REALTIME_TIMESTAMP":
		return &e.received
	case "_BOOT_ID":
		return &e.boot
	}
	return nil
}

func (e *journalEntry) set(key, value []byte) {
	e.any = true
	if f := e.by(key); f != nil {
		f.times++
		f.value = append(f.value[:0], value[:min(len(value), longestField)]...)
	}
}

// reset forgets an entry, and keeps its memory.
func (e *journalEntry) reset() {
	e.any = false
	for _, f := range []*field{&e.message, &e.transport, &e.unit, &e.facility, &e.id, &e.kind, &e.serial, &e.source, &e.received, &e.boot} {
		*f = field{value: f.value[:0]}
	}
}

func newExport(in io.Reader) *export { return &export{in: in, buf: make([]byte, 2*longestField)} }

// next returns the next entry, which holds until it is called again. The error is io.EOF at the end, or io.ErrUnexpectedEOF
// if that is within an entry.
func (x *export) next() (*journalEntry, error) {
	if !x.entry.any {
		x.entry.reset()
	}
	for {
		done, err := x.field()
		if err != nil {
			return nil, err
		}
		if done && x.entry.any {
			x.entry.any = false // the next call begins anew
			return &x.entry, nil
		}
	}
}

// field reads one field, or the end of an entry.
func (x *export) field() (end bool, err error) {
	if err := x.past(); err != nil {
		return false, err
	}
	line, whole, err := x.line()
	if err != nil {
		return false, err
	}
	key, value, ok := bytes.Cut(line, []byte{'='})
	switch {
	case x.over: // the end of a value whose beginning was kept
		x.begin, x.over = x.begin+len(line), !whole
		if whole {
			x.begin++
		}
		return false, nil
	case ok && !whole:
		x.entry.set(key, value)
		x.begin, x.over = x.end, true
		return false, nil
	case !whole:
		return false, fmt.Errorf("the journal has a name of more than %d bytes", len(x.buf))
	case len(line) == 0:
		x.begin++
		return true, nil
	case ok:
		x.entry.set(key, value)
		x.begin += len(line) + 1
		return false, nil
	}
	return false, x.binary(len(line))
}

// binary reads a field whose length stands behind its name.
func (x *export) binary(name int) error {
	const length = 8
	head := name + 1 + length
	if err := x.have(head); err != nil {
		return err
	}
	size := binary.LittleEndian.Uint64(x.buf[x.begin+name+1:])
	if size > mostSkipped {
		return fmt.Errorf("the journal has a field of %d bytes", size)
	}
	kept := int(min(size, longestField))
	if err := x.have(head + kept); err != nil {
		return err
	}
	// have may have moved what it had.
	b := x.buf[x.begin:]
	x.entry.set(b[:name], b[head:head+kept])
	x.begin += head + kept
	x.skip = int(size) - kept + 1
	return nil
}

// past reads over the rest of a long value and the line break behind it.
func (x *export) past() error {
	for x.skip > 0 {
		if x.begin == x.end {
			if err := x.fill(); err != nil {
				return err
			}
		}
		n := min(x.skip, x.end-x.begin)
		x.begin, x.skip = x.begin+n, x.skip-n
	}
	return nil
}

// line returns the next line and leaves it where it is. whole is false if it is longer than the memory for it.
func (x *export) line() (line []byte, whole bool, err error) {
	for looked := 0; ; {
		if n := bytes.IndexByte(x.buf[x.begin+looked:x.end], '\n'); n >= 0 {
			return x.buf[x.begin : x.begin+looked+n], true, nil
		}
		looked = x.end - x.begin
		if looked == len(x.buf) {
			return x.buf, false, nil
		}
		if err := x.fill(); err != nil {
			return nil, false, err
		}
	}
}

// have reads until there are n bytes.
func (x *export) have(n int) error {
	for x.end-x.begin < n {
		if err := x.fill(); err != nil {
			return err
		}
	}
	return nil
}

// fill reads more. There is room for it if less than the whole memory is taken.
func (x *export) fill() error {
	if x.begin > 0 {
		x.end = copy(x.buf, x.buf[x.begin:x.end])
		x.begin = 0
	}
	n, err := x.in.Read(x.buf[x.end:])
	x.end += n
	switch {
	case n > 0:
		return nil
	case err == io.EOF && (x.end > 0 || x.entry.any || x.skip > 0):
		return io.ErrUnexpectedEOF
	}
	return err
}
