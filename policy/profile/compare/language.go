package compare

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
)

// value is whether a text belongs to a language.
type value uint8

const (
	out  value = iota
	in         // it does
	free       // it does not matter: no key is this text
)

// language is an automaton of texts, with classes of bytes that it does not tell apart. Its first state is where texts begin.
type language struct {
	values  []value
	next    []int32 // by states, and by classes
	bytes   [][]byte
	classOf [256]uint16
	start   int32
}

func (l *language) classes() int                     { return len(l.bytes) }
func (l *language) step(s int32, class uint16) int32 { return l.next[int(s)*len(l.bytes)+int(class)] }

// walk returns the state behind a text.
func (l *language) walk(s int32, text string) int32 {
	for i := range len(text) {
		s = l.step(s, l.classOf[text[i]])
	}
	return s
}

// language returns the texts that lead to nodes which belong has, of all that are keys. Without stacks, labels of several
// parts do not matter. The product must have its steps.
func (x *product) language(belongs func(mark int32) bool, stacks bool) *language {
	n, c := x.nodes.Len(), len(x.alphabet)
	l := &language{values: make([]value, n+1), next: make([]int32, (n+1)*c), classOf: x.classOf, bytes: make([][]byte, c)}
	for b, class := range x.classOf {
		l.bytes[class] = append(l.bytes[class], byte(b))
	}
	for class, b := range x.alphabet { // the most readable one first
		list := l.bytes[class]
		at := slices.Index(list, b)
		list[0], list[at] = list[at], list[0]
	}
	for i := range n {
		switch {
		case !x.whole[i], x.stack[i] && !stacks:
			l.values[i] = free
		case belongs(x.marks[i]):
			l.values[i] = in
		}
	}
	l.values[n] = free
	for i, to := range x.next {
		if to == none {
			to = int32(n)
		}
		l.next[i] = to
	}
	for class := range c {
		l.next[n*c+class] = int32(n)
	}
	return l.trimmed().merged().fewerClasses()
}

// trimmed makes one state of all from which no text of the language is reached.
func (l *language) trimmed() *language {
	const sweeps = 64 // more are needed only for long ways back; what is not reached by then is kept
	c, n := l.classes(), len(l.values)
	reaches := make([]bool, n)
	for i, v := range l.values {
		reaches[i] = v == in
	}
	changed := true
	for sweep := 0; changed && sweep < sweeps; sweep++ {
		changed = false
		for i := n - 1; i >= 0; i-- {
			if reaches[i] {
				continue
			}
			for _, to := range l.next[i*c : (i+1)*c] {
				if reaches[to] {
					reaches[i], changed = true, true
					break
				}
			}
		}
	}
	if changed {
		return l
	}
	none := l.keyless(reaches)
	const sink = 0
	number := make([]int32, n)
	kept := []int32{-1, -1} // a state of what does not belong, and one of what is no key
	for i := range n {
		switch {
		case reaches[i]:
			number[i] = int32(len(kept))
			kept = append(kept, int32(i))
		case none[i]:
			number[i] = 1
		default:
			number[i] = sink
		}
	}
	t := &language{values: make([]value, len(kept)), next: make([]int32, len(kept)*c), bytes: l.bytes, classOf: l.classOf,
		start: number[l.start]}
	t.values[1] = free
	for class := range c {
		t.next[c+class] = 1
	}
	for i, from := range kept[2:] {
		t.values[i+2] = l.values[from]
		for class := range c {
			t.next[(i+2)*c+class] = number[l.next[int(from)*c+class]]
		}
	}
	return t
}

// keyless returns the states, of those from which no text of the language is reached, behind which no text matters. They stay
// apart, since a pattern may have such texts.
func (l *language) keyless(reaches []bool) []bool {
	const sweeps = 16 // if more are needed, which is rare, only states that lead nowhere else are known
	c, n := l.classes(), len(l.values)
	none := make([]bool, n)
	for i, v := range l.values {
		none[i] = v == free && !reaches[i]
	}
	for range sweeps {
		changed := false
		for i := n - 1; i >= 0; i-- {
			if none[i] && slices.ContainsFunc(l.next[i*c:(i+1)*c], func(to int32) bool { return !none[to] }) {
				none[i], changed = false, true
			}
		}
		if !changed {
			return none
		}
	}
	for i := range none {
		none[i] = l.values[i] == free && !slices.ContainsFunc(l.next[i*c:(i+1)*c], func(to int32) bool { return int(to) != i })
	}
	return none
}

