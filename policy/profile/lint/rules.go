package lint

import (
	"regexp"
	"slices"
	"strings"

	tokens "github.com/oci-apparmor/oci-apparmor/policy/profile/internal/token"
)

// block is a profile, child or hat as a text writes it.
type block struct {
	name   string // whole, "main//child"
	header string // what stands before the brace
	line   int
	own    bool // it stands in the text itself, and not in a file that it includes
	rules  []rule
}

// rule is a rule of a block, or of the text's preamble.
type rule struct {
	words []string // as they stand, without quotes, allow, audit, deny, quiet and owner
	text  string   // all of it, with single blanks
	line  int      // in the text that was given
	own   bool     // it stands in the text itself

	audit, deny bool
	branch      int // offset, in what was read, where the branch of a condition begins that it stands in; 0 where in none
}

// source is a text taken apart: only as far as the checks need it. It knows statements, blocks, variables and words.
// What the parser would refuse it takes for something or other.
type source struct {
	preamble  []rule
	blocks    []*block
	variables map[string][]string // by name, "PROC"
	includes  bool                // it includes files, which are not in it
	whole     bool                // all that it opens ends: it was not misread
}

// Profiles gives the names of the profiles that a text itself defines, children aside.
func Profiles(text string) []string {
	var names []string
	for _, b := range read(text, nil).blocks {
		if !strings.Contains(b.name, "//") {
			names = append(names, b.name)
		}
	}
	return names
}

// read takes a text apart. Where own is not nil, the text is what apparmor_parser makes of own by putting the included
// files in, and lines are those of own.
func read(text string, own *source) *source {
	r := &sourceReader{source: &source{variables: map[string][]string{}}}
	r.place = func(_ string, line int) (int, bool) { return line, true }
	if own != nil {
		r.place = own.places()
	}
	l := lexer{text: text, line: 1}
	for {
		t := l.next()
		if len(t.words) > 0 {
			r.statement(t, r.inner(), r.open, r.place)
		}
		switch t.end {
		case endOfText:
			r.whole = len(r.open) == 0 && !t.open && (len(t.words) == 0 || endsWithLine(t.words))
			return r.source
		case '{':
			r.begin(t, l.at)
		case '}':
			if len(r.open) > 0 {
				r.open = r.open[:len(r.open)-1]
			}
		}
	}
}

// places returns a function that gives the line of the next statement or block that is the same: by its block and text, or by
// the block's name after a brace.
func (s *source) places() func(key string, line int) (int, bool) {
	lines := map[string][]int{}
	for _, r := range s.preamble {
		lines["\x00"+r.text] = append(lines["\x00"+r.text], r.line)
	}
	for _, b := range s.blocks {
		lines["{"+b.name] = append(lines["{"+b.name], b.line)
		for _, r := range b.rules {
			lines[b.name+"\x00"+r.text] = append(lines[b.name+"\x00"+r.text], r.line)
		}
	}
	return func(key string, _ int) (int, bool) {
		at := lines[key]
		if len(at) == 0 {
			return 0, false
		}
		lines[key] = at[1:]
		return at[0], true
	}
}

// sourceReader is a source while it is read.
type sourceReader struct {
	*source
	open  []scope
	place func(key string, line int) (int, bool) // the line of a statement, and whether the text has it itself
}

// inner returns the innermost block that is open; nil outside of all.
func (r *sourceReader) inner() *block {
	for _, o := range slices.Backward(r.open) {
		if o.block != nil {
			return o.block
		}
	}
	return nil
}

// begin opens what a brace opens after the words of a statement.
func (r *sourceReader) begin(t token, at int) {
	outer := r.inner()
	switch {
	case first(t.words) == "if" || first(t.words) == "else":
		r.open = append(r.open, scope{branch: at})
		return
	case outer != nil && len(t.words) > 0 && !slices.ContainsFunc(joined(t.words), isNoQualifier):
		r.open = append(r.open, scope{qualifiers: joined(t.words)})
		return
	}
	b := &block{name: blockName(t.words), header: t.text}
	if outer != nil {
		b.name = outer.name + "//" + b.name
	}
	b.line, b.own = r.place("{"+b.name, t.line)
	r.blocks = append(r.blocks, b)
	r.open = append(r.open, scope{block: b})
}

