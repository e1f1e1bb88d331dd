package compare

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// Beyond is an access that one side allows and the other one does not.
type Beyond struct {
	// Profile is under which label of the first side, if that is not the side itself but one under which a program goes on, or
	// to which a process changes.
	Profile string
	Access  meaning.Access

	// Exec says of an exec that both allow how it goes on at the first side and at the second.
	Exec [2]string

	Unnamed bool // the file has a path at the first side by the flags of profiles alone, such as attach_disconnected
}

// mostCouples is how many couples one Within looks at, and mostWorlds how many worlds for one exec.
const (
	mostCouples = 1 << 12
	mostWorlds  = 1 << 12
)

// Within reports whether all that a process under a may do, it may do under b as well, as may the programs that it
// executes, and the process itself after it has changed its profile, as far as both sides know the profiles. If not, it
// returns an example. Answers are of each profile's mode, so that a profile in complain mode allows what it does not deny.
// The error wraps automaton.ErrTooLarge if the profiles are too large to decide.
func Within(a, b Side) (Beyond, bool, error) {
	w := within{sides: [2]Side{a, b}, numbers: make(map[*meaning.Profile]int), known: make(map[string]bool)}
	w.names = [2]map[string]*meaning.Profile{a.named(), b.named()}
	for _, p := range b.Stack {
		w.known[w.key(a.Stack, p)] = true
	}
	w.later = append(w.later, couple{"", a.Stack, b.Stack})
	for at := 0; at < len(w.later); at++ {
		beyond, found, err := w.beyond(w.later[at])
		if err == nil {
			err = w.err
		}
		if err != nil || found {
			beyond.Profile = w.later[at].name
			return beyond, false, err
		}
	}
	return Beyond{}, true, nil
}

// named returns the profiles that a side knows, with their children, by their names.
func (s Side) named() map[string]*meaning.Profile {
	all := make(map[string]*meaning.Profile)
	var add func(p *meaning.Profile)
	add = func(p *meaning.Profile) {
		all[p.Name] = p
		for _, child := range p.Children {
			add(child)
		}
	}
	for _, p := range s.Others {
		if p.Parent == nil {
			add(p)
		}
	}
	for _, p := range s.Others {
		all[p.Name] = p
	}
	for _, p := range s.Stack {
		add(rootOf(p))
	}
	return all
}

// rootOf returns the profile whose child a profile is, or whose child's child, and so on.
func rootOf(p *meaning.Profile) *meaning.Profile {
	for p.Parent != nil {
		p = p.Parent
	}
	return p
}

// within is a question of Within. What it has taken for within, where that is asked while it is found out, is right unless
// an example is found in the end. A stack is within another one if it is within each of its parts, so that all couples but
// the first have one profile as their second side.
type within struct {
	sides   [2]Side
	names   [2]map[string]*meaning.Profile
	later   []couple
	numbers map[*meaning.Profile]int
	known   map[string]bool // the keys of couples in later
	steps   int             // see mostSteps
	err     error

	programs programs // to which children attach
}

func (w *within) beyond(t couple) (beyond Beyond, found bool, err error) {
	for _, access := range slices.Concat(everyCapability(), everyLimit(t.a, t.b), everyHat(t.a, t.b)) {
		if outcomeOf(t.a, access).Allowed && !outcomeOf(t.b, access).Allowed {
			return Beyond{Access: access}, true, nil
		}
	}
	topics := t.topics()
	if !slices.ContainsFunc(topics, func(t *meaning.Topic) bool { return t.Name == meaning.Topics()[0].Name }) && t.leads() {
		topics = append(topics, meaning.Topics()[0]) // the profiles to which programs go on may differ
	}
	for _, topic := range topics {
		if beyond, found, err = w.onTopic(newPair(topic, t.a, t.b, &w.steps)); found || err != nil {
			return beyond, found, err
		}
	}
	if beyond, found, err = w.unnamed(t); found || err != nil {
		return beyond, found, err
	}
	w.hats(t)
	w.changes(t)
	return Beyond{}, false, nil
}

// leads reports whether programs may go on under other profiles that are known.
func (t couple) leads() bool {
	return slices.ContainsFunc(t.a, func(p *meaning.Profile) bool { return len(p.Children) > 0 || len(p.Names) > 0 })
}

