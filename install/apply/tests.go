package apply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/suite"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// TestOptions are the options of Test.
type TestOptions struct {
	Path     string         // the directory of the policy file, or the policy file
	Features []string       // files with the features of the kernels to compile for; none stands for the running kernel's
	Chosen   *regexp.Regexp // which tests to run, by their names; nil for all
	Progress Progress
}

// Test runs the tests beside a policy, once for each kernel. It writes nothing. The error is for a policy or tests with a
// fault in them, and for a policy without tests, not for a test that fails.
func Test(ctx context.Context, n *node.Node, o TestOptions) (suite.Runs, error) {
	features := o.Features
	if len(features) == 0 {
		features = []string{""}
	}
	p, err := readFor(n, o.Path, features[0]) // which file it is makes no difference to it
	if err != nil {
		return nil, err
	}
	tests, err := readSuite(o.Path, p)
	if err != nil {
		return nil, err
	}
	if tests.Empty() {
		return nil, exit.With(exit.BadPolicy, noTests(o.Path))
	}
	var runs suite.Runs
	for _, file := range features {
		c, err := compileFor(ctx, n, o.Path, file, p, o.Progress)
		if err != nil {
			return nil, err
		}
		report, err := runSuite(ctx, c.Compilation, c.kernel, o.Path, tests, o.Chosen)
		if err != nil {
			return nil, err
		}
		runs = append(runs, suite.Run{Features: file, Report: report})
	}
	return runs, nil
}

// noTests returns the error for a policy without tests.
func noTests(path string) error {
	return fmt.Errorf("there are no tests of the policy: write %s (man oci-apparmor-tests.yaml)", filepath.Join(configOf(path), "tests.yaml"))
}

// requiredNone returns the error for a policy that requires tests, and has none.
func requiredNone(path string) error {
	return exit.With(exit.BadPolicy, fmt.Errorf("the policy has \"require: tests\", and %w", noTests(path)))
}

// readSuite reads the tests beside a policy. The error has an exit code.
func readSuite(path string, p *policy.Config) (*policyfile.Suite, error) {
	tests, err := policyfile.ReadSuite(path, p)
	var faults policyfile.Errors
	switch {
	case err == nil:
		return tests, nil
	case errors.As(err, &faults):
		return nil, exit.With(exit.BadPolicy, err)
	}
	return nil, exit.With(exit.Cannot, exit.AsRoot(err))
}

// runSuite runs the tests of a policy that was compiled for a kernel.
func runSuite(ctx context.Context, c *store.Compilation, on meaning.Kernel, path string, tests *policyfile.Suite,
	chosen *regexp.Regexp) (*suite.Report, error) {
	places := make(map[string]int, len(c.Policy.Profiles))
	for i, p := range c.Policy.Profiles {
		places[p.Name] = i
	}
	of := suite.Policy{
		Config: c.Policy,
		Kernel: on,
		Blob: func(name string) ([]byte, error) {
			i, ok := places[name]
			if !ok {
				return nil, fmt.Errorf("the policy has no profile %s", name)
			}
			blob, err := c.Blob(i)
			return blob.Data, err
		},
		Source: func(file string) string { return filepath.Join(configOf(path), file) },
	}
	report, err := suite.Execute(ctx, of, tests, chosen)
	switch {
	case errors.Is(err, context.Canceled):
		return nil, exit.With(exit.Cannot, errors.New("stopped by a signal, before all tests were run"))
	case err != nil:
		return nil, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	return report, nil
}

// mostFailures is how many failures the error of an apply names.
const mostFailures = 10

// required runs the tests of a policy that requires them, and returns how many pass. It returns an error if not all do. tests
// may be nil, and are read then.
func required(ctx context.Context, c *store.Compilation, on meaning.Kernel, path string, tests *policyfile.Suite) (passed int, err error) {
	if !c.Policy.RequireTests {
		return 0, nil
	}
	if tests == nil {
		if tests, err = readSuite(path, c.Policy); err != nil {
			return 0, err
		}
	}
	if tests.Empty() {
		return 0, requiredNone(path)
	}
	report, err := runSuite(ctx, c, on, path, tests, nil)
	if err != nil {
		return 0, err
	}
	if report.Passed() {
		return len(report.Results), nil
	}
	var failed []error
	for _, one := range report.Results {
		for _, f := range one.Failed {
			msg := one.Name + " fails: " + f.Sentence()
			if f.Witness != "" {
				msg += ", as in " + f.Witness
			}
			if f.Label != "" {
				msg += ", under label " + f.Label
			}
			failed = append(failed, &policyfile.Error{File: f.At.File, Line: f.At.Line, Column: f.At.Column, Msg: msg})
		}
	}
	if n := len(failed) - mostFailures; n > 0 {
		failed = append(slices.Clip(failed[:mostFailures]), fmt.Errorf("and %d more failures: oci-apparmor policy test has them all", n))
	}
	return 0, exit.With(exit.BadPolicy, errors.Join(failed...))
}

// unrequired reports whether there are tests beside a policy that does not require them, be they faulty.
func unrequired(path string, p *policy.Config) bool {
	if p.RequireTests {
		return false
	}
	tests, err := policyfile.ReadSuite(path, p)
	var faults policyfile.Errors
	return errors.As(err, &faults) || err == nil && !tests.Empty()
}

// WriteJUnit writes reports as JUnit's XML to a file. of is what was tested.
func WriteJUnit(path, of string, runs suite.Runs) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return exit.With(exit.Cannot, exit.AsRoot(err))
	}
	if err = runs.JUnit(f, of); err == nil {
		err = f.Close()
	} else {
		f.Close()
	}
	if err != nil {
		return exit.With(exit.Cannot, err)
	}
	return nil
}
