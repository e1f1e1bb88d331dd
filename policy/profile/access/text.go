package access

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
)

// A glob is texts that match one of some patterns, and are of a kind. Without patterns they are all of that kind.
type glob struct {
	kind     kind
	patterns []string // as automaton.NewGlob has them
}

// A kind is what texts can be at all.
type kind struct {
	what     string // in plural
	like     string // what they look like
	language func() automaton.Language
}

var (
	paths     = kind{"paths", `begin with "/", and have no "//", "/./" or "/../"`, func() automaton.Language { return pathLanguage(true) }}
	files     = kind{"paths of files", `begin with "/", do not end with it, and have no "//", "/./" or "/../"`, func() automaton.Language { return pathLanguage(false) }}
	labels    = kind{"labels", `have a name on each side of "//&"`, labelLanguage}
	addresses = kind{"addresses of unix sockets", `are none, begin with "@", or are paths`, addressLanguage}
	anything  = kind{"texts", "have no byte 0", anyLanguage}
	queues    = kind{"names of queues", `begin with "/", and have no other one`, queueLanguage}
	perhaps   = kind{"labels", `are empty, or have a name on each side of "//&"`, func() automaton.Language {
		return automaton.Either(automaton.Words(""), labelLanguage())
	}}
	names = kind{"names", "are not empty", nameLanguage}
)

func (g glob) language() (automaton.Language, error) {
	all := g.kind.language()
	if len(g.patterns) == 0 {
		return all, nil
	}
	var some automaton.Language
	for _, pattern := range g.patterns {
		one, err := automaton.NewGlob(pattern)
		switch {
		case err != nil:
			return nil, err
		case some == nil:
			some = one
		default:
			some = automaton.Either(some, one)
		}
	}
	return automaton.Both(all, some), nil
}

// matches reports whether one of the patterns matches a text.
func (g glob) matches(text string) bool {
	l, err := g.language()
	if err != nil {
		return false
	}
	s := l.Start()
	for i := range len(text) {
		s = l.Step(s, text[i])
	}
	return l.Accepts(s)
}

// some reports whether there is such a text, as far as can be told.
func (g glob) some() bool {
	l, err := g.language()
	if err != nil {
		return true
	}
	_, some, err := automaton.Some(l, patience)
	return some || err != nil
}

// patience is how many states the texts of a line may have. Usual patterns have some dozens.
const patience = 1 << 13

func (g glob) check() error {
	for _, pattern := range g.patterns {
		l, err := glob{g.kind, []string{pattern}}.language()
		if err != nil {
			return err
		}
		_, some, err := automaton.Some(l, patience)
		switch {
		case errors.Is(err, automaton.ErrTooLarge):
			return fmt.Errorf("%s is too large a pattern", oneline.Quote(pattern))
		case err != nil:
			return err
		case !some:
			return fmt.Errorf("%s matches none of the %s: they %s", oneline.Quote(pattern), g.kind.what, g.kind.like)
		}
	}
	return g.bounded()
}

// bounded reports it if the patterns have too many states, of which an example may be found soon nevertheless.
func (g glob) bounded() error {
	l, err := g.language()
	if err != nil {
		return err
	}
	never := func([]automaton.State) bool { return false }
	if _, _, err = automaton.ShortestIn(l, never, never, patience); errors.Is(err, automaton.ErrTooLarge) {
		return fmt.Errorf("%s is too large a pattern", oneline.Quote(strings.Join(g.patterns, " ")))
	}
	return err
}

// pathLanguage returns the language of the paths that the kernel asks about: of files and, with a slash at the end, of
// directories.
func pathLanguage(directories bool) automaton.Language {
	const start, slash, name, dot, dots, wrong = 0, 1, 2, 3, 4, 5
	return automaton.NewLanguage(automaton.Apart("/.\x00"), start, func(at int, b byte) int {
		switch {
		case at == wrong, b == 0, at == start && b != '/':
			return wrong
		case b == '/' && (at == start || at == name):
			return slash
		case b == '/': // a name that is empty, or is of dots
			return wrong
		case b == '.' && at == slash:
			return dot
		case b == '.' && at == dot:
			return dots
		}
		return name
	}, func(at int) bool { return at == name || directories && at == slash }, func(at int) bool { return at == wrong })
}

