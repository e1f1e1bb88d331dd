package command

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/apply"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/suite"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

type testOptions struct {
	apply.TestOptions
	run, junit            string
	verbose, json, schema bool
}

// testCommand is the command policy test. This file is not called policy_test.go, which would be a test.
func testCommand(s *session) *cobra.Command {
	var o testOptions
	cmd := &cobra.Command{
		Use:   "test [DIR]",
		Short: "Run the tests of the policy",
		Long: `Run the tests that stand beside the policy in DIR, or beside the node's: tests.yaml
and the files of tests.d, which oci-apparmor-tests.yaml(5) describes. Its profiles
are compiled, and what they allow is read from that. Nothing is loaded or written.
This needs neither root nor AppArmor if --features names a kernel's features.

A test describes a container, and says what the policy must decide for it and what
it may do. A never says what no container may do that the policy can ever let
start, whatever it asks for, and a floor than which profile no label may be less
strict. Both are decided for all paths and names, and fail with an example: the
shortest access, a container, and the rule by which it gets its label. What cannot
be judged, as what a container may do that keeps its engine's choice, fails, too:
leave its policy out by except. With -v it also says with which kernels a test that
passes would not, as some do not ask about all that a profile has rules about.

The exit code is 1 if a test fails, or if the policy or the tests have a fault in
them, and 2 if --run chooses no test. ` + "`oci-apparmor --help`" + ` lists all exit codes.`,
		Example: `  oci-apparmor policy test
  oci-apparmor policy test --features /etc/apparmor.d/abi/3.0 --junit tests.xml .
  oci-apparmor policy test -v --run 'never/'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("%s takes one directory, and %q is another", cmd.CommandPath(), args[1])
			}
			return nil
		},
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if o.schema {
				_, err := s.stdout.Write(suite.Schema())
				return err
			}
			if o.Path = s.Config; len(args) > 0 {
				o.Path = args[0]
			}
			return runTests(cmd.Context(), s, &o)
		}),
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.Features, "features", nil, "compile for a kernel with the features in this `file`, not for the one that runs; "+
		"may be repeated, to test with each")
	f.StringVar(&o.run, "run", "", "run only the tests whose name matches this regular `expression`")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print the tests that pass, too")
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.BoolVar(&o.schema, "schema", false, "print the JSON Schema of what --json prints")
	f.StringVar(&o.junit, "junit", "", "also write the outcome to this `file`, in the XML of JUnit")
	return cmd
}

func runTests(ctx context.Context, s *session, o *testOptions) error {
	if o.run != "" {
		var err error
		if o.Chosen, err = regexp.Compile(o.run); err != nil {
			return exit.With(exit.Usage, fmt.Errorf("--run: %w", err))
		}
	}
	if o.json && o.verbose {
		return exit.With(exit.Usage, errors.New("--json and -v exclude each other: JSON has everything"))
	}
	o.Progress = &progress{session: s}
	runs, err := apply.Test(ctx, s.Node, o.TestOptions)
	if err != nil {
		return err
	}
	if runs.None() { // a file without tests is an error before
		return exit.With(exit.Usage, fmt.Errorf("--run %s chooses no test: policy test -v prints the tests' names", oneline.Quote(o.run)))
	}
	if o.junit != "" {
		if err := apply.WriteJUnit(o.junit, o.Path, runs); err != nil {
			return err
		}
	}
	if o.json {
		err = output.JSON(s.stdout, runs.JSON())
	} else {
		err = runs.Print(s.print(), o.Path, o.verbose)
	}
	if err == nil && !runs.Passed() {
		err = exit.Silently(exit.BadPolicy)
	}
	return err
}
