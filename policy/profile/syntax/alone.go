package syntax

import "strings"

// maxAround is how many bytes may stand around a rule in Alone.
const maxAround = 1 << 14

// Head returns the text without its blocks: the ABI, variables, and aliases, as they are written.
func (t *Text) Head() string {
	var b strings.Builder
	at := 0
	for _, block := range t.Blocks {
		if !block.inner {
			b.WriteString(t.text[at:block.span.from])
			at = block.span.to
		}
	}
	b.WriteString(t.text[at:])
	return b.String()
}

// Alone returns a rule of a block as it is written, with the conditions and qualifiers that stand around it. As the
// only rule of a block of the same name it means what it means in its own. ok is false if too much stands around it.
func (t *Text) Alone(r Rule) (text string, ok bool) {
	rule := t.text[r.span.from:r.span.to]
	var before []string // the innermost first
	closing, size := 0, 0
	for s := r.around; s != nil; s = s.outer {
		closing++
		// An else needs its if, of which the branch can be empty.
		for other := s; other != nil; other = other.before {
			opener := t.text[other.opener.from:other.opener.to]
			if other != s {
				opener += "}"
			}
			before = append(before, opener+"\n")
			if size += len(opener) + 2; size > maxAround {
				return "", false
			}
		}
	}
	var b strings.Builder
	for i := len(before) - 1; i >= 0; i-- {
		b.WriteString(before[i])
	}
	b.WriteString(rule)
	b.WriteString(strings.Repeat("\n}", closing))
	return b.String(), true
}

// Empty returns a block as it is written, without its rules.
func (t *Text) Empty(b *Block) string { return t.text[b.span.from:b.brace+1] + "}" }

// Within reports whether a block stands directly in another one.
func (b *Block) Within(outer *Block) bool {
	name, inner := strings.CutPrefix(b.Name, outer.Name+"//")
	return inner && !strings.Contains(name, "//")
}

// IsHat reports whether a block is a hat.
func (b *Block) IsHat() bool {
	return strings.HasPrefix(b.header, "^") || strings.HasPrefix(b.header, "hat ")
}

// ReadPlaced is Read for a text that is put together of several ones. place returns, for a line of it, the line in the text
// where it comes from, and whether that is the text itself.
func ReadPlaced(text string, place func(line int) (at int, own bool)) *Text {
	return read(text, func(_ string, line int) (int, bool) { return place(line) })
}
