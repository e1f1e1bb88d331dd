package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
	"github.com/oci-apparmor/oci-apparmor/policy/texts"
)

type loadOptions struct {
	names                  []string
	replace, dryRun, quiet bool
}

func loadCommand(n *node) *cobra.Command {
	var o loadOptions
	cmd := &cobra.Command{
		Use:   "load FILE...",
		Short: "Load profiles into the kernel, or replace those that were loaded so",
		Long: `Load profiles into the kernel, or replace those that oci-apparmor had loaded.
All texts are read and compiled, and what they define is listed, before the first
is loaded. One that does not compile, that defines more than one profile (children
aside), or a name that is not safe, stops all of them.

Running containers keep their label; a profile that is replaced holds for them at
once, where the label is this one profile. Under a stack of profiles, what runs may
stay under the older content; what does is said. A container gets a profile by the policy (oci-apparmor policy) or by its
engine's option, such as docker run --security-opt apparmor=NAME.

Profiles that somebody else has loaded, and those of the policy in force, are not
replaced without --replace.

What is loaded is also written to a file in /etc/apparmor.d, unless it was read
from one there, so that AppArmor's service loads it at boot and aa-remove-unknown
leaves it alone, until it is unloaded. A profile that containers depend on belongs
into the policy.`,
		Args: atLeastOne("file"),
		RunE: action(func(cmd *cobra.Command, args []string) error { return n.loadFiles(cmd.Context(), o, args) }),
	}
	cmd.Flags().StringSliceVar(&o.names, "name", nil, "the `names` that the files must define, no more and no fewer")
	cmd.Flags().BoolVar(&o.replace, "replace", false, "replace profiles that somebody else has loaded, and the policy's, too")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "list what would be loaded, and load nothing")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "print nothing but errors")
	return cmd
}

// texts gives where the texts are kept of profiles that are loaded by hand.
func (n *node) texts() texts.Dir { return texts.Dir(filepath.Join(n.store, "texts")) }

// ready refuses what needs a kernel that takes profiles from this process.
func (n *node) ready() error {
	if r := n.detect(); !r.Usable() {
		return &failure{cannot, errors.New(r.String())}
	}
	return nil
}

func (n *node) loadFiles(ctx context.Context, o loadOptions, paths []string) error {
	if err := n.ready(); err != nil && !o.dryRun {
		return err
	}
	c, _, err := n.newCompiler(ctx, "")
	if err != nil {
		return err
	}
	n.claim(ctx)
	files := n.readTexts(ctx, c, paths)
	if err := faultsOf(files); err != nil {
		return nothingLoaded(err)
	}
	out := &printer{w: n.stdout}
	if !o.quiet {
		senders := n.sendersFor("")
		for i := range files {
			f := &files[i]
			from := ""
			if f.target != "" {
				from = " (a link to " + f.target + ")"
			}
			warnings, _ := f.lint(ctx, c, senders)
			for _, w := range warnings {
				if w.Check == "not-enforced" || w.Check == "parser" { // it holds less than it says
					fmt.Fprintln(n.stderr, warningLine(f.path, w))
				}
			}
			out.line("%s%s: defines %s%s", f.path, from, f.defines(), hint(len(warnings)))
		}
	}
	if err := asked(files, o.names); err != nil {
		return nothingLoaded(&failure{badPolicy, err})
	}
	want := make([]kernel.Profile, len(files))
	var refusals []error
	for i := range files {
		want[i] = files[i].wanted(o.replace)
		if err := n.mayLoad(ctx, want[i], o); err != nil {
			refusals = append(refusals, err)
		}
	}
	if len(refusals) > 0 {
		return nothingLoaded(&failure{cannot, errors.Join(refusals...)})
	}
	if o.dryRun {
		return out.err
	}
	parser, err := c.Version(ctx)
	if err != nil {
		return nothingLoaded(err)
	}
	commits := make([]func() error, len(files))
	for i := range files {
		t := texts.New(files[i].text, files[i].blob)
		t.Source, t.Loaded, t.By, t.Parser = absolute(files[i].path), time.Now().UTC().Round(time.Second), whoami(), parser
		commit, drop, err := n.texts().Write(t)
		if err != nil {
			return nothingLoaded(&failure{cannot, fmt.Errorf("the text of profile %s cannot be kept: %w", t.Name, err)})
		}
		defer drop()
		commits[i] = commit
	}
	var left []error // what stands beside profiles that were loaded
	for i := range want {
		name := want[i].Name
		done, warning := kernel.Verified, ""
		loaded, err := n.kernel.Ensure(ctx, want[i:i+1])
		var child *kernel.LeftChildError
		switch {
		case errors.As(err, &child):
			done = child.Done
			left = append(left, fmt.Errorf("profile %s is loaded; but %s is left of what was loaded before, and a process can enter "+
				"it by change_hat: when nothing runs under it, run oci-apparmor profile unload %[2]s", name, oneline.Whole(child.Child)))
		case err != nil:
			return partlyLoaded(files[:i], name, errors.Join(append(left, loadRefused(name, err))...))
		default:
			done, warning = loaded[0].Done, loaded[0].Warning
		}
		if done == kernel.Replaced {
			if said := n.behind(name); said != "" {
				n.warn("%s", said)
			}
		}
		if err := commits[i](); err != nil {
			err = fmt.Errorf("profile %s is loaded, and its text cannot be kept: %w", name, err)
			return partlyLoaded(files[:i+1], name, errors.Join(append(left, err)...))
		}
		n.keepByHand(ctx, c, &files[i])
		if o.quiet {
			continue
		}
		if warning != "" {
			out.line("%s: %s", name, warning)
		}
		if done == kernel.Verified {
			out.line("%s: is loaded already, with this content", name)
		} else {
			out.line("%s: %s", name, done)
		}
	}
	if len(left) > 0 {
		return &failure{cannot, errors.Join(left...)}
	}
	return out.err
}

