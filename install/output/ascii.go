package output

import (
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// ASCII escapes what is not ASCII in JSON's strings, so that none of them can act on a terminal. With spaced, it puts blanks
// after commas and colons, as aa-status does, because scripts search its lines.
func ASCII(data []byte, spaced bool) []byte {
	out := make([]byte, 0, len(data)+len(data)/8)
	inString := false
	done := 0 // data[:done] is in out
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '\\':
			i++ // the next byte ends no string
		case c == '"':
			inString = !inString
		case spaced && !inString && (c == ',' || c == ':'):
			out = append(append(out, data[done:i+1]...), ' ')
			done = i + 1
		case c >= 0x7f:
			r, n := utf8.DecodeRune(data[i:])
			out = append(out, data[done:i]...)
			if r > 0xffff {
				a, b := utf16.EncodeRune(r)
				out = fmt.Appendf(out, `\u%04x\u%04x`, a, b)
			} else {
				out = fmt.Appendf(out, `\u%04x`, r)
			}
			i += n - 1
			done = i + 1
		}
	}
	return append(out, data[done:]...)
}
