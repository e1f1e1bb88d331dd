package automaton

// A Language is a Machine that accepts some texts and not others. Like a Glob, it is not for several goroutines at once.
type Language interface {
	Machine

	// Accepts reports whether a text that leads to a state is one of the language.
	Accepts(State) bool

	// Dead reports whether no text of the language begins with one that leads to a state. It may not know.
	Dead(State) bool
}

// A Lazy is a Machine whose states are values of S. They get their numbers as they are reached.
type Lazy[S comparable] struct {
	next    func(S, byte) S
	numbers map[S]State
	values  []S
	steps   [][]State // of each state for each class, 0 where that is not known yet, and else one more
	classes *[256]uint32
	many    int // classes
}

// remembered is of how many states a Lazy remembers its steps, so that it stays small where there are millions of states.
const remembered = 1 << 14

// NewLazy returns a machine that begins with first. next returns the value after one byte, and may depend on nothing but
// its arguments. It must not tell bytes apart that classes does not. The classes have numbers below 256.
func NewLazy[S comparable](classes *[256]uint32, first S, next func(S, byte) S) *Lazy[S] {
	l := &Lazy[S]{next: next, numbers: make(map[S]State), classes: classes, many: 1}
	for _, class := range classes {
		l.many = max(l.many, int(class)+1)
	}
	l.number(first)
	return l
}

func (l *Lazy[S]) number(value S) State {
	n, ok := l.numbers[value]
	if !ok {
		n = State(len(l.values))
		l.numbers[value] = n
		l.values = append(l.values, value)
		if n < remembered {
			l.steps = append(l.steps, nil)
		}
	}
	return n
}

// Start returns the state before the first byte.
func (l *Lazy[S]) Start() State { return 0 }

// Step returns the state after one byte.
func (l *Lazy[S]) Step(s State, b byte) State {
	if s >= remembered {
		return l.number(l.next(l.values[s], b))
	}
	if l.steps[s] == nil {
		l.steps[s] = make([]State, l.many)
	}
	class := l.classes[b]
	if l.steps[s][class] == 0 {
		l.steps[s][class] = l.number(l.next(l.values[s], b)) + 1
	}
	return l.steps[s][class] - 1
}

// Classes returns the equivalence classes of bytes.
func (l *Lazy[S]) Classes() *[256]uint32 { return l.classes }

// Value returns the value of a state.
func (l *Lazy[S]) Value(s State) S { return l.values[s] }

// Apart returns equivalence classes that tell each of some bytes from all others.
func Apart(bytes string) *[256]uint32 {
	var classes [256]uint32
	for i := range len(bytes) {
		classes[bytes[i]] = uint32(i) + 1
	}
	return &classes
}

// Together returns equivalence classes that tell apart what one of the given ones does.
func Together(several ...*[256]uint32) *[256]uint32 {
	var together [256]uint32
	for _, classes := range several {
		numbers := make(map[[2]uint32]uint32)
		for b := range together {
			pair := [2]uint32{together[b], classes[b]}
			n, ok := numbers[pair]
			if !ok {
				n = uint32(len(numbers))
				numbers[pair] = n
			}
			together[b] = n
		}
	}
	return &together
}

// language is a Lazy of which some values are accepted, and some are dead.
type language[S comparable] struct {
	*Lazy[S]
	accepts, dead func(S) bool
}

func (l language[S]) Accepts(s State) bool { return l.accepts(l.Value(s)) }
func (l language[S]) Dead(s State) bool    { return l.dead(l.Value(s)) }

// NewLanguage is NewLazy for a language that accepts the texts which lead to some of the values. From dead values none of
// these is reached.
func NewLanguage[S comparable](classes *[256]uint32, first S, next func(S, byte) S, accepts, dead func(S) bool) Language {
	return language[S]{NewLazy(classes, first, next), accepts, dead}
}

// Both returns the texts that two languages have in common.
func Both(a, b Language) Language {
	both := func(s, t bool) bool { return s && t }
	either := func(s, t bool) bool { return s || t }
	return pair(a, b, both, either)
}

// Either returns the texts of two languages.
func Either(a, b Language) Language {
	both := func(s, t bool) bool { return s && t }
	either := func(s, t bool) bool { return s || t }
	return pair(a, b, either, both)
}

func pair(a, b Language, accepts, dead func(a, b bool) bool) Language {
	return NewLanguage(Together(a.Classes(), b.Classes()), [2]State{a.Start(), b.Start()},
		func(s [2]State, c byte) [2]State { return [2]State{a.Step(s[0], c), b.Step(s[1], c)} },
		func(s [2]State) bool { return accepts(a.Accepts(s[0]), b.Accepts(s[1])) },
		func(s [2]State) bool { return dead(a.Dead(s[0]), b.Dead(s[1])) })
}

// Words returns the language of some texts.
func Words(words ...string) Language {
	var bytes []byte
	type edge struct {
		from int32
		by   byte
	}
	children := make(map[edge]int32)
	final := make([]bool, 1)
	for _, w := range words {
		at := int32(0)
		for i := range len(w) {
			e := edge{at, w[i]}
			to, ok := children[e]
			if !ok {
				to = int32(len(final))
				children[e] = to
				final = append(final, false)
				bytes = append(bytes, w[i])
			}
			at = to
		}
		final[at] = true
	}
	const none = -1
	return NewLanguage(Apart(string(bytes)), int32(0), func(at int32, b byte) int32 {
		if to, ok := children[edge{at, b}]; ok {
			return to
		}
		return none
	}, func(at int32) bool { return at != none && final[at] }, func(at int32) bool { return at == none })
}

// A Part is one of several texts that stand one after another.
type Part struct {
	Language
	Width int // how many bytes its texts have. 0: any number, without a NUL, and a NUL parts them from what comes behind
}

// InTurn returns the texts that are made of one text of each part.
func InTurn(parts ...Part) Language {
	type place struct {
		part, width int
		state       State
		wrong       bool
	}
	classes := []*[256]uint32{Apart("\x00")}
	for _, p := range parts {
		classes = append(classes, p.Classes())
	}
	begin := func(part int) place { return place{part: part, state: parts[part].Start()} }
	return NewLanguage(Together(classes...), begin(0), func(at place, b byte) place {
		if at.wrong {
			return at
		}
		part := parts[at.part]
		last := at.part == len(parts)-1
		switch {
		case part.Width > 0 && at.width == part.Width && last, part.Width == 0 && b == 0 && last,
			part.Width == 0 && b == 0 && !part.Accepts(at.state):
			return place{wrong: true}
		case part.Width == 0 && b == 0:
			return begin(at.part + 1)
		}
		if at.state = part.Step(at.state, b); part.Dead(at.state) {
			return place{wrong: true}
		}
		if part.Width == 0 {
			return at
		}
		if at.width++; at.width < part.Width || last {
			return at
		}
		if !part.Accepts(at.state) {
			return place{wrong: true}
		}
		return begin(at.part + 1)
	}, func(at place) bool {
		return !at.wrong && at.part == len(parts)-1 && at.width == parts[at.part].Width && parts[at.part].Accepts(at.state)
	}, func(at place) bool { return at.wrong })
}
