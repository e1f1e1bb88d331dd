package hook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/recording"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// recorded returns the decision for a container whose policy is being recorded: a profile in complain mode, of the container's
// own, stands in the place of the policy's. Floors stay, and are enforced. So does a profile that the engine chose, unless it
// is the policy's own: an earlier start leaves the policy's label in a bundle's config.json.
//
// A recording refuses no container. One that cannot be recorded runs under the policy's profile, and the warning says so.
func (h *Host) recorded(f *policy.Facts, d policy.Decision) policy.Decision {
	if d.Keep || d.InPlace {
		return d
	}
	blob, on, err := h.Recordings.Blob(d.Policy, f.Engine, f.ID)
	if on && f.ID == "" {
		err = errors.New("its id is not known, so that it can have no profile of its own")
	}
	switch {
	case err != nil:
		d.Warning = join(d.Warning, fmt.Sprintf("the container runs under policy %s and is not recorded: %v", d.Policy, err))
		return d
	case !on:
		return d
	}
	name := blob.Profiles[0].Name
	d = inPlace(d, policy.Profile{Name: name, Mode: profile.Complain, OnDrift: profile.ReplaceOwn, Source: "a recording",
		Recorded: blob.Data, Compiled: blob.Profiles, Blob: blob.SHA256()})
	d.Reason += "; it is recorded, under a profile of its own that denies nothing"
	d.Warning = join(d.Warning, fmt.Sprintf("policy %s is being recorded: the container runs under %s, which denies nothing", d.Policy, name))
	return d
}

// unrecord removes the profile of its own that a container had while it was recorded, whose record is gone. It stays if
// something uses it, and if whether that is so cannot be seen. What stays, the next finish or start of a recording removes.
func (h *Host) unrecord(r *Record) {
	for _, p := range r.Profiles {
		if !recording.IsFor(r.Policy, p.Name) {
			continue
		}
		if ours, err := h.Kernel.Owned(p.Name); err != nil || !ours {
			continue
		}
		// A look takes long on a busy machine. Starts wait only for the look that may end in a removal.
		if using, err := h.Kernel.Using(p.Name); err != nil || len(using) > 0 {
			continue
		}
		h.removeUnused(p.Name)
	}
}

// removeUnused removes a profile that no container has, and no thread.
func (h *Host) removeUnused(name string) {
	release, err := h.Hold()
	if err != nil {
		return
	}
	defer release()
	records, err := h.Records()
	has := func(r *Record) bool {
		return slices.ContainsFunc(r.Profiles, func(p RecordProfile) bool { return p.Name == name })
	}
	if err != nil || slices.ContainsFunc(records, has) { // of a new container of that id
		return
	}
	_ = h.Kernel.Remove(context.Background(), name, func() error {
		using, err := h.Kernel.Using(name)
		if err == nil && len(using) > 0 {
			err = errors.New("it is in use")
		}
		return err
	})
}

// leftBy returns the policy whose recording gave a container a label, if one did.
func leftBy(label string) string {
	for name := range strings.SplitSeq(label, "//&") {
		if policy, ok := recording.PolicyOf(name); ok {
			return policy
		}
	}
	return ""
}

// inPlace returns a decision with a profile in the place of the policy's.
func inPlace(d policy.Decision, p policy.Profile) policy.Decision {
	d.Profiles = slices.Clone(d.Profiles)
	d.Profiles[len(d.Profiles)-1] = p // the floors stand first
	var names []string
	for _, p := range d.Profiles {
		names = append(names, p.Name)
	}
	d.Label = policy.Label(names...)
	return d
}

// prepared returns the decision by which a spec was given its label. A recording may have begun or ended since, so that a
// decision of now need not be the one. If there is none, prepared returns the decision of now.
func (h *Host) prepared(f *policy.Facts, d policy.Decision, label string) (by policy.Decision, ok bool, err error) {
	now := h.recorded(f, d)
	switch {
	case policy.SameLabel(label, now.Label):
		return now, true, nil
	case policy.SameLabel(label, d.Label):
		return d, true, nil
	case f.ID == "" || d.InPlace:
		return now, false, nil
	}
	// Only Prepare loads a profile for this very container. So one that we have loaded shows what was decided.
	own := recording.NameFor(d.Policy, f.Engine, f.ID)
	before := inPlace(d, policy.Profile{Name: own})
	if !policy.SameLabel(label, before.Label) {
		return now, false, nil
	}
	if ours, err := h.Kernel.Owned(own); err != nil || !ours {
		return now, false, err
	}
	_, content, err := h.Kernel.Held(own)
	if err != nil {
		return now, false, err
	}
	before = inPlace(d, policy.Profile{Name: own, Mode: profile.Complain, Source: "a recording that has ended", Compiled: content})
	before.Warning = join(before.Warning, fmt.Sprintf("the recording of policy %s has ended while the container was created: it runs under %s, "+
		"which denies nothing: start it anew", d.Policy, own))
	return before, true, nil
}

// content returns the blob of a profile.
func content(gen *store.Generation, p policy.Profile) ([]byte, error) {
	if p.Recorded != nil {
		return p.Recorded, nil
	}
	return gen.Blob(p)
}
