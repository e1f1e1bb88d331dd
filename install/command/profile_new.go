package command

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/apply"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/offers"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/profiles"
	"github.com/oci-apparmor/oci-apparmor/install/workload"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

type profileNewOptions struct {
	from, container, name, rootfs, output, features string
	force                                           bool
}

func newCommand(s *session) *cobra.Command {
	var o profileNewOptions
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Write a first profile for a container, from its description",
		Long: `Write the text of a first profile for a container, from what a description of it
says: its program, mounts, capabilities, ports and devices. SOURCE is one of

  bundle:DIR      the directory of an OCI runtime's config.json
  container:ID    a container that runs, by its id or its name
  docker:FILE     what docker inspect prints
  podman:FILE     what podman inspect prints
  crictl:FILE     what crictl inspect prints
  pod:FILE        a manifest with a pod in it: a Pod, a Deployment, a CronJob

or a file or directory that looks like one of them. FILE can be - for the standard
input.

The text allows what the description says and what every container needs, to start
under runc and crun and to be stopped. It allows nothing that docker-default denies:
that is proven by what both compile to, before the text is printed. It denies, and
logs, to write where nothing says that the container writes, to start programs other
than its own, and to write into directories of the node that are not made for
containers, even where they are mounted.

No description says which files a program writes and which programs it starts. So
the text is the beginning of a profile: put it into the policy in complain mode, and
add rules for what is logged then, as profile learn makes them.

Where the files of the image are known, links to the program and interpreters of
scripts are followed in them: those of a bundle, of a container that runs, and of
--rootfs.

The profile of an engine's daemon is made by profile daemon.

The text goes to the standard output, and what is to be said of it to the standard
error, or with --output to the standard output.`,
		Example: `  oci-apparmor profile new --from bundle:/run/web >web
  docker inspect web | oci-apparmor profile new --from docker:- --output web
  oci-apparmor profile new --from pod:shop.yaml --container front --name shop-front`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			if o.from == "" {
				return exit.With(exit.Usage, errors.New("name what describes the container, with --from"))
			}
			return runProfileNew(cmd, s, &o)
		}),
	}
	cmd.Flags().StringVar(&o.from, "from", "", "the `source` of the description")
	cmd.Flags().StringVar(&o.container, "container", "", "the `name` of the container, where the source describes several")
	cmd.Flags().StringVar(&o.name, "name", "", "the profile's `name`; without it, the container's, the image's or the program's")
	cmd.Flags().StringVar(&o.rootfs, "rootfs", "", "the `directory` with the files of the image")
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "write the text to this `file`, which must not exist")
	cmd.Flags().BoolVar(&o.force, "force", false, "replace the file of --output")
	cmd.Flags().StringVar(&o.features, "features", "",
		"compile for a kernel with the features in this `file`, not for the one that runs")
	return cmd
}

func runProfileNew(cmd *cobra.Command, s *session, o *profileNewOptions) error {
	from := &workload.Sources{Stdin: cmd.InOrStdin(), Node: s.State, Rootfs: o.rootfs}
	w, err := from.Read(o.from, o.container)
	if err != nil {
		return exit.With(exit.Cannot, exit.AsRoot(err))
	}
	made, err := profiles.Draft(cmd.Context(), s.Node, w, o.name, o.features)
	if err != nil {
		return err
	}
	say := func(*output.Printer, string) {}
	if made.Unproven == "" {
		if say, err = s.offered(cmd.Context(), offers.Profile{Name: made.Name, Source: cmp.Or(o.output, made.Name), Text: made.Text, Features: o.features}); err != nil {
			return err
		}
	}
	out := output.Printer{W: s.stderr}
	if o.output == "" {
		if _, err := s.stdout.Write(made.Text); err != nil {
			return err
		}
	} else {
		if err := writeNew(o.output, made.Text, o.force); err != nil {
			return exit.With(exit.Cannot, exit.AsRoot(err))
		}
		out.W = s.stdout
		out.Line("%s: written", o.output)
	}
	printDrafted(&out, made)
	say(&out, cmp.Or(o.output, made.Name))
	printRule(&out, made)
	return out.Err
}

// writeNew writes a file that must not exist, unless force is set.
func writeNew(name string, text []byte, force bool) error {
	if force {
		return safefile.Replace(name, text, safefile.Options{Mode: 0o644})
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists: give another name, or --force to replace it", name)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// printDrafted prints what is to be said of a profile that was made, and what comes next.
func printDrafted(out *output.Printer, made *profiles.Drafted) {
	if made.Unproven != "" {
		out.Wrapped(made.Name+": ", "it was not compiled, so that nothing of it is proven: "+oneline.Printable(made.Unproven))
	} else {
		out.Wrapped(made.Name+": ", fmt.Sprintf("it compiles, allows nothing that docker-default denies, and none of %d accesses that it must "+
			"not, such as to mount, and to use capabilities that the description lacks", made.Proven))
	}
	for _, w := range made.Warnings {
		out.Line("%s", apply.WarningLine(made.Name, w))
	}
	for _, note := range made.Notes {
		out.Wrapped("note: ", note)
	}
}

// printRule prints the rule by which the container gets the policy.
func printRule(out *output.Printer, made *profiles.Drafted) {
	out.Line("Then add a rule before those that are for more containers:")
	out.Line("")
	out.Line("  assign:")
	if condition := imageCondition(made.Image); condition != "" {
		out.Line("    - {image: %s, policy: %s}", condition, made.Name)
	} else {
		out.Line("    - {policy: keep, request: %s}   # by the annotation oci-apparmor/policy=%s", made.Name, made.Name)
	}
	out.Line("")
	out.Line("run oci-apparmor policy apply, and start the container anew.")
}

// imageCondition returns an image as a rule's condition has it; empty for one that is no plain name.
func imageCondition(image string) string {
	if image == "" || strings.HasPrefix(image, "sha256:") || oneline.Word(image) != image || strings.ContainsAny(image, `*?[]`) {
		return ""
	}
	quoted, err := json.Marshal(image)
	if err != nil {
		return ""
	}
	return string(quoted)
}
