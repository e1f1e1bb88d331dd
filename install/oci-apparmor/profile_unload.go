package main

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

Of several profiles, none is removed if one cannot be. Profiles that somebody else
has loaded are not removed without --foreign.`,
		Args: cobra.MinimumNArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error { return n.unloadNames(cmd.Context(), o, args) }),
	}
	cmd.Flags().BoolVar(&o.whenIdle, "when-idle", false, "wait until nothing uses them")
	cmd.Flags().BoolVar(&o.foreign, "foreign", false, "remove profiles that somebody else has loaded, too")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "print nothing but errors")
	return cmd
}

func (n *node) unloadNames(ctx context.Context, o unloadOptions, names []string) error {
	if err := n.ready(); err != nil {
		return err
	}
	var refusals []error
	for _, name := range names {
		if err := n.mayUnload(name, o); err != nil {
			refusals = append(refusals, err)
		}
	}
	for i := 0; i < len(names) && len(refusals) == 0 && !o.whenIdle && len(names) > 1; i++ {
		users, err := unload.Users(n.state, names[i])
		if err != nil {
			return asRoot(err)
		}
		if len(users) > 0 {
			refusals = append(refusals, inUse(&unload.InUse{Profile: names[i], Users: users}))
		}
	}
	if len(refusals) > 0 {
		return &failure{cannot, errors.Join(refusals...)}
	}
	out := &printer{w: n.stdout}
	for _, name := range names {
		if err := n.unload(ctx, o, name); err != nil {
			return err
		}
		if o.quiet {
			continue
		}
		out.line("%s: removed", safe(name))
		if g, err := (store.Store{Dir: n.store}).Current(); err == nil {
			if _, ok := g.Index.Profile(name); ok {
				out.line("%s is one of the policy in force: the next container that needs it loads it again", name)
			}
		}
	}
	return out.err
}

// mayUnload says why a profile is not removed, whatever uses it.
func (n *node) mayUnload(name string, o unloadOptions) error {
	if _, err := n.kernel.Details(name); err != nil {
		if errors.Is(err, kernel.ErrNotLoaded) {
			return fmt.Errorf("profile %s is not loaded: oci-apparmor profile list names those that are", quoted(name))
		}
		return asRoot(err)
	}
	if o.foreign {
		return nil
	}
	owned, err := n.kernel.Owned(name)
	if err != nil {
		return err
	}
	if !owned {
		return fmt.Errorf("profile %s was not loaded by oci-apparmor: give --foreign to remove it all the same", quoted(name))
	}
	return nil
}

// unload removes one, now or when it is idle.
func (n *node) unload(ctx context.Context, o unloadOptions, name string) error {
	said := false
	for {
		err := unload.Profile(ctx, n.state, name)
		if err == nil {
			return n.texts().Remove(name)
		}
		var busy *unload.InUse
		if !errors.As(err, &busy) {
			return asRoot(err)
		}
		if !o.whenIdle {
			return &failure{cannot, inUse(busy)}
		}
		if !said && !o.quiet {
			said = true
			fmt.Fprintf(n.stderr, "oci-apparmor: waiting until nothing uses profile %s any more:\n%s\n", safe(name),
				strings.Join(userLines(busy.Users), "\n"))
		}
		select {
		case <-ctx.Done():
			return &failure{cannot, fmt.Errorf("profile %s was not removed: %w", safe(name), context.Cause(ctx))}
		case <-time.After(n.pause):
		}
	}
}

func inUse(busy *unload.InUse) error {
	return fmt.Errorf("profile %s is in use, and what uses it would be unconfined for good: stop it, or give --when-idle\n%s",
		safe(busy.Profile), strings.Join(userLines(busy.Users), "\n"))
}

// userLines says who uses a profile, a line for each container and each process outside of them.
func userLines(users []unload.User) []string {
	const most = 5 // processes that are named of one container
	var lines []string
	for len(users) > 0 {
		u := users[0]
		process := func(u unload.User) string { return strconv.Itoa(u.PID) + " (" + safe(u.Command) + ")" }
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
		line := "  container " + safe(u.Container)
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

// quoted gives a name that a person gave, with quotes where it has more than a name of ours has.
func quoted(name string) string {
	if name == "" || strings.ContainsAny(name, " \t") {
		return strconv.QuoteToASCII(name)
	}
	return safe(name)
}
