package command

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

type applyOptions struct {
	config, store, features string
	quiet, dry              bool
}

func applyCommand(n *node) *cobra.Command {
	var o applyOptions
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Check the policy, compile its profiles, and put it in force",
		Long: `Check the policy, compile its profiles, and put it in force for containers that
start from now on. Run it after every change to the policy file or to a profile,
and after an upgrade of AppArmor or of the kernel.

Nothing is loaded into the kernel by this. A changed profile is, with the next
start or exec of any container that needs it, or by policy load; the kernel
replaces it in place, so it then holds for all running containers whose label is
this one profile. What runs under a stack, as with a floor, follows one replacement
and no later one: whoever replaces says which containers stay behind, status calls
them stale, and they must be started anew.
Which profiles a running container has does not change until it is started again.

Each profile is also written to a file in /etc/apparmor.d, where AppArmor's own
service finds it at boot and when it is reloaded, and aa-remove-unknown sees that
it is known. With --store or --features, which are for another node, none is. A policy
for which a file cannot be written, or would mean something else, is not applied.

Only what changed is compiled: a profile is kept as it was compiled before as long
as its text with all that it includes, its mode, apparmor_parser, its configuration
and the kernel's features are the same.

A policy with an error in it is not applied: the last good one stays in force.

With --dry-run all is checked and compiled, and nothing is written: it says what
would change of profiles, policies and rules, and for the running containers that
oci-apparmor has decided about, what their next start would get, by what their
bundles say now: the same, another label, or a refusal, as of a request that no
rule allows any more. It also says which run under a profile whose content would
change, and whether what runs in them would follow that, or is to be started anew.
The exit code is 4 where a running container would be refused at its next start.`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			if o.dry {
				return n.dryRun(cmd.Context(), o)
			}
			return n.apply(cmd.Context(), o)
		}),
	}
	cmd.Flags().StringVar(&o.config, "config", n.config, "`directory` of policy.yaml")
	cmd.Flags().StringVar(&o.store, "store", n.store, "`directory` of the applied policy")
	cmd.Flags().StringVar(&o.features, "features", "",
		"compile for a kernel with the features in this `file`, not for the one that runs")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "print nothing but errors")
	cmd.Flags().BoolVar(&o.dry, "dry-run", false, "write nothing, and say what would change")
	return cmd
}

// forHere tells whether the policy is for this node.
func (n *node) forHere(o applyOptions) bool { return o.store == n.store && o.features == "" }

func (n *node) apply(ctx context.Context, o applyOptions) error {
	debug.SetGCPercent(500) // all that is read is needed up to the end, which is soon
	s := store.Store{Dir: o.store}
	lock, err := n.lock(ctx, s)
	if err != nil {
		return &failure{cannot, asRoot(err)}
	}
	defer lock.Unlock()

	// The lock comes first, so that nobody applies an older reading of the file after ours.
	before, unread := s.Current()
	var k *keeper
	if n.forHere(o) {
		if k, err = n.keeper(nil); err != nil {
			return notApplied(before, unread, noKeeper(err))
		}
	}
	if k != nil {
		k.claim(ctx) // while the files still say what was loaded from them
	}
	c, err := n.candidate(ctx, o, k, lock.Compile)
	if err != nil {
		return notApplied(before, unread, err)
	}
	var files *stagedFiles
	if k != nil {
		if files, err = k.stage(ctx, c.compiled, c.to.alone.of); err != nil {
			return notApplied(before, unread, &failure{cannot, asRoot(err)})
		}
		defer files.drop()
	}
	g, changed, err := putInForce(lock, c.compiled, c.manifest, before, files)
	if err != nil {
		return notApplied(before, unread, asRoot(err))
	}
	if o.quiet {
		return nil
	}
	c.to.said.print(n)
	if n.forHere(o) {
		n.warnOfRefused(c.compiled)
	}
	return n.printApplied(g, before, changed, c.notice)
}

func noKeeper(err error) error {
	return &failure{cannot, fmt.Errorf("what AppArmor's service knows of profiles: %w", asRoot(err))}
}

// candidate is a policy that is checked and compiled, and could come into force.
type candidate struct {
	compiled *store.Compilation
	manifest store.Manifest
	to       locatedCompiler // that compiled it
	notice   string          // what there is to say of the node
}

