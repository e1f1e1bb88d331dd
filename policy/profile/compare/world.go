package compare

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// A world is what is not known of a node: which profiles are loaded, and which one attaches to a program. Both sides are on
// the same node.
type world struct {
	chosen map[string]int
	trail  []choice
	at     int      // how many of the trail are made
	taken  []taking // which children take hold of the program
}

type choice struct{ is, of int }

// choose returns which of n possibilities holds.
func (w *world) choose(what string, n int) int {
	if is, made := w.chosen[what]; made {
		return is
	}
	if w.at == len(w.trail) {
		w.trail = append(w.trail, choice{0, n})
	}
	is := w.trail[w.at].is
	w.at++
	w.chosen[what] = is
	return is
}

// next changes to another world, and returns false after the last one.
func (w *world) next() bool {
	clear(w.chosen)
	w.at, w.taken = 0, w.taken[:0]
	for last := len(w.trail) - 1; last >= 0; last-- {
		if w.trail[last].is++; w.trail[last].is < w.trail[last].of {
			return true
		}
		w.trail = w.trail[:last]
	}
	return false
}

// A part is a profile under which a program goes on, among others.
type part struct {
	name    string
	profile *meaning.Profile // nil if it is not known
}

// attaching is the name of the profile that attaches to a program on a node. No profile has it.
const attaching = "\x00"

// goesOn reports whether a program goes on under no less at the first side than at the second, in each world. A program goes
// on under all that the parts of a stack lead to. If that is so only if profiles are within others, it adds these.
func (w *within) goesOn(p pair, a, b [][]meaning.Outcome, ask int) bool {
	mine, theirs := transitions(a, ask), transitions(b, ask)
	here := &world{chosen: make(map[string]int)}
	for n := 0; ; n++ {
		if n == mostWorlds {
			w.err = fmt.Errorf("programs go on in more than %d ways: %w", mostWorlds, automaton.ErrTooLarge)
			return true
		}
		if x, runs := w.become(0, p.parts[0], mine, here); runs {
			if y, runs := w.become(1, p.parts[1], theirs, here); !runs || y.scrubbed && !x.scrubbed || !w.covers(x.parts, y.parts) {
				return false
			}
		}
		if !here.next() {
			return true
		}
	}
}

func transitions(parts [][]meaning.Outcome, ask int) (all []meaning.Transition) {
	for _, one := range parts {
		all = append(all, one[ask].Exec)
	}
	return all
}

// covers reports whether under all of some parts no more is possible than under all of others, and adds what that needs.
func (w *within) covers(mine, theirs []part) bool {
	var known meaning.Stack
	for _, x := range mine {
		if x.profile != nil {
			known = append(known, x.profile)
		}
	}
	var need meaning.Stack
	for _, y := range theirs {
		same := func(x part) bool { // a name stands for the same on both sides, as far as they know it
			return x.name == y.name && (x.profile == nil || y.profile == nil || x.profile == y.profile)
		}
		switch {
		case slices.ContainsFunc(mine, same):
		case y.profile == nil, len(known) == 0:
			return false
		default:
			need = append(need, y.profile)
		}
	}
	for _, p := range need {
		w.assume(known, p, "")
	}
	return true
}

// A going is under what a program goes on, and whether its environment is scrubbed, which any part of a stack has done.
type going struct {
	parts    []part
	scrubbed bool
}

// become returns how a program goes on in a world, and false if it cannot be executed there.
func (w *within) become(side int, s meaning.Stack, to []meaning.Transition, here *world) (all going, runs bool) {
	for i, p := range s {
		var more []part
		switch t := to[i]; t.To {
		case meaning.TargetLabel:
			more, runs = w.labelled(side, p, t, here)
		case meaning.TargetAttached:
			more, runs = w.attached(p, t, here)
		default:
			more, runs = plain(p, t.To)
		}
		if !runs {
			return going{}, false
		}
		for _, one := range more { // a label has each profile once
			if !slices.Contains(all.parts, one) {
				all.parts = append(all.parts, one)
			}
		}
		stays := len(more) == 1 && more[0].profile == p // for want of another one
		all.scrubbed = all.scrubbed || to[i].Scrub && (to[i].Else != meaning.TargetSame || !stays)
	}
	return all, true
}

