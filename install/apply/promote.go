package apply

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Quiet is a profile of the policy in force that was quiet for as long as the policy file demands, with the content and the time
// that were shown.
type Quiet struct {
	Profile string
	Blob    [sha256.Size]byte // as in policy.Profile
	After   time.Duration     // EnforceAfter of policy.Profile
}

// promotion is what Promote has to promote.
type promotion struct {
	quiet []Quiet
	still func(ctx context.Context) error
}

// Promoted is the result of Promote.
type Promoted struct {
	Generation *store.Generation
	Before     uint64   // the generation that it replaced
	Said       []string // sentences about containers that do not follow, and programs that cannot stop others
}

// Promote puts the policy in force again with these profiles in mode enforce, as a generation of its own, and loads them: what
// runs under one of them alone is denied at once what it does not allow. It judges no evidence: see package quiet.
//
// To compile takes time, in which what was quiet may be so no longer. Once all is compiled, and right before it comes into force,
// Promote calls still, under the lock of the store. The error of still says that a profile is not quiet any more, or that nobody
// knows. Then nothing is changed.
//
// Nothing else changes. If the policy file has changes that are not applied, the error says so: nobody has decided yet that
// they count.
func Promote(ctx context.Context, n *node.Node, quiet []Quiet, still func(context.Context) error, report func(Loaded)) (*Promoted, error) {
	a, err := Apply(ctx, n, Options{Config: n.Config, Store: n.Store, Progress: Silent{}, promote: &promotion{quiet, still}})
	if err != nil {
		return nil, err
	}
	p := &Promoted{Generation: a.Generation, Before: a.Before.Number}
	p.Said, err = load(ctx, n, n.Store, a.Generation, func(name string) bool {
		return slices.ContainsFunc(quiet, func(q Quiet) bool { return q.Profile == name })
	}, report)
	if err != nil {
		return p, fmt.Errorf("%w; they are enforced from the next start on that needs them (generation %d is in force)", err, a.Generation.Number)
	}
	return p, nil
}

// promote gives the mode enforce to profiles of the policy that was read, if it is the one in force. digest is that of the policy
// as it was written.
func promote(p *policy.Config, digest string, compiled *store.Compilation, before *store.Generation, quiet []Quiet) error {
	if before == nil {
		return exit.With(exit.Cannot, errors.New("no policy is in force"))
	}
	switch change, err := changeOf(compiled, digest, before); {
	case err != nil:
		return err
	case change != "":
		return exit.With(exit.Cannot, fmt.Errorf("the policy file has changes that are not in force, in %s: run oci-apparmor policy apply, and "+
			"what it leaves as it is can be enforced then", change))
	}
	for _, q := range quiet {
		i := slices.IndexFunc(compiled.Policy.Profiles, func(pr policy.Profile) bool { return pr.Name == q.Profile })
		if i < 0 || !compiled.Policy.Profiles[i].Waits() || compiled.Policy.Profiles[i].Blob != q.Blob {
			return exit.With(exit.Cannot, fmt.Errorf("profile %s is not, or no longer, the one that was quiet", q.Profile))
		}
		if after := compiled.Policy.Profiles[i].EnforceAfter; after != q.After {
			return exit.With(exit.Cannot, fmt.Errorf("profile %s is to be quiet for %s now, and was looked at as one that is to be for %s: try again",
				q.Profile, policyfile.FormatQuiet(after), policyfile.FormatQuiet(q.After)))
		}
		p.Profiles[i].Mode = profile.Enforce
	}
	return nil
}

// changeOf names something in which a policy that was read is another one than a generation; empty if they are the same. Not all
// that a person wrote is in what containers are started from: the manifest has the rest.
func changeOf(compiled *store.Compilation, digest string, before *store.Generation) (string, error) {
	m, err := before.Manifest()
	if err != nil {
		return "", err
	}
	was, err := before.Config()
	if err != nil {
		return "", err
	}
	same, err := before.Has(compiled)
	if err != nil {
		return "", err
	}
	if !same {
		return "what it decides, or what profiles compile to", nil
	}
	for i := range compiled.Policy.Profiles { // both have the same ones
		if one := &compiled.Policy.Profiles[i]; one.EnforceAfter != was.Profiles[i].EnforceAfter {
			return "enforceAfter of profile " + one.Name, nil
		}
	}
	switch {
	case compiled.Policy.RequireTests != was.RequireTests:
		return "require", nil
	case m.Digest != "" && m.Digest != digest: // earlier versions wrote none
		return "the text of a profile, or its template", nil
	}
	return "", nil
}

// keepPromoted gives the mode enforce to profiles of a policy file that the generation in force, which may be nil, enforces
// because they were quiet. A profile with another text begins anew.
func keepPromoted(p *policy.Config, before *store.Generation) {
	if before == nil {
		return
	}
	for i := range p.Profiles {
		if one := &p.Profiles[i]; one.Waits() && before.Promoted(one) {
			one.Mode = profile.Enforce
		}
	}
}

// begunAnew returns the profiles that a generation enforces because they were quiet, and that the next one does not.
func begunAnew(before *store.Generation, after *policy.Config) (names []string) {
	if before == nil {
		return nil
	}
	was, err := before.Config()
	if err != nil {
		return nil
	}
	for _, pr := range was.Profiles {
		i := slices.IndexFunc(after.Profiles, func(is policy.Profile) bool { return is.Name == pr.Name })
		if pr.Promoted() && i >= 0 && after.Profiles[i].Waits() {
			names = append(names, pr.Name)
		}
	}
	return names
}

// BegunAnew returns a sentence about profiles that were enforced, and are in complain mode now as their texts have changed. It
// is empty if there are none.
func (a *Applied) BegunAnew() string {
	names := begunAnew(a.Before, a.compiled.Policy)
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("changed, and so in complain mode until quiet again: %s", strings.Join(names, ", "))
}
