package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/install/bootfiles"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/impact"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// A Preview is what an apply would do. DryRun takes no lock, so another apply may still change the policy in force.
type Preview struct {
	Before   *store.Generation // the generation in force; nil if there is none, or it cannot be read
	Same     bool              // the generation in force has the same
	Changes  []string          // lines that say which profiles, policies and rules would change, and whether tests are required
	Policy   *policy.Config    // the policy that an apply would put in force
	Warnings []string          // about profiles; each is a line that names the file
	Notes    []error           // profiles for which AppArmor's service would have no file of ours, and why
	Notice   string            // one message about the node; may be empty

	node      *node.Node
	config    string // where the policy file is
	here      bool   // it is for this node
	candidate *candidate
	files     *bootfiles.Writer
}

// DryRun does what Apply does, except that it writes nothing.
func DryRun(ctx context.Context, n *node.Node, o Options) (*Preview, error) {
	p, err := preview(ctx, n, o)
	if err == nil {
		err = p.failed()
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// failed returns an error if tests fail that the policy requires.
func (p *Preview) failed() error {
	if p.candidate.failed == nil {
		return nil
	}
	return wouldNotApply(p.candidate.failed)
}

// preview is DryRun, also for a policy that fails its tests.
func preview(ctx context.Context, n *node.Node, o Options) (*Preview, error) {
	s := store.Store{Dir: o.Store}
	p := &Preview{node: n, config: o.Config, here: o.forHere(n)}
	var err error
	p.Before, err = s.Current()
	if errors.Is(err, fs.ErrPermission) || p.here && !n.Root {
		return nil, exit.With(exit.Cannot, errors.New("what an apply would change only root can tell: run this as root"))
	}
	if err != nil && !errors.Is(err, store.ErrNone) {
		n.Warnf("%v", err)
	}
	if p.files, err = o.service(n, p.Before); err != nil {
		return nil, wouldNotApply(err)
	}
	if p.files != nil {
		p.files.Dry = true
	}
	if p.candidate, err = newCandidate(ctx, n, o, p.Before); err != nil {
		return nil, wouldNotApply(err)
	}
	if p.files != nil {
		p.files.Compiler = p.candidate.to.Compiler
		files, err := p.files.Stage(ctx, p.candidate.compiled, p.candidate.to.alone.texts())
		if err != nil {
			return nil, wouldNotApply(exit.With(exit.Cannot, exit.AsRoot(err)))
		}
		p.Notes = files.Notes
	}
	p.Policy, p.Notice, p.Warnings = p.candidate.compiled.Policy, p.candidate.notice, p.candidate.to.said.lines()
	return p, p.compare()
}

// Refused returns sentences about programs of this node whose signals a profile would refuse, so that they could not
// stop its containers.
func (p *Preview) Refused() []string {
	if !p.here {
		return nil
	}
	return refused(p.node, p.candidate.compiled)
}

// compare sets Same and Changes by the policy in force.
func (p *Preview) compare() (err error) {
	was := new(policy.Config)
	if p.Before != nil {
		if p.Same, err = p.Before.Has(p.candidate.compiled); err != nil {
			return err
		}
		if was, err = policyOf(p.Before); err != nil {
			return err
		}
	}
	if !p.Same {
		p.Changes = changes(was, p.Policy, goingOn)
	}
	if line := requirement(was.RequireTests, p.Policy.RequireTests); line != "" {
		p.Changes = append(p.Changes, line)
	}
	return nil
}

// policyOf returns the policy of a generation, without what its manifest has of it where that cannot be read.
func policyOf(g *store.Generation) (*policy.Config, error) {
	if p, err := g.Config(); err == nil {
		return p, nil
	}
	return g.Index.Config()
}

// Tests says whether an apply runs the tests of the policy; an empty string for a policy without tests.
func (p *Preview) Tests() string {
	switch {
	case p.candidate.passed > 0:
		return fmt.Sprintf("the policy requires its tests, and all of them pass (%d)", p.candidate.passed)
	case unrequired(p.config, p.Policy):
		return "an apply would run none of the policy's tests, as it does not require them: see oci-apparmor policy test"
	}
	return ""
}

// Impact returns what the policy would mean for each running container. It returns none if the policy is for another
// node.
func (p *Preview) Impact(ctx context.Context) ([]impact.Container, error) {
	if !p.here {
		return nil, nil
	}
	next, err := p.next(ctx)
	if err != nil {
		return nil, err
	}
	containers, unread := impact.Containers(p.node.State.Host, next)
	if unread != nil {
		p.node.Warnf("what is remembered of a container cannot be read: %v", unread)
	}
	return containers, nil
}

// Here reports whether the policy is for this node. If it is not, the node's containers do not matter.
func (p *Preview) Here() bool { return p.here }

// wouldNotApply adds to a failure what it would mean.
func wouldNotApply(err error) error {
	code, err := exit.Split(err)
	return exit.With(code, errors.Join(err, errors.New("policy apply would refuse this; nothing was written")))
}

// next returns the policy as starting containers would find it.
func (p *Preview) next(ctx context.Context) (impact.Next, error) {
	data, err := p.candidate.compiled.Policy.Encode()
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
			pr, ok := index.Profile(name)
			if !ok {
				return false
			}
			if p.Before != nil {
				if was, ok := p.Before.Index.Profile(name); ok && slices.Equal(was.Compiled, pr.Compiled) {
					return false
				}
			}
			found, err := p.node.Kernel.Check(kernel.Profile{Name: name, Compiled: pr.Compiled})
			return err != nil || found.Status == kernel.Drifted
		},
		Refuses: func(pr policy.Profile) string {
			if p.files != nil {
				if p.files.Has(pr.Name) {
					return "" // an apply makes that ours which AppArmor's service has loaded from it
				}
			}
			why, ok := refusals[pr.Name]
			if !ok {
				_, why = p.node.InKernel(ctx, pr)
				refusals[pr.Name] = why
			}
			return why
		},
	}, nil
}
