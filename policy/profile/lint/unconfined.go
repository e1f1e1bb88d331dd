package lint

import (
	"context"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/why"
)

// Leaving returns a warning for each rule by which a process under a profile can go on without any confinement: by a
// program that it executes, or by changing its own profile. The compiled profiles decide whether there is such a rule, and
// the rules compiled one by one which it is. If rules is nil, or none of them is it, Leaving warns of the profile as a whole.
func Leaving(ctx context.Context, compiled []*meaning.Profile, rules *why.Text) []Warning {
	l := &linter{Text: &syntax.Text{}, check: "unconfined"}
	if rules != nil {
		l.Text = rules.Read()
	}
	for _, p := range compiled {
		exec, change := p.Leaves()
		if !exec && !change {
			continue
		}
		l.compiled, l.in = p, &syntax.Block{Name: p.Name, Line: l.Line(p.Name)}
		byExec, byChange := l.leaving(ctx, rules)
		if exec && !byExec {
			l.warn(l.in.Line, "profile %s lets programs be executed without any confinement, by a rule that is not found in the text: "+
				"look for ux, Ux, pux, cux and -> unconfined", show(p.Name))
		}
		if change && !byChange {
			l.warn(l.in.Line, "a process may change its profile to unconfined and then do everything, by a rule that is not found in "+
				"the text of profile %s: look for change_profile", show(p.Name))
		}
	}
	return l.found
}

// leaving warns of the rules of a profile by which processes leave their confinement, and reports whether there are some.
func (l *linter) leaving(ctx context.Context, rules *why.Text) (byExec, byChange bool) {
	if rules == nil {
		return false, false
	}
	singles, err := rules.Singles(ctx, l.in.Name)
	if err != nil {
		return false, false
	}
	for _, b := range l.Blocks {
		if b.Name != l.in.Name {
			continue
		}
		for i, r := range b.Rules {
			if singles[i] == nil {
				continue
			}
			exec, change := singles[i].Leaves(l.compiled)
			before := len(l.found)
			if exec {
				byExec = true
				l.warnExec(r)
			}
			if change {
				byChange = true
				l.warn(r.Line, "a process may change its profile to unconfined and then do everything: name the profiles that it "+
					"may change to, change_profile -> NAME,")
			}
			for at := range l.found[before:] {
				if w := &l.found[before+at]; !r.Own {
					w.File, w.Line = singles[i].Place.File, singles[i].Place.Line
				}
			}
		}
	}
	return byExec, byChange
}

// warnExec warns of a rule by which programs are executed without a profile.
func (l *linter) warnExec(r syntax.Rule) {
	path, perms, when := pathOf(r), execPerms(r), ""
	switch {
	case perms == "":
		path, perms = oneline.Cut(r.Text, maxRule), "ux"
	case !strings.ContainsAny(perms, "uU"):
		perms += " -> unconfined"
	case strings.ContainsAny(perms, "pPcC"):
		when = ", where the profile for it is not loaded,"
	}
	l.warn(r.Line, "what is executed as %s%s runs without any confinement (%s): write ix, or a child profile and Cx",
		show(path), when, perms)
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
