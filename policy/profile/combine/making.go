package combine

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// making makes the rules of a block.
type making struct {
	*combination
	want   meaning.Combination
	of     string
	header string
}

// profileOf compiles rules as the profile that they are to be the rules of.

func (m *making) profileOf(ctx context.Context, rules []rule) (*meaning.Profile, error) {
	flags := " {"
	if _, list, ok := strings.Cut(m.header, " flags="); ok {
		flags = " flags=" + list
	}
	compiled, err := m.compile(ctx, m.head+"profile "+quoted(m.to.Name)+flags+"\n"+strings.Join(together(rules), "\n")+"\n}\n")
	if err != nil {
		return nil, err
	}
	return compiled[0], nil
}

// lines returns the rules as lines of a text.
func (m *making) lines(ctx context.Context, parts [][]rule) ([]string, error) {
	limits, parts, err := m.limits(ctx, parts)
	if err != nil {
		return nil, err
	}
	for _, rules := range parts {
		if err := m.add(ctx, rules); err != nil {
			return nil, err
		}
	}
	var rules []rule
	var denied []rule // by one part, and allowed by another one
	if m.all {
		rules, err = m.intersected(ctx, parts)
	} else {
		rules, denied, err = m.merged(ctx, parts)
	}
	if err != nil {
		return nil, err
	}
	if rules, err = m.cut(ctx, rules, denied); err != nil {
		return nil, err
	}
	if rules, err = m.filled(ctx, rules); err != nil {
		return nil, err
	}
	if rules, err = m.fewest(ctx, rules); err != nil {
		return nil, err
	}
	slices.SortStableFunc(rules, func(a, b rule) int { return a.rank() - b.rank() })
	return append(limits, together(rules)...), nil
}

// rank returns where a rule stands among others: those that deny behind those that allow, and paths last.
func (r rule) rank() int {
	n := slices.Index([]string{"capability", "network", "unix", "mount", "remount", "umount", "pivot_root", "signal", "ptrace"}, r.kind)
	switch r.kind {
	case "change_profile", "link":
		n = 20
	case "file":
		n = 21
	}
	if r.deny {
		n += 100
	}
	return n
}

// filled adds rules that allow all of a class where that is wanted, and what allows it in a text is no rule: that the ABI
// which it names knows no such rules.
func (m *making) filled(ctx context.Context, rules []rule) ([]rule, error) {
	p, err := m.profileOf(ctx, rules)
	if err != nil {
		return nil, err
	}
	if d, differs, err := m.want.Deviation(p); err != nil || !differs || d.More {
		return rules, err
	}
	var whole []rule
	for _, kind := range []string{"capability", "network", "unix", "mount", "remount", "umount", "pivot_root", "signal", "ptrace", "dbus",
		"userns", "io_uring", "mqueue", "change_profile"} {
		r := rule{kind: kind}
		if peers[kind] == nil {
			whole = append(whole, r)
		}
		for _, r.what = range peers[kind] {
			whole = append(whole, r)
		}
	}
	for _, l := range allLetters { // of locks, some parsers write tables in which a profile without rules about files allows all
		whole = append(whole, rule{kind: "file", path: anyPath, what: string(l)})
	}
	whole = m.taken(ctx, whole)
	whole, err = m.those(whole, func(j meaning.Judgement) bool { return j.Within })
	return append(whole, rules...), err
}

// those returns the rules that are judged so.
func (m *making) those(rules []rule, so func(meaning.Judgement) bool) (some []rule, err error) {
	for _, r := range rules {
		j, err := m.want.Judge(m.meant(r))
		if err != nil {
			return nil, err
		}
		if so(j) {
			some = append(some, r)
		}
	}
	return some, nil
}

// positives returns the rules that allow something, and those that deny.
func split(rules []rule) (allow, deny []rule) {
	for _, r := range rules {
		if r.deny {
			deny = append(deny, r)
		} else {
			allow = append(allow, r)
		}
	}
	return allow, deny
}

// fewest leaves out rules that are about nothing, and those that are a part of another one.
func (m *making) fewest(ctx context.Context, rules []rule) (few []rule, err error) {
	var kept []rule
	for _, r := range rules {
		if !slices.Contains(kept, r) && !m.meant(r).Empty() {
			kept = append(kept, r)
		}
	}
	var parts []rule
	for i, r := range kept {
		needed := true
		for j, other := range kept {
			if i == j || !couldHold(other, r) {
				continue
			}
			within, err := m.meant(r).Within(m.meant(other))
			if err != nil {
				return nil, err
			}
			if within && j > i && couldHold(r, other) { // of two that are the same, the first one stays
				back, err := m.meant(other).Within(m.meant(r))
				if err != nil {
					return nil, err
				}
				within = !back
			}
			if within {
				needed = false
				break
			}
		}
		if needed {
			few = append(few, r)
		} else {
			parts = append(parts, r)
		}
	}
	return m.scrubbing(ctx, few, parts)
}

// couldHold reports whether a rule may say all that another one says. It need not be exact: it saves a comparison.
func couldHold(r, other rule) bool {
	if r.deny != other.deny || other.audit && !r.audit || r.kind != other.kind {
		return false
	}
	if r.kind == "file" && (r.what != other.what && !(r.what == "w" && other.what == "a") || r.owner && !other.owner) {
		return false
	}
	return r.kind != "file" && r.kind != "link" || strings.HasPrefix(fixed(other.path), fixed(r.path))
}