// scope is what a brace opens: a profile, a branch of a condition, or rules that share qualifiers.
type scope struct {
	block      *block
	branch     int // offset where one begins
	qualifiers []string
}

// isNoQualifier reports whether a word is none of those that may stand ahead of a rule, or of several in braces.
func isNoQualifier(word string) bool {
	return !slices.Contains([]string{"audit", "deny", "allow", "owner", "other", "quiet"}, word) &&
		!strings.HasPrefix(word, "priority=")
}

// statement keeps what a statement says.
func (s *source) statement(t token, in *block, open []scope, place func(string, int) (int, bool)) {
	if t.end == '{' {
		return
	}
	if name, values, ok := assignment(t.text); ok {
		s.variables[name] = append(s.variables[name], values...)
		return
	}
	if w := first(t.words); w == "include" || w == "#include" {
		s.includes = true
	}
	r := rule{words: joined(t.words), text: t.text}
	qualify := func(word string) {
		r.audit = r.audit || word == "audit"
		r.deny = word == "deny" || r.deny && word != "allow"
	}
	for _, o := range open {
		switch {
		case o.block != nil: // what is around it is not about its rules
			r.audit, r.deny = false, false
		default:
			r.branch = max(r.branch, o.branch)
			for _, word := range o.qualifiers {
				qualify(word)
			}
		}
	}
	for len(r.words) > 0 && !isNoQualifier(r.words[0]) {
		qualify(r.words[0])
		r.words = r.words[1:]
	}
	if len(r.words) == 0 {
		return
	}
	key := "\x00" + t.text
	if in != nil {
		key = in.name + key
	}
	if r.line, r.own = place(key, t.line); in != nil {
		in.rules = append(in.rules, r)
	} else {
		s.preamble = append(s.preamble, r)
	}
}

// joined puts conditions together that have blanks around their "=": "peer = unconfined" is one word.
func joined(words []string) []string {
	var all []string
	for _, w := range words {
		if n := len(all) - 1; n >= 0 {
			key, set := strings.CutSuffix(all[n], "=")
			if slices.Contains(conditions, key) && (set || strings.HasPrefix(w, "=")) {
				all[n] += w
				continue
			}
		}
		all = append(all, w)
	}
	return all
}

// conditions are those that the checks read.
var conditions = []string{"set", "peer", "priority"}

// assigned is the beginning of "@{NAME} = VALUES", "@NAME = VALUES" and the same with +=.
var assigned = regexp.MustCompile(`\A@(?:\{([^}]*)\}|([A-Za-z_][A-Za-z0-9_]*))\s*\+?=`)

// assignment reads a variable's name and values. Commas are parts of values.
func assignment(text string) (name string, values []string, ok bool) {
	m := assigned.FindStringSubmatch(text)
	if m == nil {
		return "", nil, false
	}
	l := lexer{text: text[len(m[0]):], line: 1, values: true}
	return m[1] + m[2], l.next().words, true
}

// blockName gives the name of a block from its header: "profile NAME PATH flags=(...)", "hat NAME", "^NAME", "PATH".
func blockName(words []string) string {
	for _, w := range words {
		switch w {
		case "profile", "hat", "audit", "quiet":
			continue
		}
		return strings.TrimPrefix(w, "^")
	}
	return ""
}

func first(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return words[0]
}

// token is a statement and what ends it: a comma, a line's end, or a brace.
type token struct {
	words []string
	text  string
	line  int // where it begins
	end   byte
	open  bool // a list in it does not end
}

const endOfText = 0

// lexer cuts a text into statements.
type lexer struct {
	text   string
	at     int
	line   int
	values bool // of a variable, in which a comma is a character like any other
}

