package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Key is a key of a rule by which it says whom it is for.
type Key struct {
	Name string // as in the policy file
	Kind Kind
	Help string // what it asks for, for people: for the schema

	// Of Patterns.
	patterns func(*Assignment) *[]string
	fact     func(*Facts) *string      // what the patterns are matched against; empty where it is not known
	full     func(value string) string // the form in which that is matched; nil where it is that as it stands
	Flag     string                    // what the flag of that name asks for in "policy explain"; empty for none

	// Of Switch.
	value  func(*Assignment) (value, is bool)
	set    func(*Assignment, bool)
	is, no string // what a rule is for that has it true, or false
}

// Kind is what the value of a Key is.
type Kind uint8

// The kinds.
const (
	Patterns      Kind = iota // a pattern or a list of them; of engine, names
	LabelPatterns             // a mapping of labels to such
	Switch                    // true or false
)

// keys is the list of conditions. From it follow matching, the order in which the index and people have them, what a rule
// is called, which rule covers another, the notes on a policy, the flags of "policy explain", and the schema. Which
// engines report what a key asks for is in the table of package engine.
var keys = [...]Key{
	{Name: "engine", Help: "The engine that started the container, or a list of engines; other is a runtime by hand, and all that " +
		"gives no proof of what it says.",
		patterns: func(a *Assignment) *[]string { return &a.Engine }, fact: func(f *Facts) *string { return &f.Engine },
		full: func(name string) string { return cmp.Or(name, engine.Other) }},
	{Name: "namespace", Help: "The Kubernetes namespace.", Flag: "its Kubernetes `namespace`",
		patterns: func(a *Assignment) *[]string { return &a.Namespace }, fact: func(f *Facts) *string { return &f.Namespace }},
	{Name: "pod", Help: "The pod's name.", Flag: "its pod's `name`",
		patterns: func(a *Assignment) *[]string { return &a.Pod }, fact: func(f *Facts) *string { return &f.Pod }},
	{Name: "container", Help: "The container's name, in its pod where it has one; its id where the engine is other.",
		Flag:     "its `name`, in its pod where it has one",
		patterns: func(a *Assignment) *[]string { return &a.Container }, fact: func(f *Facts) *string { return &f.Container }},
	{Name: "image", Help: "The image: nginx:*, which is docker.io/library/nginx:*, or nginx for every tag and digest.", Flag: "its `image`",
		patterns: func(a *Assignment) *[]string { return &a.Image }, fact: func(f *Facts) *string { return &f.Image },
		full: CanonicalImage},
	{Name: "label", Kind: LabelPatterns, Help: "Labels, with a pattern or a list of patterns for the value of each; all of " +
		"them must fit. Not every engine reports them."},
	{Name: "sandbox", Kind: Switch, Help: "true makes this a rule for pause containers and for nothing else. Without it, it is for all " +
		"but pause containers.",
		value: func(a *Assignment) (bool, bool) { return a.Sandbox, a.Sandbox }, set: func(a *Assignment, v bool) { a.Sandbox = v },
		is: "pod sandboxes"},
	{Name: "privileged", Kind: Switch, Help: "Whether the container is privileged. For one that has only a part of what such ones have, " +
		"the rule counts if it confines it.",
		value: func(a *Assignment) (bool, bool) { return a.Privileged != nil && *a.Privileged, a.Privileged != nil },
		set:   func(a *Assignment, v bool) { a.Privileged = &v },
		is:    "privileged containers", no: "unprivileged containers"},
}

// Keys returns the list of conditions, in the order in which people see them.
func Keys() []Key { return keys[:] }

// Reporters returns the names of the engines that report what the key asks for in a place that a workload cannot write.
func (k *Key) Reporters() []string {
	if k.everywhere() {
		return engine.Names()
	}
	return engine.Reporters(engine.Fact(k.Name))
}

// ReportedBy reports whether the engine of this name is one of Reporters. An empty name is that of engine.Other.
func (k *Key) ReportedBy(name string) bool {
	return k.everywhere() || engine.Named(name).Reports(engine.Fact(k.Name))
}

// everywhere reports whether the key asks for something that no engine need report.
func (k *Key) everywhere() bool { return k.Name == "engine" || k.Name == "privileged" }

// PodsOnly reports whether only pods have what the key asks for.
func (k *Key) PodsOnly() bool {
	return slices.Equal(k.Reporters(), engine.Reporters(engine.Pod))
}

// key returns the key of that name, or nil.
func key(name string) *Key {
	for i := range keys {
		if keys[i].Name == name {
			return &keys[i]
		}
	}
	return nil
}

// PatternsOf returns where a rule has the patterns of a key of that kind.
func (k *Key) PatternsOf(a *Assignment) *[]string { return k.patterns(a) }

// Switch sets the value that a rule has for a key of that kind.
func (k *Key) Switch(a *Assignment, value bool) { k.set(a, value) }

// FactOf returns where the fact is that patterns of the key are matched against.
func (k *Key) FactOf(f *Facts) *string { return k.fact(f) }

