package offers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Options are how a profile is put into the policy.
type Options struct {
	Policy       string        // its name; empty for the profile's
	EnforceAfter time.Duration // 0 for a policy that stays in complain mode
	Force        bool          // replace another text of the profile, and put one that is enforced into complain mode
}

// A Put is what was written.
type Put struct {
	Entry      policyfile.Entry
	Text       string   // the path of the profile's text
	File       string   // the policy file
	Same       bool     // it had the entry already
	Assertions int      // that were checked
	Notes      []string // sentences about what the policy had of the profile before, and has not any more
}

// Into checks a profile as Check does, writes its text into the node's configuration directory, and puts a policy with it into
// the policy file, in complain mode. It applies nothing. All else of the policy file stays as it is. With an error, so does
// everything.
func Into(ctx context.Context, n *node.Node, p Profile, o Options) (*Put, error) {
	assertions, err := Check(ctx, n, p)
	if err != nil {
		return nil, err
	}
	if o.Policy == "" {
		o.Policy = p.Name
	}
	if err := profile.CheckName(o.Policy); err != nil {
		return nil, exit.With(exit.Usage, fmt.Errorf("policy %s: %w", oneline.Quote(o.Policy), err))
	}
	done := &Put{Assertions: assertions}
	done.Entry = policyfile.Entry{Policy: o.Policy, Profile: p.Name, File: policyfile.TextPath(n.Config, p.Name), EnforceAfter: o.EnforceAfter}
	in, err := policyfile.Insert(n.Config, done.Entry)
	if err != nil {
		code := exit.Cannot
		var faults policyfile.Errors
		if errors.As(err, &faults) {
			code = exit.BadPolicy
		}
		return nil, exit.With(code, exit.AsRoot(err))
	}
	if done.Text = done.Entry.File; !filepath.IsAbs(done.Text) {
		done.Text = filepath.Join(n.Config, done.Text)
	}
	done.File, done.Same = in.Path, bytes.Equal(in.Before, in.After)
	text, err := changeOf(done.Text, p.Text)
	if err != nil {
		return nil, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	if text.replaces() && !o.Force {
		return nil, exit.With(exit.Cannot, fmt.Errorf("%s has another text: look at both, and give --force to replace it", oneline.Name(done.Text)))
	}
	if done.Notes, err = loses(n, in, o, text.replaces()); err != nil {
		return nil, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	// Whatever happens in between, no policy names a text that is not there, or enforces one that was to be tried first.
	changes := []change{text, {path: in.Path, before: in.Before, after: in.After}}
	if text.replaces() {
		slices.Reverse(changes)
	}
	if err := makeAll(changes); err != nil {
		return nil, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	return done, nil
}

// loses returns sentences about what the policy had of a profile and loses with an insertion. The error says that this takes
// force.
func loses(n *node.Node, in *policyfile.Insertion, o Options, otherText bool) (notes []string, err error) {
	had := in.Had
	if had == nil {
		return nil, nil
	}
	is := "" // how it is enforced, if it is and will not be
	if had.Mode != profile.Complain {
		is = fmt.Sprintf("the policy file has profile %s in mode %s", had.Name, had.Mode)
	}
	never := had.EnforceAfter > 0 && o.EnforceAfter == 0
	if never {
		notes = append(notes, fmt.Sprintf("enforceAfter: %s is taken out of it: the profile stays in complain mode", policyfile.FormatQuiet(had.EnforceAfter)))
	}
	if never || had.EnforceAfter > 0 && otherText {
		promoted, err := isPromoted(n, had.Name)
		if err != nil && !o.Force {
			return nil, fmt.Errorf("whether profile %s is enforced, as it was quiet, cannot be told; give --force to have it only log: %w", had.Name, err)
		}
		if promoted {
			is = fmt.Sprintf("profile %s is enforced, as it was quiet", had.Name)
		}
	}
	switch {
	case is == "":
		return notes, nil
	case !o.Force:
		return nil, fmt.Errorf("%s: in complain mode, what it denies now would only be logged; give --force for that, or the profile another name", is)
	}
	return append(notes, is+": from policy apply on, it only logs what it denies now"), nil
}

// isPromoted reports whether the policy in force enforces a profile as it was quiet.
func isPromoted(n *node.Node, name string) (bool, error) {
	g, err := store.Store{Dir: n.Store}.Current()
	if errors.Is(err, store.ErrNone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	c, err := g.Config()
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(c.Profiles, func(p policy.Profile) bool { return p.Name == name && p.Promoted() }), nil
}
