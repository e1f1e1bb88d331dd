package bootfiles

import (
	"context"

	"github.com/oci-apparmor/oci-apparmor/install/apparmord"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// Claim makes those profiles ours that AppArmor's service has loaded from our files: since the machine started, or since
// they were removed by somebody. Only with proof, which is the content: what we wrote down, or else, after an upgrade or
// with a configuration that has the parser lay out rules differently, what the file compiles to.
func Claim(ctx context.Context, n *node.Node) {
	if k, err := New(n, nil, nil); k != nil && err == nil {
		k.Claim(ctx)
	}
}

// claimCompiled makes a profile ours that is what the service's file compiles to. Where that is another thing each time, it
// is the name that the file speaks for: what is there is then replaced where it matters, by what was compiled and kept.
func (k *Writer) claimCompiled(ctx context.Context, c node.Compiler, f apparmord.File) {
	own := func(b profile.Blob) bool {
		ours, err := k.Kernel.Own(kernel.Profile{Name: f.Name, Compiled: b.Profiles})
		return ours && err == nil
	}
	b, err := c.AsLoaded(ctx, f.Text)
	if err != nil || own(b) {
		return
	}
	found, all, err := c.Outcomes(ctx, f.Text, own)
	if err == nil && !found && len(all) > 1 && !f.Edited {
		_ = k.Kernel.OwnName(f.Name) // what is not ours shows where it matters
	}
}

// Claim is the node's, with the service's files at hand.
func (k *Writer) Claim(ctx context.Context) {
	n := k.Node
	loaded, err := n.Kernel.List()
	if err != nil || len(k.names()) == 0 {
		return
	}
	for _, l := range loaded {
		name := l.Name
		if l.Namespace != "" || !k.Has(name) {
			continue
		}
		if owned, err := n.Kernel.Owned(name); owned || err != nil {
			continue
		}
		f, ok := k.file(name)
		if !ok {
			continue
		}
		if !f.Edited {
			if ours, err := n.Kernel.Own(kernel.Profile{Name: name, Compiled: f.Compiled}); ours || err != nil {
				continue
			}
		}
		c := k.Compiler
		if c == nil {
			var err error
			if c, _, err = n.NewCompiler(ctx, ""); err != nil {
				return
			}
			k.Compiler = c
		}
		k.claimCompiled(ctx, c, f)
	}
}
