package policy

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// conditions are the keys of a rule that hold patterns, in the order in which the index has them and people are told of
// them. A condition is its entry here; labels, of which a rule may name several, come after these.
var conditions = [...]struct {
	key      string
	says     string // how a rule is called after it
	patterns func(*Assignment) *[]string
	value    func(*Facts) string // what the patterns are matched against; empty where the engine tells none
	told     []string            // the engines that tell it; nil for all
	looked   bool                // Docker and Podman tell it by a file, which may be missing: see Facts.Untold
}{
	{key: "engine", says: "engine",
		patterns: func(a *Assignment) *[]string { return &a.Engine }, value: (*Facts).engine},
	{key: "namespace", says: "namespace", told: podEngines,
		patterns: func(a *Assignment) *[]string { return &a.Namespace }, value: func(f *Facts) string { return f.Namespace }},
	{key: "pod", says: "pod", told: podEngines,
		patterns: func(a *Assignment) *[]string { return &a.Pod }, value: func(f *Facts) string { return f.Pod }},
	{key: "container", says: "container", looked: true,
		patterns: func(a *Assignment) *[]string { return &a.Container }, value: func(f *Facts) string { return f.Container }},
	{key: "image", says: "image", told: slices.Concat(podEngines, []string{EngineDocker, EnginePodman}), looked: true,
		patterns: func(a *Assignment) *[]string { return &a.Image }, value: func(f *Facts) string { return CanonicalImage(f.Image) }},
}

const (
	keyLabel   = "label"
	keySandbox = "sandbox"
)

var (
	podEngines   = []string{EngineContainerd, EngineCRIO} // of Kubernetes
	labelEngines = []string{EngineDocker}
)

// Engines are the names of engines in the policy file, by what Facts.Engine says.
var Engines = []string{EngineContainerd, EngineCRIO, EngineDocker, EnginePodman, otherEngine}

// otherEngine is EngineOther in the policy file.
const otherEngine = "other"

func (f *Facts) engine() string {
	if f.Engine == EngineOther {
		return otherEngine
	}
	return f.Engine
}

// errPodmanLabels is for rules that would need a Podman's labels, which are in its database alone. Containers of
// EngineOther are of nobody who tells anything, and rules for images and labels are not for them.
var errPodmanLabels = errors.New("labels are not told by Podman; name in the rule the engines that it is for, by \"engine\"")

// untold says why what the engine should tell of a container is not known.
func (f *Facts) untold() error {
	if f.Untold == nil {
		return errPodmanLabels
	}
	return f.Untold
}

// values gives what the patterns are matched against, in the order of conditions.
func (f *Facts) values() (v [len(conditions)]string) {
	for i := range conditions {
		v[i] = conditions[i].value(f)
	}
	return v
}

// PatternKeys are the keys of a rule that hold patterns: engine, namespace and so on, without label.
func PatternKeys() []string {
	keys := make([]string, len(conditions))
	for i := range conditions {
		keys[i] = conditions[i].key
	}
	return keys
}

// Patterns gives a rule's patterns for one of PatternKeys, and nil for any other key.
func (a *Assignment) Patterns(key string) *[]string {
	for i := range conditions {
		if conditions[i].key == key {
			return conditions[i].patterns(a)
		}
	}
	return nil
}

// Tellers are the engines, as Facts.Engine has them, that tell of their containers what a rule's key asks for, in a place
// that a workload cannot write. It gives nil where all do.
func Tellers(key string) []string {
	switch key {
	case keySandbox:
		return podEngines
	case keyLabel:
		return labelEngines
	}
	for i := range conditions {
		if conditions[i].key == key {
			return conditions[i].told
		}
	}
	return nil
}

// Tells says whether an engine, by its name in Facts or in the policy file, is one of Tellers.
func Tells(engine, key string) bool {
	tellers := Tellers(key)
	return tellers == nil || slices.Contains(tellers, engine)
}

// Condition is what must hold of a container for a rule: one of the patterns matches.
type Condition struct {
	Key      string // as in the policy file
	Label    string // which label, where Key is "label"
	Patterns []string
}

// Conditions gives those of a rule, in the order in which people are told of them. Whether the container is a sandbox or
// privileged is not among them.
func (a *Assignment) Conditions() []Condition {
	var list []Condition
	for i := range conditions {
		if patterns := *conditions[i].patterns(a); len(patterns) > 0 {
			list = append(list, Condition{Key: conditions[i].key, Patterns: patterns})
		}
	}
	for _, l := range a.Label {
		list = append(list, Condition{keyLabel, l.Key, l.Patterns})
	}
	return list
}

// Keys gives the keys of the policy file by which a rule says whom it is for, each once.
func (a *Assignment) Keys() []string {
	var keys []string
	if a.Sandbox {
		keys = append(keys, keySandbox)
	}
	for _, c := range a.Conditions() {
		keys = append(keys, c.Key)
	}
	return slices.Compact(keys)
}

// ForAll says whether a rule is for every container but pods' sandboxes.
func (a *Assignment) ForAll() bool {
	return !a.Sandbox && a.Privileged == nil && len(a.Conditions()) == 0
}

// Whom says whom a rule is for: "namespace shop or test, privileged containers".
func (a *Assignment) Whom() string { return a.whom(-1) }

// whom is Whom with at most as many patterns of a condition as shown, if that is not negative. Strings are made fit for
// a line.
func (a *Assignment) whom(shown int) string {
	var parts []string
	if a.Sandbox {
		parts = append(parts, "pod sandboxes")
	}
	if a.Privileged != nil {
		if *a.Privileged {
			parts = append(parts, "privileged containers")
		} else {
			parts = append(parts, "unprivileged containers")
		}
	}
	for _, c := range a.Conditions() {
		says := c.Key
		for i := range conditions {
			if conditions[i].key == c.Key {
				says = conditions[i].says
			}
		}
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
