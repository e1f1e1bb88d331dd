package command

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

func showCommand(n *node) *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the policy in force",
		Args:  cobra.NoArgs,
		RunE:  action(func(*cobra.Command, []string) error { return n.show(dir, asJSON) }),
	}
	cmd.Flags().StringVar(&dir, "store", n.store, "`directory` of the applied policy")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (n *node) show(dir string, asJSON bool) error {
	g, err := n.current(dir)
	if err != nil {
		return err
	}
	p, err := g.Index.Policy()
	if err != nil {
		return err
	}
	m, manifestErr := g.Manifest()
	// A kernel upgrade can bring features that the profiles were not compiled for, and a downgrade make them unloadable.
	stale := manifestErr == nil && m.Kernel != "" && m.Kernel != n.uname
	if asJSON {
		return n.printJSON(shown(g, p, m, stale))
	}

	out := &printer{w: n.stdout}
	out.line("generation %d is in force", g.Number)
	if manifestErr != nil {
		out.line("warning: how it came to be cannot be read: %v", manifestErr)
	} else {
		out.line("  applied   %s by oci-apparmor %s", m.Applied.UTC().Format("2006-01-02 15:04 MST"), m.Version)
		if !m.Confirmed.Equal(m.Applied) {
			out.line("  confirmed %s by an apply that gave the same", m.Confirmed.UTC().Format("2006-01-02 15:04 MST"))
		}
		if m.Parser != "" {
			out.line("  compiled  by apparmor_parser %s for %s", m.Parser, forKernel(m))
		}
		if senders := m.Senders(); len(senders) > 0 {
			out.line("  generated to take signals from %s, too", oneline.Whole(strings.Join(senders, ", ")))
		}
		if m.Config != "" {
			out.line("  from      %s", m.Config)
		}
	}
	if stale {
		out.wrapped("warning: ", "compiled for kernel "+m.Kernel+", and "+n.uname+
			" is running: run oci-apparmor policy apply")
	}
	out.policy(p, 0)
	out.notes(p)
	return out.err
}

func forKernel(m store.Manifest) string {
	if m.Kernel == "" {
		return "a kernel whose features were given"
	}
	return "kernel " + m.Kernel
}
