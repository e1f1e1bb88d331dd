package apply

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/oci-apparmor/oci-apparmor/install/bootfiles"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// RolledBack is the result of a rollback.
type RolledBack struct {
	Generation *store.Generation // the generation in force after it
	Now        *store.Generation // the generation that was in force before it
	Back       *store.Generation // the earlier generation whose policy is in force again
	Changed    bool              // whether the policy of Now was another one
	Changes    []string          // lines that say which profiles, policies and rules changed
	Tests      string            // a sentence about tests that were not run; empty where neither policy requires any
}

// Rollback puts the policy in force again that was in force before the present one. dir is the directory of the applied
// policy. Rollback compiles nothing. The error says which policy stays in force.
func Rollback(ctx context.Context, n *node.Node, dir string) (*RolledBack, error) {
	lock, err := lock(ctx, n, store.Store{Dir: dir})
	if err != nil {
		return nil, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	defer lock.Unlock()
	now, err := n.Current(dir)
	if err != nil {
		return nil, err
	}
	was, err := policyOf(now)
	if err != nil {
		return nil, err
	}
	back, err := lock.Before()
	if errors.Is(err, store.ErrNoBefore) {
		return nil, exit.With(exit.Cannot, fmt.Errorf("there is nothing to go back to: generation %d stays in force, and no other is "+
			"kept on this node", now.Number))
	}
	if err != nil {
		return nil, notApplied(now, nil, exit.With(exit.Cannot, exit.AsRoot(err)))
	}
	compiled, err := lock.Again(back)
	if err != nil {
		return nil, notApplied(now, nil, exit.With(exit.Cannot, fmt.Errorf("generation %d: %w", back.Number, err)))
	}
	m, err := back.Manifest()
	if err != nil {
		return nil, notApplied(now, nil, exit.With(exit.Cannot, err))
	}
	m.RollbackOf, m.RollbackTo = now.Number, back.Number
	var files *bootfiles.Staged
	if dir == n.Store {
		if files, err = stageAgain(ctx, n, lock, back, compiled); err != nil {
			return nil, notApplied(now, nil, exit.With(exit.Cannot, exit.AsRoot(err)))
		}
	}
	if files != nil {
		defer files.Drop()
	}
	if dir == n.Store {
		warnOfFeatures(n, back, m)
	}
	g, changed, err := putInForce(lock, compiled, m, now, files)
	if err != nil {
		return nil, notApplied(now, nil, exit.AsRoot(err))
	}
	return &RolledBack{Generation: g, Now: now, Back: back, Changed: changed, Changes: changes(was, compiled.Policy, goingBack),
		Tests: untested(was, compiled.Policy, back)}, nil
}

// untested says what a rollback means for tests: they stand beside the policy file, and are of what that has.
func untested(was, is *policy.Config, back *store.Generation) string {
	switch {
	case is.RequireTests:
		return fmt.Sprintf("no test was run: what generation %d had passed its tests when it was applied", back.Number)
	case was.RequireTests:
		return fmt.Sprintf("no test was run: generation %d required none", back.Number)
	}
	return ""
}

// warnOfFeatures says where an earlier generation was compiled for a kernel with other features than this node's has now:
// what the parser left out for want of one is not enforced, and no apply has judged that for this kernel.
func warnOfFeatures(n *node.Node, g *store.Generation, m store.Manifest) {
	if m.Features == "" {
		return // it has no profiles
	}
	conf, err := profile.ReadConf(n.ParserConf)
	var features []byte
	switch {
	case err != nil:
	case conf.KernelFeatures != "":
		features, err = os.ReadFile(conf.KernelFeatures)
	default:
		features, err = profile.ReadFeatures(n.Kernel.Features())
	}
	switch {
	case err != nil:
		n.Warnf("whether generation %d was compiled for this kernel cannot be told: %v", g.Number, exit.AsRoot(err))
	case hash(features) != m.Features:
		n.Warnf("the profiles of generation %d were compiled for a kernel with other features than this one's: rules may be enforced "+
			"otherwise than they say. Mend the policy file and run oci-apparmor policy apply soon, which compiles them for this kernel", g.Number)
	}
}

// stageAgain is Stage for a generation of before. It returns nil where there is no service to write for.
func stageAgain(ctx context.Context, n *node.Node, lock *store.Lock, g *store.Generation,
	compiled *store.Compilation) (*bootfiles.Staged, error) {
	k, err := bootfiles.New(n, nil, nil)
	if k == nil || err != nil {
		return nil, err
	}
	k.Claim(ctx)
	texts := make(map[string]bootfiles.Text)
	for _, p := range compiled.Policy.Profiles {
		text, err := lock.SavedText(g, p.Name)
		if err != nil {
			err = fmt.Errorf("its text of then was not kept: %w", err)
		}
		texts[p.Name] = bootfiles.Text{Text: text, Err: err}
	}
	return k.Stage(ctx, compiled, texts)
}
