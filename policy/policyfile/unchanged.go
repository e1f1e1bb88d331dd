package policyfile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/seen"
)

// unchanged returns r.Before with texts, if it is what the policy files with these names say. It does not read them.
func (r Reader) unchanged(dir string, names []string) (*policy.Config, bool) {
	if r.Seen == nil || r.Before == nil {
		return nil, false
	}
	says, err := meaning(names, r.Before)
	if err != nil {
		return nil, false
	}
	for _, name := range names {
		if as, ok := r.Seen.Unchanged(seen.Policy, filepath.Join(dir, name)); !ok || as != says {
			return nil, false
		}
	}
	root, err := openRoot(dir)
	if err != nil {
		return nil, false
	}
	defer root.close()
	p := *r.Before
	p.Profiles = slices.Clone(p.Profiles)
	failed := eachProfile(p.Profiles, func(one *policy.Profile) error {
		one.Compiled, one.Blob = nil, [sha256.Size]byte{}
		if one.Template != "" {
			return nil
		}
		return r.text(one, root, one.Source)
	})
	// The error for a text that cannot be read has the place that names it, for which the files are read.
	return &p, errors.Join(failed...) == nil
}

// remember adds the policy files that were read as a configuration to r.Seen. They were read after the time now.
func (r Reader) remember(files []file, now time.Time, p *policy.Config) {
	if r.Seen == nil {
		return
	}
	var names []string
	for _, f := range files {
		names = append(names, f.name)
	}
	says, err := meaning(names, p)
	if err != nil {
		return // the caller meets it as well
	}
	for _, f := range files {
		r.Seen.Add(seen.Policy, f.path, f.stamp, now, says)
	}
}

// meaning returns a hash of the names of policy files and of the configuration that they are, without texts. It is the same
// before and after the profiles were compiled.
func meaning(names []string, p *policy.Config) (string, error) {
	bare := *p
	bare.Profiles = slices.Clone(p.Profiles)
	var all []byte
	for _, name := range names {
		all = strconv.AppendQuote(all, name)
	}
	for i := range bare.Profiles {
		one := &bare.Profiles[i]
		one.Compiled, one.Blob = nil, [sha256.Size]byte{}
		all = strconv.AppendQuote(all, one.Template) // which an index has not
	}
	for _, one := range bare.Profiles { // nor when they are to be enforced
		if one.EnforceAfter > 0 {
			all = strconv.AppendQuote(strconv.AppendQuote(all, one.Name), one.EnforceAfter.String())
		}
	}
	if p.RequireTests { // which an index has not, either
		all = append(all, "require tests"...)
	}
	index, err := bare.Encode()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append(all, index...))
	return hex.EncodeToString(sum[:]), nil
}
