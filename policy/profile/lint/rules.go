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
	s := &source{variables: map[string][]string{}}
	lines := map[string][]int{} // of own's statements, by block and text
	if own != nil {
		for _, r := range own.preamble {
			lines["\x00"+r.text] = append(lines["\x00"+r.text], r.line)
		}
		for _, b := range own.blocks {
			lines["{"+b.name] = append(lines["{"+b.name], b.line)
			for _, r := range b.rules {
				lines[b.name+"\x00"+r.text] = append(lines[b.name+"\x00"+r.text], r.line)
			}
		}
	}
	// place gives the line in own, of the next that is the same.
	place := func(key string, line int) (int, bool) {
		if own == nil {
			return line, true
		}
		at := lines[key]
		if len(at) == 0 {
			return 0, false
		}
		lines[key] = at[1:]
		return at[0], true
	}

	var open []scope
	inner := func() *block {
		for _, o := range slices.Backward(open) {
			if o.block != nil {
				return o.block
			}
		}
		return nil
	}
	l := lexer{text: text, line: 1}
	for {
		t := l.next()
		if len(t.words) > 0 {
			s.statement(t, inner(), open, place)
		}
		switch t.end {
		case endOfText:
			s.whole = len(open) == 0 && !t.open && (len(t.words) == 0 || endsWithLine(t.words))
			return s
		case '{':
			if first(t.words) == "if" || first(t.words) == "else" {
				open = append(open, scope{branch: l.at})
				break
			}
			if inner() != nil && len(t.words) > 0 && !slices.ContainsFunc(joined(t.words), isNoQualifier) {
				open = append(open, scope{qualifiers: joined(t.words)})
				break
			}
			b := &block{name: blockName(t.words), header: t.text}
			if outer := inner(); outer != nil {
				b.name = outer.name + "//" + b.name
			}
			b.line, b.own = place("{"+b.name, t.line)
			s.blocks = append(s.blocks, b)
			open = append(open, scope{block: b})
		case '}':
			if len(open) > 0 {
				open = open[:len(open)-1]
			}
		}
	}
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

// next gives the next statement.
func (l *lexer) next() token {
	var t token
	var word strings.Builder
	inWord := false
	bare := true    // the word is read by its letters, and may be a keyword
	valued := false // all words of the rule are values, as its kind has it
	flush := func() {
		if inWord {
			t.words = append(t.words, word.String())
			valued = valued || bare && tokens.Valued[word.String()]
			word.Reset()
			inWord, bare = false, true
		}
	}
	take := func(to int) {
		l.line += strings.Count(l.text[l.at:to], "\n")
		word.WriteString(l.text[l.at:to])
		l.at, inWord, bare = to, true, false
	}
	paren := 0 // depth of lists
	done := func(end byte) token {
		flush()
		t.end = end
		t.text = strings.Join(t.words, " ")
		t.open = paren > 0
		return t
	}
	for l.at < len(l.text) {
		c := l.text[l.at]
		if t.line == 0 && c > ' ' {
			t.line = l.line
		}
		assigns := func() bool { return l.values || isAssignment(t.words, word.String()) }
		switch {
		case c == '#' && paren == 0 && !valued && !(len(t.words) == 0 && !inWord && isInclude(l.text[l.at:])):
			flush()
			for l.at < len(l.text) && l.text[l.at] != '\n' {
				l.at++
			}
			if len(t.words) == 0 {
				t.line = 0
			}
			continue
		case c == '\n':
			l.line++
			l.at++
			if paren > 0 {
				word.WriteByte(' ')
				continue
			}
			flush()
			// A line's end ends what has no comma.
			if endsWithLine(t.words) {
				return done('\n')
			}
			continue
		case c == '\\' && l.at+1 < len(l.text):
			take(l.at + 2)
			continue
		case c == '"':
			end := tokens.Quoted(l.text, l.at)
			from := l.at + 1
			l.at = from
			take(max(from, end-1))
			l.at = end
			continue
		case c == ' ' || c == '\t' || c == '\r':
			if paren > 0 {
				word.WriteByte(' ') // it parts the words of a list, as a comma does
			} else {
				flush()
			}
			l.at++
			continue
		case paren == 0 && (c == '@' || c == '$') && !inWord:
			take(tokens.Variable(l.text, l.at))
			continue
		case paren == 0 && l.beginsAny(c, t.words, word.String(), valued, assigns):
			if end := tokens.Word(l.text, l.at); end > l.at {
				take(end)
				continue
			}
		}
		switch {
		case c == '<' && isDirective(t.words) && strings.IndexByte(l.text[l.at:lineEnd(l.text, l.at)], '>') > 0:
			take(l.at + strings.IndexByte(l.text[l.at:], '>') + 1)
			continue
		case c == '(':
			if paren == 0 && bare && tokens.Valued[word.String()] {
				flush() // the list may follow without a blank
			}
			paren++
		case c == ')':
			paren = max(paren-1, 0)
		case paren > 0:
		case c == '{', c == '}', c == ',' && !assigns():
			l.at++
			return done(c)
		}
		inWord = true
		word.WriteByte(c)
		l.at++
	}
	return done(endOfText)
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
