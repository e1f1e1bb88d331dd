// Package compare says how two compiled profiles, or two stacks of them, differ in what they mean: which accesses one
// allows and the other does not, which are logged, which programs go on elsewhere. That there is no difference is decided
// for all accesses, by the automata of both sides.
//
//	d, err := compare.Compare(compare.Side{Stack: before}, compare.Side{Stack: after}, compare.Options{})
//
// Differences come as patterns that people can read, each with an access that shows it. Within asks for one direction
// alone.
//
// What is compared is each access that asks for one permission. In a stack, an access that asks for several at once may
// still be logged otherwise.
package compare

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// A Side is one of the two that are compared.
type Side struct {
	Stack meaning.Stack

	// Others are profiles to which programs may go on, by their names. Children of the stack's profiles need not be here.
	Others map[string]*meaning.Profile
}

// Options say how much is compared. The zero value is for everyday use.
type Options struct {
	Lines int // how many lines a Difference has at most; 0 stands for 200
}

const defaultLines = 200

// A Change is what becomes of accesses from the first side to the second.
type Change string

const (
	Allowed   Change = "allowed"
	Denied    Change = "denied"
	Killed    Change = "killed" // the process is killed
	Spared    Change = "spared" // it is not killed any more
	Elsewhere Change = "elsewhere"
	Logged    Change = "logged"
	Quiet     Change = "quiet"
	Hidden    Change = "hidden"  // the denial's error becomes ENOENT
	Shown     Change = "shown"   // it is ENOENT no more
	Learned   Change = "learned" // it passes in complain mode alone, and is logged as what would be denied
	Granted   Change = "granted" // a rule allows what passed in complain mode alone
	Otherwise Change = "other"   // what is no access: a mode, a flag, a profile that is there or not
)

// Changes are all changes, the weightiest first.
func Changes() []Change {
	return []Change{Allowed, Denied, Killed, Spared, Elsewhere, Logged, Quiet, Hidden, Shown, Learned, Granted, Otherwise}
}

// A Line is one difference.
type Line struct {
	Profile string // whose it is, if that is another one than the sides themselves: the name of a child or of another profile
	Change  Change
	What    string // the accesses, as rules have them
	Except  []string
	Some    bool // not all of these accesses changed, and no exact pattern was found

	From, To string // of Elsewhere and Otherwise: what it was and what it is. An exec that becomes allowed has To alone

	Topic   string
	Witness meaning.Access // one that changed; nil for Otherwise
	Path    string         // of an attachment, which is no access
	Not     []string       // with which kernels the witness does not change, as "Linux before 6.7, which …"

	of *draft // nil for those without a pattern
}

// A Difference is what differs between two sides.
type Difference struct {
	Lines   []Line
	LeftOut int      // lines that there are beside these
	Unknown []string // sentences about what is not compared
}

// Same reports whether nothing differs.
func (d *Difference) Same() bool { return len(d.Lines) == 0 }

// Compare returns how b differs from a. If the profiles are too large to compare all of them, Unknown says what was not compared;
// if no difference was found then, the error wraps automaton.ErrTooLarge.
func Compare(a, b Side, o Options) (*Difference, error) {
	if o.Lines == 0 {
		o.Lines = defaultLines
	}
	c := comparison{sides: [2]Side{a, b}}
	c.later = append(c.later, couple{"", a.Stack, b.Stack})
	for at := 0; at < len(c.later); at++ {
		if err := c.stacks(c.later[at]); err != nil {
			return nil, err
		}
	}
	if len(c.lines) == 0 && c.undecided != nil { // nobody knows whether it is the same
		return nil, c.undecided
	}
	order := Changes()
	slices.SortStableFunc(c.lines, func(x, y Line) int {
		return cmp.Or(cmp.Compare(x.Profile, y.Profile),
			cmp.Compare(slices.Index(order, x.Change), slices.Index(order, y.Change)))
	})
	d := &Difference{Lines: c.lines, Unknown: c.unknown}
	if len(d.Lines) > o.Lines {
		d.Lines, d.LeftOut = d.Lines[:o.Lines], len(d.Lines)-o.Lines
	}
	return d, nil
}

// comparison is a Difference while it is found out.
type comparison struct {
	sides   [2]Side
	lines   []Line
	unknown []string

	undecided error // about something that was too large to compare

	steps, copied int // see mostSteps and mostLanguages

	later []couple        // what is to be compared, and what was
	known map[string]bool // names in later

	programs programs // to which children attach
}

// couple are two stacks that are compared, and their name for people.
type couple struct {
	name string
	a, b meaning.Stack
}

