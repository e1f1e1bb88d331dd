package audit

import (
	"context"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/install/profiles"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// Reason is which rules decided, by the text of the profile. Err is a sentence that says why that is not known.
type Reason struct {
	profiles.PartReason
	Err error
}

// Deciding answers why a profile allows or denies an access: a profiles.Deciding.
type Deciding interface {
	Why(ctx context.Context, profile string, a meaning.Access) (profiles.PartReason, error)
}

// Why returns the reasons for a denial: one for each access that it may have been, or for none if no rule decided.
func Why(ctx context.Context, d Deciding, e *Event) (all []Reason) {
	if !e.Kind.denies() && e.Kind != Audited || e.Namespace != "" {
		return nil
	}
	for _, a := range e.Access {
		reason, err := d.Why(ctx, e.Profile, a)
		one := Reason{reason, err}
		same := func(r Reason) bool { return r.Err != nil && err != nil && r.Err.Error() == err.Error() }
		if !slices.ContainsFunc(all, same) {
			all = append(all, one)
		}
	}
	return all
}
