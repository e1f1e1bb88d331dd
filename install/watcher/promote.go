package watcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/apply"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/quiet"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Standings returns how the profiles of the policy in force stand that are to be enforced once they were quiet. It returns
// none without a policy.
func Standings(n *node.Node) ([]quiet.Standing, error) {
	state, unread := n.State.Quiet.Read()
	_, all, err := dueOf(n, state, unread)
	return all, err
}

// dueOf returns which profiles of the policy in force are due, and how all stand.
func dueOf(n *node.Node, state *quiet.State, unread error) (due []apply.Quiet, all []quiet.Standing, err error) {
	g, err := store.Store{Dir: n.Store}.Current()
	if errors.Is(err, store.ErrNone) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	c, err := g.Config()
	if err != nil {
		return nil, nil, err
	}
	all = quiet.Standings(c, state, unread)
	for i := range all {
		if blob, after, is := all[i].Due(); is {
			due = append(due, apply.Quiet{Profile: all[i].Profile, Blob: blob, After: after})
		}
	}
	return due, all, nil
}

// Promote enforces those of the named policies, or of all if none is named, whose profiles were quiet for as long as they are
// to be. It returns the result, which is nil if none was, and how all of them stand. It promotes all or none of those that are
// named: the error says what is missing. What comes while it compiles counts, too.
func Promote(ctx context.Context, n *node.Node, policies []string, report func(apply.Loaded)) (*apply.Promoted, []quiet.Standing, error) {
	state, unread := proven(ctx, n.State.Quiet, patience)
	due, all, err := dueOf(n, state, unread)
	if err != nil {
		return nil, nil, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	if len(policies) > 0 {
		if due, err = named(policies, due, all); err != nil {
			return nil, all, err
		}
	}
	if len(due) == 0 {
		return nil, all, nil
	}
	still := func(ctx context.Context) error {
		return stillDue(n, due, func() (*quiet.State, error) { return proven(ctx, n.State.Quiet, patience) })
	}
	done, err := apply.Promote(ctx, n, due, still, report)
	return done, all, err
}

// stillDue looks again, by what read returns, at profiles that were due. The error says why one of them is not.
func stillDue(n *node.Node, were []apply.Quiet, read func() (*quiet.State, error)) error {
	state, unread := read()
	due, all, err := dueOf(n, state, unread)
	if err != nil {
		return exit.With(exit.Cannot, exit.AsRoot(err))
	}
	var errs []error
	for _, was := range were {
		if slices.Contains(due, was) {
			continue
		}
		why := "the policy in force has another one"
		if i := slices.IndexFunc(all, func(s quiet.Standing) bool { return s.Profile == was.Profile }); i >= 0 && len(all[i].Missing) > 0 {
			why = "missing: " + strings.Join(all[i].Missing, "; ")
		}
		errs = append(errs, fmt.Errorf("profile %s stays in complain mode: it was quiet for long enough before it was compiled, and is no longer "+
			"known to be: %s", was.Profile, why))
	}
	if len(errs) == 0 {
		return nil
	}
	return exit.With(exit.Refused, errors.Join(errs...))
}

// proven reads what is shown, and waits for at most a time until the proof is recent enough to decide by it. A watcher may be a
// little late, and one that is stopped says nothing of what is denied meanwhile.
func proven(ctx context.Context, d quiet.Dir, most time.Duration) (*quiet.State, error) {
	ctx, stop := context.WithTimeout(ctx, most)
	defer stop()
	for {
		s, err := d.Read()
		if err == nil {
			err = s.Recent(quiet.Clock())
		}
		if !errors.Is(err, quiet.ErrOld) {
			return s, err
		}
		select {
		case <-ctx.Done():
			return s, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// named returns those that are due of the named policies. The error says why one of them is not.
func named(policies []string, due []apply.Quiet, all []quiet.Standing) (some []apply.Quiet, err error) {
	var errs []error
	for _, name := range policies {
		i := slices.IndexFunc(all, func(s quiet.Standing) bool { return slices.Contains(s.Policies, name) })
		if i < 0 {
			errs = append(errs, exit.With(exit.Usage, fmt.Errorf("policy %s: it has no enforceAfter, or is not in force", oneline.Name(name))))
			continue
		}
		s := &all[i]
		at := slices.IndexFunc(due, func(q apply.Quiet) bool { return q.Profile == s.Profile })
		switch {
		case at >= 0 && !slices.Contains(some, due[at]):
			some = append(some, due[at])
		case at < 0 && len(s.Missing) > 0:
			errs = append(errs, exit.With(exit.Refused, fmt.Errorf("policy %s stays in complain mode: missing: %s", name, strings.Join(s.Missing, "; "))))
		}
	}
	return some, errors.Join(errs...)
}
