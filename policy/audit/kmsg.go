package audit

import (
	"bytes"
	"strconv"
)

// Kmsg returns the text of an entry of /dev/kmsg, and whether the kernel itself wrote it. What processes write to /dev/kmsg
// has another facility (Documentation/ABI/testing/dev-kmsg). An entry is as one read(2) returns it:
// PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT, and lines of KEY=VALUE that are left out. The text is changed in place: the
// kernel writes \xHH for a backslash and for what is not printable.
func Kmsg(entry []byte) (text []byte, kernel bool) {
	prefix, text, ok := bytes.Cut(entry, []byte{';'})
	if !ok {
		return nil, false
	}
	priority, _, _ := bytes.Cut(prefix, []byte{','})
	n, err := strconv.ParseUint(string(priority), 10, 32)
	if err != nil {
		return nil, false
	}
	text, _, _ = bytes.Cut(text, []byte{'\n'})
	return unescape(text), n>>3 == 0
}

// unescape replaces \xHH in place.
func unescape(b []byte) []byte {
	i := bytes.IndexByte(b, '\\')
	if i < 0 {
		return b
	}
	out := b[:i]
	for i < len(b) {
		if b[i] == '\\' && i+3 < len(b) && b[i+1] == 'x' {
			if n, err := strconv.ParseUint(string(b[i+2:i+4]), 16, 8); err == nil {
				out, i = append(out, byte(n)), i+4
				continue
			}
		}
		out, i = append(out, b[i]), i+1
	}
	return out
}
