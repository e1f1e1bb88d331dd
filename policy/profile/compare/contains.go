package compare

import (
	"maps"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// Beyond is an access that one side allows and the other one does not.
type Beyond struct {
	Profile string // under which profile of the first side, if that is not the side itself but one to which a program goes on
	Access  meaning.Access

	// Exec says of an exec that both allow how it goes on at the first side and at the second.
	Exec [2]string
}

// Within reports whether all that a process under a may do, it may do under b as well, as may the programs that it
// executes, as far as both sides know their profiles. If not, it returns an example. Answers are of each profile's mode, so
// that a profile in complain mode allows what it does not deny. The error wraps automaton.ErrTooLarge if the profiles are
// too large to decide.
func Within(a, b Side) (Beyond, bool, error) {
	w := within{sides: [2]Side{a, b}, known: make(map[[2]*meaning.Profile]bool)}
	w.later = append(w.later, couple{"", a.Stack, b.Stack})
	for at := 0; at < len(w.later); at++ {
		beyond, found, err := w.beyond(w.later[at])
		if err != nil || found {
			beyond.Profile = w.later[at].name
			return beyond, false, err
		}
	}
	return Beyond{}, true, nil
}

// within is a question of Within. What it has taken for within, where that is asked while it is found out, is right unless
// an example is found in the end.
type within struct {
	sides [2]Side
	later []couple
	known map[[2]*meaning.Profile]bool
	steps int // see mostSteps
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
	w.hats(t)
	return Beyond{}, false, nil
}

// leads reports whether programs may go on under other profiles that are known.
func (t couple) leads() bool {
	return slices.ContainsFunc(t.a, func(p *meaning.Profile) bool { return len(p.Children) > 0 || len(p.Names) > 0 })
}

// hats adds the hats into which a process may change.
func (w *within) hats(t couple) {
	for i, p := range t.a {
		if i >= len(t.b) {
			break
		}
		for _, child := range p.Children {
			for _, other := range t.b[i].Children {
				if child.Hat && strings.TrimPrefix(child.Name, p.Name) == strings.TrimPrefix(other.Name, t.b[i].Name) {
					w.assume(child, other)
				}
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
		if ask.Exec && !w.goesOn(p, a, b, i) {
			return ask, Beyond{Exec: [2]string{p.goes(0, a, i), p.goes(1, b, i)}}, true
		}
	}
	return ask, Beyond{}, false
}

// goesOn reports whether each part of the second side lets a program go on under no less than a part of the first does.
func (w *within) goesOn(p pair, a, b [][]meaning.Outcome, ask int) bool {
	for j, theirs := range b {
		fits := false
		for _, certain := range []bool{true, false} { // what needs nothing else to be within something else comes first
			for i, mine := range a {
				fits = fits || w.fits(mine[ask].Exec, p.parts[0][i], theirs[ask].Exec, p.parts[1][j], certain)
			}
		}
		if !fits {
			return false
		}
	}
	return true
}

// fits reports whether a program that goes on as the first transition says can do no more than as the second says. If
// that is so only if other profiles are within others, it adds these or, with certain, returns false.
func (w *within) fits(mine meaning.Transition, a *meaning.Profile, theirs meaning.Transition, b *meaning.Profile,
	certain bool) bool {
	mine, theirs = own(mine, a), own(theirs, b)
	switch {
	case theirs.Scrub && !mine.Scrub:
		return false
	case unconfines(theirs):
		return true
	case mine.Stack != theirs.Stack,
		mine.Else != theirs.Else && theirs.Else != meaning.TargetUnconfined && mine.Else != meaning.TargetNone:
		return false
	}
	x, y := w.target(0, mine, a), w.target(1, theirs, b)
	switch {
	case x != nil && x == y:
		return true
	case x != nil && y != nil:
		if !certain {
			w.assume(x, y)
		}
		return !certain
	case mine.To != theirs.To, mine.Child != theirs.Child, mine.Label != theirs.Label:
		return false
	case mine.To == meaning.TargetAttached && mine.Child:
		return a == b || !certain && w.attached(a, b)
	}
	return true
}

// unconfines reports whether a program goes on without any confinement.
func unconfines(t meaning.Transition) bool {
	return t.To == meaning.TargetUnconfined || t.To == meaning.TargetLabel && meaning.IsUnconfined(t.Label) && !t.Stack
}

// target returns the profile to which a program goes on, where that is known.
func (w *within) target(side int, t meaning.Transition, p *meaning.Profile) *meaning.Profile {
	switch {
	case t.To == meaning.TargetSame:
		return p
	case t.To != meaning.TargetLabel:
		return nil
	case t.Child:
		for _, child := range p.Children {
			if child.Name == p.Name+"//"+t.Label {
				return child
			}
		}
		return nil
	case t.Label == p.Name:
		return p
	}
	return w.sides[side].Others[t.Label]
}

// attached reports whether the children of two profiles attach to the same programs, as far as their names show, and adds
// them.
func (w *within) attached(a, b *meaning.Profile) bool {
	in := func(p *meaning.Profile) map[string]*meaning.Profile {
		all := make(map[string]*meaning.Profile)
		for _, child := range p.Children {
			all[strings.TrimPrefix(child.Name, p.Name)] = child
		}
		return all
	}
	x, y := in(a), in(b)
	if !slices.Equal(slices.Sorted(maps.Keys(x)), slices.Sorted(maps.Keys(y))) {
		return false
	}
	for name, child := range x {
		w.assume(child, y[name])
	}
	return true
}

// assume takes a profile for within another one, and has that looked at.
func (w *within) assume(a, b *meaning.Profile) {
	if key := [2]*meaning.Profile{a, b}; a != b && !w.known[key] {
		w.known[key] = true
		w.later = append(w.later, couple{a.Name, meaning.Stack{a}, meaning.Stack{b}})
	}
}
