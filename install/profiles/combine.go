package profiles

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/combine"
)

// A Combination says how profiles are combined, and what becomes of it.
type Combination struct {
	All      bool     // what all of them allow; else what at least one of them allows
	Profiles []string // as profile diff names them; each must have a text
	Name     string   // of the profile that is made; empty for the name that all of them have, or all names with "-" between them
	Flags    []string // of it; nil for those of the profiles
	Features string   // the file of the kernel features to compile for; empty for the running kernel's
}

// Combine returns the text of a profile that allows what several profiles allow. The error says what no single profile
// can say. The help of profile merge and profile intersect says how they are named.
func Combine(ctx context.Context, n *node.Node, what Combination) (string, error) {
	c, _, err := n.NewCompiler(ctx, what.Features)
	if err != nil {
		return "", err
	}
	var sources []combine.Source
	var names []string
	for _, arg := range what.Profiles {
		s, err := sideOf(ctx, n, what.Features, arg)
		if err != nil {
			return "", err
		}
		if s.textless != nil {
			return "", exit.With(exit.Cannot, s.textless)
		}
		if s.text == nil {
			return "", exit.With(exit.Cannot, fmt.Errorf("the text of %s is not known, and only texts can be combined", s.is))
		}
		sources = append(sources, combine.Source{Name: s.is, Text: s.text})
		blob, err := c.CompileText(ctx, s.is, s.text)
		if err != nil {
			return "", exit.With(exit.BadPolicy, err)
		}
		if name := blob.Profiles[0].Name; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	to := combine.Target{Name: what.Name, Flags: what.Flags}
	if to.Name == "" {
		to.Name = strings.Join(names, "-")
	}
	make, hint := combine.Merge, ""
	if what.All {
		make, hint = combine.Intersect, fmt.Sprintf(": a process under the stack %s may do what each of them allows", strings.Join(names, "//&"))
	}
	text, err := make(ctx, c, to, sources...)
	var unsayable *combine.Unsayable
	var bad *profile.TextError
	switch {
	case errors.As(err, &unsayable):
		return "", exit.With(exit.BadPolicy, fmt.Errorf("no profile was found that allows just this: %w%s", unsayable, hint))
	case errors.As(err, &bad):
		return "", exit.With(exit.BadPolicy, err)
	}
	return text, err
}
