package hook

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Outcome is what came of a container. Beside an error it has no label, and what was known before: Names once the spec was
// read, Decision once there was one, and the warning of what had to be put right until then.
type Outcome struct {
	Names    Names
	Decision policy.Decision
	Label    string // what process.apparmorProfile says now; empty where the engine's choice was kept
	Warning  string // one line, empty when all went as the policy says
}

// name sets Names. Where there is something to tell people, they are told the name by which they know the container, though
// the decision did not depend on it.
func (o *Outcome) name(facts *policy.Facts, err error) {
	if err != nil || o.Warning != "" {
		facts.Read()
	}
	o.Names = NamesOf(*facts)
}

// Prepare makes the container id in a bundle ready for the runtime to create it: decides, makes sure that
// the kernel holds the profile, and writes its label into the bundle's config.json. It remembers the container where
// w.Root is known. On an error the spec is as it was.
func (h *Host) Prepare(ctx context.Context, w Caller, id string, bundle *Bundle) (out Outcome, err error) {
	if w.Root != "" {
		if err := notThere(w, id); err != nil {
			return Outcome{}, err
		}
	}
	spec, err := bundle.spec()
	if err != nil {
		return Outcome{}, err
	}
	facts := spec.identify(w, id, filepath.Dir(spec.path))
	defer func() { out.name(&facts, err) }()
	out, gen, held, err := h.decideAndEnsure(ctx, &facts)
	if err != nil {
		return out, err
	}
	if w.Root != "" {
		if err := h.remember(w, newRecord(w, facts, filepath.Dir(spec.path), gen, out.Decision, held)); err != nil {
			out.Label = ""
			return out, err
		}
	}
	if out.Label != "" {
		if err := spec.setProfile(out.Label); err != nil {
			if w.Root != "" {
				h.Forget(w, id)
			}
			out.Label = ""
			return out, err
		}
	}
	return out, nil
}

// Precreate is Prepare for an engine that hands over the spec itself and takes it back rewritten: Podman's precreate
// hook stage. bundle is where the engine has the container, or empty where that is not known. It returns config as it came
// where nothing changes.
func (h *Host) Precreate(ctx context.Context, w Caller, id, bundle string, config []byte) ([]byte, Outcome, error) {
	spec, err := parseSpec(config)
	if err != nil {
		return nil, Outcome{}, fmt.Errorf("the spec on standard input: %w", err)
	}
	facts := spec.identify(w, id, bundle)
	out, _, _, err := h.decideAndEnsure(ctx, &facts)
	out.name(&facts, err)
	if err == nil && out.Label != "" {
		config, err = spec.withProfile(out.Label)
	}
	return config, out, err
}

// decideAndEnsure does all of Prepare that changes no spec.
func (h *Host) decideAndEnsure(ctx context.Context, facts *policy.Facts) (Outcome, *store.Generation, []RecordProfile, error) {
	var out Outcome
	gen, d, err := h.decide(facts)
	if err != nil {
		return out, nil, nil, err
	}
	out.Decision = d
	if d.Keep {
		held, warning, err := h.keepChoice(ctx, gen, facts.EngineChoice)
		out.Warning = join(d.Warning, warning)
		return out, gen, held, err
	}
	held, warnings, err := h.ensure(ctx, gen, d.Profiles, nil)
	if err != nil {
		return out, nil, nil, demands(err)
	}
	out.Label, out.Warning = d.Label, join(append(warnings, d.Warning)...)
	return out, gen, held, nil
}
