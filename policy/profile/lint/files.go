package lint

import (
	"regexp"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// fileRule is a rule about files.
type fileRule struct {
	syntax.Rule
	pattern  string   // as it stands
	patterns []string // expanded; nil where they cannot be
	perms    string   // of r w a x m k l
	targets  []string // of a link rule: what the link leads to, expanded; nil for anything
}

var permissions = regexp.MustCompile(`\A[rwaklmxipPuUcC]+\z`)

// file reads a rule about files: "file," "PATH PERMS," "PERMS PATH," "file PATH PERMS,".
func (l *linter) file(r syntax.Rule) (fileRule, bool) {
	f := fileRule{Rule: r}
	words := r.Words
	if r.First() == "file" {
		if words = words[1:]; len(words) == 0 {
			f.pattern, f.perms = "/**", "rwaxmkl"
			return f, true
		}
	}
	if len(words) < 2 {
		return f, false
	}
	path, perms := words[0], words[1]
	if !isPath(path) {
		path, perms = perms, path
	}
	if !isPath(path) || !permissions.MatchString(perms) {
		return f, false
	}
	for _, c := range "rwaxmkl" {
		if strings.ContainsRune(perms, c) {
			f.perms += string(c)
		}
	}
	f.pattern = path
	f.patterns = l.Expand(path, l.in.Name)
	return f, true
}

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

// bits are the permissions of files by their letters.
var bits = map[rune]uint32{'r': meaning.MayRead, 'w': meaning.MayWrite, 'a': meaning.MayAppend, 'x': meaning.MayExec,
	'm': meaning.MayMmapExec, 'k': meaning.MayLock, 'l': meaning.MayLink}

// overruled looks for deny rules of which nothing is denied: any other rule yields to one that denies, unless it has a
// higher priority.
func (l *linter) overruled() {
	if !slices.ContainsFunc(l.in.Rules, func(r syntax.Rule) bool { return r.Priority != 0 }) {
		return
	}
	for _, r := range l.in.Rules {
		f, ok := l.file(r)
		if !ok {
			f, ok = l.link(r)
		}
		if !ok || !r.Own || !r.Deny || r.Branch > 0 || len(f.patterns) == 0 || f.perms == "" {
			continue
		}
		if !slices.ContainsFunc(f.patterns, func(pattern string) bool { return !l.allowsAll(syntax.Example(pattern), f) }) {
			l.warn(r.Line, "the rule for %s denies nothing: one of a higher priority allows it; give this one a priority that is not lower",
				show(f.pattern))
		}
	}
}

// link reads a rule about hard links: "link PATH," "link PATH -> TARGET," "link subset PATH -> TARGET,".
func (l *linter) link(r syntax.Rule) (fileRule, bool) {
	words := r.Words
	if r.First() != "link" {
		return fileRule{}, false
	}
	if words = words[1:]; len(words) > 0 && words[0] == "subset" {
		words = words[1:]
	}
	if len(words) == 0 || !isPath(words[0]) {
		return fileRule{}, false
	}
	f := fileRule{Rule: r, pattern: words[0], patterns: l.Expand(words[0], l.in.Name), perms: "l"}
	if len(words) > 1 {
		target := words[len(words)-1]
		if f.targets = l.Expand(target, l.in.Name); words[1] != "->" || len(words) > 3 || len(f.targets) == 0 {
			return fileRule{}, false
		}
	}
	return f, true
}

// anyTarget stands for all targets of links: a path that only patterns for all paths match.
const anyTarget = "/oci-apparmor/any/target"

// allowsAll reports whether the compiled profile allows what a rule is about on a path to everybody.
func (l *linter) allowsAll(path string, f fileRule) bool {
	allows := func(path string, bit uint32) bool {
		owner, other := l.compiled.File(path)
		return owner.Allow&^owner.Deny&other.Allow&^other.Deny&bit != 0
	}
	for _, perm := range f.perms {
		if !allows(path, bits[perm]) {
			return false
		}
	}
	if !strings.Contains(f.perms, "l") {
		return true
	}
	targets := f.targets
	if targets == nil {
		targets = []string{anyTarget}
	}
	// The kernel looks up a link's path, and then its path and target (aa_path_link, security/apparmor/file.c). Only the
	// second has what rules deny.
	return !slices.ContainsFunc(targets, func(pattern string) bool {
		return !allows(path+"\x00"+syntax.Example(pattern), meaning.MayLink)
	})
}
