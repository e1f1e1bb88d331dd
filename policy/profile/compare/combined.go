package compare

import (
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// A Departure is an access that a profile allows and a combination does not, or the other way round; or with which a program goes
// on in another way.
type Departure struct {
	Access meaning.Access
	More   bool      // it is the profile that allows it, or that keeps the program's environment
	Ways   [2]string // how the program goes on if both allow it: by the profile, and by the combination
}

// Departs looks for an access that a profile does not answer as a combination does, among those that ask for one permission.
// It goes by what the kernel answers to accesses, and meaning.Combination.Deviation by what rules say of keys.
//
// Where the kernel goes by several keys, a profile may do what meaning.Combination says of these: allow a stack of labels of
// which each part is allowed by another one; or not allow one that each profile allows for another reason. Links are left out,
// as their answers are of two paths each.
//
// The error wraps automaton.ErrTooLarge if the profiles are too large to decide.
func Departs(p *meaning.Profile, c meaning.Combination) (d Departure, found bool, err error) {
	steps := 0
	for _, topic := range meaning.Topics() {
		if topic.Name == "link" || !slices.ContainsFunc(c.Profiles, func(one *meaning.Profile) bool { return !topic.Alike(one, p) }) {
			continue
		}
		if d, found, err = departsOn(newPair(topic, c.Profiles, meaning.Stack{p}, &steps), c.All); found || err != nil {
			return d, found, err
		}
	}
	return Departure{}, false, nil
}

// departsOn is Departs for one topic, of which the profiles are the pair's first side. all is the combination's All.
func departsOn(p pair, all bool) (d Departure, found bool, err error) {
	x, err := p.explore(p.topic.Shape(), false, nil)
	if err != nil {
		return d, false, err
	}
	type kind struct {
		mark    int32
		stacked bool
	}
	seen := make(map[kind]bool)
	for node := range int32(x.nodes.Len()) {
		at := kind{x.marks[node], x.stack[node]}
		if !x.whole[node] || seen[at] {
			continue
		}
		seen[at] = true
		parts, one := p.outcomes(x.distinct[at.mark])
		for i, ask := range p.topic.Asks {
			if p.halfway(ask) || p.byTheWay(ask) {
				continue
			}
			d, departs := p.departs(parts, one[0][i], i, all)
			if !departs || at.stacked && d.More != all {
				continue
			}
			if d.Access = p.topic.Access(x.key(node), ask); d.Access != nil {
				return d, true, nil
			}
		}
	}
	return d, false, nil
}

// departs compares an outcome of a profile with what its combination has for the same ask.
func (p pair) departs(parts [][]meaning.Outcome, is meaning.Outcome, ask int, all bool) (d Departure, departs bool) {
	if d.More = is.Allowed; is.Allowed != allowed(parts, ask, all) {
		return d, true
	}
	exec := p.topic.Asks[ask].Exec
	mine, ruled := way(is, p.parts[1][0], exec)
	want, wanted := p.wayOf(parts, ask, all)
	if !ruled || !wanted || mine == want {
		return d, false
	}
	d.More = !mine.Scrub
	d.Ways = [2]string{mine.String(), want.String()}
	if !exec {
		d.Ways = [2]string{environment(is), environment(meaning.Outcome{Scrub: want.Scrub})}
	}
	return d, true
}

// way returns how a program goes on that a profile executes or with which its process changes, of which only the environment is
// said. It reports false if no rule of the profile says it.
func way(o meaning.Outcome, of *meaning.Profile, exec bool) (meaning.Transition, bool) {
	if !exec {
		return meaning.Transition{Scrub: o.Scrub}, o.Allowed && !o.Denied
	}
	return o.Exec.Own(of), o.Allowed && !o.Denied && o.Exec.To != meaning.TargetLearning
}

// wayOf is way for a combination: its environment is scrubbed if that is so for each part that allows it or, for what all allow,
// for one of them. Of parts that differ otherwise it is that of the first one.
func (p pair) wayOf(parts [][]meaning.Outcome, ask int, all bool) (t meaning.Transition, ruled bool) {
	for i, part := range parts {
		one, says := way(part[ask], p.parts[0][i], p.topic.Asks[ask].Exec)
		switch {
		case !says && all:
			return t, false
		case !says:
		case !ruled:
			t, ruled = one, true
		case all:
			t.Scrub = t.Scrub || one.Scrub
		default:
			t.Scrub = t.Scrub && one.Scrub
		}
	}
	return t, ruled
}

// allowed reports whether all parts allow what is asked, or one of them.
func allowed(parts [][]meaning.Outcome, ask int, all bool) bool {
	is := func(part []meaning.Outcome) bool { return part[ask].Allowed == !all }
	return slices.ContainsFunc(parts, is) == !all
}

// halfway reports whether an ask is the first half of an access: a change of the profile with a program that is not yet known.
// Each rule about such changes allows that for labels that look like its programs' paths.
func (p pair) halfway(ask meaning.Ask) bool {
	return ask.Want == meaning.MayOnExec && len(p.topic.Fields) == 1
}

// byTheWay reports whether an ask is about what no rule says: with any rule about files, attributes of all can be read.
func (p pair) byTheWay(ask meaning.Ask) bool {
	return ask.Want == meaning.MayGetAttr && p.topic.Name == "file"
}
