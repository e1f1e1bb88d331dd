package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/profiles"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

func daemonCommand(s *session) *cobra.Command {
	var mode, features string
	cmd := &cobra.Command{
		Use:   "daemon PROGRAM",
		Short: "Write the profile of an engine's daemon",
		Long: fmt.Sprintf(`Write the text of a profile for the daemon of an engine, and of one for each program
that the daemon runs. PROGRAM is %s. The profile is called as
the program is.

Containers keep the profiles that they have. Runtimes and shims run as the profile
runc of AppArmor 4.0 and later, which confines nothing: they make what a container
is. Whoever may use the daemon's socket still owns the node.

The profile is in complain mode unless --mode says otherwise: it denies nothing, and
the kernel logs what it would deny. What a node needs besides goes into the file
/etc/apparmor.d/local/PROGRAM, which it includes. The profile stands in no policy:
load it with profile load, and have systemd start the daemon under it.

Before the text is printed it is compiled, and it is proven that the daemon may do
nothing of a list of what it has no business with. Where that cannot be done, no text
is printed: without AppArmor it takes --features. The text goes to the standard
output, and what is to be said of it to the standard error.`, strings.Join(templates.Daemons(), " or ")),
		Example: `  oci-apparmor profile daemon dockerd >dockerd
  oci-apparmor profile daemon containerd --mode enforce >containerd`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("name a daemon: %s", strings.Join(templates.Daemons(), " or "))
			}
			return nil
		},
		RunE: action(func(cmd *cobra.Command, args []string) error {
			mode, err := profile.ParseMode(mode)
			if err != nil || mode == profile.Kill {
				return exit.With(exit.Usage, errors.New("the profile of a daemon can be in mode complain or enforce"))
			}
			made, err := profiles.ForDaemon(cmd.Context(), s.Node, args[0], mode, features)
			if err != nil {
				return err
			}
			if _, err := s.stdout.Write(made.Text); err != nil {
				return err
			}
			out := output.Printer{W: s.stderr}
			printDaemon(&out, args[0], made, mode)
			return out.Err
		}),
	}
	cmd.Flags().StringVar(&mode, "mode", profile.Complain.String(), "the profile's `mode`: complain or enforce")
	cmd.Flags().StringVar(&features, "features", "",
		"compile for a kernel with the features in this `file`, not for the one that runs")
	return cmd
}

// dropIn returns the lines of the file by which systemd starts a daemon under its profile. What the unit of containerd runs before it
// loads a module of the kernel, which the profile denies: by + systemd gives that program no profile.
func dropIn(name string) []string {
	lines := []string{"[Service]", "AppArmorProfile=" + name}
	if name == "containerd" {
		lines = append(lines, "ExecStartPre=", "ExecStartPre=-+/sbin/modprobe overlay")
	}
	return lines
}

// printDaemon prints what is to be said of a daemon's profile, and what comes next.
func printDaemon(out *output.Printer, name string, made *profiles.OfDaemon, mode profile.Mode) {
	out.Wrapped(name+": ", fmt.Sprintf("it compiles, and the daemon may do nothing of %d kinds of access that it has no business with, such as "+
		"to start a shell, to trace another process, and to load a kernel module", made.Proven))
	out.Line("To run the daemon under it, run oci-apparmor profile load FILE, write to")
	out.Line("/etc/systemd/system/%s.d/apparmor.conf:", engine.ServiceOf(name))
	out.Line("")
	for _, line := range dropIn(name) {
		out.Line("  %s", line)
	}
	out.Line("")
	out.Wrapped("", "and run systemctl daemon-reload, systemctl restart "+engine.ServiceOf(name)+" and, where there is a policy, oci-apparmor policy "+
		"apply: generated profiles of containers then take signals from the daemon.")
	if mode == profile.Complain {
		out.Wrapped("", "In complain mode it denies nothing, and the kernel logs with apparmor=\"ALLOWED\" what it would deny. What your node needs "+
			"goes into /etc/apparmor.d/local/"+name+". Then make it anew with --mode enforce.")
	}
}
