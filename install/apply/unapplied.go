package apply

import (
	"context"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// readFor reads a policy that is to be judged, and not applied: with the generated profiles of this node, or where features
// names a file with those of another kernel, of the node for which the last policy was applied. Where it is for this node, it
// refuses what an apply would refuse because others than root can write it.
func readFor(n *node.Node, path, features string) (*policy.Config, error) {
	last := node.LastManifest(n.Store)
	to := node.AsLast(last)
	if features == "" {
		to, _, _ = n.Generated(last, nil)
	}
	p, err := Read(path, to)
	if err != nil || features != "" {
		return p, err
	}
	if err := trusted(n, path, p); err != nil {
		return nil, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	return p, nil
}

// Unapplied reads the policy in a directory, for a kernel as compileFor takes one, so that its profiles can be asked about.
func Unapplied(n *node.Node, dir, features string) (*node.Unapplied, error) {
	p, err := readFor(n, dir, features)
	if err != nil {
		return nil, err
	}
	return &node.Unapplied{Config: p, Dir: configOf(dir)}, nil
}

// trusted returns an error if others than root can write a policy that root reads, or the node's own one.
func trusted(n *node.Node, path string, p *policy.Config) error {
	if !n.Root && path != n.Config {
		return nil
	}
	return policyfile.CheckAccess(path, p)
}

// compiledFor is a policy that is compiled to be judged.
type compiledFor struct {
	*store.Compilation
	kernel  meaning.Kernel    // for which it is compiled; nil for a policy without profiles
	said    []string          // about its profiles; each is a line that names the file
	sources map[string]string // where the profiles' texts are, by the profiles' names
}

// compileFor compiles all profiles of a policy that was read from path, for the running kernel or for one with the features in
// a file.
func compileFor(ctx context.Context, n *node.Node, path, features string, p *policy.Config, progress Progress) (*compiledFor, error) {
	if len(p.Profiles) == 0 {
		return &compiledFor{Compilation: &store.Compilation{Policy: p}}, nil
	}
	c, _, err := n.NewCompiler(ctx, features)
	if err != nil {
		return nil, err
	}
	by := located(c, configOf(path), p)
	all, err := store.Compile(ctx, p, by, nil, progress.Report)
	progress.Close()
	if err != nil {
		return nil, notCompiled(err)
	}
	return &compiledFor{all, c, by.said.lines(), by.sources}, nil
}
