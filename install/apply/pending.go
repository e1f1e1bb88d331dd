package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Pending returns a line for each change between the policy in force and the one on disk, and reasons why AppArmor's service
// would have no file of a profile. It compiles nothing: of a profile whose text, includes, parser or kernel features have
// changed, it reports only that. The error says why an apply would refuse the policy on disk.
func Pending(ctx context.Context, n *node.Node) (lines []string, notes []error, err error) {
	still := *n
	still.Warn = func(string) {}
	anew := new(unready)
	still.CompilerOf = func(features []byte) (node.Compiler, error) {
		c, err := n.CompilerOf(features)
		return neverCompiles{c, anew}, err
	}
	p, err := DryRun(ctx, &still, Options{Config: n.Config, Store: n.Store, Progress: Silent{}})
	switch names := anew.sorted(); {
	case len(names) == 1:
		return []string{"profile " + names[0] + " is compiled anew"}, nil, nil
	case len(names) > 3:
		names[3], names = "...", names[:4]
		fallthrough
	case len(names) > 1:
		return []string{"profiles are compiled anew: " + strings.Join(names, ", ")}, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if !p.Same && len(p.Changes) == 0 {
		p.Changes = []string{"the compiled policy has another form"}
	}
	return p.Changes, p.Notes, nil
}

// Silent is a Progress that nobody looks at.
type Silent struct{}

func (Silent) Report(store.Progress) {}
func (Silent) Close()                {}

// unready are the names of profiles that would be compiled.
type unready struct {
	sync.Mutex
	names []string
}

func (u *unready) sorted() []string {
	u.Lock()
	defer u.Unlock()
	slices.Sort(u.names)
	return slices.Compact(u.names)
}

var errNotCompiled = errors.New("nothing is compiled for a question")

// neverCompiles is a Compiler that writes down what it is asked to compile.
type neverCompiles struct {
	node.Compiler
	asked *unready
}

func (c neverCompiles) Compile(_ context.Context, name string, _ profile.Mode, source string, _ []byte) (profile.Blob, error) {
	c.asked.Lock()
	defer c.asked.Unlock()
	c.asked.names = append(c.asked.names, name)
	return profile.Blob{}, fmt.Errorf("%s: %w", source, errNotCompiled)
}

// Standalone returns no text: a dry run looks only whether there is one.
func (c neverCompiles) Standalone(context.Context, []byte, profile.Mode, func() (profile.Blob, error)) ([]byte, error) {
	return nil, nil
}
