package profiles

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/bootfiles"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/unload"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// UnloadOptions are the options of Unload. Unload calls Waiting when it begins to wait, and Removed for each profile
// that it has removed.
type UnloadOptions struct {
	WhenIdle bool // wait until no process uses one of the profiles
	Foreign  bool // also remove profiles that somebody else has loaded
	Waiting  func(unload.InUse)
	Removed  func(name string, inForce bool) // inForce reports whether the policy in force has the profile
}

// Unload removes profiles that no process uses. If one of them is in use, Unload removes none and returns an error. If
// o.WhenIdle is set, it waits instead.
func Unload(ctx context.Context, n *node.Node, o UnloadOptions, names []string) error {
	if err := n.Ready(); err != nil {
		return err
	}
	names = withoutParts(names)
	bootfiles.Claim(ctx, n)
	var refusals []error
	for _, name := range names {
		if err := mayUnload(n, name, o.Foreign); err != nil {
			refusals = append(refusals, err)
		}
	}
	if len(refusals) > 0 {
		return exit.With(exit.Cannot, errors.Join(refusals...))
	}
	for said := false; ; {
		removed, err := unload.Profiles(ctx, n.State, names...)
		left := wereRemoved(n, o, removed)
		names = names[len(removed):]
		var busy unload.InUse
		switch {
		case err == nil:
			return left
		case errors.As(err, &busy):
			if !o.WhenIdle || left != nil {
				return exit.With(exit.Cannot, errors.Join(left, inUse(busy)))
			}
		case !o.WhenIdle || left != nil || !errors.Is(err, kernel.ErrUnsettled):
			return errors.Join(left, exit.AsRoot(err))
		}
		if busy != nil && !said {
			said = true
			o.Waiting(busy)
		}
		select {
		case <-ctx.Done():
			return exit.With(exit.Cannot, fmt.Errorf("not removed: %s: %w", oneline.Whole(strings.Join(names, ", ")), context.Cause(ctx)))
		case <-time.After(n.Pause):
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

// wereRemoved forgets the texts of profiles that were removed, and says that they were. The error names what is left of
// them.
func wereRemoved(n *node.Node, o UnloadOptions, names []string) error {
	var left []error
	for _, name := range names {
		if err := n.Texts().Remove(name); err != nil {
			left = append(left, fmt.Errorf("profile %s was removed, and its text cannot be: %w", oneline.Whole(name), err))
		}
		if err := bootfiles.Forget(n, name); err != nil {
			left = append(left, fmt.Errorf("profile %s was removed, and its file cannot be, so that a boot loads it again: %w",
				oneline.Whole(name), err))
		}
		inForce := false
		if g, err := (store.Store{Dir: n.Store}).Current(); err == nil {
			_, inForce = g.Index.Profile(name)
		}
		o.Removed(name, inForce)
	}
	return errors.Join(left...)
}

// mayUnload says why a profile is not removed, whatever uses it.
func mayUnload(n *node.Node, name string, foreign bool) error {
	if _, err := n.Kernel.Details(name); err != nil {
		if errors.Is(err, kernel.ErrNotLoaded) {
			return fmt.Errorf("profile %s is not loaded: oci-apparmor profile list names those that are", oneline.Name(name))
		}
		return exit.AsRoot(err)
	}
	if foreign {
		return nil
	}
	main, _, _ := strings.Cut(name, "//")
	owned, err := n.Kernel.Owned(main)
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
			"--when-idle\n%s", oneline.Whole(b.Profile), strings.Join(UserLines(b.Users), "\n")))
	}
	return errors.Join(errs...)
}

// UserLines returns who uses a profile: a line for each container, and a line for each process outside of containers.
func UserLines(users []unload.User) []string {
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
