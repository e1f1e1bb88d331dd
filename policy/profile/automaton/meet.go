package automaton

import (
	"errors"
	"slices"
	"strings"
)

// ErrTooMany says that what was asked for takes more patterns than anybody would read.
var ErrTooMany = errors.New("too many patterns")

// Bounds on what Meet makes of two patterns.
const (
	maxRows  = 256 // that the braces of one pattern stand for
	maxMeets = 512 // that two rows have in common
)

// Meet returns patterns that together match the texts which both of two patterns match. There are always such patterns.
// If the two have no text in common, Meet returns none. The error is about a pattern that cannot be read, or is ErrTooMany.
func Meet(a, b string) ([]string, error) {
	switch inA, inB, err := nested(a, b); {
	case err != nil:
		return nil, err
	case inA:
		return []string{b}, nil
	case inB:
		return []string{a}, nil
	}
	left, err := rowsOf(a)
	if err != nil {
		return nil, err
	}
	right, err := rowsOf(b)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, l := range left {
		for _, r := range right {
			m := meeting{a: l, b: r, known: make(map[[2]int][]row)}
			found, err := m.from(0, 0)
			if err != nil {
				return nil, err
			}
			for _, common := range found {
				if text, ok := common.pattern(); !ok {
					return nil, ErrTooMany
				} else if !slices.Contains(all, text) {
					all = append(all, text)
				}
			}
		}
	}
	if len(all) > maxRows {
		return all, nil
	}
	return Outer(all)
}

// nested reports whether all texts of b are texts of a, and the other way round.
func nested(a, b string) (inA, inB bool, err error) {
	if inA, err = Within(b, a); err != nil || inA {
		return inA, false, err
	}
	inB, err = Within(a, b)
	return false, inB, err
}

// Within reports whether all texts that one pattern matches are matched by another one.
func Within(one, other string) (bool, error) {
	a, err := NewGlob(one)
	if err != nil {
		return false, err
	}
	b, err := NewGlob(other)
	if err != nil {
		return false, err
	}
	return a.within(b)
}

func (g *Glob) within(other *Glob) (bool, error) {
	const limit = 1 << 16
	_, more, err := ShortestBut(func(s []State) bool { return len(g.sets[s[0]]) == 0 },
		func(s []State) bool { return g.Accepts(s[0]) && !other.Accepts(s[1]) }, limit, g, other)
	return err == nil && !more, err
}

// Outer returns those of several patterns that are within none of the others. Of patterns that match the same, it
// returns the first.
func Outer(patterns []string) (outer []string, err error) {
	globs := make([]*Glob, len(patterns))
	for i, p := range patterns {
		if globs[i], err = NewGlob(p); err != nil {
			return nil, err
		}
	}
	for i, g := range globs {
		within := false
		for j := 0; j < len(globs) && !within; j++ {
			if i == j {
				continue
			}
			if within, err = g.within(globs[j]); err != nil {
				return nil, err
			}
			if within && j > i { // of two that match the same, the first one stays
				back, err := globs[j].within(g)
				if err != nil {
					return nil, err
				}
				within = !back
			}
		}
		if !within {
			outer = append(outer, patterns[i])
		}
	}
	return outer, nil
}

// A row is a pattern without braces: one of a set of bytes after another, each once or, as a star has it, any number of
// times.
type row []cell

type cell struct {
	bytes [256]bool
	again bool // any number of times, also none
}

// rowsOf returns the rows that a pattern stands for.
func rowsOf(pattern string) ([]row, error) {
	g, err := NewGlob(pattern)
	if err != nil {
		return nil, err
	}
	var rows []row
	err = g.rows(0, nil, &rows)
	return rows, err
}

// rows adds the rows that lead from a place to the end. The places of a star are its loop, one behind a byte, and the
// end: see globParser.star.
func (g *Glob) rows(place int, sofar row, rows *[]row) error {
	for place != g.final {
		m := g.moves[place]
		switch {
		case m.bytes != nil:
			sofar = append(sofar, cell{bytes: *m.bytes})
			place = m.to[0]
		case g.isStar(m):
			sofar = append(sofar, cell{*g.moves[m.to[0]].bytes, true})
			place = m.to[1]
		case len(m.to) == 1:
			place = m.to[0]
		default:
			for _, to := range m.to {
				if err := g.rows(to, slices.Clone(sofar), rows); err != nil {
					return err
				}
			}
			return nil
		}
	}
	if len(*rows) == maxRows {
		return ErrTooMany
	}
	*rows = append(*rows, sofar)
	return nil
}

// isStar reports whether a place is where a star begins: a loop stands before its end.
func (g *Glob) isStar(m move) bool {
	if len(m.to) != 2 {
		return false
	}
	loop := g.moves[m.to[0]]
	return loop.bytes != nil && len(loop.to) == 1 && slices.Equal(g.moves[loop.to[0]].to, m.to)
}

// meeting finds what two rows have in common.
type meeting struct {
	a, b  row
	known map[[2]int][]row
	count int
}

