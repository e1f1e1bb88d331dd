package why

import (
	"context"
	"errors"
	"sort"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// maxTogether is how many rules are named that have an effect only together.
const maxTogether = 8

// errNoSet says that there is no such set of rules.
var errNoSet = errors.New("no such set of rules")

// set finds the rules that decide an access where the answers of single rules do not add up to the profile's: the kernel
// looks something up more than once for it, and different rules decide there.
func (b *block) set(ctx context.Context, answer *Answer, p *meaning.Profile, a meaning.Access, parts []part, partly []Use) error {
	refused := p.Decide(a).Denied
	var pool, allowing []*one // all rules, and those that take nothing away
	for _, o := range b.rules {
		if o.onTop != nil {
			pool = append(pool, o)
			if !o.limits {
				allowing = append(allowing, o)
			}
		}
	}
	everything, err := b.together(ctx, "", pool)
	if err != nil {
		return err
	}
	if found := everything.Decide(a).Denied; found != refused {
		return b.unexplained(answer, refused, partly)
	}
	decides := func(fixed, pool []*one, holds func(denied uint32) bool) ([]*one, error) {
		return b.minimal(ctx, fixed, pool, func(p *meaning.Profile) bool { return holds(p.Decide(a).Denied) })
	}
	var by []*one
	if refused == 0 {
		answer.Verdict = Allowed
		by, err = decides(nil, allowing, func(denied uint32) bool { return denied == 0 })
	} else {
		// Without all rules it is not allowed either: which of them take away what the others allow?
		answer.Verdict = Denied
		var fixed []*one
		if fixed, err = decides(nil, allowing, func(denied uint32) bool { return denied == 0 }); err == nil {
			by, err = decides(fixed, pool, func(denied uint32) bool { return denied != 0 })
			answer.Overruled = uses(fixed)
		} else if errors.Is(err, errNoSet) {
			fixed = granting(parts)
			by, err = decides(fixed, pool, func(denied uint32) bool { return denied&refused == refused })
			answer.Overruled = uses(fixed)
		}
	}
	if errors.Is(err, errNoSet) {
		return b.unexplained(answer, refused, partly)
	}
	answer.By, answer.Together = uses(by), len(by) > 1 || refused != 0
	return err
}

// unexplained answers where rules do not explain what the profile does.
func (b *block) unexplained(answer *Answer, refused uint32, allowing []Use) error {
	answer.By, answer.Missing = allowing, refused
	if answer.Verdict = NotAllowed; refused == 0 {
		answer.Verdict = Allowed
	}
	answer.Overruled = nil
	answer.Doubt = "the rules of the text do not explain what the compiled profile does"
	return nil
}

func uses(rules []*one) (all []Use) {
	for _, o := range rules {
		all = append(all, Use{Rule: &o.Rule})
	}
	return all
}

func granting(parts []part) (all []*one) {
	for _, x := range parts {
		if x.allows != 0 {
			all = append(all, x.one)
		}
	}
	return all
}

// minimal returns rules of the pool of which none can be left out so that holds is true of a profile that has them and
// the fixed ones. It finds the last of them first: the rule with which the beginning of the pool is enough.
func (b *block) minimal(ctx context.Context, fixed, pool []*one, holds func(*meaning.Profile) bool) (kept []*one, err error) {
	neutral := b.neutral()
	enough := func(pool []*one) bool {
		if err != nil {
			return false
		}
		var p *meaning.Profile
		if p, err = b.together(ctx, neutral, fixed, pool, kept); err != nil {
			return false
		}
		return holds(p)
	}
	for {
		switch {
		case enough(nil):
			return kept, nil
		case err != nil:
			return nil, err
		case len(kept) == maxTogether || !enough(pool):
			return nil, errors.Join(err, errNoSet)
		}
		n := sort.Search(len(pool), func(n int) bool { return enough(pool[:n+1]) })
		if err != nil || n == len(pool) {
			return nil, errors.Join(err, errNoSet)
		}
		kept = append(kept, pool[n])
		pool = pool[:n]
	}
}
