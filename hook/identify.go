package hook

import (
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

// Caller is the way by which a call reached us. It comes from how the node's administrator set the engine up, never
// from the container.
type Caller struct {
	Engine string // its name, see engine.Names; empty for engine.Other
	Root   string // where the runtime keeps its containers' state (its --root), absolute; empty when not known
}

// Identify tells from a container's config.json and from how it reached us what a policy needs to know of it. What its engine
// keeps in files of its own is there after policy.Facts.Read. bundle is the container's directory, absolute; without one,
// files that are found by it are not. The error names a line of config.json.
func Identify(config []byte, w Caller, id, bundle string) (policy.Facts, error) {
	d, err := parseSpec(config)
	if err != nil {
		return policy.Facts{}, err
	}
	return d.identify(w, id, bundle), nil
}

func (d *document) identify(w Caller, id, bundle string) policy.Facts {
	f := policy.Facts{
		Engine:       w.Engine,
		ID:           id,
		Container:    id,
		EngineChoice: d.choice,
	}
	f.Privileged, f.PrivilegedBy = d.powers.privilege()
	if e := engine.Named(w.Engine); len(e.Keys) > 0 {
		facts := make(map[engine.Fact]string, len(e.Keys))
		for fact, key := range e.Keys {
			facts[fact] = d.annotations[key]
		}
		f.Report(facts)
	}
	if f.Look = d.looker(w.Engine, bundle); f.Look != nil {
		f.Container, f.Unverified = "", policy.ErrUnread
	}
	f.Requested(d.annotations)
	return f
}
