package automaton

import (
	"fmt"
	"strings"
)

// A Glob is a Machine for a pattern as AppArmor's rules have it: "*" for any text without a slash, "**" for any text, "?"
// for one byte that is no slash, "[ab]", "[a-c]" and "[^ab]" for one of a set, "{a,b}" for one of several, and "\" before
// a byte that is to be taken as it is. No part of it matches a NUL. Behind a slash "*" and "**" match at least one byte,
// as apparmor_parser has it (convert_aaregex_to_pcre, parser/parser_regex.c).
//
// Its states are made as they are reached, so that a Glob is not for several goroutines at once.
type Glob struct {
	moves   []move // of the nondeterministic automaton
	final   int
	states  map[string]State // sets of places, by their bits
	sets    [][]int
	next    []map[byte]State
	classes [256]uint32
}

// move is a place in the pattern: a set of bytes that leads to the next place, or a way to other places without a byte.
type move struct {
	bytes *[256]bool
	to    []int
}

// NewGlob reads a pattern. The error says what in it cannot be read.
func NewGlob(pattern string) (*Glob, error) {
	g := Glob{states: make(map[string]State)}
	p := globParser{glob: &g, pattern: pattern}
	end, err := p.sequence(g.place(), 0)
	if err == nil && p.at < len(pattern) {
		err = p.error("what closes nothing")
	}
	if err != nil {
		return nil, err
	}
	g.final = end
	g.classify()
	g.state(g.closure([]int{0}))
	return &g, nil
}

// Start returns the state before the first byte.
func (g *Glob) Start() State { return 0 }

// Accepts reports whether a text that leads to a state matches the whole pattern.
func (g *Glob) Accepts(s State) bool {
	for _, place := range g.sets[s] {
		if place == g.final {
			return true
		}
	}
	return false
}

// Dead reports whether no text that begins with one that leads to a state matches the pattern.
func (g *Glob) Dead(s State) bool { return len(g.sets[s]) == 0 }

// Classes returns the sets of bytes that the pattern does not tell apart.
func (g *Glob) Classes() *[256]uint32 { return &g.classes }

// Step returns the state after one byte.
func (g *Glob) Step(s State, b byte) State {
	class := byte(g.classes[b])
	if next, ok := g.next[s][class]; ok {
		return next
	}
	var reached []int
	for _, place := range g.sets[s] {
		if m := g.moves[place]; m.bytes != nil && m.bytes[b] {
			reached = append(reached, m.to...)
		}
	}
	next := g.state(g.closure(reached))
	g.next[s][class] = next
	return next
}

// state returns the state of a set of places.
func (g *Glob) state(places []int) State {
	bits := make([]byte, (len(g.moves)+7)/8)
	for _, p := range places {
		bits[p/8] |= 1 << (p % 8)
	}
	if s, ok := g.states[string(bits)]; ok {
		return s
	}
	s := State(len(g.sets))
	g.states[string(bits)] = s
	g.sets = append(g.sets, places)
	g.next = append(g.next, make(map[byte]State))
	return s
}

// closure adds the places that are reached without a byte.
func (g *Glob) closure(places []int) []int {
	in := make([]bool, len(g.moves))
	var all []int
	for len(places) > 0 {
		p := places[len(places)-1]
		places = places[:len(places)-1]
		if in[p] {
			continue
		}
		in[p] = true
		all = append(all, p)
		if g.moves[p].bytes == nil {
			places = append(places, g.moves[p].to...)
		}
	}
	return all
}

// classify numbers the sets of bytes that no place tells apart.
func (g *Glob) classify() {
	numbers := map[string]uint32{}
	for b := range 256 {
		var key strings.Builder
		for _, m := range g.moves {
			if m.bytes != nil && m.bytes[b] {
				key.WriteByte('1')
			} else {
				key.WriteByte('0')
			}
		}
		n, ok := numbers[key.String()]
		if !ok {
			n = uint32(len(numbers))
			numbers[key.String()] = n
		}
		g.classes[b] = n
	}
}

// place adds a place and returns it.
func (g *Glob) place() int {
	g.moves = append(g.moves, move{})
	return len(g.moves) - 1
}

// step adds a place that is reached from another one by one of a set of bytes.
func (g *Glob) step(from int, bytes *[256]bool) int {
	to := g.place()
	g.moves[from] = move{bytes, []int{to}}
	return to
}

// globParser reads a pattern from its beginning.
type globParser struct {
	glob    *Glob
	pattern string
	at      int
}

func (p *globParser) error(what string) error {
	return fmt.Errorf("pattern %q: byte %d: %s", p.pattern, p.at, what)
}

