package syntax

import (
	"slices"
	"strings"
)

// Source returns a rule as it is written, with its comma.
func (t *Text) Source(r Rule) string { return t.text[r.span.from:r.span.to] }

// String returns the text as it is written.
func (t *Text) String() string { return t.text }

// Audited returns the text with audit ahead of its rules, so that the kernel writes a record of whatever they allow, and the
// rules of which that is true. They are removable, and no includes and rules that deny or have a priority.
func (t *Text) Audited() (text string, rules []Rule) {
	for _, b := range t.Blocks {
		for _, r := range b.Rules {
			if r.Removable() && !r.Deny && !r.IsInclude() && r.Priority == 0 && !slices.Contains([]string{"set", "rlimit"}, r.First()) {
				rules = append(rules, r)
			}
		}
	}
	slices.SortFunc(rules, func(a, b Rule) int { return a.span.from - b.span.from })
	var whole strings.Builder
	at := 0
	for _, r := range rules {
		whole.WriteString(t.text[at:r.span.from])
		if at = r.span.from; !r.Audit {
			whole.WriteString("audit ")
		}
	}
	whole.WriteString(t.text[at:])
	return whole.String(), rules
}

// Insert returns the text with rules added to a block of it. Each rule stands behind the last one of its kind that the
// block itself has, and with the indentation of that one: in a line of its own, or in the same line where the block has
// only one. The rules end with a comma, and have no line break.
func (t *Text) Insert(b *Block, rules []string) string {
	type edit struct {
		at   int
		text string
	}
	var edits []edit
	for _, rule := range rules {
		at, indent, ending := t.placeFor(b, rule)
		text := " " + rule
		if ending != "" {
			text = indent + rule + ending
			if t.text[at-1] != '\n' { // the text ends without a line's end, or the line holds what must stay behind
				text = ending + indent + rule
			}
		}
		edits = append(edits, edit{at, text})
	}
	slices.SortStableFunc(edits, func(a, b edit) int { return a.at - b.at })
	var whole strings.Builder
	from := 0
	for _, e := range edits {
		whole.WriteString(t.text[from:e.at])
		whole.WriteString(e.text)
		from = e.at
	}
	whole.WriteString(t.text[from:])
	return whole.String()
}

// placeFor returns where a rule is to stand: an offset, what to put ahead of it, and what ends the line. The last is empty
// if it is to stand in a line that holds other things.
func (t *Text) placeFor(b *Block, rule string) (at int, indent, ending string) {
	ending = "\n"
	if strings.Contains(t.text, "\r\n") {
		ending = "\r\n"
	}
	at, indent = b.brace+1, t.indentation(b.span.from)+"  "
	if behind, ok := b.last(rule); ok {
		at = behind.span.to
		if own := t.indentation(behind.span.from); t.begins(behind.span.from) {
			indent = own
		}
	}
	end := lineEnd(t.text, at)
	rest := strings.TrimLeft(t.text[at:end], " \t\r")
	switch {
	case t.text[at-1] == '\n': // behind an include, which ends with its line
		return at, indent, ending
	case rest == "" || rest[0] == '#':
		return min(end+1, len(t.text)), indent, ending
	case rest[0] == '}' && !strings.Contains(t.text[b.brace:at], "\n"):
		return at, "", ""
	}
	return at, indent, ending
}

// last returns the rule of the block itself behind which another one is to stand: the last one of the same kind that
// allows something, or else the last one. It is in no condition, and shares its qualifiers with no other rule.
func (b *Block) last(rule string) (last Rule, found bool) {
	kind := kindOf(first(strings.Fields(rule)))
	best := -1
	for _, r := range b.Rules {
		if r.around != nil || !r.Own {
			continue
		}
		fit := 0
		if !r.IsInclude() && kindOf(r.First()) == kind {
			fit = 2
			if !r.Deny {
				fit = 3
			}
		} else if !r.Deny {
			fit = 1
		}
		if fit >= best {
			best, last, found = fit, r, true
		}
	}
	return last, found
}

// kindOf returns the kind of the rules that begin with a word. Those about files begin with a path or a permission.
func kindOf(word string) string {
	switch word {
	case "capability", "network", "unix", "mount", "remount", "umount", "pivot_root", "signal", "ptrace", "dbus", "userns",
		"io_uring", "mqueue", "change_profile", "rlimit", "set", "abi":
		return word
	}
	return "file"
}

// begins reports whether nothing but blanks stands ahead of an offset in its line.
func (t *Text) begins(at int) bool {
	start := strings.LastIndexByte(t.text[:at], '\n') + 1
	return strings.Trim(t.text[start:at], " \t") == ""
}

// indentation returns the blanks at the beginning of the line of an offset.
func (t *Text) indentation(at int) string {
	start := strings.LastIndexByte(t.text[:at], '\n') + 1
	line := t.text[start:lineEnd(t.text, start)]
	return line[:len(line)-len(strings.TrimLeft(line, " \t"))]
}
