package profile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// A TextError is the error of a text that does not compile. It is also the error of a text that compiles and is
// refused; it then wraps ErrRefused.
type TextError struct {
	Source string // the text's file, or another name for where it comes from
	Line   int    // counts from 1; 0 if it is not known
	Msg    string // what is wrong, in the parser's words, with tokens by their names, where the parser refused the text
	Err    error  // the cause, for errors.Is
}

// Error returns the error in the form that editors and compilers share, SOURCE:LINE: MESSAGE.
func (e *TextError) Error() string {
	if e.Line == 0 {
		return e.Source + ": " + e.Msg
	}
	return fmt.Sprintf("%s:%d: %s", e.Source, e.Line, e.Msg)
}

// Unwrap returns Err.
func (e *TextError) Unwrap() error { return e.Err }

// textError takes the line out of the parser's words: "AppArmor parser error at line 3: syntax error, ...", or with
// "for PROFILE in FILE" before "at line" (yyerror, parser/parser_misc.c). Where they name a file it is an included one,
// and they stay as they are, but for the names of tokens.
func (c *Compiler) textError(ctx context.Context, source string, text []byte, err error) *TextError {
	e := &TextError{Source: source, Msg: withoutTokens(spoken(err)), Err: err}
	if of := (ofProfile{}); errors.As(err, &of) {
		e.Line = syntax.Read(string(text)).Line(of.name)
		return e
	}
	before, said, _ := strings.Cut(e.Msg, parserError)
	where, said, _ := strings.Cut(said, " at line ")
	digits, words, found := strings.Cut(said, ": ")
	line, notANumber := strconv.Atoi(digits)
	if !found || notANumber != nil || strings.Contains(where, " in ") {
		return e
	}
	words += missingComma(words, text, line)
	e.Line, e.Msg = line, before+words
	if strings.Contains(words, "syntax error") {
		if kind := c.unknownKind(ctx, text, line); kind != "" {
			e.Msg = before + kind + ": " + words
			return e
		}
	}
	if strings.Contains(words, "unexpected character") {
		if err := c.includedEncoding(text); err != nil {
			e.Line, e.Msg = 0, before+err.Error()
			return e
		}
	}
	// Not every version of the parser names the file.
	if bytes.Contains(text, []byte("include")) {
		e.Msg += fmt.Sprintf("; if that is not in line %d, it is in line %d of a file that this one includes", line, line)
	}
	return e
}

// ruleWord finds the word that a rule begins with, after its qualifiers.
var ruleWord = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^\s*(?:(?:audit|deny|allow|quiet|priority\s*=\s*\S+)\s+)*([a-z_]+)\b`)
})

// unknownKind says of the rule in a line that does not compile that this apparmor_parser is too old to know its kind;
// it is empty where it knows it.
func (c *Compiler) unknownKind(ctx context.Context, text []byte, line int) string {
	lines := bytes.Split(text, []byte("\n"))
	if line > len(lines) {
		return ""
	}
	m := ruleWord().FindSubmatch(lines[line-1])
	if m == nil || RuleKinds[string(m[1])].Parser == "" {
		return ""
	}
	kind := RuleKinds[string(m[1])]
	if version, err := c.Version(ctx); err == nil && !before(version, kind.Parser) {
		return ""
	}
	said := fmt.Sprintf("apparmor_parser knows no rules of %s before version %s", m[1], kind.Parser)
	if !c.Supports(kind.Feature) {
		said += fmt.Sprintf(", and this kernel does not mediate %s (those of %s do)", kind.What, kind.Kernels)
	}
	return said
}

// before reports whether one version of apparmor_parser is older than another, by their numbers.
func before(version, other string) bool {
	numbers := func(s string) (all []int) {
		for _, n := range strings.FieldsFunc(s, func(r rune) bool { return r < '0' || r > '9' }) {
			i, _ := strconv.Atoi(n)
			all = append(all, i)
		}
		return all
	}
	return slices.Compare(numbers(version), numbers(other)) < 0
}

// tokens are the names, in the parser's grammar, of what stands in a text by another name (parser/parser_yacc.y). Each of
// the rest is called after the word that it stands for: TOK_NETWORK is network.
var tokens = map[string]string{
	"OPEN": `"{"`, "CLOSE": `"}"`, "END_OF_RULE": `","`, "ARROW": `"->"`, "EQUALS": `"="`, "ADD_ASSIGN": `"+="`,
	"OPENPAREN": `"("`, "CLOSEPAREN": `")"`, "COLON": `":"`, "LE": `"<="`,
	"ID": "a name or path", "MODE": "permissions", "VALUE": "a value", "CONDID": "a condition",
	"CONDLISTID": "a condition", "SET_VAR": "a variable", "BOOL_VAR": "a variable",
}

// spoken returns the words of an error, without the exit status that only says that the parser refused a text.
func spoken(err error) string {
	words, exit, cause := err.Error(), (*exec.ExitError)(nil), errors.Unwrap(err)
	if cause != nil && errors.As(err, &exit) && exit.ExitCode() == 1 && strings.Contains(words, parserError) {
		return strings.TrimSuffix(words, " ("+cause.Error()+")")
	}
	return words
}

// aToken finds a token in the parser's words.
var aToken = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\bTOK_([A-Z_]+)\b`) })

// withoutTokens returns what the parser says with what stands in texts in the place of its tokens.
func withoutTokens(words string) string {
	return aToken().ReplaceAllStringFunc(words, func(token string) string {
		name := strings.TrimPrefix(token, "TOK_")
		if known, ok := tokens[name]; ok {
			return known
		}
		return strconv.Quote(strings.ToLower(name))
	})
}

// missingComma names the line before a fault if its rule has no comma, as the end of an error. It returns an empty string
// if the line needs none, or if the parser finds another fault. The parser notices a missing comma at the next rule.
func missingComma(words string, text []byte, fault int) string {
	lines := strings.Split(string(text), "\n")
	if fault > len(lines) || !strings.Contains(words, "syntax error") && !strings.Contains(words, "missing an end of line") {
		return ""
	}
	for n := fault - 1; n > 0; n-- {
		line, _, _ := strings.Cut(lines[n-1], " #")
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if endless().MatchString(line) || strings.ContainsRune(",{}", rune(line[len(line)-1])) {
			return ""
		}
		return fmt.Sprintf("; line %d ends without a comma", n)
	}
	return ""
}

// endless finds lines that end without a comma: includes, variables, and headers of profiles whose { is to come.
var endless = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(#?include\b|[@$]|profile\b|hat\b|\^|if\b|else\b)`) })