// next returns the next statement.
func (l *lexer) next() token {
	r := reading{lexer: l, bare: true}
	for l.at < len(l.text) {
		c := l.text[l.at]
		if r.token.line == 0 && c > ' ' {
			r.token.line = l.line
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
	token
	word   strings.Builder
	inWord bool
	bare   bool // the word is read by its letters, and may be a keyword
	valued bool // all words of the rule are values, as its kind has it
	paren  int  // depth of lists
}

// flush ends a word.
func (r *reading) flush() {
	if r.inWord {
		r.words = append(r.words, r.word.String())
		r.valued = r.valued || r.bare && tokens.Valued[r.word.String()]
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
func (r *reading) done(end byte) token {
	r.flush()
	r.end = end
	r.token.text = strings.Join(r.words, " ")
	r.token.open = r.paren > 0
	return r.token
}

func (r *reading) assigns() bool { return r.values || isAssignment(r.words, r.word.String()) }

// between takes what stands between words: a comment, a blank, or a line's end, which may end the statement.
func (r *reading) between(c byte) (taken, ended bool) {
	l := r.lexer
	switch {
	case c == '#' && r.paren == 0 && !r.valued && !(len(r.words) == 0 && !r.inWord && isInclude(l.text[l.at:])):
		r.flush()
		l.at = lineEnd(l.text, l.at)
		if len(r.words) == 0 {
			r.token.line = 0
		}
	case c == '\n':
		l.line++
		l.at++
		if r.paren > 0 {
			r.word.WriteByte(' ')
			break
		}
		r.flush()
		// A line's end ends what has no comma.
		if endsWithLine(r.words) {
			return true, true
		}
	case c == ' ' || c == '\t' || c == '\r':
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

// long takes what is longer than a character: what is escaped or quoted, a variable, a word of any characters, a file's name.
func (r *reading) long(c byte) bool {
	l := r.lexer
	switch {
	case c == '\\' && l.at+1 < len(l.text):
		r.take(l.at + 2)
		return true
	case c == '"':
		end := tokens.Quoted(l.text, l.at)
		l.at++
		r.take(max(l.at, end-1))
		l.at = end
		return true
	case r.paren == 0 && (c == '@' || c == '$') && !r.inWord:
		r.take(tokens.Variable(l.text, l.at))
		return true
	case r.paren == 0 && l.beginsAny(c, r.words, r.word.String(), r.valued, r.assigns):
		if end := tokens.Word(l.text, l.at); end > l.at {
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
		if r.paren == 0 && r.bare && tokens.Valued[r.word.String()] {
			r.flush() // the list may follow without a blank
		}
		r.paren++
	case c == ')':
		r.paren = max(r.paren-1, 0)
	case r.paren > 0:
	case c == '{', c == '}', c == ',' && !r.assigns():
		return true
	}
	r.inWord = true
	r.word.WriteByte(c)
	r.at++
	return false
}

// beginsAny reports whether a word begins that may have any characters, as a path does: by its own first character, by the
// words ahead of it, or as the value of a condition.
func (l *lexer) beginsAny(c byte, words []string, begun string, valued bool, assigns func() bool) bool {
	switch {
	case c == ',':
		return false
	case begun == "" && (c == '/' || c == ':' || c == '&' || c == '^'):
		return true
	case c == '(':
		return assigns()
	case begun != "":
		return strings.HasSuffix(begun, "=")
	case c == '<' || c == '>':
		return false
	case valued:
		return !tokens.Letter(c) || !condition(l.text[l.at:])
	}
	if n := len(words); n > 0 && (words[n-1] == "->" || words[n-1] == "profile" || words[n-1] == "hat") {
		return c != '{'
	}
	return assigns()
}

// endsWithLine reports whether a statement ends with its line: a directive, and what sets a variable.
func endsWithLine(words []string) bool {
	return isDirective(words) || isAssignment(words, "") || strings.HasPrefix(first(words), "$")
}

func isDirective(words []string) bool {
	return first(words) == "include" || first(words) == "#include"
}

// lineEnd returns the offset of the line's end after a place, or of the text's.
func lineEnd(text string, at int) int {
	if n := strings.IndexByte(text[at:], '\n'); n >= 0 {
		return at + n
	}
	return len(text)
}

// condition reports whether a text begins with a word and the = of a condition.
func condition(text string) bool {
	return strings.HasPrefix(strings.TrimLeft(text[tokens.Keyword(text, 0):], " \t\r"), "=")
}

// isAssignment tells the words of a statement, and what was read of another, from those of a rule.
func isAssignment(words []string, next string) bool {
	if w := first(words); w != "" && w[0] != '@' || w == "" && !strings.HasPrefix(next, "@") {
		return false
	}
	return assigned.MatchString(strings.Join(append(slices.Clip(words[:min(len(words), 3)]), next), " "))
}

// isInclude tells the directive in its old form from a comment.
func isInclude(text string) bool {
	rest, ok := strings.CutPrefix(text, "#include")
	return ok && rest != "" && strings.IndexByte(" \t<\"", rest[0]) >= 0
}
