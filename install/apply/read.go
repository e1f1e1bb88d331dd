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
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
	"github.com/oci-apparmor/oci-apparmor/policy/seen"
)

// Read reads the policy in a configuration directory, or a policy file without one, and fills in the texts of generated
// profiles as they are for the node that to describes.
func Read(path string, to templates.Target) (*policy.Config, error) {
	return read(path, nil, func() templates.Target { return to })
}

// read is Read. It does not read the texts that before has, which may be nil (policyfile.Reader), and calls to only if a
// profile is generated.
func read(path string, before *seen.Files, to func() templates.Target) (*policy.Config, error) {
	info, err := os.Stat(path)
	missing := errors.Is(err, fs.ErrNotExist) && filepath.Ext(path) != ".yaml" && filepath.Ext(path) != ".yml"
	if err != nil && !missing {
		return nil, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	from := policyfile.Reader{Seen: before}
	readAt := from.ReadFile
	if missing || info.IsDir() { // a directory that is missing gets the advice of an empty one
		readAt = from.Read
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
