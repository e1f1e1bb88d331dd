package profile

import (
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/internal/token"
)

// block is where a text says that a profile, child or hat begins: what stands ahead of its rules.
type block struct {
	flags [2]int // offsets behind the bracket that opens its flags, and of the one that closes them; zeros without flags
	brace int    // offset of the brace that opens its rules
}

// blocks finds where the profiles, children and hats of a text begin, as the parser finds it (parser/parser_lex.l and
// profile_base in parser/parser_yacc.y, 3.0 to 4.1), and what of it can be left out: its comments, and empty lines. The text
// has no includes any more.
//
// It follows the states of the parser's lexer as far as these decide where a word, a list in brackets, a comment or a
// statement ends. What the parser refuses gives some result or other: whoever uses one has it compiled.
func blocks(text string) (found []block, idle [][2]int) {
	l := lexer{text: text}
	for l.pos < len(text) {
		l.statement()
	}
	return l.found, l.idle
}

// lexer walks the text.
type lexer struct {
	text  string
	pos   int
	found []block
	idle  [][2]int
}

// statement reads up to the comma, brace or line's end that ends a statement, and keeps what begins a profile.
func (l *lexer) statement() {
	h := header{lexer: l, first: true}
	for l.pos < len(l.text) {
		c := l.text[l.pos]
		switch {
		case l.between(c):
			continue
		case c == '{':
			h.brace = l.pos
			if h.named {
				l.found = append(l.found, h.block)
			}
			l.pos++
			return
		case c == ',' || c == '}':
			l.pos++
			return
		case !h.condition && (c == '=' || strings.HasPrefix(l.text[l.pos:], "+=")):
			l.assignment()
			return
		case token.Letter(c) || c == '_':
			if h.word() {
				l.rule()
				return
			}
		default:
			h.part(c)
		}
		h.first = false
	}
}

// between passes over a blank, a line's end or a comment, and reports whether there was one.
func (l *lexer) between(c byte) bool {
	switch {
	case blank(c):
		l.pos++
	case c == '\n':
		l.line(l.pos)
	case c == '#':
		from := l.pos
		l.pos = lineEnd(l.text, l.pos)
		l.line(from)
	default:
		return false
	}
	return true
}

// header is a statement that may begin a profile.
type header struct {
	*lexer
	block
	first     bool // the next token is the first
	named     bool // the first token may be that of a profile
	condition bool // it begins with if or else
}

// word reads a word, and reports whether it is the first of a rule whose words are values.
func (h *header) word() (rule bool) {
	word := h.lexer.word()
	switch {
	case (word == "profile" || word == "hat") && !h.at('='):
		h.named = h.named || h.first
		h.spaces()
		h.lexer.name()
	case h.first && (word == "if" || word == "else"):
		h.condition = true
	case h.at('='):
		if from, to, ok := h.value(); ok && word == "flags" {
			h.flags = [2]int{from, to}
		}
	case token.Valued[word]:
		return true
	}
	return false
}

// part reads what is neither a word nor ends a statement.
func (h *header) part(c byte) {
	l := h.lexer
	switch {
	case c == '(':
		from := l.pos + 1
		l.list()
		if !h.first {
			h.flags = [2]int{from, max(from, l.pos-1)}
		}
	case c == '"':
		h.named = h.named || h.first
		l.quoted()
	case c == '^':
		h.named = h.named || h.first
		l.pos++
		l.name()
	case strings.HasPrefix(l.text[l.pos:], "->"):
		l.pos += 2
		l.blanks()
		l.name()
	case c == '/' || c == ':' || c == '&':
		h.named = h.named || h.first
		l.label()
	case c == '@' || c == '$':
		h.named = h.named || h.first && c == '@'
		l.variable()
	default:
		l.pos++
	}
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }

// lineEnd gives the offset of the line's end behind at, or of the text's.
func lineEnd(text string, at int) int {
	if n := strings.IndexByte(text[at:], '\n'); n >= 0 {
		return at + n
	}
	return len(text)
}

// line steps behind the end of a line, and takes what begins at from, a comment or nothing, for left out: with the line,
// where it holds nothing else.
func (l *lexer) line(from int) {
	to := l.pos
	l.pos = min(l.pos+1, len(l.text))
	start := from
	for start > 0 && blank(l.text[start-1]) {
		start--
	}
	if start == 0 || l.text[start-1] == '\n' {
		from, to = start, l.pos
	}
	if from < to {
		l.idle = append(l.idle, [2]int{from, to})
	}
}

