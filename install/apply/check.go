package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// CheckOptions are the options of Check.
type CheckOptions struct {
	Path     string // the policy file, or its directory
	Features string // file with the features of the kernel to compile for; empty stands for the running kernel's
	Compile  bool   // compile the profiles, too
	Progress Progress
}

// Checked is the result of Check for a policy without a fault. Refused are sentences about programs of this node whose
// signals a profile refuses, so that they cannot stop its containers.
type Checked struct {
	Policy   *policy.Config
	Tests    *policyfile.Suite // the tests beside the policy, which Check only reads
	Compiled bool              // whether Check compiled the profiles
	Warnings []string          // about profiles; each is a line that names the file
	Refused  []string
}

// Check checks a policy file, and compiles its profiles if o.Compile is true. It writes nothing. The error names what
// is wrong in the policy.
func Check(ctx context.Context, n *node.Node, o CheckOptions) (*Checked, error) {
	p, err := readFor(n, o.Path, o.Features)
	if err != nil {
		return nil, err
	}
	if o.Features != "" { // it may be for another node, to which the files are still to be copied
		if err := trusted(n, o.Path, p); err != nil {
			for _, line := range exit.Lines(err) {
				n.Warnf("policy apply would refuse this here: %s", line)
			}
		}
	}
	tests, err := readSuite(o.Path, p)
	if err == nil && p.RequireTests && tests.Empty() {
		err = requiredNone(o.Path)
	}
	if err != nil {
		return nil, err
	}
	checked := &Checked{Policy: p, Tests: tests}
	if !o.Compile {
		if err := misnamed(p, located(nil, configOf(o.Path), p).sources); err != nil {
			return nil, exit.With(exit.BadPolicy, err)
		}
	}
	if !o.Compile || len(p.Profiles) == 0 {
		return checked, nil
	}
	c, err := compileFor(ctx, n, o.Path, o.Features, p, o.Progress)
	if err != nil {
		return nil, err
	}
	checked.Compiled, checked.Warnings = true, append(c.said, unreached(ctx, c.Compilation, c.sources)...)
	if o.Features == "" {
		checked.Refused = refused(n, c.Compilation)
	}
	return checked, nil
}

// misnamed returns an error for each profile whose text defines a profile of another name. It finds those of which the
// text alone shows that. sources are their files, by their names.
func misnamed(p *policy.Config, sources map[string]string) error {
	var errs []error
	for _, pr := range p.Profiles {
		names := syntax.Read(string(pr.Text)).Profiles()
		if len(names) != 1 || names[0] == pr.Name || strings.ContainsAny(names[0], "@{}*?[]^\\\"") {
			continue
		}
		errs = append(errs, &profile.TextError{Source: sources[pr.Name],
			Msg: fmt.Sprintf("the name after `profile` is %q, and must be the key %q (without a policy file: the "+
				"name of the file)", names[0], pr.Name)})
	}
	return errors.Join(errs...)
}
