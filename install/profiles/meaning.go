package profiles

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/compare"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// DiffMeaning compares what two profiles mean, or two stacks of them. The help of profile diff says how a and b name them.
// features is as for Diff.
func DiffMeaning(ctx context.Context, n *node.Node, features, a, b string) (*compare.Difference, error) {
	left, right, err := bothMeant(ctx, n, features, a, b)
	if err != nil {
		return nil, err
	}
	return compare.Compare(left, right, compare.Options{})
}

// Contains reports whether all that a process may do under a, it may do under b as well, and if not, an example.
func Contains(ctx context.Context, n *node.Node, features, a, b string) (compare.Beyond, bool, error) {
	left, right, err := bothMeant(ctx, n, features, a, b)
	if err != nil {
		return compare.Beyond{}, false, err
	}
	return compare.Within(left, right)
}

func bothMeant(ctx context.Context, n *node.Node, features, a, b string) (left, right compare.Side, err error) {
	if left, err = meant(ctx, n, features, a); err == nil {
		right, err = meant(ctx, n, features, b)
	}
	return left, right, err
}

// meant reads what an argument names: one profile, or several with //& between them. A file may have that in its name.
func meant(ctx context.Context, n *node.Node, features, arg string) (compare.Side, error) {
	whole := compare.Side{Others: make(map[string]*meaning.Profile)}
	var on meaning.Kernel
	if c, _, err := n.NewCompiler(ctx, features); err == nil { // what is compiled already can be read without one
		on = c
	}
	names := []string{arg}
	if _, err := os.Lstat(arg); err != nil {
		names = strings.Split(arg, "//&")
	}
	for _, one := range names {
		data, name, err := blobOf(ctx, n, features, one)
		if err != nil {
			return whole, err
		}
		all, err := meaning.ReadFor(data, on)
		if err != nil {
			return whole, exit.With(exit.BadPolicy, fmt.Errorf("%s: %w", one, err))
		}
		at := 0
		if name != "" {
			if at = slices.IndexFunc(all, func(p *meaning.Profile) bool { return p.Name == name }); at < 0 {
				return whole, exit.With(exit.Cannot, fmt.Errorf("%s: what was loaded has no profile of this name", one))
			}
		}
		part := compare.Side{Stack: all[at : at+1], Others: make(map[string]*meaning.Profile)}
		for _, p := range all {
			part.Others[p.Name] = p
		}
		if err := part.Reach(known(ctx, n, on, features, one)); err != nil {
			return whole, err
		}
		whole.Stack = append(whole.Stack, all[at])
		for name, p := range part.Others { // of two of one name, the first part's
			if whole.Others[name] == nil {
				whole.Others[name] = p
			}
		}
	}
	return whole, nil
}

// blobOf returns the compiled profiles that an argument names, and the name of the one that is meant; "" for the first.
func blobOf(ctx context.Context, n *node.Node, features, arg string) (data []byte, name string, err error) {
	kind, name, named := strings.Cut(arg, ":")
	if _, err := os.Lstat(arg); err == nil {
		if data, err := compiledFile(arg); data != nil || err != nil {
			return data, "", err
		}
		named = false
	}
	switch {
	case named && kind == "policy" && n.Unapplied != nil: // a text, which is compiled below
	case named && features != "" && (kind == "kernel" || kind == "policy"):
		_, err := sideOf(ctx, n, features, arg)
		return nil, "", err
	case named && kind == "kernel":
		data, err := n.Kernel.Loaded(name)
		if errors.Is(err, kernel.ErrNoBytes) {
			return knownBlob(ctx, n, arg, name)
		}
		return data, name, exit.AsRoot(err)
	case named && kind == "policy":
		data, err := appliedBlob(n, name)
		return data, name, err
	}
	s, err := sideOf(ctx, n, features, arg)
	if err == nil && s.blob == nil && s.missing != nil {
		err = exit.With(exit.Cannot, s.missing)
	}
	return s.blob, "", err
}

// compiledFile returns what is in a file that has compiled profiles, and nil for one that has a text.
func compiledFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil // whoever reads the text says why
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, nil
	}
	begin := []byte("\x04\x08\x00version\x00") // the first element, see policy/profile/internal/element
	head := make([]byte, len(begin))
	if _, err := io.ReadFull(f, head); err != nil || !bytes.Equal(head, begin) {
		return nil, nil
	}
	rest, err := io.ReadAll(io.LimitReader(f, profile.MaxBlob+1))
	if err == nil && len(rest) > profile.MaxBlob {
		err = fmt.Errorf("%s has more than %d bytes", path, profile.MaxBlob)
	}
	if err != nil {
		return nil, exit.With(exit.Cannot, err)
	}
	return append(head, rest...), nil
}

// knownBlob compiles the text that a loaded profile is known to have.
func knownBlob(ctx context.Context, n *node.Node, arg, name string) ([]byte, string, error) {
	s, err := loadedSide(ctx, n, arg, name)
	if err != nil {
		return nil, "", err
	}
	if s.text == nil {
		return nil, "", exit.With(exit.Cannot, fmt.Errorf("%s: %w, and its text is not known", arg, kernel.ErrNoBytes))
	}
	s, err = compiledSide(ctx, n, "", arg, s.text)
	if err == nil && s.blob == nil && s.missing != nil {
		err = exit.With(exit.Cannot, s.missing)
	}
	return s.blob, name, err
}

// appliedBlob returns the blob of a profile of the policy in force.
func appliedBlob(n *node.Node, name string) ([]byte, error) {
	g, err := n.Current(n.Store)
	if err != nil {
		return nil, err
	}
	p, ok := g.Index.Profile(name)
	if !ok {
		return nil, exit.With(exit.Cannot, fmt.Errorf("the policy in force has no profile %s", oneline.Name(name)))
	}
	data, err := g.Blob(p)
	if err != nil {
		return nil, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	return data, nil
}

// known returns what reads profiles from where an argument has its own one. What cannot be read is not known, which an
// answer says where it matters.
func known(ctx context.Context, n *node.Node, on meaning.Kernel, features, arg string) func(name string) ([]*meaning.Profile, error) {
	kind, _, _ := strings.Cut(arg, ":")
	return func(name string) ([]*meaning.Profile, error) {
		var data []byte
		var err error
		switch {
		case kind == "kernel":
			data, err = n.Kernel.Loaded(name)
		case kind == "policy" && n.Unapplied != nil:
			var s side
			s, err = unappliedSide(ctx, n, features, kind+":"+name, name)
			data = s.blob
		case kind == "policy":
			data, err = appliedBlob(n, name)
		default:
			return nil, nil
		}
		if err != nil {
			return nil, nil
		}
		all, _ := meaning.ReadFor(data, on)
		return all, nil
	}
}
