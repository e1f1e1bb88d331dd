// Package oneline makes text that others wrote fit for one line of an error, a log or a terminal.
//
// Ids, names, annotations, labels and what programs print may hold anything: line breaks, escape sequences of terminals,
// megabytes. Each function here returns printable text without a line break. They differ in what they keep of the rest.
package oneline

import (
	"bytes"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Longest is how many bytes of a string Quote shows, and Mark is what stands after a string that was cut.
const (
	Longest = 64
	Mark    = "..."
)

// Quote returns s in double quotes and printable ASCII, escaped as in Go. It shows the first Longest bytes, and after them
// says how many there are: no word of s passes for one of ours.
func Quote(s string) string {
	if len(s) <= Longest {
		return strconv.QuoteToASCII(s)
	}
	return strconv.QuoteToASCII(s[:Longest]) + Mark + " (" + strconv.Itoa(len(s)) + " bytes)"
}

// Word returns s as it is where it is one word that means nothing to a shell or a reader, and Quote(s) otherwise.
func Word(s string) string {
	if s == "" || len(s) > Longest {
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

// Name returns s as it is where it is one word of printable ASCII, and else all of it in double quotes. Like Whole it cuts
// nothing.
func Name(s string) string {
	if s == "" || strings.ContainsRune(s, ' ') {
		return strconv.QuoteToASCII(s)
	}
	return Whole(s)
}

// Whole returns s as it is where all of it is printable ASCII, and else all of it in double quotes. It cuts nothing: the
// caller prints names that a reader must be able to copy.
func Whole(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return strconv.QuoteToASCII(s)
	}
	return s
}

// Printable returns s with a blank in place of each character that is not printable, line breaks among them, and with U+FFFD
// in place of each byte that is not UTF-8.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

// Cut returns s where it has at most most bytes, and else a beginning of it that has, with Mark at its end. It does not cut
// a character in two.
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

// maxOutput is how many bytes Output keeps of what a program printed.
const maxOutput = 4 << 10

// Output returns what a program printed, its lines joined by "; ". It keeps the end, where an error stands, and puts "?" in
// place of what a terminal would act on.
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
