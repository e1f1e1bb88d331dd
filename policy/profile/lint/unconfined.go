package lint

import (
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// Leaving returns a warning for each rule by which a process under a profile can go on without any confinement: by a
// program that it executes, or by changing its own profile. The compiled profile decides whether there is such a rule.
// Leaving looks for the rule in the text and in what the text includes. If it finds none, it warns of the profile as a
// whole. The arguments are as in NotEnforced.
func Leaving(text string, included []byte, files []profile.Text, compiled []*meaning.Profile) []Warning {
	own := syntax.Read(text)
	find := finder(files)
	l := &linter{Text: own, check: "unconfined"}
	if included != nil {
		l.Text = own.WithIncludes(string(included))
	}
	for _, p := range compiled {
		exec, change := p.Leaves()
		if !exec && !change {
			continue
		}
		l.compiled, l.in = p, &syntax.Block{Name: p.Name}
		for _, b := range l.Blocks {
			if b.Name != p.Name {
				continue
			}
			l.in = b
			for _, r := range b.Rules {
				before := len(l.found)
				exec = !l.leavingExec(r) && exec
				change = !l.leavingChange(r) && change
				for i := range l.found[before:] {
					if w := &l.found[before+i]; !r.Own {
						w.File, w.Line = find(r.Text)
					}
				}
			}
		}
		if exec {
			l.warn(l.in.Line, "profile %s lets programs be executed without any confinement, by a rule that is not found in the text: "+
				"look for ux, Ux, pux, cux and -> unconfined", show(p.Name))
		}
		if change {
			l.warn(l.in.Line, "a process may change its profile to unconfined and then do everything, by a rule that is not found in "+
				"the text of profile %s: look for change_profile", show(p.Name))
		}
	}
	return l.found
}

// leavingExec warns of a rule by which programs are executed without a profile, and reports whether it is one.
func (l *linter) leavingExec(r syntax.Rule) bool {
	perms := execPerms(r)
	to := ""
	if at := slices.Index(r.Words, "->"); at >= 0 && at+1 < len(r.Words) {
		to = r.Words[at+1]
	}
	falls := strings.ContainsAny(perms, "uU")
	if r.Deny || perms == "" || !falls && !slices.ContainsFunc(l.expandLabel(to), meaning.IsUnconfined) {
		return false
	}
	words := r.Words
	if r.First() == "file" {
		words = words[1:]
	}
	path := words[0]
	if !isPath(path) {
		path = words[1]
	}
	if patterns := l.Expand(path, l.in.Name); patterns != nil && !slices.ContainsFunc(patterns, func(p string) bool {
		return l.compiled.LeavesBy(syntax.Example(p))
	}) {
		return false
	}
	when := ""
	switch {
	case !falls:
		perms += " -> " + to
	case strings.ContainsAny(perms, "pPcC"):
		when = ", where the profile for it is not loaded,"
	}
	l.warn(r.Line, "what is executed as %s%s runs without any confinement (%s): write ix, or a child profile and Cx",
		show(path), when, perms)
	return true
}

// leavingChange warns of a rule by which a process may change its profile to unconfined, and reports whether it is one.
func (l *linter) leavingChange(r syntax.Rule) bool {
	perms, _ := l.compiled.File("unconfined")
	switch {
	case r.Deny, perms.Allow&^perms.Deny&(meaning.MayChangeProfile|meaning.MayOnExec) == 0:
		return false
	case r.First() == "all", r.First() == "change_profile" && l.toUnconfined(r.Words):
		l.warn(r.Line, "a process may change its profile to unconfined and then do everything: name the profiles that it "+
			"may change to, change_profile -> NAME,")
		return true
	}
	return false
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

// toUnconfined reports whether a rule change_profile has unconfined among its targets: alone, in a pattern, or as it
// has none.
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
