package command

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/shim"
)

// facts gives what a container start would know.
func (q *question) facts() (policy.Facts, error) {
	w := hook.Wiring{Engine: q.engine, Root: q.root}
	switch {
	case q.engine == "" && q.root != "":
		w.Engine = shim.EngineOf(q.root)
	case q.engine == "other":
		w.Engine = policy.EngineOther
	case q.engine != "" && !slices.Contains(policy.Engines, q.engine):
		return policy.Facts{}, &failure{usage, fmt.Errorf("--engine %q: it is one of %s", q.engine,
			strings.Join(policy.Engines, ", "))}
	}
	switch {
	case q.choice == "RuntimeDefault" || q.choice == "runtime/default" || strings.HasPrefix(q.choice, "localhost/"):
		return policy.Facts{}, &failure{usage, fmt.Errorf("--engine-choice %q: it takes a profile by its name in the kernel, "+
			"or unconfined; for Kubernetes' RuntimeDefault leave it out", q.choice)}
	case q.choice == "Unconfined":
		q.choice = "unconfined"
	}
	if q.bundle != "" {
		return q.bundleFacts(w)
	}

	annotations := make(map[string]string)
	for _, a := range q.annotations {
		key, value, ok := strings.Cut(a, "=")
		if !ok || key == "" {
			return policy.Facts{}, &failure{usage, fmt.Errorf("--annotation %q: it is written KEY=VALUE", a)}
		}
		annotations[key] = value
	}
	// By way of a spec, so that annotations of the engine's mean here what they mean there.
	config, err := json.Marshal(map[string]any{"process": struct{}{}, "annotations": annotations})
	if err != nil {
		return policy.Facts{}, err
	}
	f, err := hook.Identify(config, w, q.id, "")
	if err != nil {
		return policy.Facts{}, &failure{usage, err}
	}
	tells := func(key string) bool { // or else a start would not know it
		return q.engine == "" && q.root == "" || policy.Tells(f.Engine, key)
	}
	f.Untold, f.Look = nil, nil // what a start would read from the engine's files is asked for here
	if f.Sandbox = f.Sandbox || q.sandbox && tells("sandbox"); f.Sandbox {
		f.Container, f.Image = "", "" // as hook.Identify has it
	}
	for _, flag := range []struct {
		key, value string
		fact       *string
	}{
		{"namespace", q.namespace, &f.Namespace}, {"pod", q.pod, &f.Pod}, {"container", q.container, &f.Container},
		{"image", q.image, &f.Image},
	} {
		if tells(flag.key) {
			*flag.fact = cmp.Or(flag.value, *flag.fact)
		}
	}
	for _, l := range q.labels {
		key, value, _ := strings.Cut(l, "=")
		if key == "" {
			return policy.Facts{}, &failure{usage, fmt.Errorf("--label %q: it is written KEY=VALUE", l)}
		}
		if f.Labels == nil {
			f.Labels = make(map[string]string)
		}
		if tells("label") {
			f.Labels[key] = value
		}
	}
	f.EngineChoice = q.choice
	f.Privileged, f.PrivilegedBy = policy.Privilege(q.privileged), nil
	if f.Privileged == policy.PartlyPrivileged {
		f.PrivilegedBy = []string{"as --privileged says"}
	}
	f.Requested(annotations)
	return f, nil
}

func (q *question) bundleFacts(w hook.Wiring) (policy.Facts, error) {
	bundle := hook.NewBundle(q.bundle)
	dir, err := bundle.Dir()
	if errors.Is(err, fs.ErrNotExist) {
		return policy.Facts{}, &failure{cannot, fmt.Errorf("%s is no bundle: it is not there", absolute(q.bundle))}
	}
	if err != nil {
		return policy.Facts{}, &failure{cannot, asRoot(err)}
	}
	f, err := bundle.Identify(w, cmp.Or(q.id, filepath.Base(dir)))
	if errors.Is(err, fs.ErrNotExist) {
		return policy.Facts{}, &failure{cannot, fmt.Errorf("%s is no bundle: it has no config.json", dir)}
	}
	if err != nil {
		return policy.Facts{}, &failure{cannot, asRoot(err)}
	}
	return f, nil
}

// warnings says what about a question is likely to be a mistake.
func (q *question) warnings(f policy.Facts) []string {
	var list []string
	for _, flag := range []struct {
		key   string
		given bool
	}{
		{"namespace", q.namespace != ""}, {"pod", q.pod != ""}, {"image", q.image != ""}, {"label", len(q.labels) > 0},
		{"sandbox", q.sandbox},
	} {
		if !flag.given || policy.Tells(f.Engine, flag.key) {
			continue
		}
		whose := f.Engine
		if f.Engine == policy.EngineOther {
			whose = "other engines"
		}
		said := fmt.Sprintf("containers of %s have no %s that can be trusted: a rule for that never fits them", whose, flag.key)
		if q.engine == "" && q.root == "" {
			said = fmt.Sprintf("this is for an engine that tells the %s, as only %s do: say which by --engine", flag.key,
				strings.Join(policy.Tellers(flag.key), " and "))
			if len(policy.Tellers(flag.key)) == 1 {
				said = strings.Replace(said, " do:", " does:", 1)
			}
		}
		list = append(list, said)
	}
	return list
}
