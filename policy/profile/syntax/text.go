// Package syntax reads the text of an AppArmor profile: its statements, the profiles in it and their rules, its
// variables, and what its patterns match. It knows how a text is written, as far as that decides where something begins
// and ends, and not what its rules mean: that is asked of what the text compiles to (package meaning).
//
// It follows the states of apparmor_parser's lexer (parser/parser_lex.l and parser/parser_yacc.y, 3.0 to 4.1). What the
// parser refuses it takes for something or other: whoever uses the outcome has the text compiled.
package syntax

import (
	"slices"
	"strconv"
	"strings"
)

// A Text is a profile's text after Read has parsed it.
type Text struct {
	Preamble  []Rule              // statements outside of all blocks
	Blocks    []*Block            // in the order in which they begin
	Variables map[string][]string // values by name, such as "PROC"
	Assigned  []Assignment        // which gave the variables their values

	// Whole reports whether everything that the text opens, such as a brace or a quote, is closed at its end.
	// apparmor_parser accepts no text of which that is not true. So if the parser accepts a text and Whole is false,
	// Read has misread the text, and may have missed rules.
	Whole bool

	text string
	idle []span // comments and empty lines, which can be left out
}

// A Block is a profile, child or hat.
type Block struct {
	Name  string // with the names of the profiles around it, "main//child"
	Line  int    // from 1
	Own   bool   // it is in the text itself, not in a file that the text includes
	Rules []Rule

	header string
	span   span // from its header to its closing brace, or to the text's end
	inner  bool // it stands in another one
	named  bool // its header begins as a profile's does
	brace  int  // offset of the brace that opens its rules
	flags  span // inside of the brackets of its flags; zeros without flags
}

// A Rule is a rule of a block, or a statement outside of all blocks.
type Rule struct {
	Words []string // its words as written, without quotes and without allow, audit, deny, quiet and owner
	Text  string   // the whole rule, with single blanks
	Line  int      // from 1, in the text itself
	Own   bool     // as in Block

	Audit, Deny bool
	Owner       bool // it is about what the process owns
	Priority    int  // that the rule has; 0 if it has none

	// Branch is the offset, in the text that was read, at which the branch of a condition begins that has the rule. It
	// is 0 if no condition has the rule.
	Branch int

	span   span
	around *scope // what opens the innermost braces around it; nil if those are its block's
}

// An Assignment gives a variable values, or adds some.
type Assignment struct {
	Name string // such as "PROC"
	Line int    // from 1, in the text that was read
}

// span is a part of a text, by its offsets.
type span struct{ from, to int }

// First returns the word that says which kind of rule it is, such as "mount".
func (r Rule) First() string { return first(r.Words) }

// IsInclude reports whether the rule includes a file.
func (r Rule) IsInclude() bool { return isDirective(r.Words) }

// Read parses a text. It never fails: see Whole.
func Read(text string) *Text {
	return read(text, func(_ string, line int) (int, bool) { return line, true })
}

// WithIncludes parses included, which is the text of t after apparmor_parser has put in the files that it includes.
// Rules and blocks that are also in t have their lines in t.
func (t *Text) WithIncludes(included string) *Text { return read(included, t.places()) }

