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

// Key is a key of a rule that sets a condition.
type Key struct {
	Name string // as in the policy file
	Kind Kind
	Help string // for the schema: what the condition is

	// For Patterns.
	patterns func(*Assignment) *[]string
	fact     func(*Facts) *string      // what the patterns are matched against; empty if it is not known
	full     func(value string) string // returns the form of the fact that is matched; nil if that is the fact itself
	Flag     string                    // help of the flag of that name of "policy explain"; empty if there is no flag

	// For Switch.
	asked   func(*Assignment) Asked
	set     func(*Assignment, bool)
	holds   func(*Facts, Asked) bool // reports whether a rule may be for a container
	yes, no string                   // whom a rule is for that asks for Yes or No; empty if people need not be told
	bits    uint8                    // where the two bits of Asked are in a rule's flags in the index
}

// Kind is the type of a Key's value.
type Kind uint8

// The kinds.
const (
	Patterns      Kind = iota // a pattern or a list of patterns; names for the key engine
	LabelPatterns             // a mapping of labels to patterns
	Switch                    // true or false
)

// Asked is what a rule asks for by a Switch.
type Asked uint8

// The values.
const (
	Either Asked = iota // the rule does not have the key
	Yes
	No
)

// askedFor returns Yes or No.
func askedFor(value bool) Asked {
	if value {
		return Yes
	}
	return No
}

// keys is the list of conditions. The rest of the program follows from it: matching, the order of conditions in the index
// and for people, the name of a rule, which rule covers another, the notes on a policy, the flags of "policy explain", and
// the schema. The table of package engine has which engines report what a key asks for.
var keys = [...]Key{
	{Name: "engine",
		Help: "The engine that started the container, or a list of engines; other is a runtime by hand, and all that " +
			"gives no proof of what it says.",
		patterns: func(a *Assignment) *[]string { return &a.Engine }, fact: func(f *Facts) *string { return &f.Engine },
		full: func(name string) string { return cmp.Or(name, engine.Other) }},
	{Name: "namespace", Help: "The Kubernetes namespace.", Flag: "its Kubernetes `namespace`",
		patterns: func(a *Assignment) *[]string { return &a.Namespace },
		fact:     func(f *Facts) *string { return &f.Namespace }},
	{Name: "pod", Help: "The pod's name.", Flag: "its pod's `name`",
		patterns: func(a *Assignment) *[]string { return &a.Pod }, fact: func(f *Facts) *string { return &f.Pod }},
	{Name: "container", Help: "The container's name, in its pod where it has one; its id where the engine is other.",
		Flag:     "its `name`, in its pod where it has one",
		patterns: func(a *Assignment) *[]string { return &a.Container },
		fact:     func(f *Facts) *string { return &f.Container }},
	{Name: "image", Flag: "its `image`",
		Help:     "The image: nginx:*, which is docker.io/library/nginx:*, or nginx for every tag and digest.",
		patterns: func(a *Assignment) *[]string { return &a.Image }, fact: func(f *Facts) *string { return &f.Image },
		full: CanonicalImage},
	{Name: "label", Kind: LabelPatterns,
		Help: "Labels, with a pattern or a list of patterns for the value of each; all of them must fit. Not every engine " +
			"reports them."},
	{Name: "sandbox", Kind: Switch,
		Help: "true makes this a rule for pause containers and for nothing else. Without it, it is for all but pause " +
			"containers.",
		asked: func(a *Assignment) Asked { return askedFor(a.Sandbox) },
		set:   func(a *Assignment, v bool) { a.Sandbox = v },
		holds: func(f *Facts, asked Asked) bool { return f.Sandbox == (asked == Yes) },
		yes:   "pod sandboxes", bits: 0},
	{Name: "privileged", Kind: Switch,
		Help: "Whether the container is privileged. For one that has only a part of what such ones have, the rule counts " +
			"if it confines it.",
		asked: func(a *Assignment) Asked {
			if a.Privileged == nil {
				return Either
			}
			return askedFor(*a.Privileged)
		},
		set: func(a *Assignment, v bool) { a.Privileged = &v },
		holds: func(f *Facts, asked Asked) bool { // see Index.match for PartlyPrivileged
			return asked == Either || f.Privileged == PartlyPrivileged || (f.Privileged == Privileged) == (asked == Yes)
		},
		yes: "privileged containers", no: "unprivileged containers", bits: 2},
}

