package why

import (
	"context"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// A Verdict is the kind of an answer.
type Verdict uint8

const (
	Allowed    Verdict = iota // by rules
	Unmediated                // no rule is needed: the profile does not decide on such an access
	Denied                    // by rules
	NotAllowed                // no rule allows it
)

// An Answer says what a profile does with an access, and by which rules.
type Answer struct {
	Profile  string
	Mode     meaning.Mode
	Decision meaning.Answer // in the profile's mode
	Verdict  Verdict        // as in enforce mode, which shows what rules allow

	// By are the rules that decide: those that allow all or a part of it, or those that deny it. It is empty for
	// Unmediated, and for NotAllowed unless some rules allow a part.
	By []Use

	// Together is true if no rule of By has this effect by itself, but all of them together have: two rules that allow
	// the two sides of a stack, or one that would give a hard link more permissions than its target has.
	Together bool

	// NoChild is true for an exec that the rules of By allow and that leads to a child which the profile does not have, so
	// that the kernel denies it. The verdict is Denied.
	NoChild bool

	Overruled []Use  // rules that allow it as well, and that a rule of By overrules
	Missing   uint32 // permissions that no rule allows, where some are
	Near      []Near // for NotAllowed: the rules that nearly allow it, the nearest first

	// Doubt says why By may not be the whole truth; it is empty if the answers of all rules together are that of the
	// compiled profile.
	Doubt string
}

// A Use is a rule's part in an answer.
type Use struct {
	*Rule
	Perms uint32              // permissions that were asked for, and that the rule allows or denies
	Next  *meaning.Transition // for an exec that the rule allows
}

// Part returns an access that asks for a part of another one's permissions. Of an access that has only one permission, it
// returns that.
func Part(a meaning.Access, perms uint32) meaning.Access {
	if perms == 0 {
		return a
	}
	switch a := a.(type) {
	case meaning.FileAccess:
		a.Want &= perms
		return a
	case meaning.SocketAccess:
		a.Want &= perms
		return a
	case meaning.UnixAccess:
		a.Want &= perms
		return a
	case meaning.SignalAccess:
		a.Want &= perms
		return a
	case meaning.PtraceAccess:
		a.Want &= perms
		return a
	case meaning.MqueueAccess:
		a.Want &= perms
		return a
	}
	return a
}

// Why says what a profile of the text does with an access, and by which rules. An empty name stands for the text's first
// profile.
func (t *Text) Why(ctx context.Context, name string, a meaning.Access) (*Answer, error) {
	real, p, source, err := t.find(name)
	if err != nil {
		return nil, err
	}
	answer := &Answer{Profile: p.Name, Mode: real.Mode, Decision: real.Whole().Decide(a), Verdict: Unmediated}
	if p.Mode == meaning.Unconfined {
		return answer, nil
	}
	b, err := t.block(ctx, source)
	if err != nil {
		return nil, err
	}
	if hat, ok := a.(meaning.ChangeHatAccess); ok {
		b.hat(answer, p.Decide(a).Allowed, hat.Hat)
	} else if err := b.explain(ctx, answer, p, a); err != nil {
		return nil, err
	} else if answer.Verdict == NotAllowed {
		answer.Near = b.near(p, a)
	} else if exec, ok := a.(meaning.ExecAccess); ok && answer.Verdict == Allowed && p.NoChild(exec) {
		answer.Verdict, answer.NoChild = Denied, true
	}
	for _, uses := range [][]Use{answer.By, answer.Overruled} {
		for i := range uses {
			uses[i].Rule = t.complete(uses[i].Rule)
		}
	}
	for i := range answer.Near {
		answer.Near[i].Rule = t.complete(answer.Near[i].Rule)
	}
	return answer, nil
}

// Enforced returns a profile of the text in enforce mode, in which its answers show what rules allow. An empty name stands
// for the text's first profile.
func (t *Text) Enforced(name string) (*meaning.Profile, error) {
	_, p, _, err := t.find(name)
	return p, err
}

// complete returns a rule with what is looked up only for one that is shown.
func (t *Text) complete(r *Rule) *Rule {
	shown := *r
	shown.Variables = t.variables(r.source)
	return &shown
}

// hat answers for a change into a hat, which no rule but the hat itself decides.
func (b *block) hat(answer *Answer, allowed bool, hat string) {
	if answer.Verdict = NotAllowed; allowed {
		answer.Verdict = Allowed
	}
	root, _, _ := strings.Cut(b.name, "//")
	for _, o := range b.rules {
		if o.kind == childKind && o.Text == "hat "+hat {
			answer.By = append(answer.By, Use{Rule: &o.Rule})
		}
	}
	if allowed && len(answer.By) == 0 {
		answer.Doubt = "it is a hat of profile " + root + ", beside this one"
	}
}

// part is what one rule says of an access.
type part struct {
	*one
	allows, denies uint32
}

// parts returns what each rule says of an access, and which permissions it takes a rule to allow.
func (b *block) parts(a meaning.Access) (parts []part, asked uint32) {
	asked = b.nothing.Decide(a).Denied
	for _, o := range b.rules {
		x := part{one: o}
		switch {
		case o.onTop == nil || o.limits && o.base == nil:
			continue
		case !o.limits:
			x.allows = asked &^ o.onTop.Decide(a).Denied
		default:
			if o.base.Decide(a).Allowed {
				x.denies = o.onTop.Decide(a).Denied
			}
		}
		if x.allows|x.denies != 0 {
			parts = append(parts, x)
		}
	}
	return parts, asked
}

// combine returns which permissions rules allow and deny together, and the rules by which they do. One that denies wins
// over those that allow, unless these have a higher priority.
func combine(parts []part) (allowed, denied uint32, allowing, denying []Use) {
	var levels []int
	for _, x := range parts {
		levels = append(levels, x.priority)
	}
	slices.Sort(levels)
	levels = slices.Compact(levels)
	for _, level := range slices.Backward(levels) {
		var allows, denies uint32
		for _, x := range parts {
			if x.priority == level {
				allows, denies = allows|x.allows, denies|x.denies
			}
		}
		decided := allowed | denied
		denies &^= decided
		allows &^= decided | denies
		for _, x := range parts {
			if x.priority != level {
				continue
			}
			if perms := x.allows & allows; perms != 0 {
				allowing = append(allowing, Use{Rule: &x.Rule, Perms: perms})
			}
			if perms := x.denies & denies; perms != 0 {
				denying = append(denying, Use{Rule: &x.Rule, Perms: perms})
			}
		}
		allowed, denied = allowed|allows, denied|denies
	}
	return allowed, denied, allowing, denying
}

// explain answers for any access but one into a hat.
func (b *block) explain(ctx context.Context, answer *Answer, p *meaning.Profile, a meaning.Access) error {
	refused := p.Decide(a).Denied
	parts, asked := b.parts(a)
	allowed, denied, allowing, denying := combine(parts)
	byRules := asked&^allowed | denied
	overruled := func() (all []Use) {
		for _, x := range parts {
			if x.allows != 0 {
				all = append(all, Use{Rule: &x.Rule, Perms: x.allows})
			}
		}
		return all
	}
	switch {
	case refused == byRules && refused == 0 && asked == 0:
		answer.Verdict = Unmediated
	case refused == byRules && refused == 0:
		answer.Verdict, answer.By = Allowed, allowing
		if exec, ok := a.(meaning.ExecAccess); ok {
			b.execs(answer, p, exec)
		}
	case refused == byRules && denied != 0:
		answer.Verdict, answer.By, answer.Overruled = Denied, denying, overruled()
		answer.Missing = refused &^ denied
	case refused == byRules:
		answer.Verdict, answer.By, answer.Missing = NotAllowed, allowing, refused
	default:
		if err := b.set(ctx, answer, p, a, parts, allowing); err != nil {
			return err
		}
	}
	for _, o := range b.rules {
		if o.onTop == nil || o.limits && o.base == nil {
			answer.Doubt = joined(answer.Doubt, "apparmor_parser does not compile the rule \""+o.Text+"\" alone, so that its part is not known")
		}
	}
	return nil
}

func joined(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// execs tells the rules by which an exec goes on as it does from those that other ones overrule.
func (b *block) execs(answer *Answer, p *meaning.Profile, a meaning.ExecAccess) {
	_, next := p.Exec(a)
	next = next.Own(p)
	var by, over []Use
	for _, u := range answer.By {
		at := slices.IndexFunc(b.rules, func(o *one) bool { return &o.Rule == u.Rule })
		rule := b.rules[at].onTop
		_, goes := rule.Exec(a)
		goes = goes.Own(rule)
		u.Next = &goes
		if goes == next {
			by = append(by, u)
		} else {
			over = append(over, u)
		}
	}
	if answer.By, answer.Overruled = by, over; len(by) == 0 {
		answer.By, answer.Overruled = over, nil
		answer.Doubt = "the exec goes on as none of these rules has it alone"
	}
}
