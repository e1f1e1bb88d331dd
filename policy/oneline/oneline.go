// Package oneline makes text that others wrote safe for one line of an error, a log or a terminal.
//
// Ids, names, annotations, labels and the output of programs may have any content: line breaks, escape sequences of
// terminals, megabytes. Each function returns printable text without a line break. They differ in what else they change.
package oneline

import (
	"bytes"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Mark stands at the end of a string that was cut.
const Mark = "..."

// longest is how many bytes of a string Quote shows.
const longest = 64

// Quote returns s in double quotes and printable ASCII, escaped as in Go, so that no word of s looks like ours. If s has
// more than 64 bytes, it returns the first 64 and, after the quotes, the number of bytes of s.
func Quote(s string) string {
	if len(s) <= longest {
		return strconv.QuoteToASCII(s)
	}
	return strconv.QuoteToASCII(s[:longest]) + Mark + " (" + strconv.Itoa(len(s)) + " bytes)"
}

// Word returns s unchanged if it is at most 64 letters, digits and ._+-/:*?@, and Quote(s) otherwise.
func Word(s string) string {
	if s == "" || len(s) > longest {
		return Quote(s)
	}
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && !strings.ContainsRune("._+-/:*?@", rune(c)) {
			return Quote(s)
		}
	}
	return s
}

// Name returns s unchanged if it is one word of printable ASCII, and otherwise all of it in double quotes. It cuts nothing.
func Name(s string) string {
	if s == "" || strings.ContainsRune(s, ' ') {
		return strconv.QuoteToASCII(s)
	}
	return Whole(s)
}

// Whole returns s unchanged if it is printable ASCII, blanks included, and otherwise all of it in double quotes. It cuts
// nothing, so that a reader can copy a name.
func Whole(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return strconv.QuoteToASCII(s)
	}
	return s
}

// Printable returns s with a blank for each character that is not printable, such as a line break, and with U+FFFD for each
// byte that is not UTF-8.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

// Cut returns s if it has at most most bytes. Otherwise it returns the beginning of s, up to most bytes and never a part of
// a character, and Mark.
func Cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	end := most - len(Mark)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + Mark
}

// maxOutput is how many bytes of a program's output Output keeps.
const maxOutput = 4 << 10

// Output returns the output of a program with its lines joined by "; ". If it is longer than 4 KiB, Output keeps the end,
// because errors stand there. It puts "?" for each character that a terminal would act on.
func Output(b []byte) string {
	cut := ""
	if len(b) > maxOutput {
		b, cut = b[len(b)-maxOutput:], Mark+" "
	}
	var lines []string
	for line := range bytes.Lines(b) {
		text := strings.Map(func(r rune) rune {
			switch {
			case r == '\t' || r == '\n':
				return ' '
			case unicode.IsPrint(r) && r != unicode.ReplacementChar:
				return r
			}
			return '?'
		}, string(line))
		if text = strings.TrimSpace(text); text != "" {
			lines = append(lines, text)
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return cut + strings.Join(lines, "; ")
}

// And returns words as a sentence lists them: "a, b and c". It returns "" without words. The words must be fit for a line.
func And(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
