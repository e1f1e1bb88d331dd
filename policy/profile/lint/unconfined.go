package lint

import (
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// unconfined looks for rules by which what runs under the profile goes on without any: programs that are executed so, and
// processes that change their profile themselves.
func (l *linter) unconfined() {
	for _, r := range l.in.Rules {
		if !r.Own || r.Deny {
			continue
		}
		if perms := execPerms(r); strings.ContainsAny(perms, "uU") {
			path := r.Words[0]
			if path == "file" {
				path = r.Words[1]
			}
			if !isPath(path) {
				path = r.Words[len(r.Words)-1]
			}
			if !l.leaves(path) {
				continue
			}
			when := ""
			if strings.ContainsAny(perms, "pPcC") {
				when = ", where the profile for it is not loaded,"
			}
			l.warn(r.Line, "what is executed as %s%s runs without any confinement (%s): write ix, or a child profile and Cx",
				show(path), when, perms)
		}
		if r.First() == "change_profile" && l.toUnconfined(r.Words) && l.mayChange() {
			l.warn(r.Line, "a process may change its profile to unconfined and then do everything: name the profiles that it "+
				"may change to, change_profile -> NAME,")
		}
	}
}

// leaves reports whether something that a pattern matches is executed without a profile by what was compiled.
func (l *linter) leaves(pattern string) bool {
	patterns := l.Expand(pattern, l.in.Name)
	return patterns == nil || slices.ContainsFunc(patterns, func(p string) bool {
		owner, other := l.compiled.File(syntax.Example(p))
		return slices.ContainsFunc([]meaning.Perms{owner, other}, func(perms meaning.Perms) bool {
			return perms.Allow&^perms.Deny&meaning.MayExec != 0 && perms.XIndex&meaning.XUnconfined != 0
		})
	})
}

// mayChange reports whether a process may change its profile to unconfined, by what was compiled.
func (l *linter) mayChange() bool {
	perms, _ := l.compiled.File("unconfined")
	return perms.Allow&^perms.Deny&(meaning.MayChangeProfile|meaning.MayOnExec) != 0
}

// execPerms returns the permissions of a rule about a file that execute it, and an empty string for any other rule.
func execPerms(r syntax.Rule) string {
	words := r.Words
	if r.First() == "file" {
		words = words[1:]
	}
	if len(words) < 2 || !isPath(words[0]) && !isPath(words[1]) {
		return ""
	}
	for _, w := range words[:2] {
		if !isPath(w) && permissions.MatchString(w) && strings.ContainsAny(w, "xX") {
			return w
		}
	}
	return ""
}

// toUnconfined tells of a rule change_profile that has unconfined among its targets: alone, in a pattern, or as it has none.
func (l *linter) toUnconfined(words []string) bool {
	at := slices.Index(words, "->")
	if at < 0 || at+1 == len(words) {
		return at < 0
	}
	return slices.ContainsFunc(l.expandLabel(words[at+1]), func(p string) bool {
		re := syntax.Matcher(p)
		return re != nil && re.MatchString("unconfined")
	})
}
