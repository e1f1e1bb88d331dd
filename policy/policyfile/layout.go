package policyfile

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// indentingTab is a line with a tab where YAML wants blanks: before its text, or after the dash of a list's item.
var indentingTab = regexp.MustCompile(`^[ -]*\t`)

// bareBrace is a text without quotes in a list or mapping in one line's style that a brace or bracket in it ends, as that of
// the path /{etc,usr}/passwd.
var bareBrace = regexp.MustCompile(`[\[,]\s*([^"'\[\]{},#\s](?:[^"'\[\]{},#]*[^"'\[\]{},#\s])?[\[{])`)

// bare returns the place of the first bareBrace from a line on.
func (p *parser) bare(from int) (found place) {
	for n, line := range bytes.Split(p.file.text, []byte("\n")) {
		if m := bareBrace.FindSubmatchIndex(line); m != nil && n+1 >= from {
			return place{"", n + 1, m[2] + 1}
		}
	}
	return place{}
}

// hint says what a person did who gets one of the YAML library's usual errors, and where, if that is known better. The
// library names the line where the mapping or list around a fault begins, or the one before it.
func (p *parser) hint(at place, what string) (place, string) {
	l := layoutOf(p.file.text)
	known := func(found place, hint string) (place, string) {
		if found.line == 0 {
			return at, ""
		}
		found.file = at.file
		return found, hint
	}
	const indented = "this line is indented less or more than those that it belongs to"
	switch {
	case strings.Contains(what, "cannot start any token"), strings.Contains(what, "tab character"):
		lines := bytes.Split(p.file.text, []byte("\n"))
		for n := at.line; n <= at.line+1 && n <= len(lines); n++ { // the library is off by one after some lines
			if tab := indentingTab.Find(lines[n-1]); tab != nil {
				at.line, at.column = n, len(tab)
				return at, "a tab: indent with spaces"
			}
		}
	case yamlNoAlias.MatchString(what), strings.Contains(what, "expected alphabetic or numeric character"):
		return at, "a pattern that begins with * must be in quotes"
	case strings.Contains(what, "unexpected end of stream"):
		return known(l.unclosed, "a quote that is opened here is not closed")
	case l.glued.line > 0 && (strings.Contains(what, "not find expected") || strings.Contains(what, "mapping values are not allowed")):
		return known(l.glued, "a blank is missing after the colon")
	case strings.HasPrefix(what, "did not find expected"):
		switch {
		case l.long.line > 0:
			return known(l.long, fmt.Sprintf("a quote that is opened here is closed only in line %d", l.closed))
		case strings.Contains(what, "',' or") && l.open.line == 0:
			return known(p.bare(at.line), "a text with a brace, bracket or comma in it goes between quotes")
		case strings.Contains(what, "',' or"):
			return known(l.open, "a brace or bracket that is opened here is not closed")
		}
		return known(l.misplaced(), indented)
	case strings.Contains(what, "mapping values are not allowed"):
		if found := l.misplaced(); found.line == at.line {
			return known(found, indented)
		}
		return at, "perhaps a colon, or a blank after one, is missing in the line before"
	}
	return at, ""
}

// layout is how a text in YAML is laid out, as far as somebody loses track of it. Its places are the zero place where there
// is none.
type layout struct {
	open     place // the innermost brace or bracket that opens a mapping or a list in one line's style and is not closed
	unclosed place // a quote that is not closed
	long     place // the first quote that is closed in a later line
	closed   int   // which line that is
	glued    place // the colon after a key of the policy file with no blank after it
	lines    []laid
}

// laid is a line that begins in no quotes, braces or brackets, without what is empty.
type laid struct {
	line, indent int
	text         string // without the blanks around it and without a comment
}

// layoutOf reads a text that may be anything.
func layoutOf(text []byte) layout {
	r := layoutReader{text: text, line: 1}
	for ; r.at < len(text); r.at++ {
		switch c := text[r.at]; {
		case c == '\n':
			r.lineEnds()
			if r.line, r.start = r.line+1, r.at+1; r.quote != 0 || len(r.opened) > 0 {
				r.from = -1
			} else {
				r.from = r.start
			}
		case r.quote != 0:
			r.quoted(c)
		case c == '#' && (r.at == r.start || text[r.at-1] == ' ' || text[r.at-1] == '\t'):
			r.lineEnds()
			if n := bytes.IndexByte(text[r.at:], '\n'); n >= 0 {
				r.at += n - 1
			} else {
				r.at = len(text)
			}
		default:
			r.bare(c)
		}
	}
	r.lineEnds()
	if n := len(r.opened); n > 0 {
		r.open = r.opened[n-1]
	}
	return r.layout
}

