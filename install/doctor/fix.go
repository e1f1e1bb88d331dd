package doctor

import (
	"context"
	"errors"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/install/apply"
)

// fix is something safe to do about a finding. Several findings may have the same one.
type fix struct {
	do func(ctx context.Context, n *Node) error
}

// These are all that Fix does. None puts another policy in force, replaces a profile that is not ours, or changes an engine's
// files.
var (
	loadPolicy = &fix{func(ctx context.Context, n *Node) error {
		_, _, err := apply.Load(ctx, n.Node, n.Store, func(apply.Loaded) {})
		return err
	}}

	// An apply of the policy that is in force writes the files that are missing, and nothing else.
	writeBootFiles = &fix{func(ctx context.Context, n *Node) error {
		lines, _, err := apply.Pending(ctx, n.Node)
		if err != nil {
			return err
		}
		if len(lines) > 0 {
			return errors.New("the policy on disk has just been changed, and is not put in force by this")
		}
		_, err = apply.Apply(ctx, n.Node, apply.Options{Config: n.Config, Store: n.Store, Progress: apply.Silent{}})
		return err
	}}
)

// Fix does what is safe about the findings of a report, and examines the node again. The report has what it has put right. The
// error joins those of what failed.
func Fix(ctx context.Context, n *Node, before *Report) (*Report, error) {
	var done []*fix
	var errs []error
	for _, f := range before.Findings {
		if f.fix == nil || slices.Contains(done, f.fix) {
			continue
		}
		done = append(done, f.fix)
		if err := f.fix.do(ctx, n); err != nil {
			errs = append(errs, err)
		}
	}
	if len(done) == 0 {
		return before, nil
	}
	after := Examine(ctx, n)
	for _, f := range before.Findings {
		if f.fix != nil && !after.has(f) {
			after.Fixed = append(after.Fixed, f)
		}
	}
	return after, errors.Join(errs...)
}

// has reports whether a report has a finding.
func (r *Report) has(f Finding) bool {
	return slices.ContainsFunc(r.Findings, func(g Finding) bool { return g.ID == f.ID && g.What == f.What })
}
