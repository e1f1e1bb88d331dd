package hook

import (
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// record changes the decision for a container whose policy is being recorded: a profile in complain mode, of the container's
// own, stands in the place of the policy's. Floors stay, and are enforced. So does a profile that the engine chose.
func (h *Host) record(f *policy.Facts, d *policy.Decision) error {
	if d.Keep || d.Choice == policy.Stands {
		return nil
	}
	blob, recorded, err := h.Recordings.Blob(d.Policy, f.Engine, f.ID)
	if err != nil || !recorded {
		return err
	}
	last := len(d.Profiles) - 1 // the floors stand first
	name := blob.Profiles[0].Name
	d.Profiles[last] = policy.Profile{Name: name, Mode: profile.Complain, OnDrift: profile.ReplaceOwn, Source: "a recording",
		Recorded: blob.Data, Compiled: blob.Profiles, Blob: blob.SHA256()}
	var names []string
	for _, p := range d.Profiles {
		names = append(names, p.Name)
	}
	d.Label = policy.Label(names...)
	d.Reason += "; it is recorded, under a profile of its own that denies nothing"
	d.Warning = join(d.Warning, fmt.Sprintf("policy %s is being recorded: the container runs under %s, which denies nothing", d.Policy, name))
	return nil
}

// content returns the blob of a profile.
func content(gen *store.Generation, p policy.Profile) ([]byte, error) {
	if p.Recorded != nil {
		return p.Recorded, nil
	}
	return gen.Blob(p)
}