// formatVersion is the version of the index's format. A change of keys changes the format, too.
const formatVersion = 4

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

// everywhere reports whether the key is known of every container, without a report by its engine.
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

// PatternsOf returns a pointer to the patterns that a rule has for the key. The key must be of the kind Patterns.
func (k *Key) PatternsOf(a *Assignment) *[]string { return k.patterns(a) }

// Switch sets the value that a rule has for the key. The key must be of the kind Switch.
func (k *Key) Switch(a *Assignment, value bool) { k.set(a, value) }

// Asked returns what a rule asks for by the key. The key must be of the kind Switch.
func (k *Key) Asked(a *Assignment) Asked { return k.asked(a) }

// askedIn is Asked by a rule's flags in the index.
func (k *Key) askedIn(flags byte) Asked { return Asked(flags>>k.bits) & 3 }

// whose returns whom a rule is for by a key of the kind Switch; empty if people need not be told.
func (k *Key) whose(a *Assignment) string {
	return [...]string{Either: "", Yes: k.yes, No: k.no}[k.asked(a)]
}

// FactOf returns a pointer to the fact that the key's patterns are matched against. The key must be of the kind Patterns.
func (k *Key) FactOf(f *Facts) *string { return k.fact(f) }

// Report sets the facts that an engine reports. These are what keys of the kind Patterns ask for, and engine.Sandbox, whose
// value is "sandbox" for a pod's sandbox. A sandbox has neither a name nor an image. Engines may put its pod's there.
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

// unverified returns why the fact that a key asks for is not known. It returns nil if the fact is known, or if no engine
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
		return fmt.Errorf("%s does not report %ss; name in the rule the engines that it is for, by \"engine\"", e.Title, k.Name)
	}
	return nil
}

// known is what is known of a container, in the order of keys. It has the kinds of the keys, too: a decision looks at
// each key of each rule, and keys is spread over much more memory.
type known [len(keys)]struct {
	kind       Kind
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
		all[i].kind, all[i].unverified = keys[i].Kind, f.unverified(&keys[i])
	}
	return all
}

// Condition must hold of a container for its rule to be the container's: one of the patterns must match.
type Condition struct {
	Key      *Key
	Label    string // the label's name, for a key of the kind LabelPatterns
	Patterns []string
}

// Conditions returns the conditions of a rule that have patterns, in the order of Keys.
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

// Keys returns the keys of a rule that set a condition, each once.
func (a *Assignment) Keys() []*Key {
	var all []*Key
	for i := range keys {
		k := &keys[i]
		is := k.Kind == LabelPatterns && len(a.Label) > 0 || k.Kind == Patterns && len(*k.patterns(a)) > 0
		if is || k.Kind == Switch && k.whose(a) != "" {
			all = append(all, k)
		}
	}
	return all
}

// Engines returns the names of the engines that report all facts that a rule asks for. It ignores the rule's key engine.
func (a *Assignment) Engines() []string {
	return slices.DeleteFunc(engine.Names(), func(name string) bool {
		return slices.ContainsFunc(a.Keys(), func(k *Key) bool { return !k.ReportedBy(name) })
	})
}

// ForAll reports whether a rule is for every container except pod sandboxes.
func (a *Assignment) ForAll() bool { return len(a.Keys()) == 0 }

// Whom returns whom a rule is for: "privileged containers, namespace shop or test". It returns "everyone" for a rule
// without conditions.
func (a *Assignment) Whom() string { return a.whom(-1) }

// whom is Whom, but shows at most so many patterns of a condition, unless shown is negative. It makes strings safe for a
// line.
func (a *Assignment) whom(shown int) string {
	var parts []string
	for i := range keys {
		if k := &keys[i]; k.Kind == Switch && k.whose(a) != "" {
			parts = append(parts, k.whose(a))
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

// Outcome returns what a rule does with a container: "web, stacked on base; may ask for batch".
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
