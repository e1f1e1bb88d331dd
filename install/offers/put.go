package offers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// Options are how a profile is put into the policy.
type Options struct {
	Policy       string        // its name; empty for the profile's
	EnforceAfter time.Duration // 0 for a policy that stays in complain mode
	Force        bool          // replace another text of the profile
}

// A Put is what was written.
type Put struct {
	Entry      policyfile.Entry
	Text       string // the path of the profile's text
	File       string // the policy file
	Same       bool   // it had the entry already
	Assertions int    // that were checked
}

// Into checks a profile as Check does, writes its text into the node's configuration directory, and puts a policy with it into
// the policy file, in complain mode. It applies nothing. All else of the policy file stays as it is.
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
	file, before, after, err := policyfile.Insert(n.Config, done.Entry)
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
	if err := write(done.Text, p.Text, o.Force); err != nil {
		return nil, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	done.File, done.Same = file, bytes.Equal(before, after)
	if !done.Same {
		if err := safefile.Rewrite(file, before, after); err != nil {
			return nil, exit.With(exit.Cannot, exit.AsRoot(err))
		}
	}
	return done, nil
}

// write writes a text, which replaces another one only with force.
func write(path string, text []byte, force bool) error {
	now, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return safefile.Replace(path, text, safefile.Options{Mode: 0o644, Sync: true})
	case err != nil:
		return err
	case bytes.Equal(now, text):
		return nil
	case !force:
		return fmt.Errorf("%s has another text: look at both, and give --force to replace it", oneline.Name(path))
	}
	return safefile.Rewrite(path, now, text)
}
