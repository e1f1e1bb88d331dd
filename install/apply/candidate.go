// Package apply puts the node's policy in force: it reads the policy file, generates and compiles its profiles, checks what
// they compile to, and writes them to the store and for AppArmor's service. It says what an apply would change, puts an
// earlier policy in force again, and loads the profiles of the one in force.
package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/version"
	"github.com/oci-apparmor/oci-apparmor/install/bootfiles"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/senders"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Options are those of an apply.
type Options struct {
	Config   string // the directory of policy.yaml
	Store    string // the directory of the applied policy
	Features string // a file of a kernel's features to compile for; empty for the running one's
	Progress Progress

	// Inputs, unless nil, is told which files besides the policy's own decide what profiles compile to, also where one does
	// not compile: see profile.Inputs.Files.
	Inputs func(paths []string)

	promote *promotion // see Promote
}

// Progress is told how a compilation goes on. Close ends it.
type Progress interface {
	Report(store.Progress)
	Close()
}

// forHere reports whether the policy is for this node.
func (o Options) forHere(n *node.Node) bool { return o.Store == n.Store && o.Features == "" }

// service returns what writes the files for AppArmor's service; nil where there is none to write for, or the policy is for
// another node. before is the generation in force, or nil.
func (o Options) service(n *node.Node, before *store.Generation) (*bootfiles.Writer, error) {
	if !o.forHere(n) {
		return nil, nil
	}
	k, err := bootfiles.New(n, nil, before.Seen())
	if err != nil {
		return nil, exit.With(exit.Cannot, fmt.Errorf("what AppArmor's service knows of profiles: %w", exit.AsRoot(err)))
	}
	return k, nil
}

// candidate is a policy that is checked and compiled, and could come into force.
type candidate struct {
	compiled *store.Compilation
	manifest store.Manifest
	to       locatedCompiler // that compiled it
	notice   string          // what there is to say of the node
	passed   int             // how many tests pass that the policy requires
	failed   error           // why these tests do not let it come into force; nil if they do
}

// newCandidate reads the policy file, checks it and compiles those of its profiles that the generation in force, which may be
// nil, has not got. It writes nothing. That tests fail which the policy requires is no error of newCandidate: see failed.
func newCandidate(ctx context.Context, n *node.Node, o Options, before *store.Generation) (*candidate, error) {
	// Both are found out while the policy file is read. A policy that keeps everything needs neither a parser nor AppArmor.
	generated := sync.OnceValue(func() generatedFor { return o.generatedFor(n, before) })
	compiler := sync.OnceValue(func() madeBy { return compilerOf(ctx, n, o, before) })
	var ahead sync.WaitGroup
	defer ahead.Wait()
	ahead.Go(func() {
		generated()
		if node.ManifestOf(before).Program != "" {
			compiler()
		}
	})
	at, err := readSettled(n, o.Config, readerAfter(before), func() templates.Target { return generated().to })
	if err != nil {
		return nil, err
	}
	p := at.policy
	m := generated().manifest
	if m.Digest, err = digest(p); err != nil {
		return nil, exit.With(exit.BadPolicy, err)
	}
	keepPromoted(p, before)
	m.Version, m.Kernel, m.Config = version.String(), n.Uname, absolute(o.Config)
	var c madeBy
	if len(p.Profiles) > 0 {
		if c = compiler(); c.err != nil {
			return nil, c.err
		}
		m.Program, m.Parser, m.Features = c.program, c.parser, c.features
	}
	if o.Features != "" {
		m.Kernel = ""
	}

	by := located(c.compiler, configOf(o.Config), p)
	by.inputs = c.inputs
	if o.forHere(n) && bootfiles.Wanted(n) {
		by.alone = &aloneTexts{of: make(map[string]bootfiles.Text)}
	}
	compiled, err := store.Compile(ctx, p, by, before, o.Progress.Report)
	if err == nil && o.promote != nil {
		if err := promote(p, m.Digest, compiled, before, o.promote.quiet); err != nil {
			o.Progress.Close()
			return nil, err
		}
		compiled, err = store.Compile(ctx, p, by, before, o.Progress.Report)
	}
	o.Progress.Close()
	if o.Inputs != nil && by.inputs != nil {
		o.Inputs(by.inputs.Files())
	}
	if changing := at.stillSettled(o.Config); changing != nil {
		return nil, changing
	}
	if err != nil {
		return nil, notCompiled(err)
	}
	passed, failed := required(ctx, compiled, c.compiler, o.Config, at.tests)
	return &candidate{compiled, m, by, generated().notice, passed, failed}, nil
}

