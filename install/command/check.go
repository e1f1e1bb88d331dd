package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

type checkOptions struct {
	path, features string
	compile        bool
}

func checkCommand(n *node) *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check [FILE | DIRECTORY]",
		Short: "Check a policy file, and change nothing",
		Long: `Check a policy file, or a directory of one: ` + configDir + ` where none is named.
Profiles are looked for in the directory profiles beside the file. This needs
neither root nor AppArmor, unless the profiles are to be compiled. Run by root, it
refuses files that others could have written, as policy apply does; with --features,
which is for another node, it only warns of them.`,
		Args: cobra.MaximumNArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			o.path = n.config
			if len(args) > 0 {
				o.path = args[0]
			}
			return n.check(cmd.Context(), o)
		}),
	}
	cmd.Flags().BoolVar(&o.compile, "compile", false, "compile the profiles, too")
	cmd.Flags().StringVar(&o.features, "features", "",
		"compile for a kernel with the features in this `file`, not for the one that runs")
	return cmd
}

func (n *node) check(ctx context.Context, o checkOptions) error {
	if o.features != "" && !o.compile {
		return &failure{usage, errors.New("--features is for compiling: give --compile with it")}
	}
	last := lastManifest(n.store)
	node := asLast(last)
	if o.features == "" {
		node, _, _ = n.generatedFor(last)
	}
	p, err := readPolicy(o.path, node)
	if err != nil {
		return err
	}
	if n.root || o.path == n.config { // as apply on this machine
		switch err := policyfile.CheckAccess(o.path, p); {
		case err != nil && o.features != "": // it is for another one, to which the files are still to be copied
			for _, line := range errorLines(err) {
				n.warn("policy apply would refuse this here: %s", line)
			}
		case err != nil:
			return &failure{cannot, asRoot(err)}
		}
	}
	compiled := ""
	if o.compile && len(p.Profiles) > 0 {
		c, _, err := n.newCompiler(ctx, o.features)
		if err != nil {
			return err
		}
		show := &progress{node: n}
		to := located(c, configOf(o.path), p)
		all, err := store.Compile(ctx, p, to, show.report)
		show.close()
		if err != nil {
			return notCompiled(err)
		}
		to.said.print(n)
		if o.features == "" {
			n.warnOfRefused(all)
		}
		compiled = ", all of them compiled"
	}
	out := &printer{w: n.stdout}
	out.line("ok: %s", summary(p, compiled))
	out.notes(p)
	if !o.compile && len(p.Profiles) > 0 {
		out.line("profiles not compiled: check --compile does that")
	}
	return out.err
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", many)
}
