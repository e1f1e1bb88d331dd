package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
)

func schemaCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the policy file, for editors",
		Args:  noArgs,
		RunE: action(func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(s.stdout, "%s", policyfile.Schema())
			return err
		}),
	}
}
