// Package offers checks a profile that was made of a workload against what no container may ever do, by the tests of the node's
// policy, and puts it into the policy in complain mode.
package offers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/install/apply"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/suite"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/why"
)

// A Profile is one that is offered.
type Profile struct {
	Name     string
	Source   string // of the text, for errors
	Text     []byte
	Features string // the file of the kernel features to compile for; empty for the running kernel's
}

// Check checks a profile against the never assertions beside the node's policy, and returns how many there are. It is judged as
// enforced, alone or on the floors of the policies that use a profile of its name. The error names each assertion that it
// breaks, and the rule by which it does.
func Check(ctx context.Context, n *node.Node, p Profile) (assertions int, err error) {
	if !tested(n.Config) {
		return 0, nil
	}
	config, err := apply.Read(n.Config, templates.Target{Senders: n.SendersFor(p.Features)})
	if err != nil {
		return 0, err
	}
	tests, err := policyfile.ReadSuite(n.Config, config)
	if err != nil {
		return 0, exit.With(exit.BadPolicy, err)
	}
	if len(tests.Nevers) == 0 {
		return 0, nil
	}
	c, _, err := n.NewCompiler(ctx, p.Features)
	if err != nil {
		return 0, err
	}
	alone, blobs, err := p.alone(ctx, c, config)
	if err != nil {
		return 0, exit.With(exit.BadPolicy, err)
	}
	report, err := suite.Execute(ctx, suite.Policy{
		Config: alone,
		Kernel: c,
		Blob: func(name string) ([]byte, error) {
			blob, ok := blobs[name]
			if !ok {
				return nil, fmt.Errorf("the policy has no profile %s", name)
			}
			return blob.Data, nil
		},
		Source: func(string) string { return p.Source },
	}, &policyfile.Suite{Files: tests.Files, Nevers: tests.Nevers}, nil)
	if err != nil {
		return 0, exit.With(exit.Cannot, err)
	}
	var broken []error
	reader := &why.Reader{Compiler: c}
	for _, r := range report.Results {
		for _, f := range r.Failed {
			broken = append(broken, p.broken(ctx, reader, blobs[p.Name], f))
		}
	}
	if len(broken) > 0 {
		return 0, exit.With(exit.BadPolicy, errors.Join(append(broken, fmt.Errorf("profile %s is not offered: it allows what no container may do", p.Name))...))
	}
	return len(tests.Nevers), nil
}

// tested reports whether there are files of tests beside a policy.
func tested(dir string) bool {
	more, _ := filepath.Glob(filepath.Join(dir, "tests.d", "*.yaml"))
	_, err := os.Lstat(filepath.Join(dir, "tests.yaml"))
	return err == nil || len(more) > 0
}

// alone returns a policy that gives each container the profile, on the floors of those policies of the node that use its name,
// and what the profiles of it compile to.
func (p Profile) alone(ctx context.Context, c node.Compiler, config *policy.Config) (*policy.Config, map[string]profile.Blob, error) {
	alone := &policy.Config{Profiles: []policy.Profile{{Name: p.Name, Source: p.Source, Text: p.Text}}}
	for _, one := range config.Policies {
		if one.Profile != p.Name {
			continue
		}
		alone.Policies = append(alone.Policies, one)
		has := func(have policy.Profile) bool { return have.Name == one.Floor }
		if one.Floor != "" && !slices.ContainsFunc(alone.Profiles, has) {
			alone.Profiles = append(alone.Profiles, config.Profiles[slices.IndexFunc(config.Profiles, has)])
		}
	}
	if len(alone.Policies) == 0 {
		alone.Policies = []policy.Policy{{Name: p.Name, Profile: p.Name}}
	}
	everyone := policy.Assignment{Policy: alone.Policies[0].Name}
	for _, one := range alone.Policies[1:] {
		everyone.Request = append(everyone.Request, one.Name)
	}
	alone.Assignments = []policy.Assignment{everyone}
	blobs := make(map[string]profile.Blob)
	for i := range alone.Profiles {
		pr := &alone.Profiles[i]
		blob, err := c.Compile(ctx, pr.Name, profile.Enforce, pr.Source, pr.Text)
		if err != nil {
			return nil, nil, err
		}
		pr.Mode, pr.Compiled, pr.Blob = profile.Enforce, blob.Profiles, blob.SHA256()
		blobs[pr.Name] = blob
	}
	return alone, blobs, nil
}

// broken returns an error for an assertion that the profile breaks, with the rules that allow it.
func (p Profile) broken(ctx context.Context, reader *why.Reader, blob profile.Blob, f suite.Failure) error {
	e := &policyfile.Error{File: f.At.File, Line: f.At.Line, Column: f.At.Column, Msg: fmt.Sprintf("never %s: profile %s", f.Assertion, p.Name)}
	if f.Unknown {
		e.Msg += ": " + f.Reason
		return e
	}
	e.Msg += " allows " + f.Witness
	if f.After != "" {
		e.Msg += " after " + f.After
		return e
	}
	rules, err := p.rules(ctx, reader, blob, f.Witness)
	if err != nil {
		e.Msg += fmt.Sprintf("; by which rule is not known: %v", err)
		return e
	}
	for i, r := range rules {
		file := r.File
		if file == "" {
			file = p.Source
		}
		word := ", by"
		if i > 0 {
			word = " and"
		}
		e.Msg += fmt.Sprintf("%s %s:%d: %s", word, oneline.Name(file), r.Line, oneline.Whole(r.Text))
	}
	return e
}

// rules returns the rules of the text that allow an access.
func (p Profile) rules(ctx context.Context, reader *why.Reader, blob profile.Blob, line string) (rules []why.Use, err error) {
	pattern, err := access.Parse(line)
	if err != nil {
		return nil, err
	}
	compiled, err := meaning.Read(blob.Data)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(compiled, func(c *meaning.Profile) bool { return c.Name == p.Name })
	if i < 0 {
		return nil, errors.New("it was compiled to profiles of other names")
	}
	a, found, err := pattern.Allowed(meaning.Stack{compiled[i]})
	if err != nil || !found {
		return nil, errors.Join(err, errors.New("the access is decided by more than one rule"))
	}
	text, err := reader.Read(ctx, p.Source, p.Text)
	if err != nil {
		return nil, err
	}
	answer, err := text.Why(ctx, p.Name, a)
	if err != nil {
		return nil, err
	}
	return answer.By, nil
}