// from returns what the rows have in common from two places on.
func (m *meeting) from(i, j int) ([]row, error) {
	at := [2]int{i, j}
	if rows, ok := m.known[at]; ok {
		return rows, nil
	}
	var all []row
	var err error
	after := func(c *cell, i, j int) {
		if err != nil {
			return
		}
		var rests []row
		if rests, err = m.from(i, j); err != nil {
			return
		}
		for _, rest := range rests {
			if c != nil {
				rest = rest.behind(*c)
			}
			if !slices.ContainsFunc(all, func(r row) bool { return slices.Equal(r, rest) }) {
				all = append(all, rest)
			}
		}
	}
	for _, step := range m.steps(i, j) {
		after(step.cell, step.i, step.j)
	}
	if i == len(m.a) && j == len(m.b) {
		all = []row{{}}
	}
	if m.count += len(all); m.count > maxMeets*maxMeets || len(all) > maxMeets {
		err = ErrTooMany
	}
	m.known[at] = all
	return all, err
}

// step leads from two places to two others, over what both rows have there; cell is nil where one passes over a star.
type step struct {
	cell *cell
	i, j int
}

// steps returns all steps from two places.
func (m *meeting) steps(i, j int) (all []step) {
	to := func(again bool, places ...[2]int) {
		if i == len(m.a) || j == len(m.b) {
			return
		}
		if both, ok := common(m.a[i], m.b[j], again); ok {
			for _, p := range places {
				all = append(all, step{&both, p[0], p[1]})
			}
		}
	}
	againA, againB := i < len(m.a) && m.a[i].again, j < len(m.b) && m.b[j].again
	switch {
	case againA && againB:
		to(true, [2]int{i + 1, j}, [2]int{i, j + 1})
	case againA:
		all = append(all, step{nil, i + 1, j})
		to(false, [2]int{i, j + 1})
	case againB:
		all = append(all, step{nil, i, j + 1})
		to(false, [2]int{i + 1, j})
	default:
		to(false, [2]int{i + 1, j + 1})
	}
	return all
}

// common returns the bytes of both cells. ok is false if there are none.
func common(a, b cell, again bool) (both cell, ok bool) {
	both.again = again
	for c := range both.bytes {
		both.bytes[c] = a.bytes[c] && b.bytes[c]
		ok = ok || both.bytes[c]
	}
	return both, ok
}

// behind returns the row with a cell before it. Of two stars in turn the greater one is enough.
func (r row) behind(c cell) row {
	if c.again && len(r) > 0 && r[0].again {
		if within(r[0].bytes, c.bytes) {
			return append(row{c}, r[1:]...)
		}
		if within(c.bytes, r[0].bytes) {
			return r
		}
	}
	return append(row{c}, r...)
}

func within(a, b [256]bool) bool {
	for c := range a {
		if a[c] && !b[c] {
			return false
		}
	}
	return true
}

// pattern writes a row as a pattern. ok is false if it has a star of other bytes than "*" and "**" have, or a byte that
// cannot be written.
func (r row) pattern() (text string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(r); i++ {
		c := r[i]
		switch star, ok := c.star(); {
		case c.again && !ok:
			return "", false
		case c.again && r.slash(i-1) && r.ends(i+1):
			b.WriteString("{," + star + "}")
		case c.again:
			b.WriteString(star)
		case c.bytes == *notSlash() && r.slash(i-1) && i+1 < len(r) && r[i+1].again && r.ends(i+2):
			i++ // between a slash and the next or the end, a star is at least one byte
			if star, ok = r[i].star(); !ok {
				return "", false
			}
			b.WriteString(star)
		case isAny(c.bytes):
			b.WriteString("{?,/}")
		default:
			set, ok := setText(c.bytes)
			if !ok {
				return "", false
			}
			b.WriteString(set)
		}
	}
	return b.String(), true
}

// star returns the star that stands for a cell. ok is false if none does.
func (c cell) star() (star string, ok bool) {
	switch {
	case !c.again:
		return "", false
	case isAny(c.bytes):
		return "**", true
	}
	return "*", c.bytes == *notSlash()
}

// slash reports whether a cell is a slash, and ends whether it is one or the row's end.
func (r row) slash(i int) bool {
	return i >= 0 && i < len(r) && !r[i].again && r[i].bytes == *only('/')
}
func (r row) ends(i int) bool { return i == len(r) || r.slash(i) }

// setText writes a set of bytes that stands in a pattern. ok is false if one of its bytes cannot be written.
func setText(bytes [256]bool) (text string, ok bool) {
	if bytes == *notSlash() {
		return "?", true
	}
	count := 0
	for _, in := range bytes {
		if in {
			count++
		}
	}
	if count == 0 || bytes[0] {
		return "", false
	}
	not := count > 128
	var b strings.Builder
	for c := 1; c < 256; c++ {
		if bytes[c] == not || c == '-' {
			continue
		}
		if c <= ' ' || c >= 0x7f {
			return "", false
		}
		end := c
		for end+1 < 0x7f && bytes[end+1] != not && strings.IndexByte(special, byte(end+1)) < 0 {
			end++
		}
		escaped(&b, byte(c))
		if end > c+1 && strings.IndexByte(special, byte(c)) < 0 {
			b.WriteByte('-')
			b.WriteByte(byte(end))
			c = end
		}
	}
	if bytes['-'] != not {
		b.WriteByte('-') // at the end, where it parts nothing
	}
	switch {
	case not:
		return "[^" + b.String() + "]", true
	case count == 1:
		return b.String(), true
	}
	return "[" + b.String() + "]", true
}

// special are the bytes that mean something else in a pattern, or in the rule that has it, and "-", which does in a set.
const special = `\*?[]{}^,"-@#=()!`

func escaped(b *strings.Builder, c byte) {
	if strings.IndexByte(`\*?[]{}^,"`, c) >= 0 {
		b.WriteByte('\\')
	}
	b.WriteByte(c)
}
