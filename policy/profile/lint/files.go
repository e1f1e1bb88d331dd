package lint

import (
	"regexp"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

var permissions = regexp.MustCompile(`\A[rwaklmxipPuUcC]+\z`)

// pathOf returns the pattern of a rule about files, as it stands; it is empty for any other rule.
func pathOf(r syntax.Rule) string {
	words := r.Words
	if r.First() == "file" {
		if words = words[1:]; len(words) == 0 {
			return "/**"
		}
	}
	switch {
	case len(words) < 2:
	case isPath(words[0]):
		return words[0]
	case isPath(words[1]) && permissions.MatchString(words[0]):
		return words[1]
	}
	return ""
}

func isPath(s string) bool {
	return strings.HasPrefix(s, "/") || strings.HasPrefix(s, "@{") || strings.HasPrefix(s, "{/") || strings.HasPrefix(s, "{,/")
}

// overruled looks for deny rules of which nothing is denied: any other rule yields to one that denies, unless it has a
// higher priority.
func (l *linter) overruled() {
	if !slices.ContainsFunc(l.rules, func(r rule) bool { return r.Priority != 0 }) {
		return
	}
	for _, r := range l.rules {
		if r.Own && r.Deny && r.single != nil && r.holds() && r.single.Overruled(l.compiled) {
			l.warn(r.Line, "\"%s\" denies nothing: a rule of a higher priority allows it; give this one a priority that is not lower",
				oneline.Cut(r.Text, maxRule))
		}
	}
}

// noChild looks for rules that execute programs under a child which the profile does not have, and under nothing else: the
// kernel denies that, whatever the rule allows.
func (l *linter) noChild() {
	for _, r := range l.rules {
		if r.Own && !r.Deny && r.single != nil && r.single.NoChild(l.compiled) {
			l.warn(r.Line, "\"%s\" executes nothing in enforce mode: profile %s has no child for it; write the child, or ix",
				oneline.Cut(r.Text, maxRule), show(l.in.Name))
		}
	}
}
