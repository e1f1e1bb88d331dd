package automaton

import (
	"encoding/binary"
	"errors"
	"slices"
)

// ErrNoPatterns says that no patterns match what they should.
var ErrNoPatterns = errors.New("no patterns match just this")

// maxPatterns bounds what Patterns returns.
const maxPatterns = 256

// Patterns returns patterns that together match the texts without a NUL after which accept takes the states of all
// machines, and no others. dead, accept and limit are as in ShortestBut. Not every such set of texts has patterns: a set
// has some where each text is of some fixed bytes, and of any others between them. The error wraps ErrNoPatterns if
// there are none of this form, ErrTooMany if there are too many, or ErrTooLarge.
func Patterns(dead, accept func(states []State) bool, limit int, machines ...Machine) ([]string, error) {
	g, err := graphOf(dead, accept, limit, machines)
	if err != nil {
		return nil, err
	}
	g = g.least()
	w := writing{graph: g, rows: make(map[int32][]row), open: make(map[int32]bool)}
	if !g.useful[0] {
		return nil, nil
	}
	rows, err := w.from(0)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, r := range rows {
		text, ok := r.pattern()
		if !ok {
			return nil, ErrNoPatterns
		}
		all = append(all, text)
	}
	return all, nil
}

// graph is an automaton of which all states are known. The first one is where texts begin.
type graph struct {
	bytes  []byte      // one of each class
	sets   [][256]bool // the bytes of each class
	next   [][]int32   // of each state by the class; -1 where nothing that is accepted comes
	accept []bool
	useful []bool // something that is accepted comes from it
}

// graphOf goes through all combinations of states of machines.
func graphOf(dead, accept func([]State) bool, limit int, machines []Machine) (*graph, error) {
	g := new(graph)
	for _, b := range alphabet(machines) {
		if b != 0 {
			g.bytes = append(g.bytes, b)
		}
	}
	g.sets = make([][256]bool, len(g.bytes))
	var classes []*[256]uint32
	for _, m := range machines {
		classes = append(classes, m.Classes())
	}
	for i, b := range g.bytes {
		for c := 1; c < 256; c++ {
			g.sets[i][c] = !slices.ContainsFunc(classes, func(of *[256]uint32) bool { return of[c] != of[b] })
		}
	}
	numbers := make(map[[most]State]int32)
	var found [][most]State
	number := func(states [most]State) int32 {
		if dead(states[:len(machines)]) {
			return -1
		}
		n, ok := numbers[states]
		if !ok {
			n = int32(len(found))
			numbers[states] = n
			found = append(found, states)
		}
		return n
	}
	var start [most]State
	for i, m := range machines {
		start[i] = m.Start()
	}
	number(start)
	for at := 0; at < len(found); at++ {
		here := found[at]
		row := make([]int32, len(g.bytes))
		for c, b := range g.bytes {
			next := here
			for i, m := range machines {
				next[i] = m.Step(here[i], b)
			}
			row[c] = number(next)
		}
		g.next = append(g.next, row)
		g.accept = append(g.accept, accept(here[:len(machines)]))
		if len(found) > limit {
			return nil, ErrTooLarge
		}
	}
	g.prune()
	return g, nil
}

// prune finds the useful states, and takes the ways to all others out.
func (g *graph) prune() {
	g.useful = slices.Clone(g.accept)
	if len(g.useful) == 0 {
		g.useful = []bool{false}
		return
	}
	before := make([][]int32, len(g.next))
	var todo []int32
	for s, row := range g.next {
		for _, to := range row {
			if to >= 0 {
				before[to] = append(before[to], int32(s))
			}
		}
		if g.accept[s] {
			todo = append(todo, int32(s))
		}
	}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, from := range before[s] {
			if !g.useful[from] {
				g.useful[from] = true
				todo = append(todo, from)
			}
		}
	}
	for _, row := range g.next {
		for c, to := range row {
			if to >= 0 && !g.useful[to] {
				row[c] = -1
			}
		}
	}
}

// least returns the graph with one state for all of which nothing tells one from another.
func (g *graph) least() *graph {
	if !g.useful[0] {
		return g
	}
	group := make([]int32, len(g.next))
	for s := range group {
		if g.accept[s] {
			group[s] = 1
		}
	}
	for count := 0; ; {
		numbers := make(map[string]int32)
		next := make([]int32, len(group))
		var key []byte
		for s, row := range g.next {
			key = binary.LittleEndian.AppendUint32(key[:0], uint32(group[s]))
			for _, to := range row {
				n := int32(-1)
				if to >= 0 {
					n = group[to]
				}
				key = binary.LittleEndian.AppendUint32(key, uint32(n))
			}
			n, ok := numbers[string(key)]
			if !ok {
				n = int32(len(numbers))
				numbers[string(key)] = n
			}
			next[s] = n
		}
		group = next
		if len(numbers) == count {
			break
		}
		count = len(numbers)
	}
	l := &graph{bytes: g.bytes, sets: g.sets}
	for s := range g.next { // the first state of a group is numbered first
		if int(group[s]) != len(l.next) {
			continue
		}
		row := make([]int32, len(g.bytes))
		for c, to := range g.next[s] {
			row[c] = -1
			if to >= 0 {
				row[c] = group[to]
			}
		}
		l.next = append(l.next, row)
		l.accept = append(l.accept, g.accept[s])
		l.useful = append(l.useful, g.useful[s])
	}
	return l
}

// writing writes a graph as rows.
type writing struct {
	*graph
	rows map[int32][]row
	open map[int32]bool // states whose rows are being written
}

// from returns the rows of the texts that lead from a state to an accepted one.
func (w *writing) from(s int32) ([]row, error) {
	if rows, ok := w.rows[s]; ok {
		return rows, nil
	}
	if w.open[s] { // there is a way back that is no star
		return nil, ErrNoPatterns
	}
	w.open[s] = true
	defer delete(w.open, s)
	var order []int32
	by := make(map[int32]*[256]bool)
	for c, to := range w.next[s] {
		if to < 0 {
			continue
		}
		if by[to] == nil {
			by[to] = new([256]bool)
			order = append(order, to)
		}
		for b, in := range w.sets[c] {
			by[to][b] = by[to][b] || in
		}
	}
	var all []row
	if w.accept[s] {
		all = append(all, row{})
	}
	for _, to := range order {
		if to == s {
			continue
		}
		rests, err := w.from(to)
		if err != nil {
			return nil, err
		}
		for _, rest := range rests {
			all = append(all, rest.behind(cell{bytes: *by[to]}))
		}
		if len(all) > maxPatterns {
			return nil, ErrTooMany
		}
	}
	if again := by[s]; again != nil {
		if *again != *notSlash() && !isAny(*again) {
			return nil, ErrNoPatterns
		}
		for i, r := range all {
			all[i] = r.behind(cell{*again, true})
		}
	}
	w.rows[s] = all
	return all, nil
}

// isAny reports whether a set has all bytes but NUL.
func isAny(bytes [256]bool) bool {
	bytes['/'] = !bytes['/']
	return bytes == *notSlash()
}
