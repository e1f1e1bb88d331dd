package syntax

import (
	"slices"
	"strings"
)

// WithMode returns the text without comments and empty lines, and with mode among the flags of each profile, child and
// hat. mode replaces those flags that are in modes. If mode is empty, the flags stay as they are. The text must have no
// includes: call it for a text that apparmor_parser has preprocessed.
func (t *Text) WithMode(mode string, modes ...string) string {
	var b strings.Builder
	at, idle := 0, t.idle
	upTo := func(end int) {
		for len(idle) > 0 && idle[0].from < end {
			b.WriteString(t.text[at:idle[0].from])
			at, idle = idle[0].to, idle[1:]
		}
		b.WriteString(t.text[at:end])
		at = end
	}
	for _, block := range t.Blocks {
		switch {
		case mode == "" || !block.named:
		case block.flags == span{}:
			upTo(block.brace)
			b.WriteString(" flags=(" + mode + ") ")
		default:
			upTo(block.flags.from)
			b.WriteString(flagsWith(t.text[block.flags.from:block.flags.to], mode, modes))
			at = block.flags.to
		}
	}
	upTo(len(t.text))
	return b.String()
}

// Flags returns the flags of a block's header, as they are written.
func (t *Text) Flags(b *Block) []string {
	list := t.text[b.flags.from:b.flags.to]
	return strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(" \t\r\n,", r) })
}

// flagsWith returns a list of flags with mode in place of the first of modes, and without the others; at its end where
// it has none. What a flag does can depend on what stands ahead of it: parsers forget debug after a mode (profile.h,
// 4.1).
func flagsWith(list, mode string, modes []string) string {
	var b strings.Builder
	said := false
	for at := 0; at < len(list); {
		end := at + 1
		if strings.IndexByte(" \t\r\n,!", list[at]) < 0 {
			end = flagEnd(list, at)
		}
		switch flag := list[at:end]; {
		case !slices.Contains(modes, strings.Trim(flag, `"`)):
			b.WriteString(flag)
		case !said:
			b.WriteString(mode)
			said = true
		}
		at = end
	}
	if !said {
		b.WriteString("," + mode)
	}
	return b.String()
}

// flagEnd returns the offset after a word of a list of flags that begins at a place.
func flagEnd(list string, at int) int {
	if list[at] == '"' {
		return quotedEnd(list, at)
	}
	for at < len(list) && strings.IndexByte(" \t\r\n,!\"", list[at]) < 0 {
		if list[at] == '\\' {
			at++
		}
		at++
	}
	return min(at, len(list))
}