// spaces steps over blanks, and blanks over lines' ends as well.
func (l *lexer) spaces() {
	for l.pos < len(l.text) && blank(l.text[l.pos]) {
		l.pos++
	}
}

func (l *lexer) blanks() {
	for l.pos < len(l.text) && (blank(l.text[l.pos]) || l.text[l.pos] == '\n') {
		l.pos++
	}
}

// at tells whether c is the next character but for blanks.
func (l *lexer) at(c byte) bool {
	rest := strings.TrimLeft(l.text[l.pos:], " \t\r")
	return rest != "" && rest[0] == c
}

// word reads a keyword.
func (l *lexer) word() string {
	from := l.pos
	l.pos = token.Keyword(l.text, l.pos)
	return l.text[from:l.pos]
}

// quoted steps over a string in quotes.
func (l *lexer) quoted() { l.pos = token.Quoted(l.text, l.pos) }

// name steps over a word that may be anything (IDS), or over a string in quotes.
func (l *lexer) name() {
	if l.pos < len(l.text) && l.text[l.pos] == '"' {
		l.quoted()
		return
	}
	l.label()
}

// label steps over a word of any characters.
func (l *lexer) label() { l.pos = token.Word(l.text, l.pos) }

// variable steps over a variable, and over the word that it begins.
func (l *lexer) variable() { l.pos = token.Variable(l.text, l.pos) }

// list steps over a list in brackets, which may have others in it.
func (l *lexer) list() {
	depth := 0
	for l.pos < len(l.text) {
		switch l.text[l.pos] {
		case '\\':
			l.pos++
		case '"':
			l.quoted()
			continue
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				l.pos++
				return
			}
		}
		l.pos++
	}
	l.pos = min(l.pos, len(l.text))
}

// flag steps over one word of a list.
func (l *lexer) flag() {
	if l.text[l.pos] == '"' {
		l.quoted()
		return
	}
	for l.pos < len(l.text) && strings.IndexByte(" \t\r\n,!\"", l.text[l.pos]) < 0 {
		if l.text[l.pos] == '\\' {
			l.pos++
		}
		l.pos++
	}
	l.pos = min(l.pos, len(l.text))
}

// value steps over "= VALUE" or "= (LIST)", of which it gives the offsets of what is in the brackets.
func (l *lexer) value() (from, to int, list bool) {
	l.spaces()
	l.pos++ // =
	if l.pos < len(l.text) && !blank(l.text[l.pos]) && l.text[l.pos] != '(' && l.text[l.pos] != '\n' {
		l.name()
		return 0, 0, false
	}
	at := l.pos
	if l.blanks(); l.pos >= len(l.text) || l.text[l.pos] != '(' {
		l.pos = at
		return 0, 0, false
	}
	from = l.pos + 1
	l.list()
	return from, max(from, l.pos-1), true
}

// assignment steps behind the values of a variable, which end with the line.
func (l *lexer) assignment() {
	l.pos += strings.IndexByte(l.text[l.pos:], '=') + 1
	for l.pos < len(l.text) {
		switch c := l.text[l.pos]; {
		case c == '\n':
			l.pos++
			return
		case strings.HasPrefix(l.text[l.pos:], "\\\n"):
			l.pos += 2
		case c == '#': // a comment since 4.0, and values before
			l.pos = lineEnd(l.text, l.pos)
		case c == '"':
			l.quoted()
		case blank(c) || c == ',' || c == '!':
			l.pos++
		default:
			l.label()
		}
	}
}

// rule steps behind the comma that ends a rule in which all words are values.
func (l *lexer) rule() {
	for l.pos < len(l.text) {
		switch c := l.text[l.pos]; {
		case c == ',':
			l.pos++
			return
		case blank(c) || c == '\n' || c == '!':
			l.pos++
		case c == '"':
			l.quoted()
		case c == '(':
			l.list()
		case c == '<' && strings.IndexByte(l.text[l.pos:], '>') > 0 && !strings.HasPrefix(l.text[l.pos:], "<="):
			l.pos += strings.IndexByte(l.text[l.pos:], '>') + 1
		case token.Letter(c):
			at := l.pos
			if l.word(); l.at('=') {
				l.value()
			} else {
				l.pos = at
				l.label()
			}
		default:
			l.label()
		}
	}
}