// stacks compares two stacks of profiles.
func (c *comparison) stacks(t couple) error {
	add := func(lines ...Line) {
		for _, l := range lines {
			l.Profile, l.Not = t.name, unchanging(t.a, t.b, l)
			c.lines = append(c.lines, l)
		}
	}
	var all []*told
	for _, topic := range t.topics() {
		l, err := c.liner(newPair(topic, t.a, t.b, &c.steps))
		if errors.Is(err, automaton.ErrTooLarge) {
			c.undecided = err
			c.unknown = append(c.unknown, fmt.Sprintf("%s is not compared: %v", topic.Name, err))
			continue
		}
		if err != nil {
			return err
		}
		if l != nil {
			all = append(all, &told{l, l.lines()})
		}
	}
	join(all)
	for _, one := range all {
		add(one.lines...)
	}
	add(capabilities(t.a, t.b)...)
	add(limits(t.a, t.b)...)
	add(hats(t.a, t.b)...)
	add(attributes(t.a, t.b)...)
	c.follow(t)
	return nil
}

// topics returns the topics on which the answers may differ.
func (t couple) topics() (list []*meaning.Topic) {
	addresses := slices.ContainsFunc(slices.Concat(t.a, t.b), func(p *meaning.Profile) bool { return p.Mediates(meaning.NetV9) })
	for _, topic := range meaning.Topics() {
		if strings.HasPrefix(topic.Name, "unix") && !addresses { // those rules are about all families
			continue
		}
		if len(t.a) != len(t.b) || slices.ContainsFunc(t.a, func(p *meaning.Profile) bool {
			return !topic.Alike(p, t.b[slices.Index(t.a, p)])
		}) {
			list = append(list, topic)
		}
	}
	return list
}

// item is a change of one kind, and of an exec how it goes on.
type item struct {
	change   Change
	from, to string
}

// asks is a set of a topic's asks.
type asks uint64

// topic compares the answers on one topic.
func (c *comparison) topic(p pair) ([]Line, error) {
	l, err := c.liner(p)
	if l == nil {
		return nil, err
	}
	return l.lines(), nil
}

// liner compares the answers on one topic. It returns nil if they do not differ.
func (c *comparison) liner(p pair) (*liner, error) {
	// Most topics differ in nothing, which shows without looking at which texts are keys.
	found := false
	differs := func(m marks, _ int32) bool {
		found = len(p.items(m)) > 0
		return found
	}
	if _, err := p.explore(nil, false, differs); err != nil || !found {
		return nil, err
	}
	found = false
	x, err := p.explore(p.topic.Shape(), true, func(m marks, _ int32) bool { found = found || len(p.items(m)) > 0; return false })
	if found && errors.Is(err, automaton.ErrTooLarge) {
		c.unknown = append(c.unknown, fmt.Sprintf("%v: there may be more differences than are shown", err))
		x.next, err = nil, nil // without which there are no patterns, but examples
	}
	if err != nil || !found {
		return nil, err
	}
	return &liner{comparison: c, pair: p, product: x, describer: describer{topic: p.topic}, covers: make(map[string]cover)}, nil
}

// items returns the changes where profiles have these marks, each with the asks that it is about.
func (p pair) items(m marks) map[item]asks {
	var found map[item]asks
	a, b := p.outcomes(m)
	for i, ask := range p.topic.Asks {
		for _, one := range changed(together(a, i), together(b, i)) {
			if found == nil {
				found = make(map[item]asks)
			}
			its := item{change: one}
			if one == Allowed && ask.Exec {
				its.to = p.goes(1, b, i)
			}
			found[its] |= 1 << i
		}
		if ask.Exec && together(a, i).Allowed && together(b, i).Allowed {
			if from, to := p.goes(0, a, i), p.goes(1, b, i); from != to {
				if found == nil {
					found = make(map[item]asks)
				}
				found[item{Elsewhere, from, to}] |= 1 << i
			}
		}
		if x, y := together(a, i), together(b, i); x.Allowed && y.Allowed && x.Scrub != y.Scrub {
			if found == nil {
				found = make(map[item]asks)
			}
			found[item{Elsewhere, environment(x), environment(y)}] |= 1 << i
		}
	}
	return found
}

