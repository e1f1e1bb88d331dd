package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/unload"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

type unloadOptions struct {
	whenIdle, foreign, quiet bool
}

func unloadCommand(n *node) *cobra.Command {
	var o unloadOptions
	cmd := &cobra.Command{
		Use:   "unload NAME...",
		Short: "Remove profiles from the kernel that nothing uses",
		Long: `Remove profiles from the kernel that nothing uses.

A process whose profile is removed is unconfined from then on, also when the
profile is loaded again. So a profile is not removed while a process runs under it
or is about to, or while a container is created that waits to be started: these
are listed. Containers that start through oci-apparmor wait while it looks; what
another runtime starts in the very moment of the removal it cannot see.

Of several profiles, none is removed if one cannot be, and with --when-idle none
before all are idle. A child goes with its profile, or alone by its whole name,
PROFILE//CHILD. Profiles that somebody else has loaded are not removed without
--foreign.`,
		Args: atLeastOne("profile"),
		RunE: action(func(cmd *cobra.Command, args []string) error { return n.unloadNames(cmd.Context(), o, args) }),
	}
	cmd.Flags().BoolVar(&o.whenIdle, "when-idle", false, "wait until nothing uses any of them")
	cmd.Flags().BoolVar(&o.foreign, "foreign", false, "remove profiles that somebody else has loaded, too")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "print nothing but errors")
	return cmd
}

func (n *node) unloadNames(ctx context.Context, o unloadOptions, names []string) error {
	if err := n.ready(); err != nil {
		return err
	}
	names = withoutParts(names)
	n.claim(ctx)
	var refusals []error
	for _, name := range names {
		if err := n.mayUnload(name, o); err != nil {
			refusals = append(refusals, err)
		}
	}
	if len(refusals) > 0 {
		return &failure{cannot, errors.Join(refusals...)}
	}
	for said := false; ; {
		removed, err := unload.Profiles(ctx, n.state, names...)
		left := n.wereRemoved(o, removed)
		names = names[len(removed):]
		var busy unload.InUse
		switch {
		case err == nil:
			return left
		case errors.As(err, &busy):
			if !o.whenIdle || left != nil {
				return &failure{cannot, errors.Join(left, inUse(busy))}
			}
		case !o.whenIdle || left != nil || !errors.Is(err, kernel.ErrUnsettled):
			return errors.Join(left, asRoot(err))
		}
		if busy != nil && !said && !o.quiet {
			said = true
			for _, b := range busy {
				fmt.Fprintf(n.stderr, "oci-apparmor: waiting until nothing uses profile %s any more:\n%s\n", oneline.Whole(b.Profile),
					strings.Join(userLines(b.Users), "\n"))
			}
		}
		select {
		case <-ctx.Done():
			return &failure{cannot, fmt.Errorf("not removed: %s: %w", oneline.Whole(strings.Join(names, ", ")), context.Cause(ctx))}
		case <-time.After(n.pause):
		}
	}
}

// withoutParts leaves out what goes with another of the names: its children, and a name that stands there twice.
func withoutParts(names []string) []string {
	var whole []string
	for i, name := range names {
		goes := slices.Contains(names[:i], name) || slices.ContainsFunc(names, func(other string) bool {
			return strings.HasPrefix(name, other+"//")
		})
		if !goes {
			whole = append(whole, name)
		}
	}
	return whole
}

// wereRemoved forgets the texts of profiles that were removed, and says that they were. The error names what is left of them.
func (n *node) wereRemoved(o unloadOptions, names []string) error {
	out := &printer{w: n.stdout}
	var left []error
	for _, name := range names {
		if err := n.texts().Remove(name); err != nil {
			left = append(left, fmt.Errorf("profile %s was removed, and its text cannot be: %w", oneline.Whole(name), err))
		}
		if err := n.forget(name); err != nil {
			left = append(left, fmt.Errorf("profile %s was removed, and its file cannot be, so that a boot loads it again: %w",
				oneline.Whole(name), err))
		}
		if o.quiet {
			continue
		}
		out.line("%s: removed", oneline.Whole(name))
		if g, err := (store.Store{Dir: n.store}).Current(); err == nil {
			if _, ok := g.Index.Profile(name); ok {
				out.line("%s is one of the policy in force: the next container that needs it loads it again", name)
			}
		}
	}
	return errors.Join(append(left, out.err)...)
}

// mayUnload says why a profile is not removed, whatever uses it.
func (n *node) mayUnload(name string, o unloadOptions) error {
	if _, err := n.kernel.Details(name); err != nil {
		if errors.Is(err, kernel.ErrNotLoaded) {
			return fmt.Errorf("profile %s is not loaded: oci-apparmor profile list names those that are", oneline.Name(name))
		}
		return asRoot(err)
	}
	if o.foreign {
		return nil
	}
	main, _, _ := strings.Cut(name, "//")
	owned, err := n.kernel.Owned(main)
	if err != nil {
		return err
	}
	if !owned {
		return fmt.Errorf("profile %s was not loaded by oci-apparmor: give --foreign to remove it all the same", oneline.Name(name))
	}
	return nil
}

func inUse(busy unload.InUse) error {
	var errs []error
	for _, b := range busy {
		errs = append(errs, fmt.Errorf("profile %s is in use, and what uses it would be unconfined for good: stop it, or give "+
			"--when-idle\n%s", oneline.Whole(b.Profile), strings.Join(userLines(b.Users), "\n")))
	}
	return errors.Join(errs...)
}

// userLines says who uses a profile, a line for each container and each process outside of them.
func userLines(users []unload.User) []string {
	const most = 5 // processes that are named of one container
	var lines []string
	for len(users) > 0 {
		u := users[0]
		process := func(u unload.User) string { return strconv.Itoa(u.PID) + " (" + oneline.Whole(u.Command) + ")" }
		if u.Container == "" {
			lines = append(lines, "  process "+process(u)+" "+string(u.State))
			users = users[1:]
			continue
		}
		// Those of a container in one state stand together.
		var same, rest []unload.User
		for _, v := range users {
			if v.Container == u.Container && v.State == u.State {
				same = append(same, v)
			} else {
				rest = append(rest, v)
			}
		}
		users = rest
		line := "  container " + oneline.Whole(u.Container)
		if u.State == unload.Runs || u.State == unload.Pending {
			var names []string
			for i, v := range same {
				if i == most {
					names = append(names, fmt.Sprintf("%d more", len(same)-most))
					break
				}
				names = append(names, process(v))
			}
			line += ": " + map[bool]string{true: "process ", false: "processes "}[len(same) == 1] + strings.Join(names, ", ")
			if line += " run under it"; len(same) == 1 {
				line = strings.TrimSuffix(line, "run under it") + string(u.State)
			}
		} else {
			line += " " + string(u.State)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}
