package combine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/compare"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// combination is what is made of some texts.
type combination struct {
	*compiledRules
	all   bool
	to    Target
	parts []*part
}

// text returns the text of the combination.
func (c *combination) text(ctx context.Context) (string, error) {
	var names []string
	for _, p := range c.parts {
		for _, name := range p.names() {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names) // the profile itself first, and blocks behind those around them
	blocks := make(map[string][]string)
	for _, name := range names {
		lines, err := c.block(ctx, name)
		if err != nil {
			if u := (*Unsayable)(nil); errors.As(err, &u) && name != "" {
				u.Profile = strings.TrimPrefix(name, "//")
			}
			return "", err
		}
		if lines == nil { // which is not in all
			continue
		}
		blocks[name] = lines
	}
	text := c.head + written(c.to.Name, "", blocks)
	return text, c.prove(ctx, text, blocks)
}

// written writes a block, with those within it.
func written(name, of string, blocks map[string][]string) string {
	lines := slices.Clone(blocks[of])
	text := lines[0] + "\n"
	for _, l := range lines[1:] {
		text += "  " + l + "\n"
	}
	var inner []string
	for child := range blocks {
		if rest, ok := strings.CutPrefix(child, of+"//"); ok && !strings.Contains(rest, "//") {
			inner = append(inner, child)
		}
	}
	slices.Sort(inner)
	for _, child := range inner {
		text += "\n"
		for line := range strings.Lines(written(name, child, blocks)) {
			text += "  " + line
		}
	}
	return text + "}\n"
}

// prove compiles a text and compares each of its profiles with the combination.
func (c *combination) prove(ctx context.Context, text string, blocks map[string][]string) error {
	compiled, err := c.compile(ctx, text)
	if err != nil {
		return fmt.Errorf("the combined text does not compile: %w", err)
	}
	if len(compiled) != len(blocks) {
		return fmt.Errorf("the combined text has %d profiles, and should have %d", len(compiled), len(blocks))
	}
	for _, p := range compiled {
		of := strings.TrimPrefix(p.Name, c.to.Name)
		if err := c.proven(p, of); err != nil {
			return err
		}
	}
	return nil
}

// proven returns an *Unsayable for a profile that is not what it should be.
func (c *combination) proven(p *meaning.Profile, of string) error {
	profiles, _ := c.profiles(of)
	want := meaning.Combination{Profiles: profiles, All: c.all}
	d, differs, err := want.Deviation(p)
	if err != nil {
		return err
	}
	if differs && d.Otherwise {
		return &Unsayable{strings.TrimPrefix(of, "//"), c.otherwise(p, d.Key, d.Owner, of)}
	}
	if differs {
		return &Unsayable{strings.TrimPrefix(of, "//"), c.said(excess(d.Excess), d.More)}
	}
	// What rules say of keys, and what the kernel answers to accesses, are read by different code.
	departure, departs, err := compare.Departs(p, want)
	if err != nil {
		return err
	}
	if departs {
		what := access.Format(departure.Access)
		if departure.Ways[0] != "" {
			return &Unsayable{strings.TrimPrefix(of, "//"), fmt.Sprintf("rules that say just this were not found: those that were have the "+
				"program go on %s with %s, and it should go on %s", departure.Ways[0], what, departure.Ways[1])}
		}
		return &Unsayable{strings.TrimPrefix(of, "//"), c.said(what, departure.More)}
	}
	return nil
}

// profiles returns the compiled profiles and the blocks that a block is made of.
func (c *combination) profiles(of string) (compiled []*meaning.Profile, blocks []*syntax.Block) {
	for _, p := range c.parts {
		if one, block := p.block(of); one != nil {
			compiled, blocks = append(compiled, one), append(blocks, block)
		}
	}
	return compiled, blocks
}

// block returns the lines of a block, first its header with the brace. It returns nil for a child that is left out.
func (c *combination) block(ctx context.Context, of string) ([]string, error) {
	profiles, _ := c.profiles(of)
	if c.all && len(profiles) < len(c.parts) {
		return nil, nil
	}
	header, err := c.header(of)
	if err != nil {
		return nil, err
	}
	want := meaning.Combination{Profiles: profiles, All: c.all}
	conflict, found, err := want.Conflict()
	if err != nil {
		return nil, err
	}
	if found {
		return nil, &Unsayable{Why: c.conflicting(conflict, of)}
	}
	var rules [][]rule
	for _, p := range c.parts {
		if one, _ := p.block(of); one != nil {
			rules = append(rules, p.rules[one.Name])
		}
	}
	m := &making{combination: c, want: want, of: of, header: header}
	lines, err := m.lines(ctx, rules)
	if errors.Is(err, errContradict) {
		why, err := c.contradicting(ctx, of)
		if err != nil {
			return nil, err
		}
		return nil, &Unsayable{Why: why}
	}
	if err != nil {
		return nil, err
	}
	return append([]string{header}, lines...), nil
}

// header returns the header of a block, which the parts must agree about.
func (c *combination) header(of string) (string, error) {
	name := c.to.Name
	if at := strings.LastIndex(of, "//"); at >= 0 {
		name = of[at+2:]
	}
	var flags []string
	audit := false
	for i, p := range c.parts {
		one, block := p.block(of)
		if one == nil {
			continue
		}
		switch {
		case len(one.XAttrs) > 0:
			return "", &Unsayable{Why: fmt.Sprintf("%s: profile %s attaches by extended attributes (xattrs), and profiles that do are not combined",
				p.header(one.Name), one.Name)}
		case len(one.Secmarks) > 0:
			return "", &Unsayable{Why: fmt.Sprintf("%s: profile %s has rules about packets with a security mark (secmark), and these are not combined",
				p.header(one.Name), one.Name)}
		}
		mine := slices.DeleteFunc(p.text.Flags(block), func(f string) bool { return f == "audit" || f == "enforce" })
		slices.Sort(mine)
		audit = audit || one.Audit
		if i > 0 && flags != nil && !slices.Equal(flags, mine) && c.to.Flags == nil {
			return "", &Unsayable{Why: fmt.Sprintf("a profile has its flags for all rules, and they are (%s) in %s and (%s) in %s: name those "+
				"that it is to have with --flags", strings.Join(flags, " "), c.parts[0].Name, strings.Join(mine, " "), p.Name)}
		}
		flags = append([]string{}, mine...)
	}
	if c.to.Flags != nil {
		flags, audit = slices.Clone(c.to.Flags), false
	}
	profiles, _ := c.profiles(of)
	for _, p := range profiles[1:] {
		if p.Hat != profiles[0].Hat {
			return "", &Unsayable{Why: "it is a hat in one text, and a child in another one"}
		}
	}
	if audit {
		flags = append(flags, "audit")
	}
	header := "profile " + quoted(name)
	if profiles[0].Hat {
		header = "hat " + quoted(name)
	}
	if len(flags) > 0 {
		header += " flags=(" + strings.Join(flags, " ") + ")"
	}
	return header + " {", nil
}