// fixed returns what of a pattern stands before its first part that may be several texts.
func fixed(pattern string) string {
	if at := strings.IndexAny(pattern, `*?[{\`); at >= 0 {
		return pattern[:at]
	}
	return pattern
}

// merged returns all rules that allow, and of those that deny what may stay. denied are the others: a part denies by them
// what another one allows.
func (m *making) merged(ctx context.Context, parts [][]rule) (rules, denied []rule, err error) {
	var denials [][]rule
	for _, part := range parts {
		allow, deny := split(part)
		rules = append(rules, allow...)
		denials = append(denials, deny)
	}
	if rules, err = m.fewest(ctx, rules); err != nil {
		return nil, nil, err
	}
	allowed, err := m.profileOf(ctx, rules)
	if err != nil {
		return nil, nil, err
	}
	apart := func(j meaning.Judgement) bool { return j.Apart }
	for i, deny := range denials {
		stay, err := m.those(deny, apart)
		if err != nil {
			return nil, nil, err
		}
		rules = append(rules, stay...)
		gone := slices.DeleteFunc(slices.Clone(deny), func(r rule) bool { return slices.Contains(stay, r) })
		denied = append(denied, gone...)

		// Of a rule about several things, some may still be denied, of those that something allows.
		some, err := m.those(m.taken(ctx, each(gone)), apart)
		if err != nil {
			return nil, nil, err
		}
		for _, r := range some {
			switch j, err := (meaning.Combination{Profiles: []*meaning.Profile{allowed}}).Judge(m.meant(r)); {
			case err != nil:
				return nil, nil, err
			case !j.Apart:
				rules = append(rules, r)
			}
		}
		if i > 0 || len(denials) < 2 {
			continue
		}
		both, err := m.metAll(ctx, gone, denials[1]) // and what both deny
		if err != nil {
			return nil, nil, err
		}
		if both, err = m.those(both, apart); err != nil {
			return nil, nil, err
		}
		rules = append(rules, both...)
	}
	return rules, denied, nil
}

// metAll returns what rules have in common with others, where the parser takes that.
func (m *making) metAll(ctx context.Context, rules, others []rule) (all []rule, err error) {
	for _, a := range rules {
		for _, b := range others {
			common, err := met(a, b)
			if err != nil {
				return nil, err
			}
			all = append(all, common...)
		}
	}
	return m.taken(ctx, all), ctx.Err()
}

// intersected returns what rules of one part have in common with those of the other, and all that deny.
func (m *making) intersected(ctx context.Context, parts [][]rule) ([]rule, error) {
	var rules []rule
	var allows [][]rule
	for _, part := range parts {
		allow, deny := split(part)
		rules = append(rules, deny...)
		allows = append(allows, allow)
	}
	var bounds []*meaning.Profile // what each part would allow if nothing were denied
	for _, allow := range allows {
		p, err := m.profileOf(ctx, allow)
		if err != nil {
			return nil, err
		}
		bounds = append(bounds, p)
	}
	// A rule that lies within what the other part allows stays as it is.
	pairs := make([][]rule, len(allows))
	for i, allow := range allows {
		other := meaning.Combination{Profiles: []*meaning.Profile{bounds[1-i]}}
		for _, r := range allow {
			switch j, err := other.Judge(m.meant(r)); {
			case err != nil:
				return nil, err
			case j.Within:
				rules = append(rules, r)
			case !j.Apart:
				pairs[i] = append(pairs[i], r)
			}
		}
	}
	for i := range pairs {
		common, err := m.metAll(ctx, pairs[i], allows[1-i])
		if err != nil {
			return nil, err
		}
		for _, r := range common {
			if r.rest != "" { // whose conditions may say more together than both do
				j, err := meaning.Combination{Profiles: bounds, All: true}.Judge(m.meant(r))
				if err != nil {
					return nil, err
				}
				if !j.Within {
					continue
				}
			}
			rules = append(rules, r)
		}
	}
	return rules, nil
}

// lettersOf are the permissions of files by which rules name them.
var lettersOf = map[string]uint32{"r": meaning.MayRead, "w": meaning.MayWrite, "a": meaning.MayAppend, "m": meaning.MayMmapExec,
	"k": meaning.MayLock, "l": meaning.MayLink, "x": meaning.MayExec}

// cut adds rules that deny what rules allow and should not: what of denied no part allows.
func (m *making) cut(ctx context.Context, rules, denied []rule) ([]rule, error) {
	if len(denied) == 0 {
		return rules, nil
	}
	p, err := m.profileOf(ctx, rules)
	if err != nil {
		return nil, err
	}
	if _, differs, err := m.want.Deviation(p); err != nil || !differs {
		return rules, err
	}
	for _, r := range denied {
		if r.kind != "file" {
			continue
		}
		patterns, err := m.want.Missing(m.meant(r), lettersOf[r.what], r.owner)
		if errors.Is(err, automaton.ErrNoPatterns) || errors.Is(err, automaton.ErrTooMany) || errors.Is(err, automaton.ErrTooLarge) {
			continue // and the proof fails, if this one was needed
		}
		if err != nil {
			return nil, err
		}
		for _, p := range automaton.Join(patterns) {
			r.path = p
			rules = append(rules, r)
		}
	}
	return rules, m.add(ctx, rules)
}
