package command

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

type rollbackOptions struct {
	store string
	quiet bool
}

func rollbackCommand(n *node) *cobra.Command {
	var o rollbackOptions
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Put the policy in force again that was before the present one",
		Long: `Put the policy in force again that was in force before the present one, with the
profiles as they were compiled then, and say what changes by that. It gets a number
of its own; a second rollback takes the first back. The policy file stays as it is:
the next policy apply puts that in force, and only that, so mend it before. Where the
kernel had other features then, a warning says so: nothing is compiled again.

Nothing is loaded into the kernel by this; see policy apply. The profiles' files for
AppArmor's service become those of then, so that a boot loads the same.`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error { return n.rollback(cmd.Context(), o) }),
	}
	cmd.Flags().StringVar(&o.store, "store", n.store, "`directory` of the applied policy")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "print nothing but errors")
	return cmd
}

func (n *node) rollback(ctx context.Context, o rollbackOptions) error {
	lock, err := n.lock(ctx, store.Store{Dir: o.store})
	if err != nil {
		return &failure{cannot, asRoot(err)}
	}
	defer lock.Unlock()
	now, err := n.current(o.store)
	if err != nil {
		return err
	}
	was, err := now.Index.Policy()
	if err != nil {
		return err
	}
	back, err := lock.Before()
	if err != nil {
		return notApplied(now, nil, &failure{cannot, asRoot(err)})
	}
	compiled, err := lock.Again(back)
	if err != nil {
		return notApplied(now, nil, &failure{cannot, fmt.Errorf("generation %d: %w", back.Number, err)})
	}
	m, err := back.Manifest()
	if err != nil {
		return notApplied(now, nil, &failure{cannot, err})
	}
	var files *stagedFiles
	if o.store == n.store {
		if files, err = n.stageAgain(ctx, lock, back, compiled); err != nil {
			return notApplied(now, nil, &failure{cannot, asRoot(err)})
		}
	}
	if files != nil {
		defer files.drop()
	}
	if o.store == n.store {
		n.warnOfFeatures(back, m)
	}
	g, changed, err := putInForce(lock, compiled, m, now, files)
	if err != nil {
		return notApplied(now, nil, asRoot(err))
	}
	if o.quiet {
		return nil
	}
	out := &printer{w: n.stdout}
	if !changed {
		out.line("generation %d stays in force: generation %d had the same", now.Number, back.Number)
		return out.err
	}
	out.line("generation %d is in force, with what generation %d had, in place of generation %d", g.Number, back.Number, now.Number)
	for _, line := range changes(was, compiled.Policy, goingBack) {
		out.line("  %s", line)
	}
	return out.err
}

// warnOfFeatures says where an earlier generation was compiled for a kernel with other features than this node's has now: what
// the parser left out for want of one is not enforced, and no apply has judged that for this kernel.
func (n *node) warnOfFeatures(g *store.Generation, m store.Manifest) {
	if m.Features == "" {
		return // it has no profiles
	}
	conf, err := profile.ReadConf(n.parser)
	var features []byte
	switch {
	case err != nil:
	case conf.KernelFeatures != "":
		features, err = os.ReadFile(conf.KernelFeatures)
	default:
		features, err = profile.ReadFeatures(n.kernel.Features())
	}
	switch {
	case err != nil:
		n.warn("whether generation %d was compiled for this kernel cannot be told: %v", g.Number, asRoot(err))
	case hash(features) != m.Features:
		n.warn("the profiles of generation %d were compiled for a kernel with other features than this one's: rules may be enforced "+
			"otherwise than they say. Mend the policy file and run oci-apparmor policy apply soon, which compiles them for this kernel", g.Number)
	}
}

// stageAgain is stage for a generation of before. It gives nil where there is no service to write for.
func (n *node) stageAgain(ctx context.Context, lock *store.Lock, g *store.Generation, compiled *store.Compilation) (*stagedFiles, error) {
	k, err := n.keeper(nil)
	if k == nil || err != nil {
		return nil, err
	}
	k.claim(ctx)
	texts := make(map[string]aloneText)
	for _, p := range compiled.Policy.Profiles {
		text, err := lock.SavedText(g, p.Name)
		if err != nil {
			err = fmt.Errorf("its text of then was not kept: %w", err)
		}
		texts[p.Name] = aloneText{text, err}
	}
	return k.stage(ctx, compiled, texts)
}
