package hook

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/oci-apparmor/oci-apparmor/policy"
)

// Outcome is what came of a container.
type Outcome struct {
	Decision policy.Decision
	Label    string // what process.apparmorProfile says now; empty where the engine's choice was kept
	Warning  string // one line, empty when all went as the policy says
}

// Prepare makes the container id in the directory bundle ready for the runtime to create it: decides, makes sure that
// the kernel holds the profile, and writes its label into the bundle's config.json. It remembers the container where
// w.Root is known. On an error the spec is as it was.
func (h *Host) Prepare(ctx context.Context, w Wiring, id, bundle string) (Outcome, error) {
	if w.Root != "" {
		// The runtime would refuse, but only after we had taken the running container's label for the new one's.
		if _, err := os.Lstat(filepath.Join(w.Root, id)); err == nil {
			return Outcome{}, fmt.Errorf("a container with that id exists already: %s", filepath.Join(w.Root, id))
		}
	}
	spec, err := readSpec(bundle)
	if err != nil {
		return Outcome{}, err
	}
	gen, d, err := h.decide(spec.identify(w, id))
	if err != nil {
		return Outcome{}, err
	}
	if d.Keep {
		h.remove(w, id) // a container of that id which we remember is gone
		return Outcome{Decision: d, Warning: d.Warning}, h.loadMissing(ctx, gen, spec.choice)
	}
	loaded, warnings, err := h.ensure(ctx, gen, d.Profiles)
	if err != nil {
		return Outcome{}, err
	}
	if w.Root != "" {
		if err := h.remember(w, newRecord(w, id, bundle, gen, d, loaded)); err != nil {
			return Outcome{}, err
		}
	}
	if err := spec.setProfile(d.Label); err != nil {
		return Outcome{}, err
	}
	return Outcome{Decision: d, Label: d.Label, Warning: join(append(warnings, d.Warning)...)}, nil
}

// Precreate is Prepare for an engine that hands over the spec itself and takes it back rewritten: Podman's precreate
// hook stage. It gives config as it came where nothing changes.
func (h *Host) Precreate(ctx context.Context, w Wiring, id string, config []byte) ([]byte, Outcome, error) {
	spec, err := parseSpec(config)
	if err != nil {
		return nil, Outcome{}, fmt.Errorf("the spec on standard input: %w", err)
	}
	gen, d, err := h.decide(spec.identify(w, id))
	if err != nil {
		return nil, Outcome{}, err
	}
	if d.Keep {
		return config, Outcome{Decision: d, Warning: d.Warning}, h.loadMissing(ctx, gen, spec.choice)
	}
	_, warnings, err := h.ensure(ctx, gen, d.Profiles)
	if err != nil {
		return nil, Outcome{}, err
	}
	config, err = spec.withProfile(d.Label)
	return config, Outcome{Decision: d, Label: d.Label, Warning: join(append(warnings, d.Warning)...)}, err
}
