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
	paired map[[2]*meaning.Profile]bool
}

func (p *programs) attachedTo(a *meaning.Profile) meaning.Programs {
	if p.of == nil {
		p.of = make(map[*meaning.Profile]meaning.Programs)
		p.meet = make(map[[2]*meaning.Profile]bool)
		p.alike = make(map[[2]*meaning.Profile]bool)
	}
	its, ok := p.of[a]
	if !ok {
		its = a.Programs()
		p.of[a] = its
	}
	return its
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
		paired = p.areOneToOne(a.Attaching(), b.Attaching())
		if p.paired == nil {
			p.paired = make(map[[2]*meaning.Profile]bool)
		}
		p.paired[both] = paired
	}
	return paired
}

// together reports whether there may be a program of which children of two profiles take hold as given. Where children for the same
// programs attach to it in both profiles, the kernel chooses alike. What is too much to decide may be.
func (p *programs) together(a, b taking) bool {
	switch {
	case a.child == nil && b.child == nil:
		return true
	case p.arePaired(a.profile, b.profile):
		return a.child != nil && b.child != nil && p.areAlike(a.child, b.child)
	case p.asked >= mostPrograms:
		return true
	}
	p.asked++
	mine, theirs := p.near(a, b)
	list := make([]meaning.Programs, 0, len(mine)+len(theirs))
	for _, c := range slices.Concat(mine, theirs) {
		list = append(list, p.attachedTo(c))
	}
	some, err := meaning.SomePath(list, func(among []bool) bool {
		x, y := only(mine, among[:len(mine)]), only(theirs, among[len(mine):])
		if !p.mayTake(a.child, x) || !p.mayTake(b.child, y) {
			return false
		}
		if !p.areOneToOne(x, y) {
			return true
		}
		return a.child == b.child || a.child != nil && b.child != nil && p.areAlike(a.child, b.child)
	})
	return some || err != nil
}

// near returns the children of two profiles that attach to a program to which those do as well that take hold of it.
func (p *programs) near(a, b taking) (mine, theirs []*meaning.Profile) {
	far := func(c *meaning.Profile) bool {
		return a.child != nil && !p.areSome(a.child, c) || b.child != nil && !p.areSome(b.child, c)
	}
	return slices.DeleteFunc(a.profile.Attaching(), far), slices.DeleteFunc(b.profile.Attaching(), far)
}

// only returns the profiles for which a list has true.
func only(all []*meaning.Profile, is []bool) (some []*meaning.Profile) {
	for i, one := range all {
		if is[i] {
			some = append(some, one)
		}
	}
	return some
}

// mayTake reports whether a child, or none, may take hold of a program to which these attach. The kernel takes the one that fits
// best and, where two fit alike, none (find_attach, security/apparmor/domain.c). Which fit alike is not the same for all kernels.
func (p *programs) mayTake(child *meaning.Profile, attach []*meaning.Profile) bool {
	if child != nil {
		return slices.Contains(attach, child)
	}
	return len(attach) != 1 || p.attachedTo(attach[0]).Conditional()
}

// areOneToOne reports whether each of some children is for the same programs as one of others, and each of these as one of them.
func (p *programs) areOneToOne(some, others []*meaning.Profile) bool {
	none := func(of, among []*meaning.Profile) bool {
		return slices.ContainsFunc(of, func(c *meaning.Profile) bool {
			return !slices.ContainsFunc(among, func(d *meaning.Profile) bool { return p.areAlike(c, d) })
		})
	}
	return len(some) == len(others) && !none(some, others) && !none(others, some)
}
