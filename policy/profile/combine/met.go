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
	r.rest, ok[3] = rests(a.rest, b.rest)
	if slices.Contains(ok[:], false) || a.what == "x" && a.target != b.target {
		return nil, nil
	}
	paths, err := bothPatterns(a.path, b.path)
	if err != nil {
		return nil, err
	}
	targets := []string{a.target}
	if a.what != "x" {
		if targets, err = bothPatterns(a.target, b.target); err != nil {
			return nil, err
		}
	}
	var all []rule
	for _, r.path = range paths {
		for _, r.target = range targets {
			all = append(all, r)
		}
	}
	return all, nil
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

// rests puts conditions together, behind other words. Of a condition that both have, both must say the same, and so it
// is of the other words, such as what rules about D-Bus allow.
func rests(a, b string) (string, bool) {
	all := make(map[string]string)
	var others []string
	for _, rest := range []string{a, b} {
		var mine []string
		for w := range strings.SplitSeq(strings.TrimSuffix(rest, "\x00"), "\x00") {
			key := condition(w)
			switch had, ok := all[key]; {
			case w == "":
			case key == "":
				mine = append(mine, w)
			case ok && had != w:
				return "", false
			default:
				all[key] = w
			}
		}
		if len(mine) > 0 && len(others) > 0 && !slices.Equal(mine, others) {
			return "", false
		}
		if len(mine) > 0 {
			others = mine
		}
	}
	words := others
	for _, key := range slices.Sorted(maps.Keys(all)) {
		words = append(words, all[key])
	}
	return joined(words), true
}

// bothPatterns returns patterns of what matches both, of which an empty one matches all.
func bothPatterns(a, b string) ([]string, error) {
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
	all = slices.DeleteFunc(all, func(p string) bool { return strings.Contains(p, "//") && isPath(p) })
	return automaton.Join(all), err
}
