package lint

import (
	"regexp"
	"slices"
	"strings"
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
	branch      bool // it stands in a branch of a condition
}

// source is a text taken apart: only as far as the checks need it. It knows statements, blocks, variables and words.
// What the parser would refuse it takes for something or other.
type source struct {
	preamble  []rule
	blocks    []*block
	variables map[string][]string // by name, "PROC"
	includes  bool                // it includes files, which are not in it
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
			return s
		case '{':
			if first(t.words) == "if" || first(t.words) == "else" {
				open = append(open, scope{branch: true})
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
	branch     bool
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
			r.branch = r.branch || o.branch
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
	flush := func() {
		if inWord {
			t.words = append(t.words, word.String())
			word.Reset()
			inWord = false
		}
	}
	depth := 0 // of braces and brackets within a word
	paren := 0
	done := func(end byte) token {
		flush()
		t.end = end
		t.text = strings.Join(t.words, " ")
		return t
	}
	for l.at < len(l.text) {
		c := l.text[l.at]
		if t.line == 0 && c > ' ' {
			t.line = l.line
		}
		switch {
		case c == '#' && !inWord && !(len(t.words) == 0 && isInclude(l.text[l.at:])):
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
			depth = 0 // no word goes on; AppArmor's own tunables have a bracket that nothing closes
			if paren > 0 {
				word.WriteByte(' ')
				continue
			}
			flush()
			// A line's end ends what has no comma.
			w := first(t.words)
			if w == "include" || w == "#include" || isAssignment(t.words, "") || strings.HasPrefix(w, "$") {
				return done('\n')
			}
			continue
		case c == '\\' && l.at+1 < len(l.text):
			inWord = true
			if l.text[l.at+1] == '\n' {
				l.line++
			}
			word.WriteString(l.text[l.at : l.at+2])
			l.at += 2
			continue
		case c == '"':
			inWord = true
			for l.at++; l.at < len(l.text) && l.text[l.at] != '"'; l.at++ {
				if l.text[l.at] == '\n' {
					l.line++
				}
				word.WriteByte(l.text[l.at])
			}
			l.at++
			continue
		case c == ' ' || c == '\t' || c == '\r':
			if paren > 0 {
				word.WriteByte(' ') // it parts the words of a list, as a comma does
			} else if depth == 0 {
				flush()
			}
			l.at++
			continue
		case c == '(':
			paren++
		case c == ')':
			paren = max(paren-1, 0)
		case c == '[':
			depth++
		case c == ']':
			depth = max(depth-1, 0)
		case c == '{':
			if l.opensBlock() {
				l.at++
				return done('{')
			}
			depth++
		case c == '}':
			if depth == 0 {
				l.at++
				return done('}')
			}
			depth--
		case c == ',' && depth == 0 && paren == 0 && !l.values && !isAssignment(t.words, word.String()):
			l.at++
			return done(',')
		}
		inWord = true
		word.WriteByte(c)
		l.at++
	}
	return done(endOfText)
}

// opensBlock tells a brace that opens a block from one that begins a pattern, behind which no blank can stand.
func (l *lexer) opensBlock() bool {
	return l.at+1 == len(l.text) || strings.IndexByte(" \t\r\n}#", l.text[l.at+1]) >= 0
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