// layoutReader is a layout while it is read.
type layoutReader struct {
	layout
	text            []byte
	at, line, start int     // start is where the line begins
	from            int     // where the line begins; -1 where that is in quotes, braces or brackets, or the line has ended
	quote           byte    // that is open
	opened          []place // braces and brackets that are open
}

func (r *layoutReader) here() place { return place{line: r.line, column: r.at - r.start + 1} }

// gluedKey is a line that begins with a key and a colon, without the blank by which YAML takes them for these.
var gluedKey = regexp.MustCompile(`^(?:- +)*([A-Za-z]+):[^ \t]`)

// isOurs reports whether the policy file has a key of this name.
func isOurs(key string) bool {
	return slices.Contains(slices.Concat(topKeys, profileKeys, policyKeys, assignKeys), key)
}

// lineEnds keeps a line that ends.
func (r *layoutReader) lineEnds() {
	if r.from >= 0 {
		whole := string(r.text[r.from:min(r.at, len(r.text))])
		if text := strings.TrimSpace(whole); text != "" {
			one := laid{r.line, len(whole) - len(strings.TrimLeft(whole, " ")), text}
			r.lines = append(r.lines, one)
			if key := gluedKey.FindStringSubmatchIndex(text); key != nil && r.glued.line == 0 && isOurs(text[key[2]:key[3]]) {
				r.glued = place{line: one.line, column: one.indent + key[3] + 1}
			}
		}
	}
	r.from = -1
}

// quoted reads a character in quotes.
func (r *layoutReader) quoted(c byte) {
	switch {
	case c == '\\' && r.quote == '"':
		r.at++
	case c == r.quote:
		if r.unclosed.line < r.line && r.long.line == 0 {
			r.long, r.closed = r.unclosed, r.line
		}
		r.quote, r.unclosed = 0, place{}
	}
}

// bare reads a character outside quotes.
func (r *layoutReader) bare(c byte) {
	begins := r.at == r.start || bytes.IndexByte([]byte(" \t[{,:"), r.text[r.at-1]) >= 0 // a value can begin here
	switch {
	case begins && (c == '"' || c == '\''):
		r.quote, r.unclosed = c, r.here()
	case begins && (c == '{' || c == '['):
		r.opened = append(r.opened, r.here())
	case (c == '}' || c == ']') && len(r.opened) > 0:
		r.opened = r.opened[:len(r.opened)-1]
	}
}

// level is a mapping or list that is open, by the indent of its lines.
type level struct {
	indent int
	list   bool
}

// misplaced returns the first line that is indented as no mapping or list around it is.
func (l layout) misplaced() place {
	levels := []level{{indent: -1}}
	opens := true // what was read last opens a mapping or a list
	for _, one := range l.lines {
		indent, text := one.indent, one.text
		for more := true; more; {
			in := level{indent, text == "-" || strings.HasPrefix(text, "- ")}
			for last := levels[len(levels)-1]; last.indent > indent || last.indent == indent && last.list &&
				!in.list; last = levels[len(levels)-1] {
				levels, opens = levels[:len(levels)-1], false
			}
			switch last := levels[len(levels)-1]; {
			case last == in:
			case opens && (last.indent < indent || in.list): // a list may stand right below its key
				levels = append(levels, in)
			default:
				return place{line: one.line, column: one.indent + 1}
			}
			rest := strings.TrimLeft(text[1:], " ")
			more = in.list && isKey(rest)
			if opens = strings.HasSuffix(text, ":") || text == "-" || more; more {
				indent, text = indent+len(text)-len(rest), rest
			}
		}
		if strings.HasSuffix(text, "|") || strings.HasSuffix(text, ">") { // what follows is indented at will
			return place{}
		}
	}
	return place{}
}

// isKey reports whether a text is a key, with or without a value, or the item of a list.
func isKey(text string) bool {
	return strings.Contains(text, ": ") || strings.HasSuffix(text, ":") || text == "-" || strings.HasPrefix(text, "- ")
}
