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

// children adds the children of two profiles that have the same name in them.
func (c *comparison) children(a, b *meaning.Profile) {
	in := func(p *meaning.Profile) map[string]*meaning.Profile {
		all := make(map[string]*meaning.Profile)
		for _, child := range p.Children {
			all[strings.TrimPrefix(child.Name, p.Name)] = child
		}
		return all
	}
	x, y := in(a), in(b)
	for _, child := range a.Children {
		name := strings.TrimPrefix(child.Name, a.Name)
		if y[name] == nil {
			c.lines = append(c.lines, Line{Change: Otherwise, What: childWord(child) + oneline.Name(name[2:]), From: "there", To: "gone"})
			continue
		}
		c.queue(child.Name, meaning.Stack{child}, meaning.Stack{y[name]})
	}
	for _, child := range b.Children {
		if name := strings.TrimPrefix(child.Name, b.Name); x[name] == nil {
			c.lines = append(c.lines, Line{Change: Otherwise, What: childWord(child) + oneline.Name(name[2:]), From: "not there", To: "new"})
		}
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
