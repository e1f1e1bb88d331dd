package syntax

import (
	"slices"
	"strings"
)

// statement is what stands up to a comma, a brace or a line's end.
type statement struct {
	words []string
	text  string // the words with single blanks
	line  int    // where it begins
	span  span   // of it in the text, with the comma or brace that ends it
	end   byte   // what ends it
	open  bool   // a list in it does not end

	named bool // it begins as the header of a profile, child or hat does
	flags span // inside of the last list that may be a header's flags: "flags=(...)" or only "(...)"
}

const endOfText = 0

// lexer cuts a text into statements.
type lexer struct {
	text   string
	at     int
	line   int
	idle   []span // as Text's
	values bool   // of a variable, in which a comma is a character like any other
}

// next returns the next statement.
func (l *lexer) next() statement {
	r := reading{lexer: l, bare: true}
	for l.at < len(l.text) {
		c := l.text[l.at]
		if r.statement.line == 0 && !blank(c) && c != '\n' {
			r.statement.line, r.span.from = l.line, l.at
			r.named = strings.IndexByte(`"^/:&@`, c) >= 0
		}
		taken, ended := r.between(c)
		if ended {
			return r.done('\n')
		}
		if taken || r.long(c) {
			continue
		}
		if r.mark(c) {
			l.at++
			return r.done(c)
		}
	}
	return r.done(endOfText)
}

// reading is a statement while it is read.
type reading struct {
	*lexer
	statement
	word   strings.Builder
	inWord bool
	bare   bool // the word is read by its letters, and may be a keyword
	valued bool // all words of the rule are values, as its kind has it
	paren  int  // depth of lists
	list   int  // offset after the bracket that opened one that may be flags; 0 for one that is not
}

// flush ends a word.
func (r *reading) flush() {
	if r.inWord {
		r.words = append(r.words, r.word.String())
		r.valued = r.valued || r.bare && valued[r.word.String()]
		r.word.Reset()
		r.inWord, r.bare = false, true
	}
}

// take takes the text up to an offset into the word as it is.
func (r *reading) take(to int) {
	l := r.lexer
	l.line += strings.Count(l.text[l.at:to], "\n")
	r.word.WriteString(l.text[l.at:to])
	l.at, r.inWord, r.bare = to, true, false
}

// done ends the statement.
func (r *reading) done(end byte) statement {
	r.flush()
	r.end, r.span.to = end, r.at
	r.statement.text = strings.Join(r.words, " ")
	r.statement.open = r.paren > 0
	r.named = r.named || first(r.words) == "profile" || first(r.words) == "hat"
	return r.statement
}

func (r *reading) assigns() bool { return r.values || isAssignment(r.words, r.word.String()) }

// between takes what stands between words: a comment, a blank, or a line's end, which may end the statement.
func (r *reading) between(c byte) (taken, ended bool) {
	l := r.lexer
	switch {
	case c == '#' && r.paren == 0 && !r.valued && !(len(r.words) == 0 && !r.inWord && isInclude(l.text[l.at:])):
		r.flush()
		from := l.at
		l.at = lineEnd(l.text, l.at)
		if !r.assigns() { // parsers before 4.0 take it for values
			l.leave(from)
		}
		if len(r.words) == 0 {
			r.statement.line = 0
		}
	case c == '\n':
		if r.paren > 0 {
			r.word.WriteByte(' ')
			l.line++
			l.at++
			break
		}
		r.flush()
		l.leave(l.at)
		l.line++
		l.at++
		// A line's end ends what has no comma.
		if endsWithLine(r.words) {
			return true, true
		}
	case strings.HasPrefix(l.text[l.at:], "\\\n") && r.paren == 0 && r.assigns():
		r.flush()
		l.line++
		l.at += 2
	case blank(c):
		if r.paren > 0 {
			r.word.WriteByte(' ') // it parts the words of a list, as a comma does
		} else {
			r.flush()
		}
		l.at++
	default:
		return false, false
	}
	return true, false
}

// leave notes that the text from an offset up to the line's end, a comment or nothing, can be left out: with the line,
// where it holds nothing else.
func (l *lexer) leave(from int) {
	s := span{from, l.at}
	start := from
	for start > 0 && blank(l.text[start-1]) {
		start--
	}
	if n := len(l.idle); n > 0 && l.idle[n-1].to > start {
		return // it is left out with its line
	}
	if start == 0 || l.text[start-1] == '\n' {
		s = span{start, min(l.at+1, len(l.text))}
	}
	if s.from < s.to {
		l.idle = append(l.idle, s)
	}
}

