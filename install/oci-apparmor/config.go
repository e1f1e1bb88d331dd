package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
)

// readPolicy reads the policy of a configuration directory, or a policy file by itself, and fills in the profiles that
// are generated.
func readPolicy(path string) (*policy.Policy, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, &failure{cannot, asRoot(err)}
	}
	read := policyfile.ReadFile
	if info.IsDir() {
		read = policyfile.Read
	}
	p, err := read(path)
	if err == nil {
		err = generate(p)
	}
	var faults policyfile.Errors
	switch {
	case err == nil:
		return p, nil
	case errors.Is(err, fs.ErrPermission) && !errors.As(err, &faults):
		return nil, &failure{cannot, asRoot(err)}
	}
	return nil, &failure{badPolicy, err}
}

func schemaCommand(n *node) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the policy file, for editors",
		Args:  cobra.NoArgs,
		RunE: action(func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(n.stdout, "%s", policyfile.Schema())
			return err
		}),
	}
}
