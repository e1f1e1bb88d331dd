package syntax

import (
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Attachments returns the profiles in the text itself that attach to programs by their path. The key is the profile's
// name; the value reports whether the profile attaches to the program at a path. It is for texts that nobody has
// compiled yet. It may report true for too many programs, since a variable that is defined elsewhere is taken to match
// anything.
func (t *Text) Attachments() map[string]func(path string) bool {
	all := make(map[string]func(string) bool)
	for _, b := range t.Blocks {
		if strings.Contains(b.Name, "//") {
			continue
		}
		var found []*regexp.Regexp
		for _, pattern := range attachments(b.header) {
			for _, p := range t.expandLoosely(pattern, b.Name) {
				if re := Matcher(p); re != nil {
					found = append(found, re)
				}
			}
		}
		if found == nil {
			continue
		}
		all[b.Name] = func(path string) bool {
			return slices.ContainsFunc(found, func(re *regexp.Regexp) bool { return re.MatchString(path) })
		}
	}
	return all
}

// attachments returns the patterns of paths in a profile's header: its name, if that is a path, and the path after the
// name.
func attachments(header string) []string {
	var patterns []string
	for _, w := range strings.Fields(header) {
		if w == "profile" {
			continue
		}
		if strings.HasPrefix(w, "/") || strings.HasPrefix(w, "@{") {
			patterns = append(patterns, w)
		} else if len(patterns) > 0 || strings.Contains(w, "=") || strings.HasPrefix(w, "(") {
			break // flags and conditions
		}
	}
	return patterns
}

// used is the use of a variable.
var used = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`@\{[^}]*\}`) })

// expandLoosely is Expand, in which a variable of which nothing is known matches anything.
func (t *Text) expandLoosely(pattern, profile string) []string {
	for range 10 { // as deep as variables are nested
		if all := t.Expand(pattern, profile); all != nil {
			return all
		}
		before := pattern
		pattern = used().ReplaceAllStringFunc(pattern, func(use string) string {
			if values := t.Variables[use[2:len(use)-1]]; len(values) > 0 && len(values) < 20 {
				return "{" + strings.Join(values, ",") + "}"
			}
			return "/**"
		})
		if pattern == before {
			break
		}
	}
	return nil
}
