package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
)

// readPolicy reads the policy of a configuration directory, or of the one that holds the policy.yaml named, and fills
// in the profiles that are generated.
func readPolicy(path string) (*policy.Policy, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, &failure{cannot, asRoot(err)}
	} else if !info.IsDir() {
		if filepath.Base(path) != "policy.yaml" {
			return nil, &failure{usage, fmt.Errorf("%s is not called policy.yaml: name a directory in which it is", path)}
		}
		path = filepath.Dir(path)
	}
	p, err := policyfile.Read(path)
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
