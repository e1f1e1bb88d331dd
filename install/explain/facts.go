package explain

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// facts returns what a start of the container would know.
func (q *Question) facts() (policy.Facts, error) {
	c, err := q.caller()
	if err != nil {
		return policy.Facts{}, err
	}
	switch {
	case q.Choice == "RuntimeDefault" || q.Choice == "runtime/default" || strings.HasPrefix(q.Choice, "localhost/"):
		return policy.Facts{}, exit.With(exit.Usage, fmt.Errorf("--engine-choice %q: it takes a profile by its name in the kernel, "+
			"or unconfined; for Kubernetes' RuntimeDefault leave it out", q.Choice))
	case q.Choice == "Unconfined":
		q.Choice = "unconfined"
	}
	if q.Bundle != "" {
		return q.bundleFacts(c)
	}
	return q.described(c)
}

// caller returns the caller that the flags describe.
func (q *Question) caller() (hook.Caller, error) {
	c := hook.Caller{Engine: q.Engine, Root: q.Root}
	switch {
	case q.Engine == "" && q.Root != "":
		c.Engine = engine.ByRoot(q.Root)
	case q.Engine != "" && !engine.Known(q.Engine):
		return c, exit.With(exit.Usage, fmt.Errorf("--engine %q: it is one of %s", q.Engine, strings.Join(engine.Names(), ", ")))
	}
	return c, nil
}

// described returns the facts that the flags describe and that a start would know.
func (q *Question) described(c hook.Caller) (policy.Facts, error) {
	annotations, err := pairs("--annotation", q.Annotations)
	if err != nil {
		return policy.Facts{}, err
	}
	// Make a spec from them, so that the engine's annotations mean here what they mean at a start.
	config, err := json.Marshal(map[string]any{"process": struct{}{}, "annotations": annotations})
	if err != nil {
		return policy.Facts{}, err
	}
	f, err := hook.Identify(config, c, q.ID, "")
	if err != nil {
		return policy.Facts{}, exit.With(exit.Usage, err)
	}
	reports := func(fact engine.Fact) bool { // if not, a start would not know the fact
		return q.Engine == "" && q.Root == "" || engine.Named(f.Engine).Reports(fact)
	}
	f.Unverified, f.Look = nil, nil // the flags say what a start would read from the engine's files
	if f.Sandbox = f.Sandbox || q.Sandbox && reports(engine.Sandbox); f.Sandbox {
		f.Container, f.Image = "", "" // as policy.Facts.Report has it
	}
	for _, k := range policy.Keys() {
		if value := q.Facts[k.Name]; value != nil && reports(engine.Fact(k.Name)) {
			fact := k.FactOf(&f)
			*fact = cmp.Or(*value, *fact)
		}
	}
	labels, err := pairs("--label", q.Labels)
	if err != nil {
		return policy.Facts{}, err
	}
	if len(labels) > 0 && f.Labels == nil {
		f.Labels = make(map[string]string)
	}
	if reports(engine.Label) {
		maps.Copy(f.Labels, labels)
	}
	f.EngineChoice, f.ChoiceUnsaid = q.Choice, !q.ChoiceSaid
	f.Privileged, f.PrivilegedBy = q.Privileged, nil
	if f.Privileged == policy.PartlyPrivileged {
		f.PrivilegedBy = []string{"which part was not said"}
	}
	f.Requested(annotations)
	return f, nil
}

// pairs parses the values of a flag, each KEY=VALUE.
func pairs(flag string, list []string) (map[string]string, error) {
	all := make(map[string]string)
	for _, pair := range list {
		key, value, ok := strings.Cut(pair, "=")
		if key == "" || !ok {
			return nil, exit.With(exit.Usage, fmt.Errorf("%s %q: it is written KEY=VALUE", flag, pair))
		}
		all[key] = value
	}
	return all, nil
}

func (q *Question) bundleFacts(c hook.Caller) (policy.Facts, error) {
	bundle := hook.NewBundle(q.Bundle)
	dir, err := bundle.Dir()
	if errors.Is(err, fs.ErrNotExist) {
		return policy.Facts{}, exit.With(exit.Cannot, fmt.Errorf("%s is no bundle: it is not there", absolute(q.Bundle)))
	}
	if err != nil {
		return policy.Facts{}, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	f, err := bundle.Identify(c, cmp.Or(q.ID, filepath.Base(dir)))
	if errors.Is(err, fs.ErrNotExist) {
		return policy.Facts{}, exit.With(exit.Cannot, fmt.Errorf("%s is no bundle: it has no config.json", dir))
	}
	if err != nil {
		return policy.Facts{}, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	return f, nil
}

// warnings returns warnings about parts of the question that are probably mistakes.
func (q *Question) warnings(f policy.Facts) []string {
	var list []string
	for _, k := range policy.Keys() {
		fact := q.Facts[k.Name]
		asked := fact != nil && *fact != "" || k.Name == string(engine.Label) && len(q.Labels) > 0 ||
			k.Name == string(engine.Sandbox) && q.Sandbox
		if !asked || k.ReportedBy(f.Engine) {
			continue
		}
		whose := f.Engine
		if cmp.Or(f.Engine, engine.Other) == engine.Other {
			whose = "other engines"
		}
		said := fmt.Sprintf("containers of %s have no %s that can be trusted: a rule for that never fits them", whose, k.Name)
		if q.Engine == "" && q.Root == "" {
			reporters := k.Reporters()
			do := "do"
			if len(reporters) == 1 {
				do = "does"
			}
			said = fmt.Sprintf("this is for an engine that reports the %s, as only %s %s: say which by --engine", k.Name,
				strings.Join(reporters, " and "), do)
		}
		list = append(list, said)
	}
	if q.Bundle == "" {
		list = append(list, q.forOthers(f)...)
	}
	return list
}

// forOthers returns warnings about annotations that ask for a policy for one container by its name, which is another's or
// was not said.
func (q *Question) forOthers(f policy.Facts) (list []string) {
	for _, pair := range q.Annotations {
		key, _, _ := strings.Cut(pair, "=")
		name, is := strings.CutPrefix(key, policy.Annotation+".")
		switch {
		case !is || policy.Misspelt(key) || name == f.Container || f.Sandbox:
		case f.Container != "":
			list = append(list, fmt.Sprintf("annotation %s is for the container of this name alone, and this one is %s",
				oneline.Word(key), oneline.Word(f.Container)))
		case cmp.Or(f.Engine, engine.Other) == engine.Other:
			list = append(list, fmt.Sprintf("annotation %s is for the container of this name alone: say by --container which this is, "+
				"or by --id where it is no engine's", oneline.Word(key)))
		default:
			list = append(list, fmt.Sprintf("annotation %s is for the container of this name alone: say by --container which this is",
				oneline.Word(key)))
		}
	}
	return list
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
