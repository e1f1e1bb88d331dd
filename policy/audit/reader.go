package audit

import (
	"bufio"
	"bytes"
	"errors"
	"hash/maphash"
	"io"
)

// longestLine is how much of a line a Reader looks at. The kernel's records have at most 8,192 bytes
// (MAX_AUDIT_MESSAGE_LENGTH, include/uapi/linux/audit.h), and a syslog line 64 KiB at most in usual settings.
const longestLine = 64 << 10

// A Reader reads the records of a text, one line after another.
type Reader struct {
	in   *bufio.Reader
	rest []byte // of the present line
	seed maphash.Seed
	last [1 << 10]uint64 // hashes of records of events, each where its own value says, to tell what is there twice

	Lines   uint64 // how many were read
	Long    uint64 // lines of more than 64 KiB, of which only the beginning was looked at
	Doubled uint64 // records that were left out, since the same record of the same event stands shortly before
}

// NewReader returns a Reader of a text of any carrier.
func NewReader(in io.Reader) *Reader {
	return &Reader{in: bufio.NewReaderSize(in, longestLine), seed: maphash.MakeSeed()}
}

// Next reads the next record. What is in the record holds until Next is called again. The error is io.EOF at the end, or
// that of reading the text.
func (r *Reader) Next(record *Record) error {
	for {
		for len(r.rest) > 0 {
			rest, ok := record.Parse(r.rest)
			r.rest = rest
			if ok && !r.doubled(record) {
				return nil
			}
		}
		line, err := r.line()
		if err != nil {
			return err
		}
		r.rest = line
	}
}

// line returns the next line without its break.
func (r *Reader) line() ([]byte, error) {
	line, err := r.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		// The rest is read past only by the next call, as it takes the memory that line is in.
		r.Long++
		line = bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = r.in.ReadSlice('\n')
		}
	}
	if len(line) == 0 {
		return nil, err
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	r.Lines++
	return bytes.TrimRight(line, "\r\n"), nil
}

// doubled reports whether a record of an event is there again: auditd and syslog may both have written it to one file, and
// a reader of the kernel's log may begin where it had been before.
func (r *Reader) doubled(record *Record) bool {
	if len(record.written) == 0 {
		return false
	}
	hash := maphash.Bytes(r.seed, bytes.TrimRight(record.written, " "))
	slot := &r.last[hash%uint64(len(r.last))]
	if *slot == hash {
		r.Doubled++
		return true
	}
	*slot = hash
	return false
}
