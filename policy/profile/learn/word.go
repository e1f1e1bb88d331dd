package learn

import (
	"fmt"
	"strings"
)

// literal returns a pattern that matches a text and nothing else. Bytes that are not printable ASCII are written in octal
// digits, which apparmor_parser reads (strn_escseq, parser/lib.c). So are quotes and backslashes: the parser takes a backslash
// and a quote for a quote within the word also where the backslash is the second of two, and reads on to the quote of
// another rule.
func literal(text string) string {
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ' || c > '~' || c == '\\' || c == '"':
			fmt.Fprintf(&b, `\%03o`, c)
		case strings.IndexByte(`*?[]{}^,@!`, c) >= 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// word returns a pattern as a rule has it: in quotes where it has a character that could mean something else to a parser.
func word(pattern string) string {
	plain := func(c rune) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune(`/._+-*?[]{}@`, c)
	}
	if pattern == "" || strings.ContainsFunc(pattern, func(c rune) bool { return !plain(c) }) {
		return `"` + pattern + `"`
	}
	return pattern
}
