package compare

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// goes says how a program goes on that a side executes, the same for both sides if it does so in the same way. parts are
// the outcomes of the side's profiles.
func (p pair) goes(side int, parts [][]meaning.Outcome, ask int) string {
	var all []string
	for i, one := range parts {
		all = append(all, one[ask].Exec.Own(p.parts[side][i]).String())
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ", and ")
}

// environment says with which environment a program goes on with which a change of the profile takes effect.
func environment(o meaning.Outcome) string {
	if o.Scrub {
		return "with its environment scrubbed"
	}
	return "with its environment as it is"
}

// follow adds the profiles to be compared to which programs may go on: the children, and those that both sides name.
func (c *comparison) follow(t couple) {
	if c.known == nil {
		c.known = make(map[string]bool)
	}
	if len(t.a) != len(t.b) {
		for _, p := range slices.Concat(t.a, t.b) {
			if len(p.Children) > 0 || len(p.Names) > 0 {
				c.unknown = append(c.unknown, fmt.Sprintf("the profiles to which programs under %s go on are not compared, since the "+
					"stacks have different numbers of profiles", oneline.Name(p.Name)))
			}
		}
		return
	}
	for i, a := range t.a {
		b := t.b[i]
		if a == b {
			continue
		}
		c.children(a, b)
		c.others(a, b)
	}
}

// children adds the children of two profiles that have the same name in them, and of the others those that attach to the same
// programs.
func (c *comparison) children(a, b *meaning.Profile) {
	name := func(child, p *meaning.Profile) string { return strings.TrimPrefix(child.Name, p.Name+"//") }
	gone, added := slices.Clone(a.Children), slices.Clone(b.Children)
	pair := func(is func(x, y *meaning.Profile) bool, say func(x, y *meaning.Profile)) {
		gone = slices.DeleteFunc(gone, func(x *meaning.Profile) bool {
			at := slices.IndexFunc(added, func(y *meaning.Profile) bool { return is(x, y) })
			if at < 0 {
				return false
			}
			say(x, added[at])
			c.queue(x.Name, meaning.Stack{x}, meaning.Stack{added[at]})
			added = slices.Delete(added, at, at+1)
			return true
		})
	}
	pair(func(x, y *meaning.Profile) bool { return name(x, a) == name(y, b) }, func(x, y *meaning.Profile) {})
	attaching := func(p, child *meaning.Profile) bool { return slices.Contains(p.Attaching(), child) }
	pair(func(x, y *meaning.Profile) bool {
		return attaching(a, x) && attaching(b, y) && c.programs.areAlike(x, y)
	},
		func(x, y *meaning.Profile) {
			c.lines = append(c.lines, Line{Change: Otherwise, What: "name of the child that attaches to the same programs",
				From: oneline.Name(name(x, a)), To: oneline.Name(name(y, b))})
		})
	for _, child := range gone {
		c.lines = append(c.lines, Line{Change: Otherwise, What: childWord(child) + oneline.Name(name(child, a)), From: "there", To: "gone"})
	}
	for _, child := range added {
		c.lines = append(c.lines, Line{Change: Otherwise, What: childWord(child) + oneline.Name(name(child, b)), From: "not there", To: "new"})
	}
}

func childWord(p *meaning.Profile) string {
	if p.Hat {
		return "hat "
	}
	return "child "
}

// others adds the labels that the rules of two profiles name as those to which programs go on, if both sides know all of
// their profiles.
func (c *comparison) others(a, b *meaning.Profile) {
	for _, label := range a.Names {
		if !slices.Contains(b.Names, label) {
			continue
		}
		label = strings.TrimPrefix(label, "&")
		if label == a.Name || strings.HasPrefix(label, a.Name+"//") && !strings.Contains(label, "//&") {
			continue
		}
		x, y := c.sides[0].known(label), c.sides[1].known(label)
		switch {
		case x != nil && y != nil:
			c.queue(label, x, y)
		case x != nil || y != nil:
			c.unknown = append(c.unknown, fmt.Sprintf("profile %s, to which programs under %s go on, is known on one side alone",
				oneline.Name(label), oneline.Name(a.Name)))
		}
	}
}

// known returns the profiles of a label, and nil if not all of them are known or none confines.
func (s Side) known(label string) (stack meaning.Stack) {
	for _, name := range parts(label) {
		p := s.Others[name]
		if p == nil {
			return nil
		}
		stack = append(stack, p)
	}
	return stack
}

func (c *comparison) queue(name string, a, b meaning.Stack) {
	if !c.known[name] {
		c.known[name] = true
		c.later = append(c.later, couple{name, a, b})
	}
}
