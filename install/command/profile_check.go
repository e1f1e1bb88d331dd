package command

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/apply"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/profiles"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/lint"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/rootfs"
)

type profileCheckOptions struct {
	features, rootfs, image string
	strict, json            bool
}

func profileCheckCommand(s *session) *cobra.Command {
	var o profileCheckOptions
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Compile and judge profiles, and load nothing",
		Long: `Compile profiles with apparmor_parser, load nothing, and warn of what compiles and
causes trouble in containers: missing flags, ABI and rules for peers, paths that
are links in today's images, deny rules that match nothing or log nothing, rules that
execute programs under a child which is not there.

The warnings come from apparmor_parser, and from what the text and each of its rules
compile to: a rule that the compiled profile does not enforce on this kernel is one.
If such a rule denies or logs, it is an error for policy check --compile and policy
apply. A text without a warning can still be wrong. The exit code is 1 if a text does
not compile, and with --strict if there is a warning.

With --image or --rootfs, paths are judged by the files of an image: a rule about one
that leads over a symbolic link there is one to warn of, and links that the image
does not have are none.`,
		Args: atLeastOne("file"),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if err := exclusive(cmd, "rootfs", "image"); err != nil {
				return err
			}
			return runProfileCheck(cmd.Context(), s, &o, args)
		}),
	}
	cmd.Flags().StringVar(&o.features, "features", "",
		"compile for a kernel with the features in this `file`, not for the one that runs")
	cmd.Flags().StringVar(&o.rootfs, "rootfs", "", "judge paths by the root file system in this `directory`")
	cmd.Flags().StringVar(&o.image, "image", "",
		"judge paths by the image in this `file`, an archive that an engine's command save wrote")
	cmd.Flags().BoolVar(&o.strict, "strict", false, "fail if there is a warning")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

// checkedJSON is the JSON of profile check: one for each file, in the order in which they were named.
type (
	checkedJSON struct {
		File     string        `json:"file"`
		Error    *errorJSON    `json:"error,omitempty"` // where it does not compile
		Profiles []definedJSON `json:"profiles"`        // what it defines: the profile, then its children
		Warnings []warningJSON `json:"warnings"`
		Partial  bool          `json:"partial,omitempty"`   // its rules could not be compiled one by one, so that some checks were left out
		TextOnly bool          `json:"text_only,omitempty"` // it could not be compiled on this machine
	}
	errorJSON struct {
		Line    int    `json:"line,omitempty"`
		Message string `json:"message"`
	}
	definedJSON struct {
		Name string `json:"name"`
		Mode string `json:"mode"`
	}
	warningJSON struct {
		Check   string `json:"check"`
		File    string `json:"file,omitempty"` // one that the text includes
		Line    int    `json:"line,omitempty"`
		Profile string `json:"profile,omitempty"`
		Message string `json:"message"`
		Fault   bool   `json:"fault,omitempty"` // in a policy it is an error
	}
)

func runProfileCheck(ctx context.Context, s *session, o *profileCheckOptions, paths []string) error {
	c, _, unable := s.NewCompiler(ctx, o.features)
	if unable != nil && o.features != "" {
		return unable
	}
	image, err := o.tree(ctx)
	if err != nil {
		return exit.With(exit.Cannot, exit.AsRoot(err))
	}
	files := profiles.ReadFiles(ctx, s.Node, c, paths)
	senders := s.SendersFor(o.features)
	warned := false
	out := s.print()
	var all []checkedJSON
	for i := range files {
		f := &files[i]
		if f.Err != nil {
			all = append(all, checked(f, nil))
			continue
		}
		warnings, partial := f.Lint(ctx, c, senders, image)
		warned = warned || len(warnings) > 0
		j := checked(f, warnings)
		j.Partial, j.TextOnly = partial, c == nil
		all = append(all, j)
		if !o.json {
			printChecked(out, f, j, warnings)
		}
	}
	if o.json {
		out.Err = output.JSON(s.stdout, all)
	}
	if err := errors.Join(out.Err, profiles.Faults(files), unable); err != nil {
		return err
	}
	if o.strict && warned {
		return exit.Silently(exit.BadPolicy)
	}
	return nil
}

// tree reads the files of the image that the profiles are for; it is nil where none is named.
func (o *profileCheckOptions) tree(ctx context.Context) (*rootfs.Tree, error) {
	switch {
	case o.rootfs != "":
		return rootfs.Dir(ctx, o.rootfs)
	case o.image != "":
		return rootfs.Archive(ctx, o.image)
	}
	return nil, nil
}

// checked returns the JSON of a file.
func checked(f *profiles.File, warnings []lint.Warning) checkedJSON {
	j := checkedJSON{File: f.Path, Profiles: []definedJSON{}, Warnings: []warningJSON{}}
	if f.Err != nil {
		_, err := exit.Split(f.Err)
		j.Error = &errorJSON{Message: err.Error()}
		var bad *profile.TextError
		if errors.As(f.Err, &bad) {
			j.Error = &errorJSON{bad.Line, bad.Msg}
		}
	}
	for _, p := range f.Blob.Profiles {
		j.Profiles = append(j.Profiles, definedJSON{p.Name, p.Mode.String()})
	}
	for _, w := range warnings {
		j.Warnings = append(j.Warnings, warningJSON{w.Check, w.File, w.Line, w.Profile, w.Message, w.Fault})
	}
	return j
}

// printChecked prints what a file defines, and its warnings.
func printChecked(out *output.Printer, f *profiles.File, j checkedJSON, warnings []lint.Warning) {
	for _, w := range warnings {
		out.Line("%s", apply.WarningLine(f.Path, w))
	}
	if j.TextOnly {
		out.Line("%s: only its text was looked at: %s", f.Path, output.Count(len(warnings), "warning", "warnings"))
		return
	}
	if j.Partial {
		out.Line("%s: its rules could not be compiled one by one: some checks were left out", f.Path)
	}
	out.Line("%s: defines %s; %s", f.Path, f.Defines(), output.Count(len(warnings), "warning", "warnings"))
}
