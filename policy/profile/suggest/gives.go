package suggest

import (
	"context"
	"fmt"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/protect"
)

// alone compiles rules, each as the only one of a profile, and a profile without any.
func (s *search) alone(ctx context.Context, rules ...string) (each []*meaning.Profile, none *meaning.Profile, err error) {
	text, names := protect.Alone(s.written.Head(), rules)
	read, err := s.reader.Read(ctx, s.path, []byte(text))
	if err != nil {
		return nil, nil, fmt.Errorf("compile the rules that are added one by one: %w", err)
	}
	for _, name := range names {
		p, err := read.Enforced(name)
		if err != nil {
			return nil, nil, err
		}
		each = append(each, p)
	}
	return each[:len(rules)], each[len(rules)], nil
}

// protections says of each rule what it is for, and what it gives up.
func (s *search) protections(out *Suggestion) error {
	for i, p := range s.each {
		added, own := &out.Rules[i], s.chosen[i].block.Name
		added.For = s.denialsOf(s.chosen[i], p)
		for _, protection := range protect.All() {
			if given, err := protection.GivenBy(added.Text, p, s.none, own); err != nil {
				return err
			} else if given {
				added.Gives = append(added.Gives, protection.String())
			}
		}
		after, err := s.after.Enforced(own)
		if err != nil {
			return err
		}
		if !s.chosen[i].OfFile() {
			continue
		}
		if both := protect.WrittenAndRun(p, s.none, after); both != "" {
			added.Gives = append(added.Gives, both)
		}
	}
	return nil
}

// denialsOf returns the denials of which a rule allows a part.
func (s *search) denialsOf(a addition, p *meaning.Profile) (all []int) {
	for _, w := range s.open() {
		if w.block.Name == a.block.Name && !slices.Contains(all, w.denial) && s.allows(p, w.access) != 0 {
			all = append(all, w.denial)
		}
	}
	return all
}
