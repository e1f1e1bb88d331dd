package profiles

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// unapplied finds a profile of the policy that a node is asked about in the place of the one in force.
func unapplied(n *node.Node, name string) (p policy.Profile, ok bool) {
	i := slices.IndexFunc(n.Unapplied.Profiles, func(p policy.Profile) bool { return p.Name == name })
	if i < 0 {
		return p, false
	}
	return n.Unapplied.Profiles[i], true
}

func noUnapplied(n *node.Node, name string) error {
	return exit.With(exit.Cannot, fmt.Errorf("the policy in %s has no profile %s", oneline.Name(n.Unapplied.Dir), oneline.Name(name)))
}

// unappliedText returns the text of such a profile.
func unappliedText(n *node.Node, name string) (knownText, error) {
	p, ok := unapplied(n, name)
	if !ok {
		return knownText{}, noUnapplied(n, name)
	}
	t := knownText{text: p.Text, source: "the policy in " + n.Unapplied.Dir + ", " + p.Source}
	if !strings.HasPrefix(p.Source, "template ") {
		t.file = p.Source
		if !filepath.IsAbs(t.file) {
			t.file = filepath.Join(n.Unapplied.Dir, t.file)
		}
	}
	return t, nil
}

// unappliedSide compiles such a profile, in the mode that its policy gives it.
func unappliedSide(ctx context.Context, n *node.Node, features, arg, name string) (side, error) {
	p, ok := unapplied(n, name)
	if !ok {
		return side{}, noUnapplied(n, name)
	}
	s := side{is: arg, text: p.Text}
	c, _, err := n.NewCompiler(ctx, features)
	if err != nil && features != "" {
		return s, err
	}
	if err != nil {
		s.missing = err
		return s, nil
	}
	b, err := c.Compile(ctx, p.Name, p.Mode, arg, p.Text)
	if err != nil {
		return s, exit.With(exit.BadPolicy, err)
	}
	s.compiled, s.blob = b.Profiles, b.Data
	return s, nil
}