func hint(warnings int) string {
	if warnings == 0 {
		return ""
	}
	return "; " + count(warnings, "warning", "warnings") + ", which oci-apparmor profile check tells"
}

// asked refuses files that define something else than they were asked for: one name twice, or not just these names.
func asked(files []textFile, names []string) error {
	var errs []error
	by := map[string]string{}
	for i := range files {
		f := &files[i]
		if other, twice := by[f.name()]; twice {
			errs = append(errs, fmt.Errorf("%s and %s both define profile %s: only one of them can be loaded", other, f.path, f.name()))
		}
		by[f.name()] = f.path
		if len(names) > 0 && !slices.Contains(names, f.name()) {
			errs = append(errs, fmt.Errorf("%s defines profile %s, which is not asked for by --name", f.path, f.name()))
		}
	}
	for _, name := range names {
		if by[name] == "" {
			errs = append(errs, fmt.Errorf("no file defines profile %s, which --name asks for", oneline.Whole(name)))
		}
	}
	return errors.Join(errs...)
}

// wanted gives what the kernel must hold for a file.
func (f *textFile) wanted(replace bool) kernel.Profile {
	p := kernel.Profile{
		Name:     f.name(),
		Compiled: f.blob.Profiles,
		Blob:     func() ([]byte, error) { return f.blob.Data, nil },
	}
	if replace {
		p.OnDrift = profile.ReplaceAny
	}
	return p
}

// mayLoad says why a profile would not be loaded, before any is.
func (n *node) mayLoad(ctx context.Context, p kernel.Profile, o loadOptions) error {
	if !o.replace {
		g, err := store.Store{Dir: n.store}.Current()
		if err != nil && !errors.Is(err, store.ErrNone) {
			return asRoot(err)
		}
		if err == nil {
			q, ok := g.Index.Profile(p.Name)
			if ok && !slices.Equal(q.Compiled, p.Compiled) {
				return fmt.Errorf("profile %s is one of the policy in force, with other content, and the next start of a container "+
					"that needs it would put that back: change its text in the policy and run oci-apparmor policy apply, or give "+
					"--replace", p.Name)
			}
		}
	}
	if !n.root {
		return nil
	}
	p.Blob = func() ([]byte, error) { return nil, errAsked }
	_, err := n.kernel.Ensure(ctx, []kernel.Profile{p})
	var left *kernel.LeftChildError // to load it is not wrong, and not all
	if err == nil || errors.Is(err, errAsked) || errors.As(err, &left) {
		return nil
	}
	return loadRefused(p.Name, err)
}

// loadRefused puts what Ensure says of drift into the words of this command, which has no policy file.
func loadRefused(name string, err error) error {
	if !errors.Is(err, kernel.ErrDrift) {
		return err
	}
	return fmt.Errorf("profile %s is loaded with other content, and not by oci-apparmor: give --replace to put this one in its "+
		"place, which holds for everything that runs under it", name)
}

// nothingLoaded adds to a failure that it changed nothing.
func nothingLoaded(err error) error {
	return partlyLoaded(nil, "", err)
}

// partlyLoaded adds to a failure what was loaded.
func partlyLoaded(loaded []textFile, name string, err error) error {
	code := cannot
	var f *failure
	if errors.As(err, &f) {
		code, err = f.code, f.error
	}
	if name != "" && !strings.Contains(err.Error(), name) {
		err = fmt.Errorf("profile %s: %w", name, err)
	}
	meaning := errors.New("nothing was loaded")
	if len(loaded) > 0 {
		var names []string
		for i := range loaded {
			names = append(names, loaded[i].name())
		}
		meaning = fmt.Errorf("loaded: %s", strings.Join(names, ", "))
	}
	return &failure{code, errors.Join(err, meaning)}
}

// whoami gives the user that this runs as, and who became it by sudo.
func whoami() string {
	name := fmt.Sprint("uid ", os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if by := os.Getenv("SUDO_USER"); by != "" {
		name += " (" + by + ")"
	}
	return oneline.Whole(name)
}
