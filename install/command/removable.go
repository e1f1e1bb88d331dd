package command

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/engines"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// removableCommand says by its exit code whether the programs may be taken off this node, and prints why not. It is for the
// scripts of packages.
func removableCommand(s *session) *cobra.Command {
	o := wiringOptions{root: "/"}
	cmd := &cobra.Command{
		Use: "removable", Hidden: true, Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			h, err := hostOf(&o)
			if err != nil {
				return err
			}
			b, err := wire.Look(h.Tree)
			if err != nil {
				return exit.AsRoot(err)
			}
			ties, unknown := engines.Ties(cmd.Context(), b, h)
			for _, why := range unknown {
				s.Warn("whether the programs are needed is not known for certain: " + oneline.Printable(why))
			}
			var errs []error
			for _, why := range ties {
				errs = append(errs, errors.New("the programs must stay: "+oneline.Printable(why)))
			}
			return errors.Join(errs...)
		}),
	}
	cmd.Flags().StringVar(&o.bin, "bin", "", "`directory` of the programs (default: that of this program)")
	return cmd
}
