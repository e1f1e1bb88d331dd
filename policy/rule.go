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

// refusedAssigned is the flag of an assignment in the index whose OnRefused is Assigned. The other flags are those of keys.
const refusedAssigned = 1 << 7

// plain returns the length of a pattern's part before its first special character. A match must begin with this part.
func plain(pattern string) int {
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		return i
	}
	return len(pattern)
}

// rule is an assignment as the index has it.
type rule struct {
	flags      byte
	conditions fields // the rest of the record, which begins with the patterns

	// Set by read.
	file          string
	line          uint64
	policy, floor int
	requests      fields // places of the policies that an annotation may ask for
	accepted      fields // names of the profiles that an engine may choose
	onRefused     Refused
}

// rules returns the assignments in their order. They are not read yet.
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

// match returns the first rule that is for a container. For a partly privileged container, it skips a rule that asks for
// privileges and does not confine the container. A rule for unprivileged containers that confines it is its rule, unless
// the next rule that is for it is one for privileged containers that confines it, too.
func (x Index) match(f Facts) (r rule, found bool, err error) {
	known := f.known()
	var unprivileged rule // a rule for unprivileged containers that confines it
	for r, err := range x.rules() {
		if err != nil {
			return rule{}, false, err
		}
		is, unverified := r.isFor(&f, known)
		if r.conditions.bad {
			return rule{}, false, damaged("an assignment ends within its conditions")
		}
		if !is || found && r.privileged() == No {
			continue
		}
		if err := r.read(); err != nil {
			return rule{}, false, err
		}
		if unverified != nil {
			return rule{}, false, fmt.Errorf("the %s may be for it, and nobody knows whether it is: %w", r.String(), unverified)
		}
		if f.Privileged != PartlyPrivileged || r.privileged() == Either {
			if found {
				return unprivileged, true, nil
			}
			return r, true, nil
		}
		switch confines, err := x.confines(f, &r); {
		case err != nil:
			return rule{}, false, err
		case confines && r.privileged() == Yes:
			return r, true, nil
		case confines:
			unprivileged, found = r, true
		}
	}
	return unprivileged, found, nil
}

// privileged returns what the rule asks for by the key privileged.
func (r *rule) privileged() Asked { return privileged.askedIn(r.flags) }

var privileged = key("privileged")

// confines reports whether a rule that is for a container confines it: by a refusal, or by a profile that is enforced.
func (x Index) confines(f Facts, r *rule) (bool, error) {
	i, refused := x.grant(f, r)
	if refused && r.onRefused == Deny {
		return true, nil
	}
	e, err := x.policy(i)
	if err != nil || e.profile < 0 {
		return false, err
	}
	p, err := x.profile(e.profile)
	return p.Mode != profile.Complain || e.floor >= 0 || r.floor >= 0, err
}

// grant returns the policy that a rule gives a container: the one that it asks for if the rule allows that, or else the one
// that the rule assigns.
func (x Index) grant(f Facts, r *rule) (policy int, refused bool) {
	if f.Request == nil {
		return r.policy, false
	}
	if asked, ok := x.policyIndex(*f.Request); ok && r.allows(asked) {
		return asked, false
	}
	return r.policy, true
}

// isFor reports whether a rule is for a container, as far as its facts are known. If that depends on a fact that the engine
// should have reported, unverified is why the fact is not known.
func (r *rule) isFor(f *Facts, known *known) (is bool, unverified error) {
	at := r.conditions
	for i := range known {
		k := &known[i]
		switch k.kind {
		case Switch:
			if !keys[i].holds(f, keys[i].askedIn(r.flags)) {
				return false, nil
			}
		case Patterns:
			n := at.number()
			if n == 0 {
				continue
			}
			if k.unverified != nil {
				unverified = k.unverified
			}
			if !at.match(n, k.value, k.value != "") && k.unverified == nil {
				r.conditions.bad = at.bad
				return false, nil
			}
		case LabelPatterns:
			for n := at.number(); n > 0 && !at.bad; n-- {
				value, labelled := f.Labels[at.string()]
				if k.unverified != nil {
					unverified = k.unverified
				}
				if !at.match(at.number(), value, labelled) && k.unverified == nil {
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

// match reads the n patterns of a list. It reports whether one of them matches a value that is known, or whether there are
// none.
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

// pattern reads one pattern. plain is the part before its first special character, which is all of most patterns. special
// is the rest. Comparing plain first is much cheaper, and decides the cost of a long list.
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

// allows reports whether an annotation may ask for a policy.
func (r *rule) allows(policy int) bool {
	return policy == r.policy || slices.Contains(r.request(), policy)
}

// request returns the places of the policies that an annotation may ask for.
func (r *rule) request() []int {
	var list []int
	for at := r.requests; len(at.b) > 0; {
		list = append(list, at.place())
	}
	return list
}

// String returns the rule's conditions and its place: "rule for namespace kube-system (policy.yaml line 12)".
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
	at := r.conditions
	for i := range keys {
		switch k := &keys[i]; k.Kind {
		case Switch:
			if asked := k.askedIn(r.flags); asked != Either {
				k.set(a, asked == Yes)
			}
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

// list reads one list of patterns. It returns the first limit of them, and their number.
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

// assignment decodes the whole rule. c has the profiles and policies that it names.
func (r rule) assignment(c *Config) (Assignment, error) {
	if err := r.read(); err != nil {
		return Assignment{}, err
	}
	a := Assignment{File: r.file, Line: int(r.line), OnRefused: r.onRefused}
	r.conditionsOf(&a)
	for _, i := range append([]int{r.policy}, r.request()...) {
		if i < 0 || i >= len(c.Policies) {
			return Assignment{}, damaged("the " + r.String() + " names a policy that is not there")
		}
		a.Request = append(a.Request, c.Policies[i].Name)
	}
	a.Policy, a.Request = a.Request[0], a.Request[1:]
	a.AcceptChoice = r.choices()
	if r.floor >= len(c.Profiles) {
		return Assignment{}, damaged("the " + r.String() + " names a profile that is not there")
	}
	if r.floor >= 0 {
		a.Floor = c.Profiles[r.floor].Name
	}
	return a, nil
}
