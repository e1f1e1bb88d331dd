package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
)

func schemaCommand(s *session) *cobra.Command {
	var tests bool
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the policy file, for editors",
		Args:  noArgs,
		RunE: action(func(*cobra.Command, []string) error {
			schema := policyfile.Schema()
			if tests {
				schema = policyfile.SuiteSchema()
			}
			_, err := fmt.Fprintf(s.stdout, "%s", schema)
			return err
		}),
	}
	cmd.Flags().BoolVar(&tests, "tests", false, "print that of the policy's tests, tests.yaml")
	return cmd
}
