package suggest

import (
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/ruletext"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// styleOf returns the style of most rules of a block or, where it has no rules about files, of the whole text.
func styleOf(t *syntax.Text, b *syntax.Block) ruletext.Style {
	s, seen := styleOfRules(t, b.Rules)
	if !seen {
		s, _ = styleOfRules(t, t.Rules())
	}
	if slices.ContainsFunc(b.Rules, func(r syntax.Rule) bool { return strings.Contains(t.Source(r), "@{profile_name}") }) {
		s.Own = b.Name
	}
	return s
}

func styleOfRules(t *syntax.Text, rules []syntax.Rule) (s ruletext.Style, seen bool) {
	all, quoted, leading, word := 0, 0, 0, 0
	for _, r := range rules {
		words := r.Words
		if r.First() == "file" && len(words) > 1 {
			words = words[1:]
		}
		if len(words) < 2 {
			continue
		}
		path := slices.IndexFunc(words[:2], func(w string) bool { return strings.HasPrefix(w, "/") || strings.HasPrefix(w, "@{") })
		if path < 0 || path == 1 && strings.Trim(words[0], "rwaklmixpucPUC") != "" {
			continue
		}
		all++
		for is, n := range map[*int]bool{&quoted: strings.Contains(t.Source(r), `"`), &leading: path == 1, &word: r.First() == "file"} {
			if n {
				*is++
			}
		}
	}
	return ruletext.Style{Quoted: 2*quoted > all, Leading: 2*leading > all, Word: 2*word > all}, all > 0
}