// maxPlaces bounds what a pattern may be, and maxDepth how deep braces may stand in each other.
const (
	maxPlaces = 1 << 12
	maxDepth  = 50 // MAX_ALT_DEPTH
)

// sequence reads up to what closes it, and returns the place behind it.
func (p *globParser) sequence(from, depth int) (int, error) {
	var err error
	for p.at < len(p.pattern) && err == nil {
		if len(p.glob.moves) > maxPlaces {
			return 0, p.error("the pattern is too long")
		}
		c := p.pattern[p.at]
		switch {
		case depth > 0 && (c == ',' || c == '}'), c == '}', c == ']':
			return from, nil
		case c == '*':
			from = p.star(from)
			continue
		case c == '?':
			from = p.glob.step(from, notSlash())
		case c == '[':
			from, err = p.set(from)
		case c == '{':
			from, err = p.alternatives(from, depth+1)
		case c == '\\' && p.at+1 < len(p.pattern):
			p.at++
			from = p.glob.step(from, only(p.pattern[p.at]))
		case c == '\\' || c == 0:
			err = p.error("nothing to take as it is")
		default:
			from = p.glob.step(from, only(c))
		}
		p.at++
	}
	return from, err
}

// star reads "*" or "**".
func (p *globParser) star(from int) int {
	start := p.at
	for p.at < len(p.pattern) && p.pattern[p.at] == '*' {
		p.at++
	}
	bytes := notSlash()
	if p.at-start > 1 {
		bytes['/'] = true
	}
	// Behind a slash, and before one or at the end, there must be something.
	if start > 0 && p.pattern[start-1] == '/' && (p.at == len(p.pattern) || p.pattern[p.at] == '/') {
		from = p.glob.step(from, notSlash())
	}
	loop, end := p.glob.place(), p.glob.place()
	again := p.glob.place()
	p.glob.moves[from] = move{to: []int{loop, end}}
	p.glob.moves[loop] = move{bytes, []int{again}}
	p.glob.moves[again] = move{to: []int{loop, end}}
	return end
}

// set reads "[...]". A "^" at its beginning stands for all bytes but these, a "-" between two for those between them.
func (p *globParser) set(from int) (int, error) {
	var bytes [256]bool
	p.at++
	not := strings.HasPrefix(p.pattern[p.at:], "^")
	if not {
		p.at++
	}
	for first := p.at; ; p.at++ {
		if p.at >= len(p.pattern) || p.at == first && p.pattern[p.at] == ']' {
			return 0, p.error("a set without an end, or of nothing")
		}
		if p.pattern[p.at] == ']' {
			break
		}
		low := p.member()
		high := low
		if strings.HasPrefix(p.pattern[p.at+1:], "-") && p.at+2 < len(p.pattern) && p.pattern[p.at+2] != ']' {
			p.at += 2
			if high = p.member(); high < low {
				return 0, p.error("a range from a greater byte to a lesser")
			}
		}
		for b := int(low); b <= int(high); b++ {
			bytes[b] = true
		}
	}
	if not {
		for b := range bytes {
			bytes[b] = !bytes[b]
		}
	}
	bytes[0] = false
	return p.glob.step(from, &bytes), nil
}

// member returns the byte of a set that comes next.
func (p *globParser) member() byte {
	if p.pattern[p.at] == '\\' && p.at+1 < len(p.pattern) {
		p.at++
	}
	return p.pattern[p.at]
}

// alternatives reads "{...,...}".
func (p *globParser) alternatives(from, depth int) (int, error) {
	if depth >= maxDepth {
		return 0, p.error("braces in too many braces")
	}
	var begins, ends []int
	for {
		p.at++ // over "{" or ","
		begin := p.glob.place()
		begins = append(begins, begin)
		end, err := p.sequence(begin, depth)
		if err != nil {
			return 0, err
		}
		if p.at >= len(p.pattern) || p.pattern[p.at] == ']' {
			return 0, p.error("braces without an end")
		}
		ends = append(ends, end)
		if p.pattern[p.at] == '}' {
			break
		}
	}
	if len(begins) < 2 {
		return 0, p.error("braces around one pattern alone")
	}
	end := p.glob.place()
	p.glob.moves[from] = move{to: begins}
	for _, e := range ends {
		p.glob.moves[e] = move{to: []int{end}}
	}
	return end, nil
}

func only(b byte) *[256]bool {
	var bytes [256]bool
	bytes[b] = true
	return &bytes
}

// notSlash is all bytes but "/" and NUL.
func notSlash() *[256]bool {
	var bytes [256]bool
	for b := 1; b < 256; b++ {
		bytes[b] = b != '/'
	}
	return &bytes
}
