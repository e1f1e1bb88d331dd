package policy

import (
	"fmt"
	"iter"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// The flags of an assignment in the index.
const (
	onlySandbox = 1 << iota
	onlyPrivileged
	onlyUnprivileged
	refusedAssigned
)

// plain gives the length of a pattern's part before its first special character: what a match must begin with.
func plain(pattern string) int {
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		return i
	}
	return len(pattern)
}

// rule is an assignment as the index has it.
type rule struct {
	flags      byte
	conditions fields // from its patterns on

	// Set by read.
	file          string
	line          uint64
	policy, floor int
	requests      fields // the places of entries
	accepted      fields // the names of profiles that an engine may choose
	onRefused     Refused
}

// rules walks the assignments in their order. The rules it gives are not read yet.
func (x Index) rules() iter.Seq2[rule, error] {
	return func(yield func(rule, error) bool) {
		_, _, n := x.counts()
		if n == 0 {
			return
		}
		all := x.record(x.u32(28))
		for i := range n {
			r := fields{b: all.bytes()}
			flags := r.byte()
			if all.bad || r.bad {
				yield(rule{}, damaged(fmt.Sprintf("it ends before assignment %d", i+1)))
				return
			}
			if !yield(rule{flags: flags, conditions: r}, nil) {
				return
			}
		}
	}
}

// match gives the first rule that is for a container. One that is privileged in part is passed by where the rule has a
// condition on that and would not confine it. A rule for unprivileged containers that confines it decides, unless the next
// that is for it is one for privileged containers which confines it as well.
func (x Index) match(f Facts) (r rule, found bool, err error) {
	known := f.known()
	var unprivileged rule // that confines it, of one that is so in part
	for r, err := range x.rules() {
		if err != nil {
			return rule{}, false, err
		}
		is, unverified := r.isFor(&f, known)
		if r.conditions.bad {
			return rule{}, false, damaged("an assignment ends within its conditions")
		}
		if !is || found && r.flags&onlyUnprivileged != 0 {
			continue
		}
		if err := r.read(); err != nil {
			return rule{}, false, err
		}
		if unverified != nil {
			return rule{}, false, fmt.Errorf("the %s may be for it, and whether it is cannot be told: %w", r.String(), unverified)
		}
		if f.Privileged != PartlyPrivileged || r.flags&(onlyPrivileged|onlyUnprivileged) == 0 {
			if found {
				return unprivileged, true, nil
			}
			return r, true, nil
		}
		switch confines, err := x.confines(f, &r); {
		case err != nil:
			return rule{}, false, err
		case confines && r.flags&onlyPrivileged != 0:
			return r, true, nil
		case confines:
			unprivileged, found = r, true
		}
	}
	return unprivileged, found, nil
}

// confines says whether a rule that is for a container confines it: by a refusal, or by a profile that is enforced.
func (x Index) confines(f Facts, r *rule) (bool, error) {
	i, refused := x.grant(f, r)
	if refused && r.onRefused == Deny {
		return true, nil
	}
	e, err := x.entry(i)
	if err != nil || e.profile < 0 {
		return false, err
	}
	p, err := x.profile(e.profile)
	return p.Mode != profile.Complain || e.floor >= 0 || r.floor >= 0, err
}

// grant gives the entry that a rule gives a container: what it asks for, if the rule allows that, or what the rule
// assigns.
func (x Index) grant(f Facts, r *rule) (entry int, refused bool) {
	if f.Request == nil {
		return r.policy, false
	}
	if asked, ok := x.entryIndex(*f.Request); ok && r.allows(asked) {
		return asked, false
	}
	return r.policy, true
}

// isFor reports whether a rule is for a container, as far as is known of it. Where that depends on what its engine should
// have reported, unverified is why it is not known.
func (r *rule) isFor(f *Facts, known *known) (is bool, unverified error) {
	if f.Sandbox != (r.flags&onlySandbox != 0) ||
		f.Privileged == Privileged && r.flags&onlyUnprivileged != 0 ||
		f.Privileged == Unprivileged && r.flags&onlyPrivileged != 0 {
		return false, nil
	}
	at := r.conditions
	for i := range keys {
		why := known[i].unverified
		switch keys[i].Kind {
		case Patterns:
			n, value := at.number(), known[i].value
			if n > 0 && why != nil {
				unverified = why
			}
			if !at.match(n, value, value != "") && why == nil {
				r.conditions.bad = at.bad
				return false, nil
			}
		case LabelPatterns:
			for n := at.number(); n > 0 && !at.bad; n-- {
				value, labelled := f.Labels[at.string()]
				if why != nil {
					unverified = why
				}
				if !at.match(at.number(), value, labelled) && why == nil {
					r.conditions.bad = at.bad
					return false, nil
				}
			}
		}
	}
	if at.bad {
		r.conditions.bad = true
		return false, nil
	}
	return true, unverified
}

