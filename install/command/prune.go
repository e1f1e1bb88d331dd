package command

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/hook/programs"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
)

// pruneCommand removes the programs of versions that were upgraded and that nothing runs from any more. It is for make install,
// for the packages, and for shims that end. It prints nothing, because an engine may read what a shim prints.
func pruneCommand() *cobra.Command {
	var afterShim bool
	cmd := &cobra.Command{
		Use: programs.PruneCommand, Hidden: true, Args: noArgs,
		RunE: action(func(*cobra.Command, []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			home, ok := programs.HomeOf(self)
			if !ok {
				return nil // it has no versions beside it
			}
			if err := home.Prune(); err != nil && !afterShim {
				return exit.AsRoot(fmt.Errorf("programs of an earlier version stay: %w", err))
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&afterShim, strings.TrimPrefix(programs.AfterShim, "--"), false, "end with 0 in any case")
	return cmd
}
