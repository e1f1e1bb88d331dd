// Package token knows where words of a profile's text end, as apparmor_parser's lexer has it (parser/parser_lex.l, 3.0 to 4.1).
// All that reads texts asks it, so that no two readers take a text apart in different ways.
package token

import "strings"

// Valued are the words that begin a rule in which, up to its comma, every word is a value and # begins no comment: the
// states NETWORK_MODE to IOURING_MODE of the parser's lexer.
var Valued = map[string]bool{
	"network": true, "rlimit": true, "change_profile": true, "mount": true, "remount": true, "umount": true, "unmount": true,
	"dbus": true, "signal": true, "ptrace": true, "unix": true, "abi": true, "userns": true, "mqueue": true, "io_uring": true,
}

// Quoted returns the offset after a string in quotes that begins at a place (QUOTED_ID). A quote after a backslash ends it only
// where no other can, whatever is ahead of the backslash.
func Quoted(text string, at int) int {
	escaped := len(text)
	for i := at + 1; i < len(text); i++ {
		if text[i] != '"' {
			continue
		}
		if text[i-1] != '\\' {
			return i + 1
		}
		escaped = i + 1
	}
	return escaped
}

// Word returns the offset after a word of any characters (ID) that begins at a place: it ends ahead of a blank, a quote, an
// exclamation mark, and of a comma that has one of these after it. A backslash takes that away from the character after it.
// Braces and brackets need not close.
func Word(text string, at int) int {
	ends := func(at int) bool { return at >= len(text) || strings.IndexByte(" \t\r\n\"!,", text[at]) >= 0 }
	for at < len(text) {
		switch c := text[at]; {
		case c == '\\' && at+1 < len(text) && text[at+1] != '\n' && text[at+1] != '\r':
			at += 2
		case c == ',' && !ends(at+1):
			at += 2
		case ends(at):
			return at
		default:
			at++
		}
	}
	return at
}

// Variable returns the offset after a variable, @{NAME}, @NAME or $NAME, and after the word that it begins. With =, += or a
// blank after it, it begins none.
func Variable(text string, at int) int {
	at++
	if at < len(text) && text[at] == '{' {
		if n := strings.IndexAny(text[at:], "}\n"); n >= 0 {
			at += n + 1
		}
	} else {
		at = Keyword(text, at)
	}
	if at < len(text) && text[at] != '=' && text[at] != '+' {
		return Word(text, at)
	}
	return at
}

// Keyword returns the offset after a word of letters, digits and _ (VARIABLE_NAME).
func Keyword(text string, at int) int {
	for at < len(text) && (Letter(text[at]) || Digit(text[at]) || text[at] == '_') {
		at++
	}
	return at
}

// Letter reports whether a character is a letter.
func Letter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// Digit reports whether a character is a digit.
func Digit(c byte) bool { return '0' <= c && c <= '9' }
