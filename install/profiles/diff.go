package profiles

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

// side is one of the two that are compared.
type side struct {
	is       string // for people
	kernel   string // the name of a profile in the kernel
	text     []byte // nil where it is not known
	compiled []profile.Compiled
	blob     []byte // what the text compiles to; nil for a profile that is compiled already
	missing  error  // what it takes to compile the text and is not there
	textless error  // why a profile of the policy has no text; nil if it has one
}

// A Difference is how two profiles differ. Same reports whether they compile to the same, and Why says what shows that.
type Difference struct {
	Text    string   // the difference of the texts, as diff -u prints it; empty if they are equal, or one is not known
	Unknown []string // those of the two, as the caller named them, whose text is not known
	Same    bool
	Why     string
}

// Diff compares two profiles. The help of profile diff says how a and b name them. features is the file of the kernel
// features to compile for; empty stands for the running kernel's. If Diff can compare the texts and cannot compile one,
// it returns both a Difference and an error.
func Diff(ctx context.Context, n *node.Node, features, a, b string) (*Difference, error) {
	left, err := sideOf(ctx, n, features, a)
	if err != nil {
		return nil, err
	}
	right, err := sideOf(ctx, n, features, b)
	if err != nil {
		return nil, err
	}
	d := new(Difference)
	for _, s := range []side{left, right} {
		if s.text == nil {
			d.Unknown = append(d.Unknown, s.is)
		}
	}
	if len(d.Unknown) == 0 {
		d.Text = diffText(left, right)
	}
	d.Same, d.Why, err = sameContent(n, left, right)
	return d, err
}

// diffText compares two texts line by line. It ignores a missing newline at the end.
func diffText(a, b side) string {
	whole := func(text []byte) string { return strings.TrimSuffix(string(text), "\n") + "\n" }
	return udiff.Unified(a.is, b.is, whole(a.text), whole(b.text))
}

// sideOf finds what an argument names.
func sideOf(ctx context.Context, n *node.Node, features, arg string) (side, error) {
	kind, name, named := strings.Cut(arg, ":")
	if _, err := os.Lstat(arg); err == nil {
		named = false
	}
	switch {
	case named && kind == "policy" && n.Unapplied != nil:
		return unappliedSide(ctx, n, features, arg, name)
	case named && features != "" && (kind == "kernel" || kind == "policy"):
		return side{}, exit.With(exit.Usage, fmt.Errorf("%s is compiled already, and not for the kernel of --features: compare texts", arg))
	case named && kind == "kernel":
		return loadedSide(ctx, n, arg, name)
	case named && kind == "policy":
		return appliedSide(n, arg, name)
	case named && kind == "node":
		to, _, _ := n.Generated(node.LastManifest(n.Store), nil)
		text, err := templates.Text(name, name, to)
		if err != nil {
			return side{}, exit.With(exit.Usage, err)
		}
		return compiledSide(ctx, n, features, arg, text)
	case named:
		v, err := templates.FindVariant(name, kind)
		if err != nil {
			return side{}, exit.With(exit.Usage, err)
		}
		return compiledSide(ctx, n, features, arg, v.Text)
	}
	f := File{Path: arg}
	if err := f.read(false); err != nil {
		_, err := exit.Split(err)
		return side{}, fmt.Errorf("%w: see oci-apparmor profile diff --help for what can be compared", err)
	}
	return compiledSide(ctx, n, features, arg, f.Text)
}

// appliedSide is a profile of the policy in force.
func appliedSide(n *node.Node, is, name string) (side, error) {
	if _, err := n.Current(n.Store); err != nil {
		return side{}, err
	}
	t, err := policyText(n, name)
	if err == nil && t.source == "" {
		err = fmt.Errorf("the policy in force has no profile %s", oneline.Name(name))
	}
	s := side{is: is, text: t.text, compiled: t.compiled}
	if t.text == nil {
		s.textless = t.lacks(is)
	}
	return s, err
}

// loadedSide is a profile in the kernel, with the text that it was loaded from where that is known.
func loadedSide(ctx context.Context, n *node.Node, is, name string) (side, error) {
	if _, err := n.Kernel.Details(name); errors.Is(err, kernel.ErrNotLoaded) {
		return side{}, fmt.Errorf("profile %s is not loaded: oci-apparmor profile list names those that are", oneline.Name(name))
	} else if err != nil {
		return side{}, exit.AsRoot(err)
	}
	s := side{is: is, kernel: name}
	if t, err := textOf(n, name); err == nil && t.text != nil && inKernel(ctx, n, name, t) == node.Same {
		s.text = t.text
	}
	return s, nil
}

// compiledSide compiles a text. One that cannot be compiled here is still compared line by line.
func compiledSide(ctx context.Context, n *node.Node, features, is string, text []byte) (side, error) {
	s := side{is: is, text: text}
	c, _, err := n.NewCompiler(ctx, features)
	if err != nil && features != "" {
		return s, err
	}
	if err != nil {
		s.missing = err
		return s, nil
	}
	b, err := c.CompileText(ctx, is, text)
	if err == nil {
		s.compiled, s.blob = b.Profiles, b.Data
		return s, nil
	}
	// What may not be loaded by us, as a profile that is called by a path, can be read all the same.
	s.missing = exit.With(exit.BadPolicy, err)
	if s.blob, err = c.CompileSeveral(ctx, is, text); err != nil || !definesOne(s.blob) {
		return s, s.missing
	}
	return s, nil
}

// definesOne reports whether a blob is of one profile, and perhaps children of it.
func definesOne(blob []byte) bool {
	all, err := meaning.Read(blob)
	return err == nil && !slices.ContainsFunc(all[1:], func(p *meaning.Profile) bool { return p.Parent == nil })
}

// sameContent reports whether both are the same to the kernel, and by what.
func sameContent(n *node.Node, a, b side) (equal bool, why string, err error) {
	if a.kernel == "" && b.kernel != "" {
		a, b = b, a
	}
	switch {
	case a.kernel != "" && b.kernel != "":
		one, err1 := n.Kernel.Details(a.kernel)
		other, err2 := n.Kernel.Details(b.kernel)
		if err := errors.Join(err1, err2); err != nil {
			return false, "", exit.AsRoot(err)
		}
		if a.kernel == b.kernel {
			return true, one.Hash, nil
		}
		return false, fmt.Sprintf("the kernel's hash of %s is %s, of %s %s, and a hash is over the name, too", oneline.Name(a.kernel),
			one.Hash, oneline.Name(b.kernel), other.Hash), nil
	case b.compiled == nil || a.kernel == "" && a.compiled == nil:
		return false, "", exit.With(exit.Cannot, fmt.Errorf("whether both do the same is not known: %w", cmp.Or(a.missing, b.missing,
			errors.New("what one of them compiles to is not known"))))
	case a.kernel != "":
		if b.compiled[0].Name != a.kernel {
			return false, fmt.Sprintf("%s defines profile %s, and content can only be compared under one name", b.is,
				b.compiled[0].Name), nil
		}
		found, err := n.Kernel.Check(kernel.Profile{Name: a.kernel, Compiled: b.compiled})
		if err != nil {
			return false, "", exit.AsRoot(err)
		}
		return found.Status == kernel.Matches, fmt.Sprintf("%s, where ours is %s", found, b.is), nil
	}
	if slices.EqualFunc(a.compiled, b.compiled, func(x, y profile.Compiled) bool {
		return x.Name == y.Name && x.SHA256 == y.SHA256
	}) {
		return true, "both compile to the same", nil
	}
	return false, "they compile to something else each", nil
}
