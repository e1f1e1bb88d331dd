package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/install/impact"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// mostChanges are the most lines about profiles, policies and rules.
const mostChanges = 30

// dryRun does what apply does but for what that writes, and says what it would change. It takes no lock: another apply may come
// between it and what follows.
func (n *node) dryRun(ctx context.Context, o applyOptions) error {
	s := store.Store{Dir: o.store}
	before, err := s.Current()
	if errors.Is(err, fs.ErrPermission) || n.forHere(o) && !n.root {
		return &failure{cannot, errors.New("what an apply would change only root can tell: run this as root")}
	}
	if err != nil && !errors.Is(err, store.ErrNone) {
		n.warn("%v", err)
	}
	var k *keeper
	if n.forHere(o) {
		if k, err = n.keeper(nil); err != nil {
			return wouldNotApply(noKeeper(err))
		}
	}
	if k != nil {
		k.dry = true
	}
	c, err := n.candidate(ctx, o, k, s.Compile)
	if err != nil {
		return wouldNotApply(err)
	}
	var notes []error
	if k != nil {
		files, err := k.stage(ctx, c.compiled, c.to.alone.of)
		if err != nil {
			return wouldNotApply(&failure{cannot, asRoot(err)})
		}
		notes = files.notes
	}
	if !o.quiet {
		c.to.said.print(n)
		if n.forHere(o) {
			n.warnOfRefused(c.compiled)
		}
		for _, err := range notes {
			n.warn("%v", err)
		}
		if err := n.printChanges(c, before); err != nil {
			return err
		}
	}
	if !n.forHere(o) {
		return nil // the containers are another node's
	}
	next, err := n.next(ctx, c, before, k)
	if err != nil {
		return err
	}
	containers, unread := impact.Containers(n.state.Host, next)
	if unread != nil {
		n.warn("what is remembered of a container cannot be read: %v", unread)
	}
	if err := n.printImpact(containers, o.quiet); err != nil {
		return err
	}
	if slices.ContainsFunc(containers, func(c impact.Container) bool { return c.Refused != nil }) {
		return &failure{code: refused}
	}
	return nil
}

// wouldNotApply adds to a failure what it would mean.
func wouldNotApply(err error) error {
	f := &failure{cannot, err}
	errors.As(err, &f)
	return &failure{f.code, errors.Join(f.error, errors.New("policy apply would refuse this; nothing was written"))}
}

// next gives a policy as containers that start would find it.
func (n *node) next(ctx context.Context, c *candidate, before *store.Generation, k *keeper) (impact.Next, error) {
	data, err := c.compiled.Policy.Encode()
	if err != nil {
		return impact.Next{}, err
	}
	index, err := policy.OpenIndex(data)
	if err != nil {
		return impact.Next{}, err
	}
	refusals := make(map[string]string) // by profile
	return impact.Next{
		Index: index,
		Replaces: func(name string) bool {
			p, ok := index.Profile(name)
			if !ok {
				return false
			}
			if before != nil {
				if was, ok := before.Index.Profile(name); ok && slices.Equal(was.Compiled, p.Compiled) {
					return false
				}
			}
			found, err := n.kernel.Check(kernel.Profile{Name: name, Compiled: p.Compiled})
			return err != nil || found.Status == kernel.Drifted
		},
		Refuses: func(p policy.Profile) string {
			if k != nil {
				if _, ok := k.files[p.Name]; ok {
					return "" // an apply makes that ours which AppArmor's service has loaded from it
				}
			}
			why, ok := refusals[p.Name]
			if !ok {
				_, why = n.inKernel(ctx, p)
				refusals[p.Name] = why
			}
			return why
		},
	}, nil
}

// printChanges says what differs from the policy in force, which may be nil.
func (n *node) printChanges(c *candidate, before *store.Generation) error {
	out := &printer{w: n.stdout}
	was := new(policy.Policy)
	if before == nil {
		out.line("nothing is applied; an apply would make the first generation that can be read here")
	} else {
		same, err := before.Has(c.compiled)
		if err != nil {
			return err
		}
		if same {
			out.line("nothing is applied; an apply would change nothing: generation %d would stay in force", before.Number)
			return out.err
		}
		if was, err = before.Index.Policy(); err != nil {
			return err
		}
		out.line("nothing is applied; an apply would put another generation in the place of generation %d", before.Number)
	}
	lines := changes(was, c.compiled.Policy, goingOn)
	for i, line := range lines {
		if i == mostChanges {
			out.line("  and %d more", len(lines)-i)
			break
		}
		out.line("  %s", line)
	}
	if len(lines) == 0 {
		out.line("  only where things stand in the policy's files")
	}
	out.notes(c.compiled.Policy)
	if c.notice != "" {
		out.line("%s", c.notice)
	}
	return out.err
}

// printImpact says what becomes of running containers; if only refusals are wanted, of those that would be refused.
func (n *node) printImpact(containers []impact.Container, onlyRefused bool) error {
	out := &printer{w: n.stdout}
	same := 0
	for _, c := range containers {
		if onlyRefused && c.Refused == nil {
			continue
		}
		if c.Same() {
			same++
			continue
		}
		for _, line := range means(&c) {
			out.wrapped("container "+c.Name+": ", line)
		}
	}
	switch {
	case onlyRefused:
	case len(containers) == 0:
		out.line("no container of oci-apparmor's runs")
	case same > 0:
		out.line("nothing changes for %s", count(same, "running container", "running containers"))
	}
	return out.err
}

// means says in sentences what a policy would mean for a container.
func means(c *impact.Container) (lines []string) {
	shown := func(label string) string {
		if label == "" {
			return "what its engine chooses"
		}
		return oneline.Whole(label)
	}
	switch {
	case c.Refused != nil:
		lines = append(lines, "would be REFUSED at its next start: "+oneline.Whole(c.Refused.Error()))
	case c.Untold != nil:
		lines = append(lines, "what its next start would get cannot be told: "+oneline.Whole(c.Untold.Error()))
	case c.Relabelled():
		why := c.Decision.Reason
		if c.Decision.Keep {
			why = "by policy keep, or one that keeps"
			if c.Decision.Policy == "" {
				why = "no rule of the policy is for it"
			}
		}
		lines = append(lines, fmt.Sprintf("would be under %s at its next start, and now is under %s: %s", shown(c.Decision.Label),
			shown(c.From), oneline.Whole(why)))
	}
	if len(c.Replaced) == 0 {
		return lines
	}
	what := "profile " + c.Replaced[0] + " changes"
	if len(c.Replaced) > 1 {
		what = "profiles " + strings.Join(c.Replaced, " and ") + " change"
	}
	switch c.Follows {
	case hook.Fresh:
		what += ": what runs in it follows at the next policy load, or start or exec that needs it"
	case hook.Stale:
		what += ": what runs in it stays under an older content, because its label is a stack of profiles: start it anew"
	default:
		what += ": what runs in it may stay under an older content, because its label is a stack of profiles: start it anew"
	}
	return append(lines, what)
}
