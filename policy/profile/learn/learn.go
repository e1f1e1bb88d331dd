// Package learn makes the text of a profile from what a recording saw: the records of containers that ran under a recording
// profile, which lets everything pass and has the kernel log it.
//
// A Recording takes records and keeps what they say as rules, so that what it needs of memory depends on what was done, not
// on how often. Text writes them as a profile, has it compiled, and asks the compiled profile (package meaning) about each
// access that was seen: what it returns allows them all.
//
// Where records come from, and whether some were lost, is not known here.
package learn

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/ruletext"
)

// What a Recording keeps at most. A container chooses what it does, and so how much there is to keep.
const (
	mostRules    = 20_000   // rules
	mostBytes    = 32 << 20 // bytes of paths and names
	mostSamples  = 16       // accesses of a rule that are asked about in the end
	mostPrograms = 4        // names of programs that used a rule, of which the text shows three
	mostLeft     = 50       // sentences about what was left out
)

// A Recording is what the processes under recording profiles did.
type Recording struct {
	// Of reports whether a profile is one of the recording, by its name without children.
	Of func(profile string) bool

	rules map[key]*rule
	bytes int
	full  bool
	seen  uint64            // accesses that became rules
	left  map[string]uint64 // what did not: how often, by a sentence
}

// A key is what distinguishes rules: one stands for all accesses with the same key.
type key struct {
	kind kind
	what string // a file's pattern, or as ruletext.Rule.Key
}

// A rule is what was seen of one file, capability, peer and so on.
type rule struct {
	key
	ruletext.Rule        // of all but files
	perms         uint32 // that were asked of any file
	owned         uint32 // that were asked of a file that the process owned
	exec          bool
	path          string // as it was first seen, of a file
	loose         bool   // the rule is about more than what was seen
	samples       []meaning.Access
	programs      []string
}

// Ours reports whether a record is of a profile of the recording. A profile of another policy namespace is none, whatever its
// name: whoever has that namespace chooses the name.
func (r *Recording) Ours(record *audit.Record) bool {
	label, _ := record.Profile()
	name, _, _ := strings.Cut(label, "//")
	_, elsewhere := record.Field("namespace")
	return !elsewhere && r.Of(name)
}

// Add takes a record. ours reports whether it is one of the recording, and news whether it brought something that those
// before it had not: the others can be forgotten.
func (r *Recording) Add(record *audit.Record) (ours, news bool) {
	if !r.Ours(record) {
		return false, false
	}
	if isRuntime(record) {
		return true, r.leave("what the runtime did before it started the container's program")
	}
	switch record.Type {
	case audit.Denied, audit.Killed:
		return true, r.leave("an access that was denied: what is denied is not learned")
	case audit.Allowed, audit.Audited:
	default:
		return true, false // of the profile itself, not of what was done
	}
	asked, err := record.Asked()
	if err != nil {
		var known *audit.NoAccess
		if errors.As(err, &known) && known.Because == audit.OfThePolicy {
			return true, false
		}
		return true, r.leave(err.Error())
	}
	return true, r.learn(asked.Accesses[0], record.Get("comm"))
}

// isRuntime reports whether a record is of runc's own process in the container, of which the kernel may write some after it
// has taken the profile and before the container's program runs. A program that takes this name for itself is not learned:
// that makes the profile smaller, never greater.
func isRuntime(record *audit.Record) bool {
	return strings.HasPrefix(record.Get("comm"), "runc:[")
}

// leave notes that something was seen and not learned, and reports whether that is new.
func (r *Recording) leave(why string) (news bool) {
	if r.left == nil {
		r.left = make(map[string]uint64)
	}
	if len(r.left) >= mostLeft && r.left[why] == 0 {
		why = "other accesses of which no rule can be made"
	}
	r.left[why]++
	return r.left[why] == 1
}

// learn notes an access of a program, and reports whether it is new.
func (r *Recording) learn(a meaning.Access, program string) (news bool) {
	a = r.ours(a)
	one, why := ruleFor(a)
	if why != "" {
		return r.leave(why)
	}
	r.seen++
	if r.rules == nil {
		r.rules = make(map[key]*rule)
	}
	had := r.rules[one.key]
	if had == nil {
		if len(r.rules) >= mostRules || r.bytes >= mostBytes {
			r.full = true
			return false
		}
		had = &one
		r.rules[one.key] = had
		r.bytes += len(one.what) + len(one.path)
		news = true
	}
	news = had.add(one, program) || news
	if len(had.samples) < mostSamples && r.bytes < mostBytes && !slices.Contains(had.samples, a) {
		had.samples = append(had.samples, a)
		r.bytes += len(one.path)
		news = true
	}
	return news
}

// add adds what another access of the same key asked, and reports whether that is new.
func (r *rule) add(one rule, program string) (news bool) {
	news = one.perms&^r.perms != 0 || one.owned&^r.owned != 0 || one.exec && !r.exec
	r.perms |= one.perms
	r.owned |= one.owned
	r.exec = r.exec || one.exec
	if r.kind != files {
		had := r.Text(style)
		r.Rule = r.Join(one.Rule)
		news = news || r.Text(style) != had
	}
	if program = ruletext.Program(program); len(r.programs) < mostPrograms && !slices.Contains(r.programs, program) {
		r.programs = append(r.programs, program)
		news = true
	}
	return news
}

// Seen returns how many accesses were learned.
func (r *Recording) Seen() uint64 { return r.seen }

// Full reports whether there was more than a recording keeps, so that something is missing from it.
func (r *Recording) Full() bool { return r.full }

// Left returns sentences about what was seen and not learned, with how often it was seen.
func (r *Recording) Left() (sentences []string) {
	for why, n := range r.left {
		times := "once"
		if n > 1 {
			times = fmt.Sprint(n, " times")
		}
		sentences = append(sentences, times+": "+why)
	}
	slices.Sort(sentences)
	return sentences
}

// sorted returns the rules in the order of a text.
func (r *Recording) sorted() []*rule {
	var all []*rule
	for _, one := range r.rules {
		all = append(all, one)
	}
	slices.SortFunc(all, byText)
	return all
}

func byText(a, b *rule) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.what, b.what))
}
