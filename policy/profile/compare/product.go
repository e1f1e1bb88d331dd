package compare

import (
	"fmt"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// most is how many profiles both sides may have together.
const most = 8

// Limits of the work on one topic. The product of real profiles has some thousands of states.
const (
	mostNodes = 1 << 20 // states of all profiles together
	mostEdges = 1 << 23 // steps that are kept, so that patterns can be found
)

// Limits of the work on two sides, which only profiles come near that were made for it.
const (
	mostSteps     = 1 << 30 // of the automata
	mostLanguages = 1 << 29 // steps that are copied, so that patterns can be found
)

// pair is two stacks whose answers on a topic are compared.
type pair struct {
	topic *meaning.Topic
	a, b  []meaning.Answers
	parts [2]meaning.Stack
	steps *int // that were made so far, for all topics
}

func newPair(t *meaning.Topic, a, b meaning.Stack, steps *int) pair {
	p := pair{topic: t, parts: [2]meaning.Stack{a, b}, steps: steps}
	for _, one := range a {
		p.a = append(p.a, t.Answers(one))
	}
	for _, one := range b {
		p.b = append(p.b, t.Answers(one))
	}
	return p
}

// marks are what all profiles decide by.
type marks [most]uint32

// product is the automaton of all answers together, as far as it was explored.
type product struct {
	machines []automaton.Machine
	answers  []meaning.Answers
	shape    *meaning.Shape // nil where keys of any form are looked at

	alphabet []byte      // a byte of each class
	classOf  [256]uint16 // the class of each byte

	nodes *automaton.Tuples
	marks []int32 // of each node: the place in distinct
	whole []bool  // of each node: keys end here
	stack []bool  // of each node: a label in the key has several parts
	next  []int32 // the steps of each node, by classes; nil where they are too many
	from  []int32 // of each node: the one from which it was reached first
	by    []uint16

	distinct []marks
	numbered map[marks]int32
}

// none is the node of texts that are no keys, whatever follows.
const none int32 = -1

// explore walks through the product. With a shape it leaves out what no key leads to. stop is asked about each set of marks
// that is found for the first time at the end of a key, and given the node; if it returns true, the walk ends. If there are too
// many states, it returns those that it has come to, and an error.
func (p pair) explore(shape *meaning.Shape, keep bool, stop func(m marks, node int32) bool) (*product, error) {
	x := &product{shape: shape, numbered: make(map[marks]int32)}
	x.answers = slices.Concat(p.a, p.b)
	if len(x.answers) > most {
		return nil, fmt.Errorf("%d profiles at once, and %d are possible", len(x.answers), most)
	}
	for _, one := range x.answers {
		x.machines = append(x.machines, one)
	}
	if shape != nil {
		x.machines = append(x.machines, shape)
	}
	x.setAlphabet()
	x.nodes = automaton.NewTuples(len(x.machines))
	start := make([]automaton.State, len(x.machines))
	for i, m := range x.machines {
		start[i] = m.Start()
	}
	x.add(start, none, 0)
	stopped := make([]bool, 0, 16)
	for at := int32(0); int(at) < x.nodes.Len(); at++ {
		if mark := x.marks[at]; x.whole[at] {
			for int(mark) >= len(stopped) {
				stopped = append(stopped, false)
			}
			if !stopped[mark] {
				stopped[mark] = true
				if stop != nil && stop(x.distinct[mark], at) {
					return x, nil
				}
			}
		}
		if *p.steps += len(x.alphabet); *p.steps > mostSteps {
			return x, fmt.Errorf("more than %d steps: %w", mostSteps, automaton.ErrTooLarge)
		}
		if x.nodes.Len() > mostNodes {
			return x, fmt.Errorf("%s: more than %d combinations of states: %w", p.topic.Name, mostNodes, automaton.ErrTooLarge)
		}
		x.expand(at, keep && x.nodes.Len()*len(x.alphabet) <= mostEdges)
	}
	if len(x.next) != x.nodes.Len()*len(x.alphabet) {
		x.next = nil
	}
	return x, nil
}

// expand adds what a node leads to.
func (x *product) expand(at int32, keep bool) {
	var here, next [most + 1]automaton.State
	n := copy(here[:], x.nodes.At(int(at))) // which moves when others are added
	for class, b := range x.alphabet {
		for i, m := range x.machines {
			next[i] = m.Step(here[i], b)
		}
		to := none
		if last := len(x.machines) - 1; x.shape == nil || !x.shape.None(next[last]) {
			to = x.add(next[:n], at, uint16(class))
		}
		if keep {
			x.next = append(x.next, to)
		}
	}
}

func (x *product) add(states []automaton.State, from int32, by uint16) int32 {
	n, added := x.nodes.Number(states)
	if !added {
		return int32(n)
	}
	x.from, x.by = append(x.from, from), append(x.by, by)
	var m marks
	for i, one := range x.answers {
		m[i] = one.Mark(states[i])
	}
	number, ok := x.numbered[m]
	if !ok {
		number = int32(len(x.distinct))
		x.numbered[m], x.distinct = number, append(x.distinct, m)
	}
	x.marks = append(x.marks, number)
	last := states[len(x.machines)-1]
	x.whole = append(x.whole, x.shape == nil || x.shape.Whole(last))
	x.stack = append(x.stack, x.shape != nil && x.shape.Stacked(last))
	return int32(n)
}

// key returns the shortest text that leads to a node.
func (x *product) key(node int32) string {
	var reversed []byte
	for ; x.from[node] >= 0; node = x.from[node] {
		reversed = append(reversed, x.alphabet[x.by[node]])
	}
	slices.Reverse(reversed)
	return string(reversed)
}

// markAt returns by what a key is decided. It reports false for what is no key, or if the steps are not known.
func (x *product) markAt(key string) (mark int32, known bool) {
	at := int32(0)
	for i := range len(key) {
		if x.next == nil || at == none {
			return 0, false
		}
		at = x.next[int(at)*len(x.alphabet)+int(x.classOf[key[i]])]
	}
	if at == none || !x.whole[at] {
		return 0, false
	}
	return x.marks[at], true
}

// setAlphabet finds the sets of bytes that no machine tells apart, and takes the most readable byte of each.
func (x *product) setAlphabet() {
	numbers := make(map[[most + 1]uint32]uint16)
	var classes [most + 1]*[256]uint32
	for i, m := range x.machines {
		classes[i] = m.Classes()
	}
	for _, b := range automaton.Readable() {
		var key [most + 1]uint32
		for i := range x.machines {
			key[i] = classes[i][b]
		}
		n, ok := numbers[key]
		if !ok {
			n = uint16(len(x.alphabet))
			numbers[key], x.alphabet = n, append(x.alphabet, b)
		}
		x.classOf[b] = n
	}
}

// outcomes returns what both sides answer to each ask where these are the marks, and the outcomes of each part.
func (p pair) outcomes(m marks) (a, b [][]meaning.Outcome) {
	for i, one := range p.a {
		a = append(a, one.Outcomes(m[i]))
	}
	for i, one := range p.b {
		b = append(b, one.Outcomes(m[len(p.a)+i]))
	}
	return a, b
}

// together returns the outcome of an ask, of all parts.
func together(parts [][]meaning.Outcome, ask int) meaning.Outcome {
	all := make([]meaning.Outcome, len(parts))
	for i, one := range parts {
		all[i] = one[ask]
	}
	return meaning.Together(all...)
}
