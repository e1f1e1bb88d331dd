package meaning

import (
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
)

// A Topic is a kind of access about which a profile decides by a text, the access's key. What a profile answers for all
// keys are its Answers, an automaton.
//
// The fields of a key have a NUL between them, but none stands behind a field of a fixed number of bytes.
type Topic struct {
	Name   string // "file", "link", "signal" and so on: the word that rules begin with
	Fields []Field
	Asks   []Ask // what is asked about each key

	ofFiles bool // rules about files decide, else those about anything else

	answers func(p *Profile, q *Topic) Answers
	access  func(fields []string, ask Ask) Access
}

// newTopic returns a topic about accesses like those that an ask stands for, which have their key's fields for texts.
func newTopic(name string, like func(Ask) Access, asks ...Ask) *Topic {
	kind, _ := kindOf(like(asks[0]))
	return &Topic{Name: name, Asks: asks, Fields: kind.fields, access: func(texts []string, ask Ask) Access {
		for i, field := range kind.fields {
			if field == AddressField {
				texts[i] = addressOf(texts[i])
			}
		}
		return filled(like(ask), texts)
	}}
}

// asksOf returns asks for permissions, each alone.
func asksOf(wants ...uint32) (asks []Ask) {
	for _, want := range wants {
		asks = append(asks, Ask{Want: want})
	}
	return asks
}

// An Ask is what is asked about a key.
type Ask struct {
	Want  uint32
	Owner bool // by a process that owns the file
	Exec  bool // it is an exec, whose outcome has a Transition
}

// A Field is a kind of text in a key.
type Field uint8

const (
	PathField     Field = iota // an absolute path as the kernel has it, without a slash after a slash
	TextField                  // any text, that may be empty
	LabelField                 // a label: any text that is not empty
	SignalField                // one byte, the number of a signal
	FlagsField                 // the flags of a mount, a byte for each: its bit's number and 1, in that order
	DataField                  // the data of a mount, which may be missing with the NUL before it
	FamilyField                // two bytes, a socket's family
	TypeField                  // two bytes, its type
	ProtocolField              // two bytes, its protocol
	AddressField               // an address that is no path: a byte 1 for none, or a NUL and an abstract name
	NumberField                // two bytes, any number
)

// An Outcome is the answer of a profile or a stack to one ask about one key.
type Outcome struct {
	Allowed, Logged, Killed, Missing bool // as in Answer

	Denied bool       // no rule allows it. In complain mode it may pass nevertheless
	Exec   Transition // of an exec that is allowed
	Scrub  bool       // of a change with a program: the kernel sets AT_SECURE for it (profile_onexec)
}

// Answers are the answers of one profile for all keys. Answers with the same mark are the same.
type Answers interface {
	automaton.Machine

	// Mark returns a number for what is decided after a key that leads to a state.
	Mark(automaton.State) uint32

	// Outcomes returns what a mark stands for: an outcome for each of the topic's asks.
	Outcomes(mark uint32) []Outcome
}

// Answers returns what a profile answers.
func (q *Topic) Answers(p *Profile) Answers {
	if p.Mode == Unconfined && q.Name != attachment {
		return passing(len(q.Asks))
	}
	return q.answers(p, q)
}

// Alike reports whether two profiles answer the same since their rules are the same. If it reports false, they may answer the
// same nevertheless.
func (q *Topic) Alike(a, b *Profile) bool {
	switch {
	case a == b:
		return true
	case a.Name != b.Name, a.Mode != b.Mode, a.Audit != b.Audit, a.low != b.low, a.high != b.high:
		return false
	case q.Name == attachment:
		return a.attach.same(&b.attach)
	case q.ofFiles:
		return a.file.same(&b.file) && slices.Equal(a.Names, b.Names)
	}
	return a.policy.same(&b.policy) && a.file.same(&b.file)
}

