package compare

import (
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// A taking is which child of a profile takes hold of a program; nil if none does.
type taking struct{ profile, child *meaning.Profile }

// mostPrograms is how many pairs of profiles are looked at for the programs to which both attach.
const mostPrograms = 1 << 13

// programs remembers how the programs relate to which profiles attach.
type programs struct {
	asked  int // of mostPrograms
	of     map[*meaning.Profile]meaning.Programs
	meet   map[[2]*meaning.Profile]bool
	alike  map[[2]*meaning.Profile]bool
	within map[[2]*meaning.Profile]bool
	paired map[[2]*meaning.Profile]bool
}

func (p *programs) attachedTo(a *meaning.Profile) meaning.Programs {
	if p.of == nil {
		p.of = make(map[*meaning.Profile]meaning.Programs)
		p.meet, p.within = make(map[[2]*meaning.Profile]bool), make(map[[2]*meaning.Profile]bool)
		p.alike = make(map[[2]*meaning.Profile]bool)
	}
	its, ok := p.of[a]
	if !ok {
		its = a.Programs()
		p.of[a] = its
	}
	return its
}

// areWithin reports whether b attaches to all programs to which a does. What is too much to decide is not so.
func (p *programs) areWithin(a, b *meaning.Profile) bool {
	x, y := p.attachedTo(a), p.attachedTo(b)
	is, ok := p.within[[2]*meaning.Profile{a, b}]
	if !ok && p.asked < mostPrograms {
		p.asked++
		is, _ = x.Within(y)
		p.within[[2]*meaning.Profile{a, b}] = is
	}
	return is
}

// areSome reports whether a and b attach to a program both. What is too much to decide is so.
func (p *programs) areSome(a, b *meaning.Profile) bool {
	x, y := p.attachedTo(a), p.attachedTo(b)
	is, ok := p.meet[[2]*meaning.Profile{a, b}]
	if !ok {
		if is = true; p.asked < mostPrograms {
			p.asked++
			some, err := x.Meet(y)
			is = some || err != nil
		}
		p.meet[[2]*meaning.Profile{a, b}] = is
	}
	return is
}

// areAlike reports whether a and b attach to the same programs. What is too much to decide is not so.
func (p *programs) areAlike(a, b *meaning.Profile) bool {
	x, y := p.attachedTo(a), p.attachedTo(b)
	is, ok := p.alike[[2]*meaning.Profile{a, b}]
	if !ok && p.asked < mostPrograms {
		p.asked++
		is, _ = x.Alike(y)
		p.alike[[2]*meaning.Profile{a, b}] = is
	}
	return is
}

// arePaired reports whether two profiles have children for the same programs.
func (p *programs) arePaired(a, b *meaning.Profile) bool {
	both := [2]*meaning.Profile{a, b}
	paired, ok := p.paired[both]
	if !ok {
		mine, theirs := a.Attaching(), b.Attaching()
		none := func(of, among []*meaning.Profile) bool {
			return slices.ContainsFunc(of, func(c *meaning.Profile) bool {
				return !slices.ContainsFunc(among, func(d *meaning.Profile) bool { return p.areAlike(c, d) })
			})
		}
		paired = len(mine) == len(theirs) && !none(mine, theirs) && !none(theirs, mine)
		if p.paired == nil {
			p.paired = make(map[[2]*meaning.Profile]bool)
		}
		p.paired[both] = paired
	}
	return paired
}

// together reports whether there may be a program of which children of two profiles take hold as given. If the profiles have
// children for the same programs, the kernel chooses alike among them.
func (p *programs) together(a, b taking) bool {
	switch {
	case a.child == nil && b.child == nil:
		return true
	case a.child == nil:
		return !p.heldBy(b.child, a.profile)
	case b.child == nil:
		return !p.heldBy(a.child, b.profile)
	case p.arePaired(a.profile, b.profile):
		return p.areAlike(a.child, b.child)
	}
	return p.areSome(a.child, b.child)
}

// heldBy reports whether there is a child of a profile that attaches to all programs to which a child of another one does.
func (p *programs) heldBy(child, of *meaning.Profile) bool {
	return slices.ContainsFunc(of.Attaching(), func(c *meaning.Profile) bool { return p.areWithin(child, c) })
}