// plain returns what a target is that needs no other profile.
func plain(p *meaning.Profile, to meaning.Target) (all []part, runs bool) {
	switch to {
	case meaning.TargetSame:
		return []part{{p.Name, p}}, true
	case meaning.TargetUnconfined, meaning.TargetLearning: // which allows all that it learns
		return nil, true
	}
	return nil, false
}

// attached returns the profile that attaches to the program, or what there is instead.
func (w *within) attached(p *meaning.Profile, t meaning.Transition, here *world) ([]part, bool) {
	if !t.Child {
		if here.choose("attached", 2) == 0 {
			return []part{{name: attaching}}, true
		}
		return missing(p, t, here)
	}
	if child := w.takes(p, here); child != nil {
		return []part{{child.Name, child}}, true
	}
	return missing(p, t, here)
}

// takes returns the child of a profile that takes hold of the program, and nil if none does.
func (w *within) takes(p *meaning.Profile, here *world) *meaning.Profile {
	for _, known := range here.taken {
		if known.profile == p {
			return known.child
		}
	}
	var ways []*meaning.Profile
	for _, child := range append(p.Attaching(), nil) {
		if !slices.ContainsFunc(here.taken, func(known taking) bool { return !w.programs.together(known, taking{p, child}) }) {
			ways = append(ways, child)
		}
	}
	if len(ways) == 0 { // which only is if something was too much to decide
		ways = []*meaning.Profile{nil}
	}
	child := ways[here.choose("child\x00"+strconv.Itoa(len(here.taken)), len(ways))]
	here.taken = append(here.taken, taking{p, child})
	return child
}

// What kernels do in different ways about profiles that are not loaded. See the departures of package meaning.
const (
	fallsBack = "falls back" // with a fix of 2025 (a9eb185be84e), from a label that was to be put on top to what the rule has instead
	learns    = "learns"     // since Linux 6.13 complain mode has a program learn for want of its profile
)

// kernel reports whether the node's kernel does something.
func (w *world) kernel(does string) bool { return w.choose("kernel\x00"+does, 2) == 0 }

// missing returns what there is instead of a profile that is not loaded.
func missing(p *meaning.Profile, t meaning.Transition, here *world) ([]part, bool) {
	if t.Else == meaning.TargetNone && p.Mode == meaning.Complain && here.kernel(learns) {
		return plain(p, meaning.TargetLearning)
	}
	return plain(p, t.Else)
}

// labelled returns the profiles of a label, or what there is instead if one is not loaded. What is known is loaded, unless
// the rule says what there is instead. On top of another one, it has what would be without it, too.
func (w *within) labelled(side int, p *meaning.Profile, t meaning.Transition, here *world) (all []part, runs bool) {
	whole := t.Label
	if t.Child {
		whole = p.Name + "//" + t.Label
	}
	for _, name := range parts(whole) {
		known, always := w.find(side, p, name)
		ways := 2
		if known != nil && t.Else == meaning.TargetNone {
			ways = 1
		}
		if !always && here.choose("loaded\x00"+name, ways) == 1 {
			if t.Stack && !here.kernel(fallsBack) { // what the rule has instead is what the label is put on
				t.Else = meaning.TargetNone
			}
			return missing(p, t, here)
		}
		all = append(all, part{name, known})
	}
	if !t.Stack {
		return all, true
	}
	below, runs := w.attached(p, t, here)
	return append(all, below...), runs
}

// find returns the profile with a name, as far as the side knows it, and reports whether it is loaded whenever p is.
func (w *within) find(side int, p *meaning.Profile, name string) (found *meaning.Profile, always bool) {
	if found = inFamily(rootOf(p), name); found != nil {
		return found, true
	}
	return w.names[side][name], false
}

// inFamily returns a profile or the one of its children that has a name, and nil if none has it.
func inFamily(p *meaning.Profile, name string) *meaning.Profile {
	if p.Name == name {
		return p
	}
	for _, child := range p.Children {
		if found := inFamily(child, name); found != nil {
			return found
		}
	}
	return nil
}