// Report takes a fact that an engine reports: whatever a key of the kind Patterns asks for, and for engine.Sandbox the
// word "sandbox", or another one. A sandbox has neither a name nor an image, and what stands in their places may be its
// pod's.
func (f *Facts) Report(facts map[engine.Fact]string) {
	for fact, value := range facts {
		if k := key(string(fact)); k != nil && k.Kind == Patterns {
			*k.fact(f) = value
		}
	}
	if f.Sandbox = facts[engine.Sandbox] == "sandbox"; f.Sandbox {
		f.Container, f.Image = "", ""
	}
}

// unverified returns why what a rule may ask for by a key is not known of a container, or nil where it is known, or nobody
// reports it.
func (f *Facts) unverified(k *Key) error {
	if f.Unverified == nil && f.Engine == "" {
		return nil
	}
	e, fact := engine.Named(f.Engine), engine.Fact(k.Name)
	switch {
	case f.Unverified != nil && (slices.Contains(e.Filed, fact) || slices.Contains(e.Withheld, fact)):
		return f.Unverified
	case slices.Contains(e.Withheld, fact):
		return fmt.Errorf("%ss are not told by %s; name in the rule the engines that it is for, by \"engine\"", k.Name, e.Title)
	}
	return nil
}

// known is what is known of a container, in the order of keys.
type known [len(keys)]struct {
	value      string
	unverified error
}

func (f *Facts) known() *known {
	all := new(known)
	for i := range keys {
		if k := &keys[i]; k.Kind == Patterns {
			value := *k.fact(f)
			if k.full != nil {
				value = k.full(value)
			}
			all[i].value = value
		}
		all[i].unverified = f.unverified(&keys[i])
	}
	return all
}

// Condition is what must hold of a container for a rule: one of the patterns matches.
type Condition struct {
	Key      *Key
	Label    string // which label, where the key is for labels
	Patterns []string
}

// Conditions returns those of a rule that have patterns, in the order of Keys.
func (a *Assignment) Conditions() []Condition {
	var list []Condition
	for i := range keys {
		switch k := &keys[i]; k.Kind {
		case Patterns:
			if patterns := *k.patterns(a); len(patterns) > 0 {
				list = append(list, Condition{Key: k, Patterns: patterns})
			}
		case LabelPatterns:
			for _, l := range a.Label {
				list = append(list, Condition{k, l.Key, l.Patterns})
			}
		}
	}
	return list
}

// Keys returns the keys by which a rule says whom it is for, each once.
func (a *Assignment) Keys() []*Key {
	var all []*Key
	for i := range keys {
		k := &keys[i]
		is := k.Kind == LabelPatterns && len(a.Label) > 0 || k.Kind == Patterns && len(*k.patterns(a)) > 0
		if k.Kind == Switch {
			_, is = k.value(a)
		}
		if is {
			all = append(all, k)
		}
	}
	return all
}

// Engines returns the names of the engines that report all that a rule asks for, whether the rule is for them or not.
func (a *Assignment) Engines() []string {
	return slices.DeleteFunc(engine.Names(), func(name string) bool {
		return slices.ContainsFunc(a.Keys(), func(k *Key) bool { return !k.ReportedBy(name) })
	})
}

// ForAll reports whether a rule is for every container but pods' sandboxes.
func (a *Assignment) ForAll() bool { return len(a.Keys()) == 0 }

// Whom says whom a rule is for: "privileged containers, namespace shop or test".
func (a *Assignment) Whom() string { return a.whom(-1) }

// whom is Whom with at most as many patterns of a condition as shown, if that is not negative. Strings are made fit for
// a line.
func (a *Assignment) whom(shown int) string {
	var parts []string
	for i := range keys {
		if k := &keys[i]; k.Kind == Switch {
			if value, is := k.value(a); is && value {
				parts = append(parts, k.is)
			} else if is {
				parts = append(parts, k.no)
			}
		}
	}
	for _, c := range a.Conditions() {
		says := c.Key.Name
		if c.Label != "" {
			says += " " + oneline.Word(c.Label)
		}
		list := make([]string, 0, len(c.Patterns))
		for _, p := range c.Patterns {
			list = append(list, oneline.Word(p))
		}
		if n := len(list) - shown; shown >= 0 && n > 0 {
			list = append(list[:shown], strconv.Itoa(n)+" more")
		}
		parts = append(parts, says+" "+strings.Join(list, " or "))
	}
	if len(parts) == 0 {
		return "everyone"
	}
	return strings.Join(parts, ", ")
}

// Outcome says what a rule gives: "web, stacked on base; may ask for batch".
func (a *Assignment) Outcome() string {
	says := a.Policy
	if a.Floor != "" {
		says += ", stacked on " + a.Floor
	}
	if len(a.Request) > 0 {
		says += "; may ask for " + strings.Join(a.Request, ", ")
	}
	if a.OnRefused == Assigned {
		says += "; whoever asks for anything else gets this all the same"
	}
	if len(a.AcceptChoice) > 0 {
		says += "; the engine may choose " + strings.Join(a.AcceptChoice, ", ")
	}
	return says
}
