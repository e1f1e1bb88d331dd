package suite

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/compare"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// keptRead is how many profiles stay in memory after they were read, beside those of the label at hand: mostly a floor.
const keptRead = 2

// mostMoves is how many labels are looked at to which a process can move from the one of its container.
const mostMoves = 256

// stacks reads profiles, and keeps those that it read last.
type stacks struct {
	policy Policy
	known  []string // the names of the policy's profiles, and unconfined; those of their children, too, once whole is true
	whole  bool
	inText map[string]string // of the others that the text of a profile defines, as its children: that profile's name
	read   []named           // the last one is the one that was used last
}

type named struct {
	name string
	all  []*meaning.Profile // all that its text defines
}

func newStacks(p Policy) *stacks {
	s := &stacks{policy: p, known: []string{"unconfined"}, inText: make(map[string]string)}
	for _, one := range p.Config.Profiles {
		s.known = append(s.known, one.Name)
	}
	return s
}

// of returns the profiles with these names.
func (s *stacks) of(names []string) (meaning.Stack, error) {
	stack := make(meaning.Stack, 0, len(names))
	for _, name := range names {
		p, err := s.profile(name)
		if err != nil {
			return nil, err
		}
		stack = append(stack, p)
	}
	return stack, nil
}

// profile returns a profile of the policy, or a child of one.
func (s *stacks) profile(name string) (*meaning.Profile, error) {
	if !slices.Contains(s.known, name) {
		if _, err := s.names(); err != nil {
			return nil, err
		}
	}
	text := name
	if of, ok := s.inText[name]; ok {
		text = of
	}
	all, err := s.defined(text)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(p *meaning.Profile) bool { return p.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("profile %s was compiled to profiles of other names", name)
	}
	return all[i], nil
}

// names returns the names of all profiles of the policy with their children, and unconfined. It reads each profile once.
func (s *stacks) names() ([]string, error) {
	if s.whole {
		return s.known, nil
	}
	for _, one := range s.policy.Config.Profiles {
		all, err := s.defined(one.Name)
		if err != nil {
			return nil, err
		}
		for _, p := range all {
			if !slices.Contains(s.known, p.Name) {
				s.inText[p.Name] = one.Name
				s.known = append(s.known, p.Name)
			}
		}
	}
	s.whole = true
	return s.known, nil
}

// has reports whether a name is that of a profile of the policy, or of a child of one. If it may be a child's, and the
// profiles cannot be read, it reports true, so that reading the profile says why.
func (s *stacks) has(name string) bool {
	if slices.Contains(s.known, name) {
		return true
	}
	of, _, child := strings.Cut(name, "//")
	if !child || !slices.Contains(s.known, of) {
		return false
	}
	names, err := s.names()
	return err != nil || slices.Contains(names, name)
}

// reached returns profiles, by their names, with those of the policy to which their rules lead.
func (s *stacks) reached(from meaning.Stack) (map[string]*meaning.Profile, error) {
	side := compare.Side{Stack: from}
	err := side.Reach(func(name string) ([]*meaning.Profile, error) {
		if !slices.ContainsFunc(s.policy.Config.Profiles, func(p policy.Profile) bool { return p.Name == name }) {
			return nil, nil
		}
		return s.defined(name)
	})
	return side.Others, err
}

// defined returns the profiles that the text of a profile defines.
func (s *stacks) defined(name string) ([]*meaning.Profile, error) {
	if i := slices.IndexFunc(s.read, func(n named) bool { return n.name == name }); i >= 0 {
		one := s.read[i]
		s.read = append(slices.Delete(s.read, i, i+1), one)
		return one.all, nil
	}
	data, err := s.policy.Blob(name)
	if err != nil {
		return nil, err
	}
	all, err := meaning.ReadFor(data, s.policy.Kernel)
	if err != nil {
		return nil, fmt.Errorf("what profile %s was compiled to cannot be read: %w", name, err)
	}
	if len(s.read) == keptRead {
		s.read = slices.Delete(s.read, 0, 1)
	}
	s.read = append(s.read, named{name, all})
	return all, nil
}

