package policyfile

import (
	"path"
	"strings"
)

// covers reports whether path.Match with p matches everything that it matches with q. It may miss a case of patterns with
// brackets, question marks or escapes. It finds all others.
func covers(p, q string) bool {
	if p == q {
		return true
	}
	if !strings.HasPrefix(q, p[:plain(p)]) {
		return false
	}
	if plain(q) < len(q) {
		// Where p has nothing but stars, a star or question mark of q can be stood for by any character that p does not
		// hold: whatever star of p matches it also matches all that it stands for, slashes being in neither.
		const any = "\x00"
		if strings.ContainsAny(p, `?[\`+any) || strings.ContainsAny(q, `[\`) {
			return false
		}
		q = strings.NewReplacer("*", any, "?", any).Replace(q)
	}
	ok, err := path.Match(p, q)
	return ok && err == nil
}

// plain returns the length of a pattern's part before its first special character. A match must begin with this part.
func plain(pattern string) int {
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		return i
	}
	return len(pattern)
}