// match reads the n patterns of a list and says whether one matches a value, if that is known, or there is none.
func (f *fields) match(n uint64, value string, known bool) bool {
	if n == 0 {
		return !f.bad
	}
	hit := false
	for ; n > 0 && !f.bad; n-- {
		plain, special := f.pattern()
		switch {
		case hit || !known:
		case len(special) == 0:
			hit = string(plain) == value
		case len(plain) <= len(value) && string(plain) == value[:len(plain)]:
			hit, _ = path.Match(string(special), value[len(plain):])
		}
	}
	return hit && !f.bad
}

// pattern reads one pattern: the part that a match must begin with, which is all of most, and what follows from the
// first special character on. Comparing the first is so much cheaper that it decides the cost of a long list.
func (f *fields) pattern() (plain, special []byte) {
	return f.bytes(), f.bytes()
}

// read reads what follows the conditions.
func (r *rule) read() error {
	at := r.conditions
	for i := range keys {
		switch keys[i].Kind {
		case Patterns:
			at.list(0)
		case LabelPatterns:
			for n := at.number(); n > 0 && !at.bad; n-- {
				at.bytes()
				at.list(0)
			}
		}
	}
	r.file, r.line = at.string(), at.number()
	r.policy, r.floor = at.place(), at.place()
	r.requests, r.accepted = fields{b: at.bytes()}, fields{b: at.bytes()}
	if r.flags&refusedAssigned != 0 {
		r.onRefused = Assigned
	}
	if at.bad || r.policy < 0 {
		return damaged("an assignment ends too early")
	}
	return nil
}

// allows says whether an annotation may ask for an entry.
func (r *rule) allows(entry int) bool {
	return entry == r.policy || slices.Contains(r.request(), entry)
}

// request gives the places of the entries that an annotation may ask for.
func (r *rule) request() []int {
	var list []int
	for at := r.requests; len(at.b) > 0; {
		list = append(list, at.place())
	}
	return list
}

// String names the rule by its conditions and its place: "rule for namespace kube-system (policy.yaml line 12)".
func (r *rule) String() string {
	const shown = 2
	place := oneline.Word(r.file)
	if r.line > 0 {
		place += " line " + strconv.FormatUint(r.line, 10)
	}
	var a Assignment
	r.conditionsOf(&a)
	return "rule for " + a.whom(shown) + " (" + place + ")"
}

// conditionsOf decodes the conditions of the rule.
func (r *rule) conditionsOf(a *Assignment) {
	a.Sandbox = r.flags&onlySandbox != 0
	if r.flags&(onlyPrivileged|onlyUnprivileged) != 0 {
		a.Privileged = new(r.flags&onlyPrivileged != 0)
	}
	at := r.conditions
	for i := range keys {
		switch k := &keys[i]; k.Kind {
		case Patterns:
			*k.patterns(a), _ = at.list(len(at.b))
		case LabelPatterns:
			for n := at.number(); n > 0 && !at.bad; n-- {
				label := Labelled{Key: at.string()}
				label.Patterns, _ = at.list(len(at.b))
				a.Label = append(a.Label, label)
			}
		}
	}
}

// list reads one list of patterns: the first few, and how many there are.
func (f *fields) list(limit int) (list []string, n uint64) {
	n = f.number()
	for i := n; i > 0 && !f.bad; i-- {
		plain, special := f.pattern()
		if len(list) < limit {
			list = append(list, string(plain)+string(special))
		}
	}
	return list, n
}

// assignment decodes the whole rule. p has the profiles and entries that it refers to.
func (r rule) assignment(p *Config) (Assignment, error) {
	if err := r.read(); err != nil {
		return Assignment{}, err
	}
	a := Assignment{File: r.file, Line: int(r.line), OnRefused: r.onRefused}
	r.conditionsOf(&a)
	for _, i := range append([]int{r.policy}, r.request()...) {
		if i < 0 || i >= len(p.Policies) {
			return Assignment{}, damaged("the " + r.String() + " names a policy that is not there")
		}
		a.Request = append(a.Request, p.Policies[i].Name)
	}
	a.Policy, a.Request = a.Request[0], a.Request[1:]
	a.AcceptChoice = r.choices()
	if r.floor >= len(p.Profiles) {
		return Assignment{}, damaged("the " + r.String() + " names a profile that is not there")
	}
	if r.floor >= 0 {
		a.Floor = p.Profiles[r.floor].Name
	}
	return a, nil
}
