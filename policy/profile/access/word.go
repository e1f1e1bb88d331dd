package access

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// longest is how many bytes a line may have: the longest path twice, with each byte as "\000".
const longest = 2 * 4 * 4096

// A word is a part of a line: TEXT, KEY=TEXT or, in parentheses, a list of words.
type word struct {
	key    string
	text   string // without quotes; a backslash is still before what it takes the meaning from
	quoted bool   // so that the text is none of the language's own words
	list   []word
	listed bool
}

// is reports whether a word is one of the language's own.
func (w word) is(text string) bool { return w.key == "" && !w.quoted && !w.listed && w.text == text }

// String returns the word as it may be written.
func (w word) String() string {
	var b strings.Builder
	if w.key != "" {
		b.WriteString(w.key + "=")
	}
	switch {
	case w.listed:
		b.WriteByte('(')
		for i, item := range w.list {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(item.String())
		}
		b.WriteByte(')')
	case w.quoted:
		b.WriteString(`"` + w.text + `"`)
	default:
		b.WriteString(w.text)
	}
	return b.String()
}

// joined returns words as a line.
func joined(words []word) string {
	var b strings.Builder
	for i, w := range words {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(w.String())
	}
	return b.String()
}

// scan reads the words of a line.
func scan(line string) ([]word, error) {
	if len(line) > longest {
		return nil, fmt.Errorf("an access of %d bytes; it may have %d", len(line), longest)
	}
	if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) && r != '\t' }) {
		return nil, fmt.Errorf("%s: what is not printable is written as \\ and three octal digits", oneline.Quote(line))
	}
	s := scanner{text: line}
	words, err := s.words(false)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", oneline.Quote(line), err)
	case len(words) == 0:
		return nil, fmt.Errorf("an access is missing: one begins with %s", heads())
	}
	return words, nil
}

type scanner struct {
	text string
	at   int
}

// words reads words up to the end or, in a list, up to what closes it.
func (s *scanner) words(listed bool) (words []word, err error) {
	for {
		s.blanks(listed)
		switch {
		case s.at == len(s.text) && listed:
			return nil, fmt.Errorf("a list in parentheses does not end")
		case s.at == len(s.text):
			return words, nil
		case listed && s.text[s.at] == ')':
			s.at++
			return words, nil
		}
		w, err := s.word(listed)
		if err != nil {
			return nil, err
		}
		words = append(words, w)
	}
}

func (s *scanner) blanks(listed bool) {
	for s.at < len(s.text) && (s.text[s.at] == ' ' || s.text[s.at] == '\t' || listed && s.text[s.at] == ',') {
		s.at++
	}
}

// word reads one word.
func (s *scanner) word(listed bool) (w word, err error) {
	end := s.at
	for end < len(s.text) && (s.text[end] >= 'a' && s.text[end] <= 'z' || s.text[end] == '_') {
		end++
	}
	if end > s.at && end < len(s.text) && s.text[end] == '=' {
		w.key = s.text[s.at:end]
		s.at = end + 1
	}
	switch {
	case s.at < len(s.text) && s.text[s.at] == '"':
		w.quoted = true
		w.text, err = s.quoted()
		return w, err
	case s.at < len(s.text) && s.text[s.at] == '(':
		if listed && w.key == "" {
			return w, fmt.Errorf("a list is in another list")
		}
		s.at++
		w.listed = true
		w.list, err = s.words(true)
		return w, err
	}
	w.text = s.plain(listed)
	if w.text == "" {
		return w, fmt.Errorf(`%s= has no value; "" stands for an empty one`, w.key)
	}
	return w, nil
}

// quoted reads a text in quotes.
func (s *scanner) quoted() (string, error) {
	start := s.at + 1
	for i := start; i < len(s.text); i++ {
		switch s.text[i] {
		case '\\':
			i++
		case '"':
			if s.at = i + 1; s.at < len(s.text) && !strings.ContainsRune(" \t,)", rune(s.text[s.at])) {
				return "", fmt.Errorf("something follows a quote without a blank")
			}
			return s.text[start:i], nil
		}
	}
	return "", fmt.Errorf("a text in quotes does not end")
}

// plain reads a text without quotes. It ends at a blank and, in a list, at a comma or parenthesis that is not in braces.
func (s *scanner) plain(listed bool) string {
	start, braces := s.at, 0
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '\\' && s.at+1 < len(s.text):
			s.at++
		case c == '{':
			braces++
		case c == '}':
			braces = max(braces-1, 0)
		case c == ' ', c == '\t', listed && (c == ')' || c == ',' && braces == 0):
			return s.text[start:s.at]
		}
	}
	return s.text[start:s.at]
}