// places returns a function that returns the line of the next statement or block that is the same: by its block and
// text, or by the block's name after a brace. ok is false where t has no such one.
func (t *Text) places() func(key string, line int) (at int, ok bool) {
	lines := make(map[string][]int)
	for _, r := range t.Preamble {
		lines["\x00"+r.Text] = append(lines["\x00"+r.Text], r.Line)
	}
	for _, b := range t.Blocks {
		lines["{"+b.Name] = append(lines["{"+b.Name], b.Line)
		for _, r := range b.Rules {
			lines[b.Name+"\x00"+r.Text] = append(lines[b.Name+"\x00"+r.Text], r.Line)
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

// Rules returns the statements outside of all blocks, and then the rules of each block, in the order of the text.
func (t *Text) Rules() []Rule {
	all := slices.Clone(t.Preamble)
	for _, b := range t.Blocks {
		all = append(all, b.Rules...)
	}
	return all
}

// Profiles returns the names of the profiles that the text itself defines, without children.
func (t *Text) Profiles() []string {
	var names []string
	for _, b := range t.Blocks {
		if !strings.Contains(b.Name, "//") {
			names = append(names, b.Name)
		}
	}
	return names
}

// Line returns the line on which a profile begins, or a child or hat by its whole name ("main//child"). The name may
// not be in the text, as when a variable is a part of it. Line then returns the line of the profile around it, or 0.
func (t *Text) Line(name string) int {
	for {
		for _, b := range t.Blocks {
			if b.Own && b.Name == name {
				return b.Line
			}
		}
		at := strings.LastIndex(name, "//")
		if at < 0 {
			return 0
		}
		name = name[:at]
	}
}

// Includes returns the names of the files that the text itself includes: "abstractions/base" for <abstractions/base>.
func (t *Text) Includes() []string {
	var names []string
	for _, r := range t.Rules() {
		if r.IsInclude() && len(r.Words) > 1 {
			names = append(names, strings.Trim(r.Words[len(r.Words)-1], "<>"))
		}
	}
	return names
}

// ABI returns the name of the ABI that the text itself names, "abi/3.0" for <abi/3.0>, and the line of that statement.
// The name is empty if the text names none.
func (t *Text) ABI() (name string, line int) {
	for _, r := range t.Rules() {
		if r.First() == "abi" && len(r.Words) > 1 {
			return strings.Trim(r.Words[1], "<>"), r.Line
		}
	}
	return "", 0
}

// reader is a text while it is read.
type reader struct {
	*Text
	open  []*scope
	last  *scope                                 // the last branch of a condition that was closed, to which an else belongs
	place func(key string, line int) (int, bool) // the line of a statement, and whether the text has it itself
}

// scope is what a brace opens: a profile, a branch of a condition, or rules that share qualifiers.
type scope struct {
	block      *Block
	branch     int // offset where one begins
	qualifiers []string

	opener span   // the words that open it, with the brace
	outer  *scope // the scope around it that is of the same block
	before *scope // the branch of the same condition whose else it is
}

func read(text string, place func(string, int) (int, bool)) *Text {
	r := &reader{Text: &Text{Variables: make(map[string][]string), text: text}, place: place}
	l := lexer{text: text, line: 1}
	for {
		s := l.next()
		if len(s.words) > 0 && s.end != '{' {
			r.statement(s)
		}
		switch s.end {
		case endOfText:
			r.Whole = len(r.open) == 0 && !s.open && (len(s.words) == 0 || endsWithLine(s.words))
			for len(r.open) > 0 {
				r.close(l.at)
			}
			r.idle = l.idle
			return r.Text
		case '{':
			r.begin(s, l.at)
		case '}':
			r.close(l.at)
		}
	}
}

// inner returns the innermost block that is open; nil outside of all.
func (r *reader) inner() *Block {
	for _, o := range slices.Backward(r.open) {
		if o.block != nil {
			return o.block
		}
	}
	return nil
}

// close closes what the last open brace has opened. at is the offset after the closing brace.
func (r *reader) close(at int) {
	n := len(r.open) - 1
	if n < 0 {
		return
	}
	switch last := r.open[n]; {
	case last.block != nil:
		last.block.span.to = at
	case last.branch > 0:
		r.last = last
	}
	r.open = r.open[:n]
}

// within returns the innermost scope that is open in the innermost block; nil where only the block is.
func (r *reader) within() *scope {
	if n := len(r.open); n > 0 && r.open[n-1].block == nil {
		return r.open[n-1]
	}
	return nil
}

// begin opens what a brace opens after the words of a statement. at is the offset after the brace.
func (r *reader) begin(s statement, at int) {
	outer := r.inner()
	opened := &scope{opener: span{s.span.from, at}, outer: r.within()}
	switch {
	case first(s.words) == "if" || first(s.words) == "else":
		if opened.branch = at; first(s.words) == "else" {
			opened.before = r.last
		}
		r.open = append(r.open, opened)
		return
	case outer != nil && len(s.words) > 0 && !slices.ContainsFunc(joined(s.words), isNoQualifier):
		opened.qualifiers = joined(s.words)
		r.open = append(r.open, opened)
		return
	}
	b := &Block{Name: blockName(s.words), header: s.text, span: s.span, inner: outer != nil, named: s.named, brace: at - 1,
		flags: s.flags}
	if outer != nil {
		b.Name = outer.Name + "//" + b.Name
	}
	b.Line, b.Own = r.place("{"+b.Name, s.line)
	r.Blocks = append(r.Blocks, b)
	r.open = append(r.open, &scope{block: b})
}

// statement keeps what a statement says that opens nothing.
func (r *reader) statement(s statement) {
	if name, values, ok := assignment(s.text); ok {
		r.Variables[name] = append(r.Variables[name], values...)
		r.Assigned = append(r.Assigned, Assignment{name, s.line})
		return
	}
	rule := Rule{Words: joined(s.words), Text: s.text, span: s.span, around: r.within()}
	if s.end == '}' {
		rule.span.to--
	}
	qualify := func(word string) {
		rule.Audit = rule.Audit || word == "audit"
		rule.Deny = word == "deny" || rule.Deny && word != "allow"
		rule.Owner = rule.Owner || word == "owner"
		if n, ok := strings.CutPrefix(word, "priority="); ok {
			rule.Priority, _ = strconv.Atoi(n) // the parser refuses what is no number
		}
	}
	for _, o := range r.open {
		switch {
		case o.block != nil: // what is around it is not about its rules
			rule.Audit, rule.Deny, rule.Owner, rule.Priority = false, false, false, 0
		default:
			rule.Branch = max(rule.Branch, o.branch)
			for _, word := range o.qualifiers {
				qualify(word)
			}
		}
	}
	for len(rule.Words) > 0 && !isNoQualifier(rule.Words[0]) {
		qualify(rule.Words[0])
		rule.Words = rule.Words[1:]
	}
	if len(rule.Words) == 0 {
		return
	}
	in := r.inner()
	key := "\x00" + s.text
	if in != nil {
		key = in.Name + key
	}
	if rule.Line, rule.Own = r.place(key, s.line); in != nil {
		in.Rules = append(in.Rules, rule)
	} else {
		r.Preamble = append(r.Preamble, rule)
	}
}

// isNoQualifier reports whether a word is none of those that may stand ahead of a rule, or of several in braces.
func isNoQualifier(word string) bool {
	return !slices.Contains([]string{"audit", "deny", "allow", "owner", "other", "quiet"}, word) &&
		!strings.HasPrefix(word, "priority=")
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

// conditions are those that are put together.
var conditions = []string{"set", "peer", "priority"}

// blockName returns the name of a block by its header: "profile NAME PATH flags=(...)", "hat NAME", "^NAME", "PATH".
func blockName(words []string) string {
	if len(words) > 1 && (words[0] == "profile" || words[0] == "hat") {
		words = words[1:]
	}
	return strings.TrimPrefix(first(words), "^")
}

func first(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return words[0]
}
