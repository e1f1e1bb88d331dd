package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// A Form is how JSON is laid out.
type Form int

const (
	Indented Form = iota
	Compact       // a line
	Spaced        // a line with blanks after commas and colons, as aa-status has it, because scripts search its lines
)

// JSON writes v as indented JSON.
func JSON(w io.Writer, v any) error {
	data, err := Encode(v, Indented)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// Encode returns v as JSON, with a line break behind it. All of it is ASCII, so that no string in it can act on a terminal.
func Encode(v any, form Form) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if form == Indented {
		enc.SetIndent("", "  ")
	}
	err := enc.Encode(v)
	return ascii(b.Bytes(), form == Spaced), err
}

// ascii escapes what is not ASCII in JSON's strings. With spaced, it puts blanks after commas and colons.
func ascii(data []byte, spaced bool) []byte {
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
