package combine

import (
	"cmp"
	"slices"
	"strings"
)

// quoted returns a word as a rule has it.
func quoted(word string) string {
	if word == "" || strings.ContainsAny(word, " \t\n\"#!") && !strings.HasPrefix(word, "(") && condition(word) == "" {
		return `"` + word + `"`
	}
	return word
}

// condition returns what a condition begins with, "options=" or "options in ", and an empty string for another word.
func condition(word string) string {
	end := strings.IndexFunc(word, func(c rune) bool { return (c < 'a' || c > 'z') && c != '_' })
	for _, is := range []string{"=", " in "} {
		if end > 0 && strings.HasPrefix(word[end:], is) {
			return word[:end] + is
		}
	}
	return ""
}

// text returns the rule as a text has it, with its comma. several are values in place of its own, of what differs
// between rules that are written as one: permissions, capabilities, accesses.
func (r rule) text(several ...string) string {
	var words []string
	for word, is := range map[string]bool{"audit": r.audit, "deny": r.deny, "owner": r.owner} {
		if is {
			words = append(words, word)
		}
	}
	slices.Sort(words)
	if len(several) == 0 {
		several = []string{r.what}
	}
	switch r.kind {
	case "file":
		words = append(words, r.fileWords(several)...)
	case "link":
		words = append(words, "link")
		if r.subset {
			words = append(words, "subset")
		}
		words = append(words, quoted(r.path), "->", quoted(r.target))
	case "capability":
		words = append(words, r.kind)
		if r.what != "" {
			words = append(words, several...)
		}
	case "signal", "ptrace":
		words = append(words, r.peerWords(several)...)
	default:
		words = append(words, r.otherWords()...)
	}
	return strings.Join(words, " ") + ","
}

// fileWords are those of a rule about files. letters are its permissions.
func (r rule) fileWords(letters []string) []string {
	order := func(l string) int { return strings.Index("mrwaklx", l) }
	letters = slices.SortedFunc(slices.Values(letters), func(a, b string) int { return cmp.Compare(order(a), order(b)) })
	all := strings.Join(letters, "")
	if strings.Contains(all, "w") { // which includes it, and both at once are refused
		all = strings.Replace(all, "a", "", 1)
	}
	if r.path == anyPath && r.target == "" && all == "mrwklx" && (r.exec == "ix" || r.deny) {
		return []string{"file"}
	}
	if exec, found := strings.CutSuffix(all, "x"); found && !r.deny {
		all = exec + r.exec
	}
	words := []string{quoted(r.path), all}
	if r.target != "" {
		words = append(words, "->", quoted(r.target))
	}
	return words
}

// peerWords are those of a rule about other processes.
func (r rule) peerWords(accesses []string) []string {
	words := []string{r.kind}
	if order := peers[r.kind]; len(accesses) < len(order) {
		slices.SortFunc(accesses, func(a, b string) int { return slices.Index(order, a) - slices.Index(order, b) })
		words = append(words, "("+strings.Join(accesses, " ")+")")
	}
	if r.set != "" {
		words = append(words, "set=("+r.set+")")
	}
	if r.target != "" {
		words = append(words, "peer="+quoted(r.target))
	}
	return words
}

// otherWords are those of all other rules.
func (r rule) otherWords() []string {
	words := []string{r.kind}
	for _, w := range []string{r.what, r.set} {
		if w != "" {
			words = append(words, w)
		}
	}
	for w := range strings.SplitSeq(strings.TrimSuffix(r.rest, "\x00"), "\x00") {
		if w != "" {
			words = append(words, quoted(w))
		}
	}
	if r.path != "" {
		words = append(words, quoted(r.path))
	}
	if r.target != "" {
		words = append(words, "->", quoted(r.target))
	}
	return words
}

// together writes rules as few: permissions of one path, accesses to one peer, signals and capabilities stand in one rule.
func together(rules []rule) (lines []string) {
	rules = signalsTogether(rules)
	var order []rule
	whats := make(map[rule][]string)
	execs := make(map[rule]rule) // by the rule without what is said of the exec
	for _, r := range rules {
		key := r
		key.what = ""
		switch {
		case r.kind == "file" && r.what == "x":
			key.exec, key.target = "", ""
			if _, other := execs[key]; other { // a second way to go on, which the parser takes where one is more exact
				key = r
			}
			execs[key] = r
		case r.kind == "file", peers[r.kind] != nil, r.kind == "capability" && r.what != "":
			if r.kind == "capability" {
				key.what = "some"
			}
		default:
			key = r
		}
		if whats[key] == nil {
			order = append(order, key)
		}
		if !slices.Contains(whats[key], r.what) {
			whats[key] = append(whats[key], r.what)
		}
	}
	for _, key := range order {
		r := key
		if x, ok := execs[key]; ok {
			if x.target != "" && slices.Contains(whats[key], "l") { // behind which a target would be the link's
				whats[key] = slices.DeleteFunc(whats[key], func(l string) bool { return l == "l" })
				link := key
				lines = append(lines, link.text("l"))
			}
			r.exec, r.target = x.exec, x.target
		}
		lines = append(lines, r.text(whats[key]...))
	}
	return lines
}

// signalsTogether puts the signals of rules that are the same otherwise into one rule.
func signalsTogether(rules []rule) (all []rule) {
	at := make(map[rule]int)
	for _, r := range rules {
		if r.kind != "signal" || r.set == "" {
			all = append(all, r)
			continue
		}
		key := r
		key.set = ""
		if n, ok := at[key]; ok {
			all[n].set += " " + r.set
			continue
		}
		at[key] = len(all)
		all = append(all, r)
	}
	return all
}
