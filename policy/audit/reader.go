package audit

import (
	"bytes"
	"errors"
	"io"
)

// longestLine is how much of a line a Reader looks at. The kernel's records have at most 8,192 bytes
// (MAX_AUDIT_MESSAGE_LENGTH, include/uapi/linux/audit.h), and a syslog line 64 KiB at most in usual settings.
const longestLine = 64 << 10

// A Reader reads the records of a text, one line after another. After an error of reading the text it can be read on: what
// was there of a line is kept.
type Reader struct {
	in         io.Reader
	buf        []byte
	begin, end int    // of what was read and not looked at yet
	past       bool   // over the rest of a line that is too long
	rest       []byte // of the present line
	before     []byte // Record.Before of its first record
	first      bool   // no record of it was found yet
	doubles    Doubles

	Lines   uint64 // how many were read
	Long    uint64 // lines of more than 64 KiB, of which only the beginning was looked at
	Doubled uint64 // records that were left out, since the same record of the same event stands shortly before
}

// NewReader returns a Reader of a text of any carrier.
func NewReader(in io.Reader) *Reader {
	return &Reader{in: in, buf: make([]byte, longestLine), doubles: NewDoubles()}
}

// Next reads the next record. What is in the record holds until Next is called again. The error is io.EOF at the end, or
// that of reading the text.
//
// Of several records that ran into one line, each has the Before of the first one: what is within a line is by whoever
// wrote the line.
func (r *Reader) Next(record *Record) error {
	for {
		for len(r.rest) > 0 {
			rest, ok := record.Parse(r.rest)
			r.rest = rest
			if !ok {
				continue
			}
			if r.first {
				r.before, r.first = record.Before, false
			}
			record.Before = r.before
			if !r.doubles.Seen(record) {
				return nil
			}
			r.Doubled++
		}
		line, err := r.line()
		if err != nil {
			return err
		}
		r.rest, r.first = line, true
	}
}

// line returns the next line without its break.
func (r *Reader) line() ([]byte, error) {
	for looked := r.begin; ; {
		if n := bytes.IndexByte(r.buf[looked:r.end], '\n'); n >= 0 {
			line, past := r.buf[r.begin:looked+n], r.past
			r.begin, r.past = looked+n+1, false
			if !past {
				return r.whole(line), nil
			}
			looked = r.begin
			continue
		}
		if r.past {
			r.begin = r.end
		}
		r.end = copy(r.buf, r.buf[r.begin:r.end])
		r.begin, looked = 0, r.end
		if r.end == len(r.buf) {
			r.Long++
			r.begin, r.past = r.end, true
			return r.whole(r.buf), nil
		}
		n, err := r.in.Read(r.buf[r.end:])
		r.end += n
		switch {
		case n > 0:
		case errors.Is(err, io.EOF) && r.begin < r.end && !r.past:
			line := r.buf[r.begin:r.end]
			r.begin = r.end
			return r.whole(line), nil
		case err != nil:
			return nil, err
		}
	}
}

// whole counts a line and cuts off what some systems put before its break.
func (r *Reader) whole(line []byte) []byte {
	r.Lines++
	return bytes.TrimRight(line, "\r")
}
