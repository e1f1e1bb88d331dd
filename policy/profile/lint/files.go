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
	perms    string   // of r w a x m k l
	targets  []string // of a link rule: what the link leads to, expanded; nil for anything
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