// same reports whether two sets of rules have the same tables.
func (r *rules) same(other *rules) bool {
	if r.dfa == nil || other.dfa == nil {
		return r.dfa == nil && other.dfa == nil
	}
	return r.files == other.files && r.start == other.start && slices.Equal(r.perms, other.perms) &&
		slices.Equal(r.accept, other.accept) && slices.Equal(r.accept2, other.accept2) && slices.Equal(r.base, other.base) &&
		slices.Equal(r.def, other.def) && slices.Equal(r.dfa.next, other.dfa.next) && slices.Equal(r.check, other.check) &&
		slices.Equal(r.equiv, other.equiv)
}

// Access returns the access that an ask about a key is. It returns nil for a key of another form.
func (q *Topic) Access(key string, ask Ask) Access {
	fields, ok := q.split(key)
	if !ok {
		return nil
	}
	return q.access(fields, ask)
}

// Split returns the fields of a key, as they are in it, and false for a key of another form.
func (q *Topic) Split(key string) ([]string, bool) { return q.split(key) }

func (q *Topic) split(key string) (fields []string, ok bool) {
	for i, f := range q.Fields {
		n := f.Size()
		switch {
		case n > 0 && len(key) < n:
			return nil, false
		case n == 0 && f == AddressField: // which may begin with a NUL
			if n = strings.IndexByte(key[min(1, len(key)):], 0) + 1; n == 0 {
				n = len(key)
			}
		case n == 0:
			if n = strings.IndexByte(key, 0); n < 0 {
				n = len(key)
			}
		}
		fields, key = append(fields, key[:n]), key[n:]
		if i+1 < len(q.Fields) && f.parted() {
			switch {
			case key != "":
				key = key[1:]
			case q.Fields[i+1] == DataField:
				return append(fields, ""), true
			default:
				return nil, false
			}
		}
	}
	return fields, key == ""
}

// Size returns how many bytes a field has, and 0 for one whose length is not fixed.
func (f Field) Size() int {
	switch f {
	case SignalField:
		return 1
	case FamilyField, TypeField, ProtocolField, NumberField:
		return 2
	}
	return 0
}

// parted reports whether a NUL follows the field, if another field does.
func (f Field) parted() bool { return f.Size() == 0 }

// constant are answers that do not depend on the key.
type constant []Outcome

func (constant) Start() automaton.State                     { return 0 }
func (constant) Step(automaton.State, byte) automaton.State { return 0 }
func (constant) Classes() *[256]uint32                      { return new([256]uint32) }
func (constant) Mark(automaton.State) uint32                { return 0 }
func (c constant) Outcomes(uint32) []Outcome                { return c }

// passing are the answers of a profile that allows all, by n asks.
func passing(n int) constant {
	all := make(constant, n)
	for i := range all {
		all[i] = Outcome{Allowed: true, Exec: Transition{To: TargetAttached, Else: TargetSame}}
	}
	return all
}

// direct are Answers that depend on nothing but the state of an automaton in which a key ends.
type direct struct {
	machine
	of     *rules
	decide func(state) []Outcome
	marked map[markOf]uint32
	marks  []state
}

// markOf is what a state decides by.
type markOf struct {
	accept, accept2 uint32
	none            bool
}

func (r *rules) direct(begin state, decide func(state) []Outcome) *direct {
	return &direct{machine: machine{r.dfa, begin}, of: r, decide: decide, marked: make(map[markOf]uint32)}
}

func (d *direct) Mark(at automaton.State) uint32 {
	s := state(at)
	key := markOf{none: s == 0}
	if d.of.dfa != nil {
		if key.accept = d.of.accept[s]; d.of.accept2 != nil {
			key.accept2 = d.of.accept2[s]
		}
	}
	n, ok := d.marked[key]
	if !ok {
		n = uint32(len(d.marks))
		d.marked[key], d.marks = n, append(d.marks, s)
	}
	return n
}

func (d *direct) Outcomes(mark uint32) []Outcome { return d.decide(d.marks[mark]) }

// walk is Answers whose states are made as they are reached: S is whatever an answer depends on, and M what of it decides.
type walk[S, M comparable] struct {
	step    func(S, byte) S
	mark    func(S) M
	decide  func(M) []Outcome
	classes *[256]uint32

	numbers map[S]automaton.State
	states  []S
	marked  map[M]uint32
	marks   []M
	memo
}

