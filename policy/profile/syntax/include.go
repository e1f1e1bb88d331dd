package syntax

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// MayInclude returns every name that a text may include or name as its ABI. apparmor_parser reads a name after
// "include", "#include", "include if exists" and "abi". The name is in <>, in quotes or bare, and may be on another
// line. Anything may stand before the word (parser/parser_lex.l). MayInclude also returns what only looks like such a
// name, as in a comment. If a name can end at two places, it returns both readings.
//
// The caller must not miss any name, and can use more names than the parser includes without harm.
//
// MayInclude returns an error for a name with an escape, a variable or a pattern, since it cannot tell which files that
// means. It also returns an error if the text ends before the name: if another file includes the text, the parser takes
// the name from there.
func MayInclude(text []byte) ([]string, error) {
	var names []string
	for _, word := range []string{"include", "abi"} {
		for at := next(word, text, 0); at >= 0; at = next(word, text, at) {
			found, after := included(text[at:])
			names = append(names, found...)
			for _, optional := range []string{"if", "exists"} { // or names
				if len(found) == 0 || found[0] != optional {
					break
				}
				found, after = included(after)
				names = append(names, found...)
			}
			if len(found) == 0 && len(after) == 0 {
				return nil, fmt.Errorf("it ends after %s and before a name", oneline.Quote(word))
			}
		}
	}
	for _, name := range names {
		if strings.ContainsAny(name, "\\@{}$*?[\x00") {
			return nil, fmt.Errorf("it includes %s, which is a pattern or holds a variable", oneline.Quote(name))
		}
	}
	return names, nil
}

// IncludesNothing reports whether there is no place in a text where apparmor_parser could take a word for an include. An ABI
// counts for none.
func IncludesNothing(text []byte) bool { return next("include", text, 0) < 0 }

// next returns the offset after the next word at or after a place with which a statement can begin. It is negative if there
// is none.
func next(word string, text []byte, at int) int {
	for {
		n := bytes.Index(text[at:], []byte(word))
		if n < 0 {
			return -1
		}
		from := at + n
		at = from + len(word)
		if mayBegin(word, text, from) {
			return at
		}
	}
}

// mayBegin reports whether a statement can begin with a word that stands at a place. The parser recognizes
// "include" even directly after a digit or a name, but only before a blank. It recognizes "#include" before anything.
// It takes "abi" for a word like others.
func mayBegin(word string, text []byte, from int) bool {
	var before, after byte = '\n', '\n'
	if from > 0 {
		before = text[from-1]
	}
	if end := from + len(word); end < len(text) {
		after = text[end]
	}
	if word == "abi" {
		return !letter(before) && before != '_' && before != '/' && !wordly(after)
	}
	return before == '#' || strings.IndexByte(" \t\r\n\v\f<\"", after) >= 0
}

func wordly(c byte) bool { return letter(c) || digit(c) || c == '_' }

const spaces = " \t\r\n\v\f" // isspace, by which the parser trims names

// included returns the name at the text's beginning, in all ways in which it can be read, and the text after it. There is
// no name where a statement ends.
func included(text []byte) (names []string, after []byte) {
	text = bytes.TrimLeft(text, spaces)
	if len(text) == 0 {
		return nil, nil
	}
	var name string
	switch text[0] {
	case '<':
		inner := text[1:]
		if inner = bytes.TrimLeft(inner, spaces); len(inner) > 0 && inner[0] == '"' {
			return included(inner)
		}
		end := bytes.IndexByte(text, '>')
		if end < 0 {
			return nil, text
		}
		name, after = string(text[1:end]), text[end+1:]
	case '"':
		end := bytes.IndexByte(text[1:], '"')
		if end < 0 {
			return nil, text
		}
		name, after = string(text[1:1+end]), text[end+2:]
	default:
		end := 0
		for end < len(text) && strings.IndexByte(spaces+"\"!<>", text[end]) < 0 {
			end++
		}
		name, after = strings.TrimSuffix(string(text[:end]), ","), text[end:]
		if comma := strings.IndexByte(name, ','); comma > 0 {
			names = append(names, name[:comma])
		}
	}
	for _, name := range []string{name, strings.Trim(name, spaces)} {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, after
}