// long takes what is longer than a character: what is escaped or quoted, a variable, a word of any characters, a file's
// name.
func (r *reading) long(c byte) bool {
	l := r.lexer
	switch {
	case c == '\\' && l.at+1 < len(l.text):
		r.take(l.at + 2)
		return true
	case c == '"':
		end := quotedEnd(l.text, l.at)
		l.at++
		r.take(max(l.at, end-1))
		l.at = end
		return true
	case r.paren == 0 && (c == '@' || c == '$') && !r.inWord:
		r.take(variableEnd(l.text, l.at))
		return true
	case r.paren == 0 && r.beginsAny(c):
		if end := wordEnd(l.text, l.at); end > l.at {
			r.take(end)
			return true
		}
	}
	if c == '<' && isDirective(r.words) {
		if n := strings.IndexByte(l.text[l.at:lineEnd(l.text, l.at)], '>'); n > 0 {
			r.take(l.at + n + 1)
			return true
		}
	}
	return false
}

// mark reports whether a character ends the statement, and takes it into the word where it does not.
func (r *reading) mark(c byte) (ends bool) {
	switch {
	case c == '(':
		if r.paren == 0 {
			if r.bare && valued[r.word.String()] {
				r.flush() // the list may follow without a blank
			}
			if r.list = 0; r.mayBeFlags() {
				r.list = r.at + 1
			}
		}
		r.paren++
	case c == ')':
		if r.paren--; r.paren == 0 && r.list > 0 {
			r.flags = span{r.list, r.at}
		}
		r.paren = max(r.paren, 0)
	case r.paren > 0:
	case (c == '{' || c == '}' || c == ',') && !r.assigns():
		return true
	}
	r.inWord = true
	r.word.WriteByte(c)
	r.at++
	return false
}

// mayBeFlags reports whether a list that begins is one of flags, if the statement is a profile's header: it has a name
// ahead of it and no other key than flags.
func (r *reading) mayBeFlags() bool {
	ahead := strings.Join(r.words, " ") + " " + r.word.String()
	if ahead = strings.TrimRight(ahead, " "); !strings.HasSuffix(ahead, "=") {
		return ahead != ""
	}
	ahead = strings.TrimRight(strings.TrimSuffix(ahead, "="), " ")
	return strings.HasSuffix(ahead, " flags")
}

// beginsAny reports whether a word begins that may have any characters, as a path does: by its own first character, by the
// words ahead of it, or as the value of a condition.
func (r *reading) beginsAny(c byte) bool {
	begun := r.word.String()
	switch {
	case c == ',':
		return false
	case begun == "" && (c == '/' || c == ':' || c == '&' || c == '^'):
		return true
	case c == '(':
		return r.assigns()
	case begun != "":
		return strings.HasSuffix(begun, "=") || begun == "->"
	case c == '<' || c == '>':
		return false
	case r.valued:
		return !letter(c) || !condition(r.lexer.text[r.at:])
	}
	if n := len(r.words); n > 0 {
		switch r.words[n-1] {
		case "->":
			return true
		case "profile", "hat":
			return c != '{'
		}
	}
	return r.assigns()
}

// endsWithLine reports whether a statement ends with its line: a directive, and what sets a variable.
func endsWithLine(words []string) bool {
	return isDirective(words) || isAssignment(words, "") || strings.HasPrefix(first(words), "$")
}

func isDirective(words []string) bool {
	return first(words) == "include" || first(words) == "#include"
}

// condition reports whether a text begins with a word and the = of a condition.
func condition(text string) bool {
	return strings.HasPrefix(strings.TrimLeft(text[keywordEnd(text, 0):], " \t\r"), "=")
}

// isAssignment reports whether words are those of an assignment to a variable, or of a part of one, and no rule.
func isAssignment(words []string, next string) bool {
	if w := first(words); w != "" && w[0] != '@' || w == "" && !strings.HasPrefix(next, "@") {
		return false
	}
	_, _, ok := assigned(strings.Join(append(slices.Clip(words[:min(len(words), 3)]), next), " "))
	return ok
}

// assignment reads a variable's name and values. Commas are parts of values.
func assignment(text string) (name string, values []string, ok bool) {
	name, rest, ok := assigned(text)
	if !ok {
		return "", nil, false
	}
	l := lexer{text: rest, line: 1, values: true}
	return name, l.next().words, true
}

// assigned cuts the beginning of a variable's assignment off, "@{NAME} = " or "@NAME = " and the same with +=.
func assigned(text string) (name, rest string, ok bool) {
	text, ok = strings.CutPrefix(text, "@")
	if !ok {
		return "", "", false
	}
	if braced, isBraced := strings.CutPrefix(text, "{"); isBraced {
		name, rest, ok = strings.Cut(braced, "}")
	} else {
		end := keywordEnd(text, 0)
		name, rest = text[:end], text[end:]
		ok = name != "" && !digit(name[0])
	}
	rest = strings.TrimPrefix(strings.TrimLeft(rest, " \t\r\n\f"), "+")
	rest, set := strings.CutPrefix(rest, "=")
	return name, rest, ok && set
}

// isInclude reports whether a comment is the directive in its old form.
func isInclude(text string) bool {
	rest, ok := strings.CutPrefix(text, "#include")
	return ok && rest != "" && strings.IndexByte(" \t<\"", rest[0]) >= 0
}
