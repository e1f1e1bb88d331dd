package ruletext

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Literal returns a pattern that matches a text alone. Quoted makes a word of a rule of it.
//
// A byte that a line cannot have is written in octal digits, which the parser takes for the byte itself, also where it
// would else mean something in a pattern (processid and processquoted, parser/parser_misc.c). So are quotes and backslashes:
// for the parser's lexer, a quote behind two backslashes does not end a string. Other characters of patterns have a
// backslash. Octal digits for the "@" of a variable would be read before variables are.
func Literal(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && n == 1, !unicode.IsPrint(r), r == '\\', r == '"':
			for _, c := range []byte(text[i : i+n]) {
				fmt.Fprintf(&b, `\%03o`, c)
			}
		case r == '@' && strings.HasPrefix(text[i:], "@{"):
			b.WriteString(`@\{`)
			n = 2
		case strings.ContainsRune(`*?[]{}^`, r):
			b.WriteString(`\` + string(r))
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// plain finds patterns that need no quotes: those of characters that end no word, and begin nothing else.
var plain = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z0-9/@:_.{}\[\]*?\\+~-][A-Za-z0-9/@:_.{}\[\]*?\\+~&=^%-]*$`)
})

// Quoted returns a pattern as a word of a rule, in quotes where it needs them, or always.
func Quoted(pattern string, always bool) string {
	if always || !plain().MatchString(pattern) {
		return `"` + pattern + `"`
	}
	return pattern
}

// Programs returns the names of programs as a comment can have them, in order, and of more than three that there are others. A
// program chooses its name, and a parser looks for words such as include in comments, too.
func Programs(names []string) string {
	const most = 3
	var fit []string
	for _, name := range names {
		fit = append(fit, Program(name))
	}
	slices.Sort(fit)
	if fit = slices.Compact(fit); len(fit) > most {
		return strings.Join(fit[:most], ", ") + " and others"
	}
	return strings.Join(fit, ", ")
}

// Program returns the name of one program as a comment can have it.
func Program(name string) string {
	if strings.Contains(name, "include") || strings.Contains(name, "abi") || oneline.Word(name) != name {
		return "another program"
	}
	return name
}
