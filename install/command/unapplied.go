package command

import (
	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/apply"
	"github.com/oci-apparmor/oci-apparmor/install/node"
)

// unappliedHelp says in the help of a command what its flag --config does.
const unappliedHelp = `With --config, policy:NAME is a profile of the policy in that directory, in force or
not. That takes neither root nor, with --features, AppArmor in the kernel.`

// unapplied adds the flag --config to a command that asks about profiles, and returns what returns the node that is asked.
func unapplied(cmd *cobra.Command, s *session) func(features string) (*node.Node, error) {
	var dir string
	cmd.Flags().StringVar(&dir, "config", "", "take policy:NAME from the policy file in this `directory`, not from the policy in force")
	return func(features string) (*node.Node, error) {
		if !cmd.Flags().Changed("config") {
			return s.Node, nil
		}
		p, err := apply.Unapplied(s.Node, dir, features)
		if err != nil {
			return nil, err
		}
		n := *s.Node
		n.Unapplied = p
		return &n, nil
	}
}
