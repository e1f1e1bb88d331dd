package lint

import (
	"regexp"
	"strings"
)

// Attachments gives, for each profile that a text itself defines and that takes hold of programs by their path, what
// tells whether it does of one. It is for texts that nobody has compiled yet, and rather finds too many programs: a variable
// that is defined elsewhere may stand for anything.
func Attachments(text string) map[string]func(path string) bool {
	s := read(text, nil)
	all := map[string]func(string) bool{}
	for _, b := range s.blocks {
		if strings.Contains(b.name, "//") {
			continue
		}
		var found []*regexp.Regexp
		for _, pattern := range attachments(b.header) {
			for _, p := range s.expandLoosely(pattern, b.name) {
				if re := matcher(p); re != nil {
					found = append(found, re)
				}
			}
		}
		if found == nil {
			continue
		}
		all[b.name] = func(path string) bool {
			for _, re := range found {
				if re.MatchString(path) {
					return true
				}
			}
			return false
		}
	}
	return all
}

// attachments gives the patterns of paths in a profile's header: its name where that is one, and what follows a name.
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

// variable is the use of one.
var variable = regexp.MustCompile(`@\{[^}]*\}`)

// expandLoosely is expand, in which a variable of which nothing is known matches anything.
func (s *source) expandLoosely(pattern, profile string) []string {
	for range 10 { // as deep as variables are nested
		if all := s.expand(pattern, profile); all != nil {
			return all
		}
		before := pattern
		pattern = variable.ReplaceAllStringFunc(pattern, func(use string) string {
			if values := s.variables[use[2:len(use)-1]]; len(values) > 0 && len(values) < 20 {
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
