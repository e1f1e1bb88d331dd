package hook

import (
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

// Caller is who called us: an engine, and the root of its containers. Both follow from how the node's administrator set the
// engine up, never from the container.
type Caller struct {
	Engine string // its name, see engine.Names; empty for engine.Other
	Root   string // the directory of the runtime's state of containers (its --root), absolute; empty if not known
}

// Identify returns what a policy needs to know of a container, from its config.json and its caller. policy.Facts.Read adds
// what its engine keeps in files of its own. bundle is the container's directory, absolute. If it is empty, the files that
// are found through it are not read. The error names a line of config.json.
func Identify(config []byte, c Caller, id, bundle string) (policy.Facts, error) {
	d, err := parseSpec(config)
	if err != nil {
		return policy.Facts{}, err
	}
	return d.identify(c, id, bundle), nil
}

func (d *document) identify(c Caller, id, bundle string) policy.Facts {
	f := policy.Facts{
		Engine:       c.Engine,
		ID:           id,
		Container:    id,
		EngineChoice: d.choice,
		LeftBy:       leftBy(d.choice),
	}
	f.Privileged, f.PrivilegedBy = d.powers.privilege()
	if e := engine.Named(c.Engine); len(e.Keys) > 0 {
		facts := make(map[engine.Fact]string, len(e.Keys))
		for fact, key := range e.Keys {
			facts[fact] = d.annotations[key]
		}
		f.Report(facts)
	}
	if f.Look = d.looker(c.Engine, bundle); f.Look != nil {
		f.Container, f.Unverified = "", policy.ErrUnread
	}
	f.Requested(d.annotations)
	return f
}
