// Package output writes lines for people, breaks long text into lines, and writes JSON.
package output

import (
	"fmt"
	"io"
	"strings"
)

// Width is how many columns a line has at most, unless a word is longer.
const Width = 80

// Printer writes lines to W. It keeps the first error in Err and writes nothing after it.
type Printer struct {
	W   io.Writer
	Err error
}

// Line writes a line.
func (p *Printer) Line(format string, args ...any) {
	if p.Err == nil {
		_, p.Err = fmt.Fprintf(p.W, format+"\n", args...)
	}
}

// Wrapped writes text in lines of at most Width columns, broken at blanks. The first line begins with first, and the others
// with as many blanks.
func (p *Printer) Wrapped(first, text string) { p.WrappedAt(first, text, Width) }

// WrappedAt is Wrapped with another width.
func (p *Printer) WrappedAt(first, text string, width int) {
	rest := strings.Repeat(" ", len(first))
	for line := first; ; line = rest {
		room := max(width-len(line), 0)
		if len(text) <= room {
			p.Line("%s%s", line, text)
			return
		}
		at := strings.LastIndexByte(text[:room+1], ' ')
		if at <= 0 {
			if at = strings.IndexByte(text, ' '); at < 0 {
				p.Line("%s%s", line, text)
				return
			}
		}
		p.Line("%s%s", line, text[:at])
		text = text[at+1:]
	}
}

// Count returns a number of things: "1 rule", "2 rules".
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", many)
}
