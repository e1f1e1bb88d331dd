package hook

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Outcome is the result for a container. If there is an error, Label is empty, and the other fields have what was known
// before it: Names if the spec was read, Decision if there was one, and Warning for what was put right until then.
type Outcome struct {
	Names    Names
	Decision policy.Decision
	Label    string // what process.apparmorProfile says now; empty if the engine's choice was kept
	Warning  string // one line; empty if all went as the policy says
}

// name sets Names. If there is a message for people, it reads the engine's files first, so that the message has the name by
// which they know the container.
func (o *Outcome) name(facts *policy.Facts, err error) {
	if err != nil || o.Warning != "" {
		facts.Read()
	}
	o.Names = NamesOf(*facts)
}

// Prepare makes the container id in a bundle ready for the runtime to create it. It decides, makes sure that the kernel
// holds the profile, and writes the label into the bundle's config.json. If c.Root is known, it writes the container's
// record. After an error the spec is as it was.
func (h *Host) Prepare(ctx context.Context, c Caller, id string, bundle *Bundle) (out Outcome, err error) {
	if c.Root != "" {
		if err := notThere(c, id); err != nil {
			return Outcome{}, err
		}
	}
	spec, err := bundle.spec()
	if err != nil {
		return Outcome{}, Because(notice.Spec, err)
	}
	facts := spec.identify(c, id, filepath.Dir(spec.path))
	defer func() { out.name(&facts, err) }()
	out, gen, held, err := h.decideAndEnsure(ctx, &facts)
	if err != nil {
		return out, err
	}
	if c.Root != "" {
		r := newRecord(c, facts, filepath.Dir(spec.path), gen, out.Decision, held)
		err := h.remember(c, r)
		if err == nil {
			err = h.holdAgain(ctx, c, gen, &out, facts.EngineChoice, r)
		}
		if err != nil {
			out.Label = ""
			return out, Because(notice.Record, err)
		}
	}
	if out.Label != "" {
		if err := spec.setProfile(out.Label); err != nil {
			if c.Root != "" {
				h.Forget(c, id)
			}
			out.Label = ""
			return out, Because(notice.Spec, err)
		}
	}
	return out, nil
}

// Precreate is Prepare for an engine that hands over the spec itself and takes it back rewritten: Podman's hook stage
// precreate. bundle is the container's directory, or empty if it is not known. Precreate returns config unchanged if the
// container keeps its engine's choice.
func (h *Host) Precreate(ctx context.Context, c Caller, id, bundle string, config []byte) ([]byte, Outcome, error) {
	spec, err := parseSpec(config)
	if err != nil {
		return nil, Outcome{}, Because(notice.Spec, fmt.Errorf("the spec on standard input: %w", err))
	}
	facts := spec.identify(c, id, bundle)
	out, _, _, err := h.decideAndEnsure(ctx, &facts)
	out.name(&facts, err)
	if err == nil && out.Label != "" {
		config, err = spec.withProfile(out.Label)
		err = Because(notice.Spec, err)
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
	d = h.recorded(facts, d)
	out.Decision, out.Warning = d, d.Warning
	held, warning, err := h.hold(ctx, gen, d, facts.EngineChoice)
	if err != nil {
		return out, nil, nil, err
	}
	out.Warning = join(warning, d.Warning)
	if !d.Keep {
		out.Label = d.Label
	}
	return out, gen, held, nil
}

// hold makes the kernel hold the profiles of a decision, or of the engine's choice that it keeps.
func (h *Host) hold(ctx context.Context, gen *store.Generation, d policy.Decision, choice string) ([]RecordProfile, string, error) {
	if d.Keep {
		return h.keepChoice(ctx, gen, choice)
	}
	held, warnings, err := h.ensure(ctx, gen, d.Profiles, nil)
	return held, join(warnings...), demands(err)
}

// holdAgain is hold for a container whose record was just written, if one of its profiles was removed meanwhile. Only from
// then on is a profile in use that was loaded before, and is removed by nothing of ours. After an error there is no record.
func (h *Host) holdAgain(ctx context.Context, c Caller, gen *store.Generation, out *Outcome, choice string, r *Record) error {
	removed, err := h.removed(r)
	if removed == "" && err == nil {
		return nil
	}
	var warning string
	if err == nil {
		r.Profiles, warning, err = h.hold(ctx, gen, out.Decision, choice)
		out.Warning = join(warning, out.Warning)
	}
	if err == nil {
		err = h.rewrite(c, r)
	}
	if err != nil {
		h.Forget(c, r.ID)
	}
	return err
}
