package suite

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// tries bounds how many containers example asks the policy about.
const tries = 1 << 14

// example returns a container that gets a label in a given way, the one with the fewest facts that it finds. The policy
// itself has decided so about it. found is false if none of those that were tried does: earlier rules may be for all that
// the rule is for.
func example(x policy.Index, g given) (f policy.Facts, found bool) {
	left := tries
	try := func(f policy.Facts) bool {
		left--
		d, err := x.Decide(f)
		if err != nil || d.Policy != g.policy {
			return false
		}
		if g.rule == nil {
			return d.File == "" && !f.Sandbox
		}
		return d.File == g.rule.File && d.Line == g.rule.Line && (g.choice == "" || d.Choice == policy.Stands)
	}
	from := bare()
	if g.rule != nil {
		from = candidates(g)
	}
	for c := range from {
		if try(c) {
			return c, true
		}
		if left <= 0 {
			break
		}
	}
	return policy.Facts{}, false
}

// candidates iterates over containers that a rule may be for, those with fewer facts first.
func candidates(g given) func(yield func(policy.Facts) bool) {
	a := g.rule
	engines := a.Engine
	if len(engines) == 0 {
		engines = preferred(a.Engines())
	}
	privileges := []policy.Privilege{policy.Unprivileged, policy.Privileged, policy.PartlyPrivileged}
	if a.Privileged != nil && *a.Privileged {
		privileges = []policy.Privilege{policy.Privileged, policy.PartlyPrivileged}
	}
	return func(yield func(policy.Facts) bool) {
		for _, fill := range fills {
			for _, more := range []bool{false, true} { // than what the rule asks for
				for _, name := range engines {
					for _, privileged := range privileges {
						for f := range combinations(g, a, name, fill, more) {
							f.Privileged = privileged
							if !yield(f) {
								return
							}
						}
					}
				}
			}
		}
	}
}

// preferred returns the engines, that first which needs no words.
func preferred(names []string) []string {
	names = slices.Clone(names)
	if i := slices.Index(names, engine.Other); i > 0 {
		names = append([]string{engine.Other}, slices.Delete(names, i, i+1)...)
	}
	return names
}

// combinations iterates over the facts of one engine's container: a text for each pattern of a condition.
func combinations(g given, a *policy.Assignment, name string, fill fill, more bool) func(yield func(policy.Facts) bool) {
	base := policy.Facts{Engine: name, Sandbox: a.Sandbox, EngineChoice: g.choice}
	if g.requested {
		base.Request, base.RequestKey = &g.policy, policy.Annotation
	}
	if more {
		for _, k := range policy.Keys() {
			if k.Kind == policy.Patterns && k.Name != "engine" && engine.Named(name).Reports(engine.Fact(k.Name)) {
				*k.FactOf(&base) = fill.any(k.Name)
			}
		}
	}
	return func(yield func(policy.Facts) bool) { choose(a.Conditions(), base, fill, yield) }
}

// choose sets a fact for the first condition by each of its patterns in turn, and goes on with the others.
func choose(conditions []policy.Condition, f policy.Facts, fill fill, yield func(policy.Facts) bool) bool {
	if len(conditions) == 0 {
		return yield(f)
	}
	c := conditions[0]
	if c.Key.Name == "engine" {
		return choose(conditions[1:], f, fill, yield)
	}
	for _, pattern := range c.Patterns {
		if rest, any := strings.CutPrefix(pattern, "*/"); any && c.Key.Name == string(engine.Image) {
			pattern = "registry.example/" + rest // what is no registry's name would be taken for a path on Docker Hub
		}
		text, ok := fill.match(pattern)
		if !ok {
			continue
		}
		next := f
		if c.Label != "" {
			next.Labels = maps.Clone(f.Labels)
			if next.Labels == nil {
				next.Labels = make(map[string]string)
			}
			next.Labels[c.Label] = text
		} else {
			*c.Key.FactOf(&next) = text
		}
		if !choose(conditions[1:], next, fill, yield) {
			return false
		}
	}
	return true
}

// A fill is what stands in an example where a pattern leaves it open: for a text, and for one character.
type fill struct{ text, one string }

// fills are tried in turn. Patterns of other rules must not match them, so some begin with each letter and digit.
var fills = func() []fill {
	all := []fill{{"1", "a"}, {"", "a"}, {"example", "x"}}
	for _, c := range "bcdefghijklmnopqrstuvwyz0123456789" {
		all = append(all, fill{string(c) + "-" + string(c), string(c)})
	}
	return all
}()

// any returns a value of a fact that a rule does not ask for.
func (f fill) any(key string) string {
	if key == string(engine.Image) {
		return "registry.example/" + f.one + ":" + f.text + "1"
	}
	return f.one + f.text
}

// match returns a text that a pattern of path.Match matches.
func (f fill) match(pattern string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '*':
			b.WriteString(f.text)
		case '?':
			b.WriteString(f.one)
		case '\\':
			if i++; i < len(pattern) {
				b.WriteByte(pattern[i])
			}
		case '[':
			end := i + 1
			for end < len(pattern) && pattern[end] != ']' {
				if pattern[end] == '\\' {
					end++
				}
				end++
			}
			if end >= len(pattern) {
				return "", false
			}
			member, ok := f.member(pattern[i : end+1])
			if !ok {
				return "", false
			}
			b.WriteByte(member)
			i = end
		default:
			b.WriteByte(c)
		}
	}
	matches, err := path.Match(pattern, b.String())
	return b.String(), err == nil && matches && b.Len() > 0
}

// member returns a byte of a set: the fill's where it is in it.
func (f fill) member(set string) (byte, bool) {
	for _, c := range f.one + f.text + "abcdefghijklmnopqrstuvwxyz0123456789-._ABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		if ok, err := path.Match(set, string(c)); err == nil && ok {
			return byte(c), true
		}
	}
	return 0, false
}

// describeFacts returns a container in a line, as a test describes it.
func describeFacts(f policy.Facts) string {
	var parts []string
	say := func(key, value string) {
		if value != "" {
			parts = append(parts, key+" "+oneline.Word(value))
		}
	}
	for _, k := range policy.Keys() {
		if k.Kind == policy.Patterns {
			name := k.Name
			if name == string(engine.Container) {
				name = "name"
			}
			say(name, *k.FactOf(&f))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(f.Labels)) {
		parts = append(parts, "label "+oneline.Word(key+"="+f.Labels[key]))
	}
	if f.Sandbox {
		parts = append(parts, "a pod's pause container")
	}
	if f.Privileged != policy.Unprivileged {
		parts = append(parts, map[policy.Privilege]string{policy.Privileged: "privileged", policy.PartlyPrivileged: "partly privileged"}[f.Privileged])
	}
	if f.Request != nil {
		parts = append(parts, "annotation "+oneline.Word(f.RequestKey+"="+*f.Request))
	}
	if f.EngineChoice != "" {
		parts = append(parts, "engineChoice "+oneline.Word(f.EngineChoice))
	}
	return strings.Join(parts, ", ")
}