// candidate reads the policy file, checks it and compiles its profiles. k, which may be nil, is for their files for AppArmor's
// service. It writes nothing.
func (n *node) candidate(ctx context.Context, o applyOptions, k *keeper, compile func(context.Context, *policy.Policy,
	store.Compiler, func(store.Progress)) (*store.Compilation, error)) (*candidate, error) {
	last := lastManifest(o.store)
	node, m, notice := asLast(last), store.Manifest{Daemons: last.Daemons, Attached: last.Attached, Daemon: last.Daemon}, ""
	if n.forHere(o) {
		node, m, notice = n.generatedFor(last)
	}
	p, err := readPolicy(o.config, node)
	if err != nil {
		return nil, err
	}
	if n.root {
		if err := policyfile.CheckAccess(o.config, p); err != nil {
			return nil, &failure{cannot, err}
		}
	}
	var c compiler
	var inputs *profile.Inputs
	m.Version, m.Kernel, m.Config = version(), n.uname, absolute(o.config)
	if len(p.Profiles) > 0 { // a policy that keeps everything needs neither a parser nor AppArmor
		var features []byte
		if c, features, err = n.newCompiler(ctx, o.features); err != nil {
			return nil, err
		}
		if inputs, err = c.Inputs(); err == nil {
			m.Program = inputs.Parser
		} // what cannot be told is compiled
		if m.Program != "" && m.Program == last.Program {
			m.Parser = last.Parser
		} else if m.Parser, err = c.Version(ctx); err != nil {
			return nil, err
		}
		m.Features = hash(features)
	}
	if o.features != "" {
		m.Kernel = ""
	}

	to := located(c, configOf(o.config), p)
	to.inputs = inputs
	if k != nil {
		k.c, to.alone = c, &aloneTexts{of: make(map[string]aloneText)}
	}
	show := &progress{node: n, quiet: o.quiet}
	compiled, err := compile(ctx, p, to, show.report)
	show.close()
	if err != nil {
		return nil, notCompiled(err)
	}
	return &candidate{compiled, m, to, notice}, nil
}

// putInForce commits a policy and then its files for AppArmor's service, which may be nil. What these replace is kept for a
// rollback.
func putInForce(lock *store.Lock, c *store.Compilation, m store.Manifest, before *store.Generation, files *stagedFiles) (
	g *store.Generation, changed bool, err error) {
	if before != nil && files != nil {
		if err := lock.SaveTexts(before, files.replaced(before)); err != nil {
			return nil, false, err
		}
	}
	if g, changed, err = lock.Commit(c, m); err == nil && files != nil {
		files.commit()
	}
	return g, changed, err
}

// patience is how long nothing is said while another apply is waited for.
const patience = time.Second

// lock takes the store's lock, and says so where it has to wait for it.
func (n *node) lock(ctx context.Context, s store.Store) (*store.Lock, error) {
	var lock *store.Lock
	var err error
	done := make(chan struct{})
	go func() {
		lock, err = s.Lock(ctx)
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		path := filepath.Join(s.Dir, "lock")
		fmt.Fprintf(n.stderr, "oci-apparmor: waiting at most %v for another oci-apparmor policy apply, which holds %s "+
			"(fuser %[2]s names it)\n", store.LockWait, path)
		<-done
	}
	return lock, err
}

// notApplied adds to a failure what it means for the node. before is the generation in force, and unread the error where it
// cannot be told.
func notApplied(before *store.Generation, unread, err error) error {
	meaning := errors.New("not applied: no policy is in force")
	switch {
	case before != nil:
		meaning = fmt.Errorf("not applied: the last good policy (generation %d) stays in force", before.Number)
	case unread != nil && (!errors.Is(unread, store.ErrNone) || errors.Is(unread, store.ErrLost)):
		meaning = fmt.Errorf("not applied, and the policy that was in force cannot be read: %w", asRoot(unread))
	}
	f := &failure{cannot, err}
	errors.As(err, &f)
	return &failure{f.code, errors.Join(f.error, meaning)}
}

func (n *node) printApplied(g, before *store.Generation, changed bool, notice string) error {
	p, err := g.Index.Policy()
	if err != nil {
		return err
	}
	out := &printer{w: n.stdout}
	switch {
	case !changed:
		out.line("generation %d stays in force: nothing has changed", g.Number)
	case before != nil:
		out.line("generation %d is in force, in place of generation %d", g.Number, before.Number)
	case g.Number > 1:
		out.line("generation %d is in force; the one before it could not be read", g.Number)
	default:
		out.line("generation %d is in force, the first on this node", g.Number)
	}
	out.policy(p, 20)
	out.notes(p)
	if notice != "" {
		out.line("%s", notice)
	}
	return out.err
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
