package profiles

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/protect"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

// An OfDaemon is the profile of an engine's daemon, and what is known of it.
type OfDaemon struct {
	Text   []byte
	Proven int // of how many lines of package access it is proven that it allows no access
}

// ForDaemon makes the profile of an engine's daemon, which is called as the daemon's program is, in a mode. features is the file
// of the kernel features to compile for; empty stands for the running kernel's. It returns no text that
// it cannot compile here, or by which the daemon may do what it has no business with.
func ForDaemon(ctx context.Context, n *node.Node, program string, mode profile.Mode, features string) (*OfDaemon, error) {
	text, err := templates.Daemon(program, mode, templates.Target{})
	if err != nil {
		return nil, exit.With(exit.Usage, err)
	}
	c, _, err := n.NewCompiler(ctx, features)
	if err != nil {
		return nil, err
	}
	never := protect.Never(protect.OfDaemon(program))
	if err := proveDaemon(ctx, c, program, text, never); err != nil {
		return nil, exit.With(exit.Cannot, err)
	}
	return &OfDaemon{Text: text, Proven: len(never)}, nil
}

// proveDaemon returns an error if the profile of a daemon would allow, in enforce mode, an access of never. What the daemon's
// programs may do is theirs.
func proveDaemon(ctx context.Context, c node.Compiler, program string, text []byte, never []string) error {
	local := fmt.Appendf(nil, "include if exists <local/%s>\n", program) // what the node's administrator allows besides
	blob, err := c.CompileText(ctx, program, bytes.Replace(text, local, nil, 1))
	if err == nil {
		blob, err = blob.WithMode(profile.Enforce)
	}
	if err != nil {
		return fmt.Errorf("the text that was made does not compile: %w", err)
	}
	all, err := meaning.ReadFor(blob.Data, c)
	if err != nil {
		return err
	}
	return allowsNone(slices.DeleteFunc(all, func(p *meaning.Profile) bool { return p.Name != program }), never)
}
