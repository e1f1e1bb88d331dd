package lint

import (
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

	var open []*block // blocks, and nil for those of conditions
	inner := func() *block {
		for _, b := range slices.Backward(open) {
			if b != nil {
				return b
			}
		}
		return nil
	}
	l := lexer{text: text, line: 1}
	for {
		t := l.next()
		if len(t.words) > 0 {
			s.statement(t, inner(), place)
		}
		switch t.end {
		case endOfText:
			return s
		case '{':
			if first(t.words) == "if" || first(t.words) == "else" {
				open = append(open, nil)
				break
			}
			b := &block{name: blockName(t.words), header: t.text}
			if outer := inner(); outer != nil {
				b.name = outer.name + "//" + b.name
			}
			b.line, b.own = place("{"+b.name, t.line)
			s.blocks = append(s.blocks, b)
			open = append(open, b)
		case '}':
			if len(open) > 0 {
				open = open[:len(open)-1]
			}
		}
	}
}

// statement keeps what a statement says.
func (s *source) statement(t token, in *block, place func(string, int) (int, bool)) {
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
	for len(r.words) > 0 {
		switch r.words[0] {
		case "audit":
			r.audit = true
		case "deny":
			r.deny = true
		case "allow", "owner", "quiet", "other":
		default:
			if strings.HasPrefix(r.words[0], "priority=") { // since AppArmor 4.1
				break
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
			return
		}
		r.words = r.words[1:]
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
var conditions = []string{"set", "peer"}

// assignment reads "@{NAME} = VALUES" and "+=".
func assignment(text string) (name string, values []string, ok bool) {
	rest, ok := strings.CutPrefix(text, "@{")
	if !ok {
		return "", nil, false
	}
	name, rest, _ = strings.Cut(rest, "}")
	rest = strings.TrimSpace(rest)
	if rest, ok = strings.CutPrefix(strings.TrimPrefix(rest, "+"), "="); !ok {
		return "", nil, false
	}
	l := lexer{text: rest, line: 1}
	return name, l.next().words, true
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
	text string
	at   int
	line int
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
			if w == "include" || w == "#include" || strings.HasPrefix(w, "@{") && isAssignment(t.words) || strings.HasPrefix(w, "$") {
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
		case c == ',' && depth == 0 && paren == 0:
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

func isAssignment(words []string) bool {
	_, _, ok := assignment(strings.Join(words, " "))
	return ok
}

// isInclude tells the directive in its old form from a comment.
func isInclude(text string) bool {
	rest, ok := strings.CutPrefix(text, "#include")
	return ok && rest != "" && strings.IndexByte(" \t<\"", rest[0]) >= 0
}
