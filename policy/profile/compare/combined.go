package compare

import (
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// A Departure is an access that a profile allows and a combination does not, or the other way round.
type Departure struct {
	Access meaning.Access
	More   bool // it is the profile that allows it
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
			is := one[0][i].Allowed
			if is == allowed(parts, i, all) || at.stacked && is != all || p.halfway(ask) || p.byTheWay(ask) {
				continue
			}
			if a := p.topic.Access(x.key(node), ask); a != nil {
				return Departure{a, is}, true, nil
			}
		}
	}
	return d, false, nil
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
