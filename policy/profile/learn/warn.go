package learn

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/protect"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/ruletext"
)

const (
	atOnce    = 100 // rules that are compiled one by one in a text
	mostNamed = 10  // rules that are named for one protection
)

// warn notes which rules give a protection up, so that a person looks at them before the profile is used.
func (w *writer) warn(ctx context.Context) error {
	none, err := w.alone(ctx, nil)
	if err != nil {
		return err
	}
	whole, err := w.compile(ctx, w.text(w.rules))
	if err != nil {
		return err
	}
	g := &giving{writer: w, none: none[0], whole: whole, rules: make(map[string]int)}
	for _, p := range protect.All() { // few profiles give up one, and there may be many rules to ask about each
		if given, err := p.GivenByAny(whole, g.none); err != nil {
			return err
		} else if given {
			g.open = append(g.open, p)
		}
	}
	g.both = protect.WrittenAndRun(whole, g.none, whole) != ""
	if len(g.open) == 0 && !g.both {
		return nil
	}
	for some := range slices.Chunk(w.rules, atOnce) {
		each, err := w.alone(ctx, some)
		if err != nil {
			return err
		}
		for i, one := range some {
			if err := g.ask(one, each[i]); err != nil {
				return err
			}
		}
	}
	g.others()
	return nil
}

// giving is a text while it is asked which of its rules give up what.
type giving struct {
	*writer
	none, whole *meaning.Profile
	open        []*protect.Protection // that some rule may give up
	both        bool                  // something can be written and executed
	rules       map[string]int        // how many give something up, by what that is
}

func (g *giving) ask(one *rule, alone *meaning.Profile) error {
	text := one.texts()[0]
	for _, p := range g.open {
		given, err := p.GivenBy(text, alone, g.none, g.Name)
		if err != nil {
			return err
		}
		if given {
			g.say(one, p.String(), p.String())
		}
	}
	if g.both && one.kind == files {
		if both := protect.WrittenAndRun(alone, g.none, g.whole); both != "" {
			g.say(one, "what is there can be both written and executed", both)
		}
	}
	return nil
}

// say notes what a rule gives up, unless enough rules are named that do. says is kind for this one rule.
func (g *giving) say(one *rule, kind, says string) {
	if g.rules[kind]++; g.rules[kind] > mostNamed {
		return
	}
	rule := strings.TrimSuffix(strings.Join(one.texts(), " "), ",")
	g.notes = append(g.notes, fmt.Sprintf("%s gives a protection up, and was used by %s: %s", rule, one.users(), says))
}

// others notes how many rules were not named.
func (g *giving) others() {
	var all []string
	for kind, n := range g.rules {
		if n > mostNamed {
			all = append(all, fmt.Sprintf("%d other rules give the same up as one of those above: %s", n-mostNamed, kind))
		}
	}
	slices.Sort(all)
	g.notes = append(g.notes, all...)
}

// alone compiles rules, each as the only one of a profile. The last profile that it returns has none.
func (w *writer) alone(ctx context.Context, rules []*rule) ([]*meaning.Profile, error) {
	var texts []string
	for _, one := range rules {
		texts = append(texts, strings.ReplaceAll(strings.Join(one.texts(), "\n"), own, ruletext.Literal(w.Name)))
	}
	text, names := protect.Alone(w.head(), texts)
	data, err := w.compiler.CompileSeveral(ctx, "the rules that were made, one by one", []byte(text))
	if err != nil {
		return nil, err
	}
	all, err := meaning.ReadFor(data, w.compiler)
	if err != nil {
		return nil, err
	}
	by := make(map[string]*meaning.Profile)
	for _, p := range all {
		by[p.Name] = p
	}
	all = all[:0]
	for _, name := range names {
		if by[name] == nil {
			return nil, fmt.Errorf("the parser wrote no profile %s for the rules that were made, one by one", name)
		}
		all = append(all, by[name])
	}
	return all, nil
}
