package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// readPolicy reads the policy of a configuration directory, or a policy file by itself, and fills in the profiles that
// are generated, as they are for the node.
func readPolicy(path string, node profile.Node) (*policy.Policy, error) {
	info, err := os.Stat(path)
	missing := errors.Is(err, fs.ErrNotExist) && filepath.Ext(path) != ".yaml" && filepath.Ext(path) != ".yml"
	if err != nil && !missing {
		return nil, &failure{cannot, asRoot(err)}
	}
	read := policyfile.ReadFile
	if missing || info.IsDir() { // a directory that is missing gets the advice of an empty one
		read = policyfile.Read
	}
	p, err := read(path)
	if err == nil {
		err = generate(p, node)
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

// configOf gives the configuration directory of what readPolicy reads.
func configOf(path string) string {
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return filepath.Dir(path)
	}
	return path
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
