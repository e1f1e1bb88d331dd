package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

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
	case q.engine != "" && !slices.Contains(engines, q.engine):
		return policy.Facts{}, &failure{usage, fmt.Errorf("--engine %q: it is one of %s", q.engine,
			strings.Join(engines, ", "))}
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
		q.keys = append(q.keys, key)
	}
	// By way of a spec, so that annotations of the engine's mean here what they mean there.
	config, err := json.Marshal(map[string]any{"process": struct{}{}, "annotations": annotations})
	if err != nil {
		return policy.Facts{}, err
	}
	f, err := hook.Identify(config, w, q.id)
	if err != nil {
		return policy.Facts{}, &failure{usage, err}
	}
	if q.engine == "" && q.root == "" || policy.TellsPods(f.Engine) { // or else a start would not know them
		if f.Sandbox = f.Sandbox || q.sandbox; f.Sandbox {
			f.Container, f.Image = "", "" // as hook.Identify has it
		}
		f.Namespace, f.Pod, f.Image = cmp.Or(q.namespace, f.Namespace), cmp.Or(q.pod, f.Pod), cmp.Or(q.image, f.Image)
	}
	f.Container = cmp.Or(q.container, f.Container) // its id, where an engine does not tell pods
	f.EngineChoice = q.choice
	f.Privileged, f.PrivilegedBy = policy.Privilege(q.privileged), nil
	if f.Privileged == policy.PartlyPrivileged {
		f.PrivilegedBy = []string{"as --privileged says"}
	}
	f.Request, f.RequestKey = policy.Requested(func(key string) (string, bool) {
		v, ok := annotations[key]
		return v, ok
	}, f.Container)
	return f, nil
}

func (q *question) bundleFacts(w hook.Wiring) (policy.Facts, error) {
	dir, err := hook.BundleDir(q.bundle)
	if errors.Is(err, fs.ErrNotExist) {
		return policy.Facts{}, &failure{cannot, fmt.Errorf("%s is no bundle: it is not there", absolute(q.bundle))}
	}
	if err != nil {
		return policy.Facts{}, &failure{cannot, asRoot(err)}
	}
	id := q.id
	if id == "" {
		id = filepath.Base(dir)
	}
	name := filepath.Join(dir, "config.json")
	file, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO is not waited for
	if errors.Is(err, fs.ErrNotExist) {
		return policy.Facts{}, &failure{cannot, fmt.Errorf("%s is no bundle: it has no config.json", dir)}
	}
	if err != nil {
		return policy.Facts{}, &failure{cannot, asRoot(err)}
	}
	defer file.Close()
	config, err := hook.ReadSpec(file)
	if err != nil {
		return policy.Facts{}, &failure{cannot, fmt.Errorf("%s: %w", name, err)}
	}
	f, err := hook.Identify(config, w, id)
	if err != nil {
		return policy.Facts{}, &failure{cannot, fmt.Errorf("%s: %w", name, err)}
	}
	q.keys = annotationKeys(config)
	return f, nil
}

// annotationKeys gives the annotations of a spec that hook.Identify has read.
func annotationKeys(config []byte) []string {
	var spec struct {
		Annotations map[string]json.RawMessage `json:"annotations"`
	}
	if json.Unmarshal(config, &spec) != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(spec.Annotations))
}

// warnings says what about a question is likely to be a mistake.
func (q *question) warnings(f policy.Facts) []string {
	const ours = "oci-apparmor/"
	var list []string
	for _, key := range q.keys {
		name, one := strings.CutPrefix(key, policy.Annotation+".")
		if !strings.HasPrefix(key, ours) || key == policy.Annotation || one && name != "" {
			continue
		}
		meant := policy.Annotation
		if _, container, ok := strings.Cut(key[len(ours):], "."); ok && container != "" {
			meant += "." + container
		}
		list = append(list, fmt.Sprintf("annotation %s means nothing; did you mean %s?", safe(key), safe(meant)))
	}

	var given []string
	for _, flag := range []struct{ name, value string }{
		{"namespace", q.namespace}, {"pod", q.pod}, {"image", q.image},
	} {
		if flag.value != "" {
			given = append(given, flag.name)
		}
	}
	if q.sandbox {
		given = append(given, "mark of a sandbox")
	}
	if len(given) > 0 && !policy.TellsPods(f.Engine) {
		whose := f.Engine
		if f.Engine == policy.EngineOther {
			whose = "other engines"
		}
		said := fmt.Sprintf("containers of %s carry no %s that can be trusted: a rule for that never fits them", whose,
			strings.Join(given, " and no "))
		if q.engine == "" && q.root == "" {
			said = fmt.Sprintf("this is for an engine that tells the %s, as only containerd and cri-o do: say which by --engine",
				strings.Join(given, " and the "))
		}
		list = append(list, said)
	}
	return list
}