// found is an access that a process in a container can do.
type found struct {
	witness  string
	allowing []string // the profiles of the label under which it does it
	after    string   // what it does first to come under that label; empty for the container's own
	unknown  string   // why nobody knows whether it can do it; empty where it can
	kernels  []string // which kernels deny it
}

// reach returns the shortest access of a pattern that some process in a container with this label can do, also after it has
// executed a program that goes on under another profile, or has changed its profile. It returns nil if there is none.
// What is not known of the label counts as if it allowed all.
func (r *run) reach(l *label, pattern access.Pattern) (*found, error) {
	start, err := r.stacks.of(l.names)
	if err != nil {
		return nil, err
	}
	todo := []place{{stack: start}}
	seen := map[string]bool{key(start): true}
	for at := 0; at < len(todo); at++ {
		here := todo[at]
		a, is, err := pattern.Allowed(here.stack.Whole())
		if err != nil {
			return &found{unknown: err.Error()}, nil
		}
		if is {
			f := &found{witness: access.Format(a), after: here.after, unknown: here.unknown, kernels: otherwise(here.stack, a)}
			for _, p := range here.stack {
				f.allowing = append(f.allowing, p.Name)
			}
			return f, nil
		}
		next, err := r.moves(here)
		if err != nil {
			return &found{unknown: err.Error()}, nil
		}
		for _, p := range next {
			if k := key(p.stack); !seen[k] {
				seen[k] = true
				todo = append(todo, p)
			}
		}
		if len(todo) > mostMoves {
			return &found{unknown: fmt.Sprintf("processes in it can come under more than %d labels", mostMoves)}, nil
		}
	}
	return nil, nil
}

// A place is a label that a process in a container can come under.
type place struct {
	stack   meaning.Stack
	after   string
	unknown string // why nobody knows under what it then is, so that stack is only what is known
}

func key(s meaning.Stack) string {
	var b strings.Builder
	for _, p := range s {
		b.WriteString(p.Namespace + ":" + p.Name + "\n")
	}
	return b.String()
}

// then adds a step to what a process does first.
func (p place) then(step string) string {
	if p.after == "" {
		return step
	}
	return p.after + ", " + step
}

// moves returns the labels that a process can come under in one step.
func (r *run) moves(here place) (next []place, err error) {
	moves, err := here.stack.Moves()
	if err != nil {
		return nil, err
	}
	for _, m := range moves {
		after := here.then(access.Format(m.Exec))
		for _, to := range r.destinations(here.stack, m) {
			to.after = after
			next = append(next, to)
		}
	}
	changes, other, err := here.stack.Changes(r.stacks.known)
	if err != nil {
		return nil, err
	}
	if other != "" && !r.stacks.whole { // which may be a child
		names, err := r.stacks.names()
		if err != nil {
			return nil, err
		}
		if changes, other, err = here.stack.Changes(names); err != nil {
			return nil, err
		}
	}
	for _, name := range changes {
		to := place{after: here.then("change_profile -> " + name)}
		if name != "unconfined" {
			if to.stack, err = r.stacks.of([]string{name}); err != nil {
				return nil, err
			}
		}
		next = append(next, to)
	}
	if other != "" {
		next = append(next, place{after: here.then("change_profile -> " + other),
			unknown: "it can change to profiles that the policy has not, as to one called " + other})
	}
	return append(next, r.hats(here)...), nil
}

// hats returns the labels that a process can come under by change_hat.
func (r *run) hats(here place) (next []place) {
	if len(here.stack) == 0 {
		return nil
	}
	root := func(p *meaning.Profile) *meaning.Profile {
		if p.Hat && p.Parent != nil {
			return p.Parent
		}
		return p
	}
	for _, child := range root(here.stack[0]).Children {
		hat, ok := strings.CutPrefix(child.Name, root(here.stack[0]).Name+"//")
		if !ok || !here.stack.Decide(meaning.ChangeHatAccess{Hat: hat}).Allowed {
			continue
		}
		to := place{after: here.then("change_hat " + hat)}
		for _, p := range here.stack {
			for _, c := range root(p).Children {
				if c.Name == root(p).Name+"//"+hat {
					to.stack = append(to.stack, c)
				}
			}
		}
		next = append(next, to)
	}
	return next
}

