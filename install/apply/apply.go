package apply

import (
	"context"
	"sync"

	"github.com/oci-apparmor/oci-apparmor/install/bootfiles"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Applied is the result of an apply.
type Applied struct {
	Generation *store.Generation
	Before     *store.Generation // the generation in force before; nil if there was none, or it could not be read
	Changed    bool              // Generation is a new one, not Before
	Warnings   []string          // about profiles; each is a line that names the file
	Notice     string            // one message about the node; may be empty

	node     *node.Node // nil where the policy is for another one
	compiled *store.Compilation
}

// Refused returns sentences about programs of this node whose signals a profile refuses, so that they cannot stop its
// containers.
func (a *Applied) Refused() []string {
	if a.node == nil {
		return nil
	}
	return refused(a.node, a.compiled)
}

// Apply reads, compiles and puts in force the policy in o.Config. The error says whether an earlier policy stays in
// force.
func Apply(ctx context.Context, n *node.Node, o Options) (*Applied, error) {
	s := store.Store{Dir: o.Store}
	lock, err := lock(ctx, n, s)
	if err != nil {
		return nil, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	defer lock.Unlock()

	// The lock comes first, so that nobody applies an older reading of the file after ours.
	before, unread := s.Current()
	// Compiling waits for the parser, and these files are read meanwhile.
	service := sync.OnceValues(func() (*bootfiles.Writer, error) {
		k, err := o.service(n, before)
		if k != nil {
			k.Claim(ctx) // while the files still say what was loaded from them
		}
		return k, err
	})
	go service()
	c, err := newCandidate(ctx, n, o, before)
	k, unserved := service()
	switch {
	case unserved != nil:
		err = unserved
	case err == nil:
		err = c.failed
	}
	if err != nil {
		return nil, notApplied(before, unread, err)
	}
	var files *bootfiles.Staged
	if k != nil {
		k.Compiler = c.to.Compiler
		if files, err = k.Stage(ctx, c.compiled, c.to.alone.texts()); err != nil {
			return nil, notApplied(before, unread, exit.With(exit.Cannot, exit.AsRoot(err)))
		}
		defer files.Drop()
	}
	if o.promote != nil {
		if err := o.promote.still(ctx); err != nil {
			return nil, notApplied(before, unread, err)
		}
	}
	g, changed, err := putInForce(lock, c.compiled, c.manifest, before, files)
	if err != nil {
		return nil, notApplied(before, unread, exit.AsRoot(err))
	}
	a := &Applied{Generation: g, Before: before, Changed: changed, Warnings: c.to.said.lines(), Notice: c.notice, compiled: c.compiled}
	if o.forHere(n) {
		a.node = n
	}
	return a, nil
}
