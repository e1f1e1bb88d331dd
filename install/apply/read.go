package apply

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Read reads the policy in a configuration directory, or a policy file without one, and fills in the texts of generated
// profiles as they are for the node that to describes.
func Read(path string, to templates.Target) (*policy.Config, error) {
	return read(path, policyfile.Reader{}, func() templates.Target { return to })
}

// read is Read by a reader that knows what was read before. It calls to only if a profile is generated.
func read(path string, by policyfile.Reader, to func() templates.Target) (*policy.Config, error) {
	info, err := os.Stat(path)
	missing := errors.Is(err, fs.ErrNotExist) && filepath.Ext(path) != ".yaml" && filepath.Ext(path) != ".yml"
	if err != nil && !missing {
		return nil, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	readAt := by.ReadFile
	if missing || info.IsDir() { // a directory that is missing gets the advice of an empty one
		readAt = by.Read
	}
	p, err := readAt(path)
	if err == nil {
		err = generate(p, to)
	}
	var faults policyfile.Errors
	switch {
	case err == nil:
		return p, nil
	case errors.Is(err, fs.ErrPermission) && !errors.As(err, &faults):
		return nil, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	return nil, exit.With(exit.BadPolicy, err)
}

// readerAfter returns a reader that need not read what makes up the generation in force, which may be nil.
func readerAfter(before *store.Generation) policyfile.Reader {
	by := policyfile.Reader{Seen: before.Seen()}
	if before != nil {
		by.Before, _ = before.Config() // the files have it as well
		asWritten(by.Before)
	}
	return by
}

// asWritten gives the profiles of a generation that were promoted the mode that the policy file has.
func asWritten(p *policy.Config) {
	if p == nil {
		return
	}
	for i := range p.Profiles {
		if p.Profiles[i].Promoted() {
			p.Profiles[i].Mode = profile.Complain
		}
	}
}

// configOf returns the configuration directory for a path that Read takes.
func configOf(path string) string {
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return filepath.Dir(path)
	}
	return path
}

// generate fills in the texts of the profiles that come from a template, as they are for this node.
func generate(p *policy.Config, to func() templates.Target) error {
	for i := range p.Profiles {
		pr := &p.Profiles[i]
		if pr.Template == "" {
			continue
		}
		text, err := templates.Text(pr.Template, pr.Name, to())
		if err != nil {
			return fmt.Errorf("profile %s: %w", pr.Name, err)
		}
		pr.Text = text
	}
	return nil
}
