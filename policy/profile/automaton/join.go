package automaton

import (
	"slices"
	"strings"
)

// Join returns fewer patterns that together match what the given ones do. Those that differ in one component of a path
// become one pattern with braces.
func Join(patterns []string) []string {
	rows := make([][]string, len(patterns))
	for i, p := range patterns {
		rows[i] = components(p)
	}
	for again := true; again; {
		again = false
		for at := range longest(rows) {
			joined := joinAt(rows, at)
			again = again || len(joined) < len(rows)
			rows = joined
		}
	}
	all := make([]string, len(rows))
	for i, r := range rows {
		all[i] = strings.Join(r, "/")
	}
	return all
}

func longest(rows [][]string) (n int) {
	for _, r := range rows {
		n = max(n, len(r))
	}
	return n
}

// components cuts a pattern at its slashes, but not at those in braces and sets.
func components(p string) (all []string) {
	from := 0
	at := func(i int) { all, from = append(all, p[from:i]), i+1 }
	for i := range outside(p) {
		if p[i] == '/' {
			at(i)
		}
	}
	at(len(p))
	return all
}

// outside returns the offsets of the bytes of a pattern that stand in no braces and sets, and stand for themselves or
// are stars or question marks.
func outside(p string) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		depth, set := 0, false
		for i := 0; i < len(p); i++ {
			switch c := p[i]; {
			case c == '\\':
				i++
			case set:
				set = c != ']'
			case c == '[':
				set = true
			case c == '{':
				depth++
			case c == '}':
				depth--
			case depth == 0:
				if !yield(i) {
					return
				}
			}
		}
	}
}

// joinAt joins the rows that differ in one component alone.
func joinAt(rows [][]string, at int) (joined [][]string) {
	several := make(map[string][]string) // components by what stands around them
	key := func(r []string) string {
		other := slices.Clone(r)
		other[at] = ""
		return strings.Join(other, "\x00")
	}
	for _, r := range rows {
		// A star that is a whole component matches something else within braces.
		if at < len(r) && strings.Trim(r[at], "*") != "" {
			several[key(r)] = append(several[key(r)], r[at])
		}
	}
	for _, r := range rows {
		if at >= len(r) || strings.Trim(r[at], "*") == "" {
			joined = append(joined, r)
			continue
		}
		k := key(r)
		list := several[k]
		if list == nil {
			continue // it stands with an earlier one
		}
		delete(several, k)
		r = slices.Clone(r)
		r[at] = braced(list)
		joined = append(joined, r)
	}
	return joined
}

// braced returns a pattern for several parts of patterns.
func braced(list []string) string {
	list = slices.Compact(slices.Sorted(slices.Values(list)))
	if len(list) == 1 {
		return list[0]
	}
	before := list[0]
	for _, p := range list[1:] {
		n := 0
		for n < len(before) && n < len(p) && before[n] == p[n] {
			n++
		}
		before = before[:n]
	}
	cut := 0 // the common beginning ends where nothing is open, and no stars are parted
	for i := range outside(before) {
		cut = i + 1
	}
	for cut > 0 && before[cut-1] == '*' && slices.ContainsFunc(list, func(p string) bool { return len(p) == cut || p[cut] == '*' }) {
		cut--
	}
	before = before[:cut]
	var rest []string
	for _, p := range list {
		p = p[len(before):]
		// What is in braces already need not stand in more of them.
		if inner, ok := strings.CutPrefix(p, "{"); ok && strings.HasSuffix(inner, "}") && !strings.ContainsAny(inner[:len(inner)-1], `{}\[`) {
			rest = append(rest, strings.Split(inner[:len(inner)-1], ",")...)
			continue
		}
		rest = append(rest, p)
	}
	return before + "{" + strings.Join(rest, ",") + "}"
}