// memo has the steps that were made, by states and classes: the state and 1, or 0.
type memo struct {
	class [256]uint16
	count int
	to    []automaton.State
}

func newMemo(classes *[256]uint32) (m memo) {
	numbers := make(map[uint32]uint16)
	for b, class := range classes {
		n, ok := numbers[class]
		if !ok {
			n = uint16(len(numbers))
			numbers[class] = n
		}
		m.class[b] = n
	}
	m.count = len(numbers)
	return m
}

// mostMemo is how many steps a memo has at most. Those of more states are made anew each time.
const mostMemo = 1 << 22

func (m *memo) at(s automaton.State, b byte) *automaton.State {
	if (int(s)+1)*m.count > mostMemo {
		return new(automaton.State)
	}
	for len(m.to) < (int(s)+1)*m.count {
		m.to = append(m.to, make([]automaton.State, max(m.count, len(m.to)))...)
	}
	return &m.to[int(s)*m.count+int(m.class[b])]
}

func newWalk[S, M comparable](start S, classes *[256]uint32, step func(S, byte) S, mark func(S) M,
	decide func(M) []Outcome) *walk[S, M] {
	w := &walk[S, M]{step: step, mark: mark, decide: decide, classes: classes, numbers: make(map[S]automaton.State),
		marked: make(map[M]uint32), memo: newMemo(classes)}
	w.number(start)
	return w
}

func (w *walk[S, M]) number(s S) automaton.State {
	n, ok := w.numbers[s]
	if !ok {
		n = automaton.State(len(w.states))
		w.numbers[s], w.states = n, append(w.states, s)
	}
	return n
}

func (w *walk[S, M]) Start() automaton.State { return 0 }
func (w *walk[S, M]) Classes() *[256]uint32  { return w.classes }
func (w *walk[S, M]) Step(s automaton.State, b byte) automaton.State {
	to := w.at(s, b)
	if *to == 0 {
		n := w.number(w.step(w.states[s], b))
		*w.at(s, b) = n + 1
		return n
	}
	return *to - 1
}

func (w *walk[S, M]) Mark(s automaton.State) uint32 {
	m := w.mark(w.states[s])
	n, ok := w.marked[m]
	if !ok {
		n = uint32(len(w.marks))
		w.marked[m], w.marks = n, append(w.marks, m)
	}
	return n
}

func (w *walk[S, M]) Outcomes(mark uint32) []Outcome { return w.decide(w.marks[mark]) }

// outcome turns an answer into an outcome.
func (a Answer) outcome() Outcome {
	return Outcome{Allowed: a.Allowed, Logged: a.Logged, Killed: a.Killed, Missing: a.Missing, Denied: a.Denied != 0}
}

// each returns the outcome of each ask.
func (q *Topic) each(decide func(Ask) Answer) []Outcome {
	all := make([]Outcome, len(q.Asks))
	for i, ask := range q.Asks {
		all[i] = decide(ask).outcome()
	}
	return all
}

// classesOf returns the bytes that rules do not tell apart, without those that an answer tells apart by itself.
func (r *rules) classesOf(apart ...byte) *[256]uint32 {
	all := *machine{dfa: r.dfa}.Classes()
	for i, b := range apart {
		all[b] = 256 + uint32(i)
	}
	return &all
}

// and returns the outcome of a stack of two parts.
func (o Outcome) and(more Outcome) Outcome {
	if o.Allowed {
		o.Missing = more.Missing
	}
	o.Allowed = o.Allowed && more.Allowed
	o.Logged = o.Logged || more.Logged
	o.Killed = o.Killed || more.Killed
	o.Denied = o.Denied || more.Denied
	o.Scrub = o.Scrub || more.Scrub
	return o
}

// Together returns the outcome of a stack whose parts have these. It has no Exec, since each part has its own.
func Together(parts ...Outcome) Outcome {
	whole := Outcome{Allowed: true}
	for _, o := range parts {
		whole = whole.and(o)
	}
	whole.Exec = Transition{}
	return whole
}
