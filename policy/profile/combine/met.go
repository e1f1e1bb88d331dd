package combine

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
)

// met returns rules about what two rules have in common. It returns none for rules of which it does not know that. What
// one of them logs is logged.
func met(a, b rule) ([]rule, error) {
	if a.kind == "file" && a.what == "l" && b.kind == "link" {
		a = asLink(a)
	}
	if b.kind == "file" && b.what == "l" && a.kind == "link" {
		b = asLink(b)
	}
	if a.kind != b.kind || a.deny != b.deny {
		return nil, nil
	}
	r := a
	r.audit, r.owner, r.subset = a.audit || b.audit, a.owner || b.owner, a.subset || b.subset
	var ok [4]bool
	r.what, ok[0] = oneWhat(a, b)
	r.set, ok[1] = one(a.set, b.set)
	r.exec, ok[2] = oneExec(a.exec, b.exec)
	if a.kind == "change_profile" {
		r.rest, ok[3] = environments(a.rest, b.rest), true
	} else {
		r.rest, ok[3] = rests(a.rest, b.rest)
	}
	if slices.Contains(ok[:], false) || a.what == "x" && a.target != b.target {
		return nil, nil
	}
	paths, err := bothPatterns(a.path, b.path, true)
	if err != nil {
		return nil, err
	}
	targets, err := bothTargets(a, b)
	if err != nil {
		return nil, err
	}
	var all []rule
	for _, r.path = range paths {
		for _, r.target = range targets {
			all = append(all, r)
		}
	}
	return all, nil
}

// bothTargets returns patterns of the targets that two rules have in common. Programs go on under one label, which is no pattern.
func bothTargets(a, b rule) ([]string, error) {
	if a.what == "x" {
		return []string{a.target}, nil
	}
	labels := a.kind == "change_profile" || peers[a.kind] != nil
	return bothPatterns(a.target, b.target, !labels)
}

// asLink returns a rule with the permission to link as the rule about links that it is as well.
func asLink(r rule) rule {
	r.kind, r.what, r.subset, r.target = "link", "", true, "/**"
	return r
}

// oneWhat is one for what rules allow. To write includes to append.
func oneWhat(a, b rule) (string, bool) {
	if both := a.what + b.what; a.kind == "file" && (both == "wa" || both == "aw") {
		return "a", true
	}
	return one(a.what, b.what)
}

// one returns what is said by both of two words, of which an empty one says all.
func one(a, b string) (string, bool) {
	switch {
	case a == "":
		return b, true
	case b == "", a == b:
		return a, true
	}
	return "", false
}

// oneExec is one for ways to execute. One that scrubs the environment is in upper case, and does for both.
func oneExec(a, b string) (string, bool) {
	if !strings.EqualFold(a, b) {
		return "", false
	}
	return min(a, b), true
}

// rests puts conditions together, behind other words, which are what rules about D-Bus and the like allow. It reports false if
// it knows no conditions that say what both say. Of a list of words, both say those that are in both; and flags of a mount that
// are named are more exact than those among which they may be.
func rests(a, b string) (string, bool) {
	words, mine := parted(a)
	others, theirs := parted(b)
	switch {
	case len(words) == 0:
		words = others
	case len(others) > 0 && !slices.Equal(words, others):
		both := inBoth(wordsOf(words...), wordsOf(others...))
		if len(both) == 0 {
			return "", false
		}
		words = []string{listed(both)}
	}
	for key, value := range theirs {
		if had, ok := mine[key]; ok && had != value {
			if value, ok = bothSay(key, had, value); !ok {
				return "", false
			}
		}
		mine[key] = value
	}
	if mine["options="] != "" && a != b {
		delete(mine, "options in ")
	}
	for _, key := range slices.Sorted(maps.Keys(mine)) {
		words = append(words, key+mine[key])
	}
	return joined(words), true
}

// bothSay returns what two values of a condition both say. It reports false if it does not know that.
func bothSay(key, a, b string) (string, bool) {
	these, those := wordsOf(a), wordsOf(b)
	if key == "peer=" && strings.Contains(a, "=") && strings.Contains(b, "=") { // (name=x label=y)
		both, ok := rests(joined(these), joined(those))
		return "(" + strings.Join(strings.FieldsFunc(both, func(c rune) bool { return c == 0 }), " ") + ")", ok
	}
	both := inBoth(these, those)
	if len(both) == 0 || key == "options=" && len(both) < max(len(these), len(those)) {
		return "", false
	}
	return listed(both), true
}

// parted returns what stands in the rest of a rule: words, and conditions by what they begin with.
func parted(rest string) (words []string, conditions map[string]string) {
	conditions = make(map[string]string)
	for w := range strings.SplitSeq(strings.TrimSuffix(rest, "\x00"), "\x00") {
		switch key := condition(w); {
		case key != "":
			conditions[key] = strings.TrimPrefix(w, key)
		case w != "":
			words = append(words, w)
		}
	}
	return words, conditions
}

// wordsOf returns words, of which a list in parentheses stands for its own.
func wordsOf(words ...string) (all []string) {
	for _, w := range words {
		if strings.HasPrefix(w, "(") {
			all = append(all, list(w)...)
		} else {
			all = append(all, w)
		}
	}
	return all
}

func inBoth(a, b []string) (both []string) {
	for _, w := range a {
		if slices.Contains(b, w) {
			both = append(both, w)
		}
	}
	return both
}

// listed writes words as a list, or only one.
func listed(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return "(" + strings.Join(words, " ") + ")"
}

// bothPatterns returns patterns of what matches both, of which an empty one matches all. They are of paths, or of labels.
func bothPatterns(a, b string, paths bool) ([]string, error) {
	if one, ok := one(a, b); ok {
		return []string{one}, nil
	}
	if f, g := fixed(a), fixed(b); !strings.HasPrefix(f, g) && !strings.HasPrefix(g, f) {
		return nil, nil
	}
	all, err := automaton.Meet(a, b)
	if errors.Is(err, automaton.ErrTooMany) {
		return nil, nil
	}
	// No path has a slash after a slash, and the parser would take one of them out.
	all = slices.DeleteFunc(all, func(p string) bool { return paths && strings.Contains(p, "//") && isPath(p) })
	return automaton.Join(all), err
}
