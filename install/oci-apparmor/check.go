package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

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
neither root nor AppArmor, unless the profiles are to be compiled.`,
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
	p, err := readPolicy(o.path)
	if err != nil {
		return err
	}
	compiled := ""
	if o.compile && len(p.Profiles) > 0 {
		c, _, err := n.newCompiler(o.features)
		if err != nil {
			return err
		}
		show := &progress{node: n}
		_, _, err = store.Compile(ctx, p, c, show.report)
		show.close()
		if err != nil {
			return &failure{badPolicy, err}
		}
		compiled = ", all of them compiled"
	}
	_, err = fmt.Fprintf(n.stdout, "ok: %s%s, %s, %s\n", count(len(p.Profiles), "profile", "profiles"), compiled,
		count(len(p.Policies), "policy", "policies"), count(len(p.Assignments), "rule", "rules"))
	return err
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", many)
}
