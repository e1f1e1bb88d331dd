package command

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

func showCommand(s *session) *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the policy in force",
		Args:  noArgs,
		RunE:  action(func(*cobra.Command, []string) error { return runShow(s, dir, asJSON) }),
	}
	cmd.Flags().StringVar(&dir, "store", s.Store, "`directory` of the applied policy")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func runShow(s *session, dir string, asJSON bool) error {
	g, err := s.Current(dir)
	if err != nil {
		return err
	}
	p, err := g.Index.Config()
	if err != nil {
		return err
	}
	m, manifestErr := g.Manifest()
	// A kernel upgrade can bring features that the profiles were not compiled for, and a downgrade make them unloadable.
	stale := manifestErr == nil && m.Kernel != "" && m.Kernel != s.Uname
	if asJSON {
		return output.JSON(s.stdout, shown(g, p, m, stale))
	}

	out := s.print()
	out.Line("generation %d is in force", g.Number)
	if manifestErr != nil {
		out.Line("warning: its manifest cannot be read: %v", manifestErr)
	} else {
		printManifest(out, m)
	}
	if stale {
		out.Wrapped("warning: ", "compiled for kernel "+m.Kernel+", and "+s.Uname+
			" is running: run oci-apparmor policy apply")
	}
	printPolicy(out, p, 0)
	printNotes(out, p)
	return out.Err
}

// printManifest prints when, by what and from what a policy was applied.
func printManifest(out *output.Printer, m store.Manifest) {
	if m.RollbackOf > 0 {
		out.Line("  rollback  of generation %d: it has what generation %d had, and not what the policy file says",
			m.RollbackOf, m.RollbackTo)
	}
	out.Line("  applied   %s by oci-apparmor %s", m.Applied.UTC().Format("2006-01-02 15:04 MST"), m.Version)
	if !m.Confirmed.Equal(m.Applied) {
		out.Line("  confirmed %s by an apply with the same result", m.Confirmed.UTC().Format("2006-01-02 15:04 MST"))
	}
	if m.Parser != "" {
		out.Line("  compiled  by apparmor_parser %s for %s", m.Parser, forKernel(m))
	}
	if senders := m.Senders(); len(senders) > 0 {
		out.Line("  generated to take signals from %s, too", oneline.Whole(strings.Join(senders, ", ")))
	}
	if m.Config != "" {
		out.Line("  from      %s", m.Config)
	}
}

func forKernel(m store.Manifest) string {
	if m.Kernel == "" {
		return "a kernel whose features were given"
	}
	return "kernel " + m.Kernel
}
