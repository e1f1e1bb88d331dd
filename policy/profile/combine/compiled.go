package combine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// atOnce is how many rules are compiled at once. A text may define 256 profiles.
const atOnce = 200

// compiledRules compiles rules, and each rule by itself: as the only one of a profile, and without its qualifiers. Those
// that are known already are not compiled again.
type compiledRules struct {
	Compiler
	head  string // what stands before the profiles of a text: its ABI
	known map[rule]*meaning.Rule
}

// alone returns what a rule is about, without audit and deny.
func alone(r rule) rule {
	r.audit, r.deny = false, false
	return r
}

// add compiles rules that are not known.
func (c *compiledRules) add(ctx context.Context, rules []rule) error {
	var todo []rule
	for _, r := range rules {
		if r = alone(r); c.known[r] == nil && !slices.Contains(todo, r) {
			todo = append(todo, r)
		}
	}
	for len(todo) > 0 {
		n := min(len(todo), atOnce)
		var b strings.Builder
		b.WriteString(c.head + "profile rules {\n")
		for i, r := range todo[:n] {
			if r.exec == "x" { // only a rule that denies does not say how to execute
				r.exec = "ix"
			}
			fmt.Fprintf(&b, "profile r%d { %s }\n", i, r.text())
		}
		b.WriteString("}\n")
		all, err := c.compile(ctx, b.String())
		if err != nil {
			return err
		}
		byName := make(map[string]*meaning.Profile, len(all))
		for _, p := range all {
			byName[p.Name] = p
		}
		for i, r := range todo[:n] {
			p := byName[fmt.Sprintf("rules//r%d", i)]
			if p == nil {
				return fmt.Errorf("%s compiles to nothing", r.text())
			}
			want := ^uint32(0)
			if r.exec == "x" { // the others let map as well
				want = meaning.MayExec
			}
			if c.known[r], err = meaning.NewRule(p, want); err != nil {
				return err
			}
		}
		todo = todo[n:]
	}
	return nil
}

// taken adds rules, and returns those that the parser takes: it may not know a kind, a family or a capability.
func (c *compiledRules) taken(ctx context.Context, rules []rule) []rule {
	if len(rules) == 0 || c.add(ctx, rules) == nil {
		return rules
	}
	if len(rules) == 1 {
		return nil
	}
	half := len(rules) / 2
	return append(c.taken(ctx, rules[:half:half]), c.taken(ctx, rules[half:])...)
}

// meant returns the compiled rule. It must have been added.
func (c *compiledRules) meant(r rule) *meaning.Rule { return c.known[alone(r)] }

// compile compiles a text, and returns its profiles.
func (c *compiledRules) compile(ctx context.Context, text string) ([]*meaning.Profile, error) {
	blob, err := c.CompileText(ctx, "the combined rules", []byte(text))
	if err != nil && strings.Contains(err.Error(), "conflicting x modifiers") {
		return nil, errContradict
	}
	if err != nil {
		return nil, err
	}
	return meaning.ReadFor(blob.Data, c)
}