// merged makes one state of those that are the same from there on. If that is much work, all stays as it is.
func (l *language) merged() *language {
	const work = 1 << 27
	c, n := l.classes(), len(l.values)
	group, groups := make([]int32, n), 3
	for i, v := range l.values {
		group[i] = int32(v)
	}
	seed := maphash.MakeSeed()
	row := make([]byte, 4*(c+1))
	for done := 0; ; done += n * c {
		if done > work {
			return l
		}
		numbers := make(map[uint64]int32)
		refined := make([]int32, n)
		for i := range n {
			binary.NativeEndian.PutUint32(row, uint32(group[i]))
			for class, to := range l.next[i*c : (i+1)*c] {
				binary.NativeEndian.PutUint32(row[4+4*class:], uint32(group[to]))
			}
			key := maphash.Bytes(seed, row)
			number, ok := numbers[key]
			if !ok {
				number = int32(len(numbers))
				numbers[key] = number
			}
			refined[i] = number
		}
		group = refined
		if len(numbers) == groups {
			break
		}
		groups = len(numbers)
	}
	s := &language{values: make([]value, groups), next: make([]int32, groups*c), bytes: l.bytes, classOf: l.classOf,
		start: group[l.start]}
	for i := range n {
		g := int(group[i])
		s.values[g] = l.values[i]
		for class := range c {
			s.next[g*c+class] = group[l.next[i*c+class]]
		}
	}
	return s
}

// fewerClasses makes one class of bytes that lead to the same states.
func (l *language) fewerClasses() *language {
	c, n := l.classes(), len(l.values)
	numbers := make(map[string]uint16)
	column := make([]byte, 4*n+1)
	to := make([]uint16, c)
	s := &language{values: l.values, start: l.start}
	var from []int // a class of each new one
	for class := range c {
		for i := range n {
			binary.NativeEndian.PutUint32(column[4*i:], uint32(l.next[i*c+class]))
		}
		column[4*n] = 0 // NUL and slash stay apart, since patterns tell them from others
		for i, b := range []byte{0, '/'} {
			if l.classOf[b] == uint16(class) {
				column[4*n] = byte(i + 1)
			}
		}
		number, ok := numbers[string(column)]
		if !ok {
			number = uint16(len(from))
			numbers[string(column)] = number
			from, s.bytes = append(from, class), append(s.bytes, nil)
		}
		to[class] = number
		s.bytes[number] = append(s.bytes[number], l.bytes[class]...)
	}
	for b, class := range l.classOf {
		s.classOf[b] = to[class]
	}
	s.next = make([]int32, n*len(from))
	for i := range n {
		for number, class := range from {
			s.next[i*len(from)+number] = l.next[i*c+class]
		}
	}
	return s
}

// empty reports whether the language has no text.
func (l *language) empty() bool { return !slices.Contains(l.values, in) }

// shortest returns the classes of the shortest text from a state on, the more readable one of two.
func (l *language) shortest() (text []uint16, found bool) {
	type step struct {
		from int32
		by   uint16
	}
	seen := map[int32]step{l.start: {from: -1}}
	for queue := []int32{l.start}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if l.values[at] == in {
			for ; seen[at].from >= 0; at = seen[at].from {
				text = append(text, seen[at].by)
			}
			slices.Reverse(text)
			return text, true
		}
		for class := range l.classes() {
			if to := l.step(at, uint16(class)); to != at {
				if _, ok := seen[to]; !ok {
					seen[to] = step{at, uint16(class)}
					queue = append(queue, to)
				}
			}
		}
	}
	return nil, false
}

// textOf returns the most readable text of classes.
func (l *language) textOf(classes []uint16) string {
	text := make([]byte, len(classes))
	for i, class := range classes {
		text[i] = l.bytes[class][0]
	}
	return string(text)
}

// example returns the shortest text of a language that is not empty.
func (l *language) example() string {
	text, _ := l.shortest()
	return l.textOf(text)
}
