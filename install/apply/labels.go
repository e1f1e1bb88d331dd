package apply

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/compare"
)

// A LabelDifference is two labels of which containers have one by the earlier policy and the other one by the later policy.
type LabelDifference struct {
	From, To   label
	Containers []string            // for which containers, each in words
	Meaning    *compare.Difference // nil if it is not known
	Unknown    string              // a sentence that says why Meaning is nil
}

// label are the names of profiles, sorted. None of them stand for what the engine chose.
type label []string

// String returns the label as the kernel shows it, or words for that of the engine.
func (l label) String() string {
	if len(l) == 0 {
		return "what the engine chose"
	}
	return policy.Label(l...)
}

// mostLabels is how many pairs of labels are compared.
const mostLabels = 64

// labels finds out who is under another label by the later one of two policies.
type labels struct {
	a, b       sidePolicy
	pairs      []LabelDifference
	at         map[string]int // in pairs, by both labels
	containers []string       // lines about containers for which no label is to be compared
}

// labelsOf returns which containers change their labels, what that means, and lines about those that change their rules, or
// may not ask for something any more.
func labelsOf(a, b sidePolicy, o compare.Options) ([]LabelDifference, []string, error) {
	l := labels{a: a, b: b, at: make(map[string]int)}
	all, whole := moves(a.config.Assignments, b.config.Assignments)
	for _, m := range all {
		l.move(m)
	}
	if !whole {
		l.containers = append(l.containers, "there are too many rules to find all containers that change theirs")
	}
	for i := range l.pairs {
		if err := l.compare(&l.pairs[i], i, o); err != nil {
			return nil, nil, err
		}
	}
	return l.pairs, l.containers, nil
}

// given returns the label of a rule's containers by one of its policies. The engine's choice, unless it is empty, stands in
// the place of the policy's profile.
func (s sidePolicy) given(a rule, name, choice string) (l label) {
	i := slices.IndexFunc(s.config.Policies, func(p policy.Policy) bool { return p.Name == name })
	if i < 0 || s.config.Policies[i].Profile == policy.Keep {
		return nil
	}
	p := s.config.Policies[i]
	if choice != "" {
		p.Profile = choice
	}
	for _, one := range []string{p.Floor, a.Floor, p.Profile} {
		if one != "" {
			l = append(l, one)
		}
	}
	slices.Sort(l)
	return slices.Compact(l)
}

// move compares what containers get by one rule with what they get by another one.
func (l *labels) move(m move) {
	from, to := l.a.given(m.from, m.from.Policy, ""), l.b.given(m.to, m.to.Policy, "")
	if !l.add(m, from, to, "") && m.from.whom != m.to.whom {
		l.containers = append(l.containers, m.words("")+"; under "+to.String()+", as before")
	}
	for _, name := range m.to.Request {
		if name == m.to.Policy {
			continue
		}
		was, by := from, " that ask for policy "+name+", which was refused before (compared with those that ask for nothing)"
		switch {
		case m.from.Policy == name || slices.Contains(m.from.Request, name):
			was, by = l.a.given(m.from, name, ""), " that ask for policy "+name
		case m.from.OnRefused == policy.Assigned:
			by = " that ask for policy " + name + ", which did not count before"
		}
		l.add(m, was, l.b.given(m.to, name, ""), by)
	}
	for _, name := range m.from.Request {
		switch {
		case name == m.to.Policy || slices.Contains(m.to.Request, name):
		case m.to.OnRefused == policy.Assigned:
			l.add(m, l.a.given(m.from, name, ""), to, " that ask for policy "+name+", which does not count any more")
		default:
			l.containers = append(l.containers, m.words(" that ask for policy "+name+", which is refused now")+"; before under "+
				l.a.given(m.from, name, "").String())
		}
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(m.from.AcceptChoice, m.to.AcceptChoice)))) {
		was, is := from, to
		if slices.Contains(m.from.AcceptChoice, name) {
			was = l.a.given(m.from, m.from.Policy, name)
		}
		if slices.Contains(m.to.AcceptChoice, name) {
			is = l.b.given(m.to, m.to.Policy, name)
		}
		l.add(m, was, is, " for which the engine chooses "+name)
	}
}

// add notes that containers change their label, and reports whether they do.
func (l *labels) add(m move, from, to label, by string) bool {
	if slices.Equal(from, to) {
		return false
	}
	key := strings.Join(from, " ") + "\n" + strings.Join(to, " ")
	i, there := l.at[key]
	if !there {
		i = len(l.pairs)
		l.at[key] = i
		l.pairs = append(l.pairs, LabelDifference{From: from, To: to})
	}
	if whom := m.words(by); !slices.Contains(l.pairs[i].Containers, whom) {
		l.pairs[i].Containers = append(l.pairs[i].Containers, whom)
	}
	return true
}

// words returns words for the containers that have both rules. by says what else is so for them, and may be empty.
func (m move) words(by string) string {
	none := func(r rule) bool { return r.File == "" && r.Line == 0 }
	x, y := m.from.whom, m.to.whom
	var o overlap
	switch {
	case none(m.from) && none(m.to):
		return "containers without a rule" + by
	case none(m.to):
		return "containers of " + x + by + ": now without a rule"
	case none(m.from):
		return "containers of " + y + by + ": before without a rule"
	case x == y:
		return "containers of " + y + by
	case o.within(&m.to, &m.from):
		return "containers of " + x + by + ": now by the rule for " + y
	case o.within(&m.from, &m.to):
		return "containers of " + y + by + ": before by the rule for " + x
	}
	return "containers of " + x + by + ", as far as they are now by the rule for " + y
}

// compare sets what a change of a label means. at is its place among the pairs.
func (l *labels) compare(d *LabelDifference, at int, o compare.Options) error {
	unknown := func(s sidePolicy, names label) string {
		for _, name := range names {
			if s.index(name) < 0 {
				return fmt.Sprintf("profile %s is loaded by hand, so what it allows is not known, and is not compared", name)
			}
		}
		return ""
	}
	switch {
	case len(d.From) == 0:
		d.Unknown = "these are the first profiles that the policy has for them; what the engine chose is not known, " +
			"so this is not compared with it"
	case len(d.To) == 0:
		d.Unknown = "no profile of the policy confines them any more"
	case at >= mostLabels:
		d.Unknown = fmt.Sprintf("not compared: more than %d pairs of labels differ", mostLabels)
	default:
		if d.Unknown = unknown(l.a, d.From); d.Unknown == "" {
			d.Unknown = unknown(l.b, d.To)
		}
	}
	if d.Unknown != "" {
		return nil
	}
	before, err := l.a.side(d.From...)
	if err != nil {
		return err
	}
	after, err := l.b.side(d.To...)
	if err != nil {
		return err
	}
	d.Meaning, err = compare.Compare(before, after, o)
	if errors.Is(err, automaton.ErrTooLarge) {
		d.Meaning, d.Unknown = nil, "not compared: the profiles are too large for that"
		return nil
	}
	if err != nil {
		return exit.With(exit.Cannot, fmt.Errorf("label %s and label %s: %w", d.From, d.To, err))
	}
	return nil
}