// changed returns what changes from one outcome to another.
func changed(a, b meaning.Outcome) (all []Change) {
	a.Exec, b.Exec, a.Scrub, b.Scrub = meaning.Transition{}, meaning.Transition{}, false, false
	if a == b {
		return nil
	}
	say := func(was, is bool, becomes, ends Change) {
		switch {
		case is && !was:
			all = append(all, becomes)
		case was && !is:
			all = append(all, ends)
		}
	}
	say(a.Allowed, b.Allowed, Allowed, Denied)
	say(a.Killed, b.Killed, Killed, Spared)
	if a.Allowed == b.Allowed {
		say(a.Logged, b.Logged, Logged, Quiet)
		say(a.Missing, b.Missing, Hidden, Shown)
		if a.Allowed {
			say(a.Denied, b.Denied, Learned, Granted)
		}
	}
	return all
}

// liner makes lines of the changes on one topic.
type liner struct {
	*comparison
	pair
	*product
	describer
	covers map[string]cover
}

// mostItems is how many ways for execs to go on elsewhere are told apart.
const mostItems = 64

// lines returns the changes.
func (l *liner) lines() (all []Line) {
	at := make(map[item]map[int]map[int32]bool) // by items, asks, marks
	for mark, m := range l.distinct {
		for one, by := range l.items(m) {
			if _, ok := at[one]; !ok && len(at) >= mostItems && one.to != "" {
				one = item{change: one.change}
			}
			if at[one] == nil {
				at[one] = make(map[int]map[int32]bool)
			}
			for i := range l.pair.topic.Asks {
				if by>>i&1 == 0 {
					continue
				}
				if at[one][i] == nil {
					at[one][i] = make(map[int32]bool)
				}
				at[one][i][int32(mark)] = true
			}
		}
	}
	whole := l.reached()
	for _, one := range sortedItems(at) {
		var order []string
		lines := make(map[string]*draft)
		for i := range l.pair.topic.Asks {
			cover, ok := l.coverOf(at[one][i], whole)
			if !ok {
				continue
			}
			for _, m := range cover.patterns {
				d := l.draft(m)
				key := d.key()
				if lines[key] == nil {
					lines[key] = d
					order = append(order, key)
				}
				lines[key].asks |= 1 << i
				lines[key].texts[i] = m.text
			}
		}
		for _, key := range order {
			all = append(all, l.finished(one, lines[key])...)
		}
	}
	return all
}

// reached returns the marks that keys have.
func (l *liner) reached() map[int32]bool {
	all := make(map[int32]bool)
	for node, mark := range l.marks {
		if l.whole[node] {
			all[mark] = true
		}
	}
	return all
}

func sortedItems[V any](at map[item]V) []item {
	list := make([]item, 0, len(at))
	for one := range at {
		list = append(list, one)
	}
	order := Changes()
	slices.SortFunc(list, func(x, y item) int {
		return cmp.Or(cmp.Compare(slices.Index(order, x.change), slices.Index(order, y.change)), cmp.Compare(x.from, y.from),
			cmp.Compare(x.to, y.to))
	})
	return list
}

// coverOf returns patterns of the keys with these marks, and false if there are none.
func (l *liner) coverOf(marks, whole map[int32]bool) (cover, bool) {
	var list []int32
	var key strings.Builder
	for mark := range marks {
		if whole[mark] {
			list = append(list, mark)
		}
	}
	if len(list) == 0 {
		return cover{}, false
	}
	slices.Sort(list)
	for _, mark := range list {
		key.WriteString(strconv.Itoa(int(mark)) + ",")
	}
	if c, ok := l.covers[key.String()]; ok {
		return c, true
	}
	c := l.described(func(mark int32) bool { _, is := slices.BinarySearch(list, mark); return is })
	l.covers[key.String()] = c
	return c, true
}

// described finds patterns. If the product is too large for that, it shows an example of all
// that differs.
func (l *liner) described(belongs func(int32) bool) cover {
	l.copied += 4 * len(l.next)
	if l.next == nil || l.copied > mostLanguages {
		for node, mark := range l.marks {
			if l.whole[node] && belongs(mark) {
				text := l.product.key(int32(node))
				any := &language{bytes: [][]byte{automaton.Readable()}}
				return cover{patterns: []match{{pattern: any.general(), of: any, some: true, text: text}}}
			}
		}
	}
	// A rule about a label is one about each part of a stacked one, so that these follow, unless they alone differ.
	stacks := false
	differs := l.language(belongs, stacks)
	if differs.empty() {
		stacks = true
		differs = l.language(belongs, stacks)
	}
	l.work = new(int)
	if l.pair.topic.Name == "link" {
		*l.work = mostWork - mostLinks
	}
	return l.describe(differs, sync.OnceValue(func() *language {
		return l.language(func(mark int32) bool { return !belongs(mark) }, stacks)
	}))
}