// destinations returns the labels under which a program may go on: each part of the stack leads to one or more profiles.
func (r *run) destinations(s meaning.Stack, m meaning.Move) []place {
	all := []place{{}}
	for i, p := range s {
		var next []place
		for _, to := range r.targets(p, m.Exec.Path, m.To[i]) {
			for _, one := range all {
				one.stack = append(slices.Clone(one.stack), to.stack...)
				if one.unknown == "" {
					one.unknown = to.unknown
				}
				next = append(next, one)
			}
		}
		all = next
	}
	for i := range all {
		slices.SortFunc(all[i].stack, func(a, b *meaning.Profile) int { return strings.Compare(a.Name, b.Name) })
		all[i].stack = slices.Compact(all[i].stack)
	}
	return all
}

// targets returns what a part of a stack becomes with a program: one place for each possibility, none of which has what the
// other parts become. There is none where the program cannot be executed, since no child attaches to it.
func (r *run) targets(p *meaning.Profile, path string, t meaning.Transition) (all []place) {
	add := func(to meaning.Target) {
		switch to {
		case meaning.TargetSame:
			all = append(all, place{stack: meaning.Stack{p}})
		case meaning.TargetUnconfined, meaning.TargetLearning: // which allows all that it learns
			all = append(all, place{})
		}
	}
	if !t.Stack {
		add(t.Else)
	}
	switch t.To {
	case meaning.TargetAttached:
		if t.Child {
			for _, child := range p.Attaching() { // whichever does to this one
				all = append(all, place{stack: meaning.Stack{child}})
			}
			return all
		}
		all = append(all, place{unknown: "it goes on under the profile that attaches to " + path + " on a node"})
	case meaning.TargetLabel:
		if p.Mode != meaning.Complain && p.LeadsNowhere(t, true) {
			return nil
		}
		to := r.labelled(p, t)
		if !t.Stack {
			all = append(all, to)
			break
		}
		// It is on top of what the program would go on under without it.
		for _, below := range r.targets(p, path, meaning.Transition{To: meaning.TargetAttached, Child: t.Child, Else: t.Else}) {
			below.stack = append(below.stack, to.stack...)
			below.unknown = cmp.Or(to.unknown, below.unknown)
			all = append(all, below)
		}
		return all
	default:
		add(t.To)
	}
	if len(all) == 0 {
		all = append(all, place{unknown: "nobody knows under what it goes on"})
	}
	return all
}

// labelled returns the place of a transition to a label by its name.
func (r *run) labelled(p *meaning.Profile, t meaning.Transition) place {
	full := t.Label
	if t.Child {
		full = p.Name + "//" + t.Label
	}
	var to place
	for name := range strings.SplitSeq(full, "//&") {
		root := p
		if root.Parent != nil {
			root = root.Parent
		}
		i := slices.IndexFunc(root.Children, func(c *meaning.Profile) bool { return c.Name == name })
		switch {
		case meaning.IsUnconfined(name):
		case name == root.Name:
			to.stack = append(to.stack, root)
		case i >= 0:
			to.stack = append(to.stack, root.Children[i])
		case r.stacks.has(name):
			part, err := r.stacks.profile(name)
			if err != nil {
				to.unknown = err.Error()
				continue
			}
			to.stack = append(to.stack, part)
		default:
			to.unknown = "it goes on under profile " + name + ", which the policy has not"
		}
	}
	return to
}

// unknown says what is not known of a label.
func (l *label) unknown(f *found) string {
	switch {
	case l.keep:
		return "the container keeps what its engine chose, which may be no profile at all"
	case l.byHand != "":
		return "profile " + l.byHand + " is loaded by hand, and what it allows is not known"
	case f != nil:
		return f.unknown
	}
	return ""
}