// labelLanguage returns the language of the labels of processes: names, with "//&" between them.
func labelLanguage() automaton.Language {
	// Ahead of a name, behind a slash that it begins with, in it, and behind slashes that may be what parts it from another.
	const begin, first, name, slash, slashes, wrong = 0, 1, 2, 3, 4, 5
	return automaton.NewLanguage(automaton.Apart("/& \x00"), begin, func(at int, b byte) int {
		switch {
		case at == wrong, b == 0, at == begin && (b == '&' || b == ' '), at == first && b == '/':
			return wrong
		case at == slashes && b == '&':
			return begin
		case b != '/':
			return name
		case at == begin:
			return first
		case at == name:
			return slash
		}
		return slashes
	}, func(at int) bool { return at == first || at == name || at == slash }, func(at int) bool { return at == wrong })
}

// anyLanguage returns the language of all texts.
func anyLanguage() automaton.Language {
	return automaton.NewLanguage(automaton.Apart("\x00"), true, func(right bool, b byte) bool { return right && b != 0 },
		func(right bool) bool { return right }, func(right bool) bool { return !right })
}

// nameLanguage returns the language of all texts but the empty one.
func nameLanguage() automaton.Language {
	const empty, some, wrong = 0, 1, 2
	return automaton.NewLanguage(automaton.Apart("\x00"), empty, func(at int, b byte) int {
		if b == 0 || at == wrong {
			return wrong
		}
		return some
	}, func(at int) bool { return at == some }, func(at int) bool { return at == wrong })
}

// escaped returns the byte that a text begins with, where it is written as a backslash and three octal digits, or as a
// backslash, x and two digits. n is how many bytes the text has for it, and 0 if it begins with something else.
func escaped(text string) (b byte, n int) {
	if len(text) < 4 {
		return 0, 0
	}
	if value, err := strconv.ParseUint(text[1:4], 8, 8); err == nil {
		return byte(value), 4
	}
	if value, err := strconv.ParseUint(text[2:4], 16, 8); err == nil && text[1] == 'x' {
		return byte(value), 4
	}
	return 0, 0
}

// pattern returns a word's text as automaton.NewGlob takes it.
func pattern(text string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '@' && strings.HasPrefix(text[i:], "@{"):
			return "", fmt.Errorf(`%s: variables are not known here; "@\{" stands for the characters`, oneline.Quote(text))
		case c != '\\' || i+1 == len(text):
			b.WriteByte(c)
			continue
		}
		if number, n := escaped(text[i:]); n > 0 {
			if number == 0 {
				return "", fmt.Errorf("%s: a byte 0 is in no text that is matched", oneline.Quote(text))
			}
			b.WriteByte('\\')
			b.WriteByte(number)
			i += n - 1
			continue
		}
		b.WriteByte('\\')
		i++
		b.WriteByte(text[i])
	}
	return b.String(), nil
}

// literal returns a text as a word that matches it alone.
func literal(text string) string {
	var b strings.Builder
	quotes := text == ""
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && n == 1, !unicode.IsPrint(r):
			for _, c := range []byte(text[i : i+n]) {
				fmt.Fprintf(&b, `\%03o`, c)
			}
		case strings.ContainsRune(`\*?[]{}"`, r):
			b.WriteString(`\` + string(r))
		default:
			quotes = quotes || strings.ContainsRune(` (),=->`, r) && r != '-'
			b.WriteRune(r)
		}
		i += n
	}
	if quotes {
		return `"` + b.String() + `"`
	}
	return b.String()
}
