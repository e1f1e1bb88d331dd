package why

import (
	"context"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// Read returns the text with its includes put in. Rules and blocks of the text itself have their lines in it.
func (t *Text) Read() *syntax.Text {
	return syntax.ReadPlaced(t.whole, func(line int) (int, bool) {
		o := t.origin(line)
		return o.Line, o.File == "" && o.Line > 0
	})
}

// blockOf returns the compiled rules of a profile.
func (t *Text) blockOf(ctx context.Context, name string) (*block, error) {
	_, _, source, err := t.find(name)
	if err != nil {
		return nil, err
	}
	return t.block(ctx, source)
}

// Singles returns the rules of a profile, each compiled as the only one. The key is the rule's index in its block, in
// what Read returns. Rules that are not compiled alone are left out.
func (t *Text) Singles(ctx context.Context, name string) (map[int]*Single, error) {
	b, err := t.blockOf(ctx, name)
	if err != nil {
		return nil, err
	}
	all := make(map[int]*Single)
	for _, o := range b.rules {
		if o.onTop != nil && (o.base != nil || !o.limits) && o.kind != childKind {
			all[o.index] = &Single{o, b.nothing}
		}
	}
	return all, nil
}

// Allowing returns a profile that has those rules of a profile that deny nothing.
func (t *Text) Allowing(ctx context.Context, name string) (*meaning.Profile, error) {
	b, err := t.blockOf(ctx, name)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if b.allowing == nil {
		var rules []*one
		for _, o := range b.rules {
			if !o.limits && o.onTop != nil {
				rules = append(rules, o)
			}
		}
		if b.allowing, err = b.together(ctx, "", rules); err != nil {
			return nil, err
		}
	}
	return b.allowing, nil
}

// A Single is a rule that was compiled as the only one of a profile.
type Single struct {
	*one
	nothing *meaning.Profile
}

// Decides reports whether the rule alone allows an access that no other rule allows or, if it denies, whether it denies the
// access, or a part of it.
func (s *Single) Decides(a meaning.Access) bool {
	if s.limits {
		return s.base.Decide(a).Allowed && !s.onTop.Decide(a).Allowed
	}
	return !s.nothing.Decide(a).Allowed && s.onTop.Decide(a).Allowed
}

// File returns the permissions on a path that the rule alone allows, or denies.
func (s *Single) File(path string) (owner, other uint32) {
	first, second := s.views("")
	of := func(v meaning.View) (uint32, uint32) {
		owner, other := v.File(v.Prefix + path)
		return owner.Allow &^ owner.Deny, other.Allow &^ other.Deny
	}
	fullOwner, fullOther := of(first)
	lessOwner, lessOther := of(second)
	return fullOwner &^ lessOwner, fullOther &^ lessOther
}

// views are two profiles of which the first allows what the rule is about, and the second does not.
func (s *Single) views(prefix string) (full, less meaning.View) {
	if s.limits {
		return meaning.View{Profile: s.base, Prefix: prefix}, meaning.View{Profile: s.onTop, Prefix: prefix}
	}
	return meaning.View{Profile: s.onTop, Prefix: prefix}, meaning.View{Profile: s.nothing, Prefix: prefix}
}

// Beside returns the shortest text for which pick is true of the permissions that the rule is about, for the path of from
// and the text, and of those that a profile allows, for the path of to and the text. The process owns the file. It reports
// whether there is such a text.
func (s *Single) Beside(p *meaning.Profile, from, to string, pick func(rule, allowed uint32) bool) (text string, found bool) {
	full, less := s.views(from)
	text, found, err := meaning.WherePaths("{,?**}", true, func(perms []uint32) bool {
		return pick(perms[0]&^perms[1], perms[2])
	}, full, less, meaning.View{Profile: p, Prefix: to})
	return text, found && err == nil
}

// HasEffect reports whether the rule is about anything at all: one in a branch that is not taken is not.
func (s *Single) HasEffect() bool {
	full, less := s.views("")
	return !Equal(full.Profile, less.Profile)
}

// Leaves reports whether a process can go on without any confinement by the rule under a profile that has it: by a program
// that it executes, or by changing its own profile.
func (s *Single) Leaves(p *meaning.Profile) (exec, change bool) {
	if s.limits {
		return false, false
	}
	exec, err := s.onTop.LeavesAs(p)
	_, change = s.onTop.Leaves()
	_, whole := p.Leaves()
	return exec && err == nil, change && whole
}

// Overruled reports whether a profile that has the rule allows all that the rule denies.
func (s *Single) Overruled(p *meaning.Profile) bool {
	if !s.limits {
		return false
	}
	lacks, err := p.Lacks(s.base, s.onTop)
	return err == nil && !lacks
}

// NoChild reports whether the rule has programs executed under a child of a profile that has the rule, and it has none for any of
// them.
func (s *Single) NoChild(p *meaning.Profile) bool {
	if s.limits {
		return false
	}
	none, err := p.NoChildAs(s.onTop)
	return none && err == nil
}
