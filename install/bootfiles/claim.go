package bootfiles

import (
	"context"

	"github.com/oci-apparmor/oci-apparmor/install/apparmord"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// Claim records those profiles as ours that AppArmor's service has loaded from our files. The service does so at boot,
// or after somebody has removed them. Claim records a profile only if its content proves where it is from: the content
// is the one that we recorded, or the one that the file compiles to now. The second differs from the first after an
// upgrade, or if a configuration makes the parser lay out rules differently.
func Claim(ctx context.Context, n *node.Node) {
	if k, err := New(n, nil); k != nil && err == nil {
		k.Claim(ctx)
	}
}

// claimCompiled records a profile as ours if it is what the service's file compiles to. If the file compiles to
// something else each time, claimCompiled records the name alone. Whoever needs the profile then replaces its content
// by the compiled one that we keep.
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

// Claim does what the function Claim does, with the files that k has read.
func (k *Writer) Claim(ctx context.Context) {
	n := k.Node
	loaded, err := n.Kernel.List()
	if err != nil || len(k.Files) == 0 {
		return
	}
	for _, l := range loaded {
		f, ok := k.Files[l.Name]
		if !ok || l.Namespace != "" {
			continue
		}
		name := l.Name
		if owned, err := n.Kernel.Owned(name); owned || err != nil {
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