// hats adds the hats into which a process may change. All parts of a stack change at once.
func (w *within) hats(t couple) {
	for _, name := range hatsOf(t.b) {
		if !outcomeOf(t.a, meaning.ChangeHatAccess{Hat: name}).Allowed {
			continue
		}
		hats := func(s meaning.Stack) (all meaning.Stack) {
			for _, p := range s {
				if p.Hat && p.Parent != nil {
					p = p.Parent
				}
				for _, child := range p.Children {
					if child.Name == p.Name+"//"+name {
						all = append(all, child)
					}
				}
			}
			return all
		}
		mine := hats(t.a)
		for _, p := range hats(t.b) {
			w.assume(mine, p, label(t.a)+"//"+name)
		}
	}
}

// changes adds the profiles to which a process may change, or which it may have on top of its own, where the two sides know
// different ones by a name.
func (w *within) changes(t couple) {
	var names []string
	for name, p := range w.names[0] {
		if other := w.names[1][name]; other != nil && other != p {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		x, y := w.names[0][name], w.names[1][name]
		for _, stack := range []bool{false, true} {
			may := false
			for _, onExec := range []bool{false, true} {
				may = may || outcomeOf(t.a, meaning.ChangeProfileAccess{Label: name, Stack: stack, OnExec: onExec}).Allowed
			}
			switch {
			case may && stack:
				w.assume(append(slices.Clone(t.a), x), y, "")
			case may:
				w.assume(meaning.Stack{x}, y, "")
			}
		}
	}
}

// onTopic looks for an access of one topic, at first among texts of any form, and then among those that keys have.
func (w *within) onTopic(p pair) (beyond Beyond, found bool, err error) {
	var ask meaning.Ask
	var at int32
	stop := func(m marks, node int32) bool {
		if ask, beyond, found = w.exceeds(p, m); found {
			at = node
		}
		return found
	}
	if _, err := p.explore(nil, false, stop); err != nil || !found {
		return beyond, false, err
	}
	found = false
	x, err := p.explore(p.topic.Shape(), false, stop)
	if err != nil || !found {
		return beyond, false, err
	}
	beyond.Access = p.topic.Access(x.key(at), ask)
	return beyond, beyond.Access != nil, nil
}

// exceeds looks for an ask that the first side allows and the second does not, where profiles have these marks.
func (w *within) exceeds(p pair, m marks) (ask meaning.Ask, beyond Beyond, found bool) {
	a, b := p.outcomes(m)
	for i, ask := range p.topic.Asks {
		if !together(a, i).Allowed {
			continue
		}
		if !together(b, i).Allowed {
			return ask, Beyond{}, true
		}
		if x, y := together(a, i), together(b, i); y.Scrub && !x.Scrub {
			return ask, Beyond{Exec: [2]string{environment(x), environment(y)}}, true
		}
		if ask.Exec && !w.goesOn(p, a, b, i) {
			return ask, Beyond{Exec: [2]string{p.goes(0, a, i), p.goes(1, b, i)}}, true
		}
	}
	return ask, Beyond{}, false
}

// assume takes a stack for within a profile, and has that looked at. The name is for one without parts, under which all is
// allowed.
func (w *within) assume(a meaning.Stack, b *meaning.Profile, name string) {
	if slices.Contains(a, b) {
		return
	}
	a = slices.Clone(a)
	slices.SortFunc(a, func(x, y *meaning.Profile) int { return w.number(x) - w.number(y) })
	a = slices.Compact(a)
	key := w.key(a, b)
	if w.known[key] {
		return
	}
	w.known[key] = true
	if len(w.later) == mostCouples {
		w.err = fmt.Errorf("processes can come under more than %d labels: %w", mostCouples, automaton.ErrTooLarge)
		return
	}
	if len(a) > 0 {
		name = label(a)
	}
	w.later = append(w.later, couple{name, a, meaning.Stack{b}})
}

// key identifies a couple, whatever the order of the stack.
func (w *within) key(a meaning.Stack, b *meaning.Profile) string {
	numbers := make([]int, 0, len(a))
	for _, p := range a {
		numbers = append(numbers, w.number(p))
	}
	slices.Sort(numbers)
	return fmt.Sprint(slices.Compact(numbers), w.number(b))
}

func (w *within) number(p *meaning.Profile) int {
	n, ok := w.numbers[p]
	if !ok {
		n = len(w.numbers)
		w.numbers[p] = n
	}
	return n
}

// label returns the names of a stack's profiles, as the kernel shows them.
func label(s meaning.Stack) string {
	names := make([]string, 0, len(s))
	for _, p := range s {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), "//&")
}