// generatedFor is what generated profiles are made for, the beginning of a manifest that says it, and what there is to say of
// the node.
type generatedFor struct {
	to       templates.Target
	manifest store.Manifest
	notice   string
}

func (o Options) generatedFor(n *node.Node, before *store.Generation) (g generatedFor) {
	last := node.ManifestOf(before)
	if o.forHere(n) {
		g.to, g.manifest, g.notice = n.Generated(last, before.Seen())
		return g
	}
	return generatedFor{to: node.AsLast(last), manifest: store.Manifest{Daemons: last.Daemons, Attached: last.Attached, Daemon: last.Daemon}}
}

// madeBy is a compiler, what it compiles from where that can be told, and what a manifest says of both.
type madeBy struct {
	compiler                  node.Compiler
	inputs                    *profile.Inputs
	program, parser, features string
	err                       error
}

// compilerOf returns the compiler. before is the generation in force, or nil.
func compilerOf(ctx context.Context, n *node.Node, o Options, before *store.Generation) (by madeBy) {
	c, features, err := n.NewCompiler(ctx, o.Features)
	if err != nil {
		return madeBy{err: err}
	}
	by.compiler, by.features = c, hash(features)
	if by.inputs, err = c.Inputs(before.Seen()); err == nil {
		by.program = by.inputs.Parser
	} else {
		by.inputs = nil // what cannot be told is compiled
	}
	if last := node.ManifestOf(before); by.program != "" && by.program == last.Program {
		by.parser = last.Parser
	} else if by.parser, err = c.Version(ctx); err != nil {
		return madeBy{err: err}
	}
	return by
}

// putInForce commits a policy and then its files for AppArmor's service, which may be nil. What these replace is kept for a
// rollback.
func putInForce(lock *store.Lock, c *store.Compilation, m store.Manifest, before *store.Generation, files *bootfiles.Staged) (
	g *store.Generation, changed bool, err error) {
	if before != nil && files != nil {
		if err := lock.SaveTexts(before, files.Replaced(before)); err != nil {
			return nil, false, err
		}
	}
	if g, changed, err = lock.Commit(c, m); err == nil && files != nil {
		files.Commit()
	}
	return g, changed, err
}

// Patience is how long nothing is said while another apply is waited for.
const Patience = time.Second

// lock takes the store's lock, and says so where it has to wait for it.
func lock(ctx context.Context, n *node.Node, s store.Store) (*store.Lock, error) {
	var lock *store.Lock
	var err error
	done := make(chan struct{})
	go func() {
		lock, err = s.Lock(ctx)
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(Patience):
		path := filepath.Join(s.Dir, "lock")
		n.Warnf("waiting at most %v for another oci-apparmor policy apply, which holds %s (fuser %[2]s names it)", store.LockWait, path)
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
		meaning = fmt.Errorf("not applied, and the policy that was in force cannot be read: %w", exit.AsRoot(unread))
	}
	code, err := exit.Split(err)
	return exit.With(code, errors.Join(err, meaning))
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

// notCompiled is the failure of a policy that was not compiled: as its profiles do not compile, or as this was stopped.
func notCompiled(err error) error {
	var bad *store.CompileError
	switch {
	case errors.Is(err, context.Canceled):
		return exit.With(exit.Cannot, errors.New("stopped by a signal, before all profiles were compiled"))
	case errors.As(err, &bad):
		return exit.With(exit.BadPolicy, err)
	}
	return exit.AsRoot(err)
}

// refused says which profiles of files leave what would run under them to programs of this node that cannot end it, in a
// sentence for each. The generated ones take signals from all whose labels can be written.
func refused(n *node.Node, c *store.Compilation) (said []string) {
	here := sync.OnceValue(n.SendersHere)
	for i, pr := range c.Policy.Profiles {
		if pr.Template != "" || pr.Mode == profile.Complain || len(here()) == 0 {
			continue
		}
		blob, err := c.Blob(i)
		if err != nil {
			continue // the start that needs it says so
		}
		compiled, err := meaning.Read(blob.Data)
		if err != nil {
			continue // what cannot be read is not put in force
		}
		for _, p := range compiled {
			if p.Name != pr.Name {
				continue
			}
			for _, r := range senders.RefusedBy(p, here()) {
				said = append(said, r.Sentence(pr.Source))
			}
		}
	}
	return said
}
