package syntax

import (
	"slices"
	"strings"
)

// Removable reports whether a rule can be taken out of the text: it is the text's own, and shares its qualifiers and its
// conditions with no other rule.
func (r Rule) Removable() bool { return r.Own && r.around == nil }

// Remove returns the text without some of its rules, which must be removable. A line in which nothing else stands goes
// with its rule, and so does a comment behind the rule there. All other comments stay.
func (t *Text) Remove(rules []Rule) string {
	spans := make([]span, len(rules))
	for i, r := range rules {
		spans[i] = r.span
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	var whole strings.Builder
	at := 0
	for i := 0; i < len(spans); i++ {
		from, to := spans[i].from, spans[i].to
		for i+1 < len(spans) && strings.Trim(t.text[to:spans[i+1].from], " \t") == "" { // the next one is in the same line
			i++
			to = spans[i].to
		}
		end := lineEnd(t.text, max(to-1, from)) // an include ends with its line
		rest := strings.TrimLeft(t.text[min(to, end):end], " \t\r")
		if t.begins(from) && (rest == "" || rest[0] == '#') {
			from = strings.LastIndexByte(t.text[:from], '\n') + 1
			to = min(end+1, len(t.text))
		}
		whole.WriteString(t.text[at:max(at, from)])
		at = to
	}
	whole.WriteString(t.text[at:])
	return whole.String()
}
