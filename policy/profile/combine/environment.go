package combine

import (
	"context"
	"strings"
)

// Words of rules about changes of the profile, as they stand in a rule's rest.
const (
	safe   = "safe\x00"
	unsafe = "unsafe\x00"
)

// environments returns what two rules about changes of the profile say together of the program's environment: it is kept if
// both say "unsafe", and else scrubbed, which is so without a word as well.
func environments(a, b string) string {
	switch {
	case a == b:
		return a
	case a == safe, b == safe:
		return safe
	}
	return strings.TrimSuffix(a+b, unsafe)
}

// keeping returns a rule that scrubs a program's environment as one that keeps it. It reports false for other rules.
func (r rule) keeping() (rule, bool) {
	switch {
	case r.kind == "file" && r.what == "x":
		exec := strings.ToLower(r.exec)
		is := exec != r.exec
		r.exec = exec
		return r, is
	case r.kind == "change_profile" && r.path != "" && r.rest != unsafe:
		r.rest = unsafe
		return r, true
	}
	return r, false
}

// scrubbing adds to rules those of others, all of which are parts of them, that scrub the environment of a program with which one of
// the rules lets it go on: of two, the parser takes the one whose path is no pattern.
func (m *making) scrubbing(ctx context.Context, rules, others []rule) ([]rule, error) {
	all := rules
	for _, r := range others {
		keeping, is := r.keeping()
		if !is || r.deny || fixed(r.path) != r.path {
			continue
		}
		if err := m.add(ctx, []rule{keeping}); err != nil {
			return nil, err
		}
		kept, err := m.within(keeping, rules)
		if err != nil {
			return nil, err
		}
		if !kept {
			continue
		}
		scrubbed, err := m.want.Judge(m.meant(r))
		if err != nil {
			return nil, err
		}
		j, err := m.want.Judge(m.meant(keeping))
		if err != nil {
			return nil, err
		}
		if scrubbed.Within && !j.Within {
			all = append(all, r)
		}
	}
	return all, nil
}

// within reports whether a rule is a part of one of the others.
func (m *making) within(r rule, others []rule) (bool, error) {
	for _, other := range others {
		if !couldHold(other, r) {
			continue
		}
		if within, err := m.meant(r).Within(m.meant(other)); err != nil || within {
			return within, err
		}
	}
	return false, nil
}
