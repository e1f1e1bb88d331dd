// Package describe has containers that somebody describes instead of starting them: by flags of a command, or in a test of a
// policy. It returns the facts that a start of such a container would know, as package hook finds them.
package describe

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Container describes a container.
type Container struct {
	Engine string // its name, see engine.Names; empty if it was not said
	Root   string // the runtime's --root, by which the engine is known; empty if it was not said
	ID     string

	Annotations map[string]string
	Labels      map[string]string
	Facts       map[string]string // by the keys of rules that ask for them; empty ones are not known
	Privileged  policy.Privilege
	Sandbox     bool

	Choice     string // the profile that the engine chose, by its name in the kernel
	ChoiceSaid bool   // Choice is known; if it is empty, the engine chose none
}

// Words are how a container is described, for errors and warnings. Each returns the name of a flag or of a key for one of
// the engine, choice, annotation, label, container and id.
type Words func(of string) string

// Caller returns the caller that the description names. The error is for an unknown engine.
func (c *Container) Caller(word Words) (hook.Caller, error) {
	by := hook.Caller{Engine: c.Engine, Root: c.Root}
	switch {
	case c.Engine == "" && c.Root != "":
		by.Engine = engine.ByRoot(c.Root)
	case c.Engine != "" && !engine.Known(c.Engine):
		return by, fmt.Errorf("%s %q: it is one of %s", word("engine"), c.Engine, strings.Join(engine.Names(), ", "))
	}
	return by, nil
}

// CheckChoice returns an error for a choice that is written as Kubernetes does. It corrects the one that differs from the
// kernel's word by a capital letter.
func (c *Container) CheckChoice(word Words) error {
	switch {
	case c.Choice == "RuntimeDefault" || c.Choice == "runtime/default" || strings.HasPrefix(c.Choice, "localhost/"):
		return fmt.Errorf("%s %q: it takes a profile by its name in the kernel, or unconfined; for Kubernetes' RuntimeDefault "+
			"leave it out", word("choice"), c.Choice)
	case c.Choice == "Unconfined":
		c.Choice = "unconfined"
	}
	return nil
}

// Known returns the facts that a start of the container would know. by is what Caller has returned.
func (c *Container) Known(by hook.Caller) (policy.Facts, error) {
	// Make a spec from them, so that the engine's annotations mean here what they mean at a start.
	config, err := json.Marshal(map[string]any{"process": struct{}{}, "annotations": c.Annotations})
	if err != nil {
		return policy.Facts{}, err
	}
	f, err := hook.Identify(config, by, c.ID, "")
	if err != nil {
		return policy.Facts{}, err
	}
	reports := func(fact engine.Fact) bool { // if not, a start would not know the fact
		return c.unknown() || engine.Named(f.Engine).Reports(fact)
	}
	f.Unverified, f.Look = nil, nil // the description says what a start would read from the engine's files
	if f.Sandbox = f.Sandbox || c.Sandbox && reports(engine.Sandbox); f.Sandbox {
		f.Container, f.Image = "", "" // as policy.Facts.Report has it
	}
	for _, k := range policy.Keys() {
		if value := c.Facts[k.Name]; value != "" && reports(engine.Fact(k.Name)) {
			fact := k.FactOf(&f)
			*fact = cmp.Or(value, *fact)
		}
	}
	if len(c.Labels) > 0 && f.Labels == nil {
		f.Labels = make(map[string]string)
	}
	if reports(engine.Label) {
		maps.Copy(f.Labels, c.Labels)
	}
	f.EngineChoice, f.ChoiceUnsaid = c.Choice, !c.ChoiceSaid
	f.Privileged, f.PrivilegedBy = c.Privileged, nil
	if f.Privileged == policy.PartlyPrivileged {
		f.PrivilegedBy = []string{"which part was not said"}
	}
	f.Requested(c.Annotations)
	return f, nil
}

// unknown reports whether nothing was said of the engine.
func (c *Container) unknown() bool { return c.Engine == "" && c.Root == "" }

// Untold returns warnings about facts that the container's engine does not report, so that no start knows them. f is what
// Known or a bundle has.
func (c *Container) Untold(f policy.Facts, word Words) (list []string) {
	for _, k := range policy.Keys() {
		asked := c.Facts[k.Name] != "" || k.Name == string(engine.Label) && len(c.Labels) > 0 ||
			k.Name == string(engine.Sandbox) && c.Sandbox
		if !asked || k.ReportedBy(f.Engine) {
			continue
		}
		whose := f.Engine
		if cmp.Or(f.Engine, engine.Other) == engine.Other {
			whose = "other engines"
		}
		said := fmt.Sprintf("containers of %s have no %s that can be trusted: a rule for that never fits them", whose, k.Name)
		if c.unknown() {
			reporters := k.Reporters()
			do := "do"
			if len(reporters) == 1 {
				do = "does"
			}
			said = fmt.Sprintf("this is for an engine that reports the %s, as only %s %s: say which by %s", k.Name,
				oneline.And(reporters), do, word("engine"))
		}
		list = append(list, said)
	}
	return list
}

// ForOthers returns warnings about annotations that ask for a policy for one container by its name, which is another's or
// was not said.
func (c *Container) ForOthers(f policy.Facts, word Words) (list []string) {
	for _, key := range slices.Sorted(maps.Keys(c.Annotations)) {
		name, is := strings.CutPrefix(key, policy.Annotation+".")
		switch {
		case !is || policy.Misspelt(key) || name == f.Container || f.Sandbox:
		case f.Container != "":
			list = append(list, fmt.Sprintf("annotation %s is for the container of this name alone, and this one is %s",
				oneline.Word(key), oneline.Word(f.Container)))
		case cmp.Or(f.Engine, engine.Other) == engine.Other:
			list = append(list, fmt.Sprintf("annotation %s is for the container of this name alone: say by %s which this is, "+
				"or by %s where it is no engine's", oneline.Word(key), word("container"), word("id")))
		default:
			list = append(list, fmt.Sprintf("annotation %s is for the container of this name alone: say by %s which this is",
				oneline.Word(key), word("container")))
		}
	}
	return list
}
