package syntax

import "strings"

// valued are the words that begin a rule in which, up to its comma, every word is a value and # begins no comment: the
// states NETWORK_MODE to IOURING_MODE of the parser's lexer.
var valued = map[string]bool{
	"network": true, "rlimit": true, "change_profile": true, "mount": true, "remount": true, "umount": true, "unmount": true,
	"dbus": true, "signal": true, "ptrace": true, "unix": true, "abi": true, "userns": true, "mqueue": true, "io_uring": true,
}

// quotedEnd returns the offset after a string in quotes that begins at a place (QUOTED_ID). A quote after a backslash
// ends it only where no other can, whatever is ahead of the backslash.
func quotedEnd(text string, at int) int {
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

// wordEnd returns the offset after a word of any characters (ID) that begins at a place: it ends ahead of a blank, a
// quote, an exclamation mark, and of a comma that has one of these after it. A backslash takes that away from the
// character after it. Braces and brackets need not close.
func wordEnd(text string, at int) int {
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

// variableEnd returns the offset after a variable, @{NAME}, @NAME or $NAME, and after the word that it begins. With =,
// += or a blank after it, it begins none.
func variableEnd(text string, at int) int {
	at++
	if at < len(text) && text[at] == '{' {
		if n := strings.IndexAny(text[at:], "}\n"); n >= 0 {
			at += n + 1
		}
	} else {
		at = keywordEnd(text, at)
	}
	if at < len(text) && text[at] != '=' && text[at] != '+' {
		return wordEnd(text, at)
	}
	return at
}

// keywordEnd returns the offset after a word of letters, digits and _ (VARIABLE_NAME).
func keywordEnd(text string, at int) int {
	for at < len(text) && (letter(text[at]) || digit(text[at]) || text[at] == '_') {
		at++
	}
	return at
}

// letter reports whether a character is a letter.
func letter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// digit reports whether a character is a digit.
func digit(c byte) bool { return '0' <= c && c <= '9' }

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }

// lineEnd returns the offset of the line's end after a place, or of the text's.
func lineEnd(text string, at int) int {
	if n := strings.IndexByte(text[at:], '\n'); n >= 0 {
		return at + n
	}
	return len(text)
}
