// Package ruletext writes rules: an access as the text of a rule that allows it, and a path as a pattern of it alone, or of
// all paths like it.
//
// Paths, labels and addresses come from records, and so from workloads: whatever stands in them, a rule is about them and
// nothing else. That a rule does allow the access, with a kernel and a parser, is not known here: who calls compiles it.
package ruletext

import (
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// A Rule is a rule that allows something.
type Rule struct {
	// Of one that is not about a file's path: its words, without the comma. Behind the first one stand the permissions, if
	// such rules have some, and signals.
	words   []string
	Want    uint32
	of      []meaning.Permission // nil if it has none
	signals []string             // in order; none for all

	// Of one about a file.
	Owner   bool
	Pattern string
	Letters string // as the function Letters has them, and "x" for an exec

	Notes []string // what in it stands for what, as Widen has it
}

// A Style is how a profile writes its rules, and what its rules can say.
type Style struct {
	Quoted  bool // paths stand in quotes
	Leading bool // permissions stand ahead of the path
	Word    bool // rules about files begin with "file"

	Own       string       // the label for which @{profile_name} stands; empty if it stands for none
	Variables *syntax.Text // has the variables that may be used

	Addressed bool // the kernel decides about unix sockets by their addresses
	Permitted bool // or at least by their permissions
}

// OfFile reports whether the rule is about a file.
func (r Rule) OfFile() bool { return r.words == nil }

// Text returns a rule as a profile writes it, with its comma.
func (r Rule) Text(s Style) string {
	if r.OfFile() {
		return strings.Join(r.fileWords(s), " ") + ","
	}
	words := slices.Clone(r.words)
	if len(r.signals) > 0 {
		words = slices.Insert(words, 1, "set=("+strings.Join(r.signals, ", ")+")")
	}
	if r.of != nil {
		words = slices.Insert(words, 1, among(r.Want, r.of))
	}
	return strings.Join(words, " ") + ","
}

func (r Rule) fileWords(s Style) (words []string) {
	if r.Owner {
		words = append(words, "owner")
	}
	if s.Word {
		words = append(words, "file")
	}
	letters := r.Letters
	if strings.Contains(letters, "w") { // which has it in it, and the parser refuses both
		letters = strings.Replace(letters, "a", "", 1)
	}
	letters = strings.Replace(letters, "x", "ix", 1)
	path := Quoted(r.Pattern, s.Quoted)
	if s.Leading {
		return append(words, letters, path)
	}
	return append(words, path, letters)
}

// among returns the words of permissions, in brackets.
func among(want uint32, of []meaning.Permission) string {
	var some []string
	for _, p := range of {
		if want&p.Bits != 0 {
			some = append(some, p.Word)
		}
	}
	return "(" + strings.Join(some, ", ") + ")"
}

// Key is equal for rules that join whatever else they say: those about the same file or peer, and of those about signals the
// ones that have the same permissions, too. It is the rule without what may differ, and without its comma.
func (r Rule) Key() string {
	if !r.OfFile() && r.words[0] != "signal" {
		r.of = nil
	}
	r.signals, r.Letters = nil, ""
	return strings.TrimSuffix(r.Text(Style{}), ",")
}

// Joins reports whether one rule says what two say, and no more: Join returns it.
func (r Rule) Joins(other Rule) bool {
	if r.OfFile() && other.OfFile() {
		return r.Owner == other.Owner && r.Pattern == other.Pattern
	}
	return !r.OfFile() && slices.Equal(r.words, other.words) && (r.of == nil) == (other.of == nil) &&
		(r.Want == other.Want || slices.Equal(r.signals, other.signals))
}

// Join returns the rule that says what two say.
func (r Rule) Join(other Rule) Rule {
	r.Want |= other.Want
	if slices.Equal(r.signals, other.signals) || len(r.signals) > 0 && len(other.signals) > 0 {
		r.signals = slices.Compact(slices.Sorted(slices.Values(slices.Concat(r.signals, other.signals))))
	} else {
		r.signals = nil
	}
	all := r.Letters + other.Letters
	r.Letters = ""
	for _, l := range "mrwaklx" {
		if strings.ContainsRune(all, l) {
			r.Letters += string(l)
		}
	}
	return r
}

// Letters are the permissions of a file by which a rule allows what was asked. "w" is about all that changes a file, of
// which "a" is about a part.
func Letters(want uint32) (some string) {
	for _, l := range []struct {
		letter string
		bits   uint32
	}{
		{"m", meaning.MayMmapExec}, {"r", meaning.MayRead | meaning.MayGetAttr},
		{"w", meaning.MayWrite | meaning.MayCreate | meaning.MayDelete | meaning.MaySetAttr | meaning.MayChmod | meaning.MayChown | meaning.MayRename},
		{"a", meaning.MayAppend}, {"k", meaning.MayLock}, {"l", meaning.MayLink},
	} {
		if want&l.bits != 0 {
			some += l.letter
		}
	}
	return some
}
