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
	matchers []*regexp.Regexp
	perms    string // of r w a x m k l
}

var (
	permissions = regexp.MustCompile(`\A[rwaklmxipPuUcC]+\z`)
	everything  = []*regexp.Regexp{regexp.MustCompile(`(?s)\A/.*\z`)}
)

// file reads a rule about files: "file," "PATH PERMS," "PERMS PATH," "file PATH PERMS,".
func (l *linter) file(r syntax.Rule) (fileRule, bool) {
	f := fileRule{Rule: r}
	words := r.Words
	if r.First() == "file" {
		if words = words[1:]; len(words) == 0 {
			f.pattern, f.perms, f.matchers = "/**", "rwaxmkl", everything
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
	for _, p := range f.patterns {
		if re := syntax.Matcher(p); re != nil {
			f.matchers = append(f.matchers, re)
		}
	}
	return f, true
}

func isPath(s string) bool {
	return strings.HasPrefix(s, "/") || strings.HasPrefix(s, "@{") || strings.HasPrefix(s, "{/") || strings.HasPrefix(s, "{,/")
}

// matches reports whether a rule is about a permission on a path.
func (f *fileRule) matches(path string, perm rune) bool {
	return strings.ContainsRune(f.perms, perm) &&
		slices.ContainsFunc(f.matchers, func(re *regexp.Regexp) bool { return re.MatchString(path) })
}

// denied returns the rule that denies a permission on a path.
func (l *linter) denied(path string, perm rune) *fileRule {
	for i := range l.files {
		if f := &l.files[i]; f.Deny && f.matches(path, perm) {
			return f
		}
	}
	return nil
}

// bits are the permissions of files by their letters.
var bits = map[rune]uint32{'r': meaning.MayRead, 'w': meaning.MayWrite, 'a': meaning.MayAppend, 'x': meaning.MayExec,
	'm': meaning.MayMmapExec, 'k': meaning.MayLock, 'l': meaning.MayLink}

// allows reports whether the compiled profile allows a permission on a path, to the owner of the file.
func (l *linter) allows(path string, perm rune) bool {
	perms, _ := l.compiled.File(path)
	return perms.Allow&^perms.Deny&bits[perm] != 0
}

// holds reports whether a rule has the effect that it describes, in a path that it matches: it may stand in a branch
// that is not taken, or a rule of a higher priority may overrule it. A deny rule that logs nothing shows as one in what
// was compiled. Links are left out: what is denied of them depends on their target.
func (l *linter) holds(f fileRule) bool {
	if l.compiled == nil || len(f.patterns) == 0 {
		return true
	}
	return slices.ContainsFunc(f.patterns, func(pattern string) bool {
		path := syntax.Example(pattern)
		owner, other := l.compiled.File(path)
		for _, perm := range strings.ReplaceAll(f.perms, "l", "") {
			bit := bits[perm]
			allowed := (owner.Allow&^owner.Deny | other.Allow&^other.Deny) & bit
			switch {
			case f.Deny && !f.Audit && (owner.Quiet|other.Quiet)&bit == 0, f.Deny && allowed == bit && owner.Allow&other.Allow&bit != 0:
				return false
			case !f.Deny && allowed == 0:
				return false
			}
		}
		return true
	})
}

// overruled looks for deny rules of which nothing is denied: any other rule yields to one that denies, unless it has a
// higher priority.
func (l *linter) overruled() {
	if !slices.ContainsFunc(l.in.Rules, func(r syntax.Rule) bool { return r.Priority }) {
		return
	}
	for _, r := range l.in.Rules {
		f, ok := l.file(r)
		if !ok || !r.Own || !r.Deny || r.Branch > 0 || len(f.patterns) == 0 || f.perms == "" {
			continue
		}
		if !slices.ContainsFunc(f.patterns, func(pattern string) bool { return !l.allowsAll(syntax.Example(pattern), f.perms) }) {
			l.warn(r.Line, "the rule for %s denies nothing: one of a higher priority allows it; give this one a priority that is not lower",
				show(f.pattern))
		}
	}
}

// allowsAll reports whether the compiled profile allows permissions on a path to everybody, links aside.
func (l *linter) allowsAll(path, perms string) bool {
	owner, other := l.compiled.File(path)
	for _, perm := range strings.ReplaceAll(perms, "l", "") {
		if owner.Allow&^owner.Deny&other.Allow&^other.Deny&bits[perm] == 0 {
			return false
		}
	}
	return perms != "l"
}
