package suggest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/ruletext"
)

// reduce leaves out rules without which everything is allowed as well. By what each rule allows alone it knows which these
// can be; that they are is proven by the text without them.
func (s *search) reduce(ctx context.Context) (err error) {
	if len(s.chosen) == 0 {
		return nil
	}
	var rules []string
	for _, a := range s.chosen {
		style := styleOf(s.written, a.block)
		rules = append(rules, strings.ReplaceAll(a.Text(style), "@{profile_name}", ruletext.Literal(a.block.Name)))
	}
	if s.each, s.none, err = s.alone(ctx, rules...); err != nil {
		return err
	}
	wants := s.open()
	given := s.given(wants)
	for i := 0; i < len(s.chosen); {
		if s.needed(i, wants, given) {
			i++
			continue
		}
		fewer := slices.Delete(slices.Clone(s.chosen), i, i+1)
		ok, err := s.try(ctx, fewer)
		if err != nil {
			return err
		}
		if !ok || !s.allowsAll(wants) {
			i++
			continue
		}
		s.chosen, s.each, given = fewer, slices.Delete(s.each, i, i+1), slices.Delete(given, i, i+1)
	}
	if _, err = s.try(ctx, s.chosen); err != nil {
		return err
	}
	return s.takesNothing()
}

// takesNothing returns an error if a profile denies something with the rules that it allowed before: an exec can go on in
// another way by a rule with a pattern. What is too large to decide is not doubted, as rules that allow take nothing away.
func (s *search) takesNothing() error {
	for _, a := range s.chosen {
		before, err := s.before.Enforced(a.block.Name)
		if err != nil {
			return err
		}
		after, err := s.after.Enforced(a.block.Name)
		if err != nil {
			return err
		}
		both := meaning.Combination{Profiles: []*meaning.Profile{before, after}, All: true}
		lost, found, err := both.Deviation(before)
		if err == nil && !found {
			lost.Excess, found, err = both.Conflict()
		}
		if err == nil && found {
			return fmt.Errorf("%s: with the rule %s, the profile %s would not allow any more what it does for %s: nothing is suggested", s.path,
				oneline.Whole(a.Text(ruletext.Style{})), oneline.Quote(a.block.Name), oneline.Quote(lost.Key))
		}
	}
	return nil
}

// needed reports whether a rule allows a part of an access that none of the other rules allows alone.
func (s *search) needed(i int, wants []want, given [][]uint32) bool {
	for w := range wants {
		if given[i][w] == 0 {
			continue
		}
		var others uint32
		for j := range given {
			if j != i {
				others |= given[j][w]
			}
		}
		if given[i][w]&^others != 0 {
			return true
		}
	}
	return false
}

// given returns what each rule that was chosen allows alone of each access.
func (s *search) given(wants []want) (all [][]uint32) {
	for i, p := range s.each {
		some := make([]uint32, len(wants))
		for j, w := range wants {
			if s.chosen[i].block.Name == w.block.Name {
				some[j] = s.allows(p, w.access)
			}
		}
		all = append(all, some)
	}
	return all
}

// allows returns what of an access a rule alone allows that no profile allows without a rule: its permissions, or all bits
// of one that has none.
func (s *search) allows(p *meaning.Profile, a meaning.Access) uint32 {
	without, with := s.none.Decide(a), p.Decide(a)
	switch {
	case without.Allowed:
		return 0
	case with.Allowed && without.Denied == 0:
		return ^uint32(0)
	}
	return without.Denied &^ with.Denied
}
