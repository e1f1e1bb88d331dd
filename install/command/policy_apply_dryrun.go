package command

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/install/apply"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/impact"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// mostChanges is how many lines about profiles, policies and rules are printed.
const mostChanges = 30

func runDryRun(ctx context.Context, s *session, o *applyOptions) error {
	p, err := apply.DryRun(ctx, s.Node, o.Options)
	if err != nil {
		return err
	}
	out := s.print()
	if !o.quiet {
		s.warnAll(p.Warnings, p.Refused())
		for _, err := range p.Notes {
			s.Warnf("%v", err)
		}
		if err := printPreview(out, p); err != nil {
			return err
		}
	}
	if !p.Here() {
		return nil // the containers are another node's
	}
	containers, err := p.Impact(ctx)
	if err != nil {
		return err
	}
	if err := printImpact(out, containers, o.quiet); err != nil {
		return err
	}
	if slices.ContainsFunc(containers, func(c impact.Container) bool { return c.Refused != nil }) {
		return exit.Silently(exit.Refused)
	}
	return nil
}

// printPreview prints the differences from the policy in force.
func printPreview(out *output.Printer, p *apply.Preview) error {
	tests := p.Tests()
	switch {
	case p.Before == nil:
		out.Line("nothing is applied; an apply would make the first generation that can be read here")
	case p.Same:
		what := "an apply would change nothing"
		if len(p.Changes) > 0 {
			what = "an apply would change only whether tests are required"
		}
		out.Line("nothing is applied; %s: generation %d would stay in force", what, p.Before.Number)
		for _, line := range slices.DeleteFunc(append(p.Changes, tests), func(line string) bool { return line == "" }) {
			out.Wrapped("  ", line)
		}
		return out.Err
	default:
		out.Line("nothing is applied; an apply would put another generation in the place of generation %d", p.Before.Number)
	}
	for i, line := range p.Changes {
		if i == mostChanges {
			out.Line("  and %d more", len(p.Changes)-i)
			break
		}
		out.Wrapped("  ", line)
	}
	if len(p.Changes) == 0 {
		out.Line("  only where things stand in the policy's files")
	}
	if tests != "" {
		out.Wrapped("  ", tests)
	}
	printNotes(out, p.Policy)
	if p.Notice != "" {
		out.Line("%s", p.Notice)
	}
	return out.Err
}

// printImpact prints what happens to running containers. With onlyRefused, it prints only those that would be refused.
func printImpact(out *output.Printer, containers []impact.Container, onlyRefused bool) error {
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
			out.Wrapped("container "+c.Name+": ", line)
		}
	}
	switch {
	case onlyRefused:
	case len(containers) == 0:
		out.Line("no container of oci-apparmor's runs")
	case same > 0:
		out.Line("nothing changes for %s", output.Count(same, "running container", "running containers"))
	}
	return out.Err
}

// means returns sentences about what a policy would mean for a container.
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
	case c.Unverified != nil:
		lines = append(lines, "what its next start would get is not known: "+oneline.Whole(c.Unverified.Error()))
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
		what += ": what runs in it takes over the change at the next policy load, or start or exec that needs it"
	case hook.Stale:
		what += ": what runs in it stays under older content, because its label is a stack of profiles: start it anew"
	default:
		what += ": what runs in it may stay under older content, because its label is a stack of profiles: start it anew"
	}
	return append(lines, what)
}
