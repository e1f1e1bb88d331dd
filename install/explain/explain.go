// Package explain answers what is decided for a container, and why: for the bundle of one, or for one that is described. It
// starts, loads and changes nothing.
package explain

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/install/apply"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/install/watcher"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/quiet"
)

// Answer is the decision for a container, and its JSON.
type Answer struct {
	Generation uint64 `json:"generation,omitempty"` // of the applied policy; 0 if Question.Config decided
	Engine     string `json:"engine"`
	Policy     string `json:"policy,omitempty"`
	Keep       bool   `json:"keep,omitempty"`
	Label      string `json:"label"`                 // process.apparmorProfile of the container's spec
	Unsaid     bool   `json:"labelUnsaid,omitempty"` // the label is the engine's choice, which the question did not name
	// Choice is the profile that the engine wrote into the spec.
	Choice  *Choice `json:"engineChoice,omitempty"`
	Reason  string  `json:"reason,omitempty"`
	Refused string  `json:"refused,omitempty"` // why the container would not start; empty if it would

	Privileged   string   `json:"privileged"`             // see policy.Privilege
	PrivilegedBy []string `json:"privilegedBy,omitempty"` // its powers, if it is partly privileged and a rule asks for that

	Warnings []string `json:"warnings,omitempty"`

	Profiles []Profile `json:"profiles,omitempty"`

	// Quiet are those of Profiles that are to be enforced once they were quiet for a time, or are since.
	Quiet    []quiet.Standing `json:"quiet,omitempty"`
	Process  *Process         `json:"process,omitempty"`
	LabelErr error            `json:"-"` // why the process's label cannot be read
}

// Choice is the outcome for the profile that the engine chose.
type Choice struct {
	Profile string `json:"profile"`
	Default string `json:"default,omitempty"` // the engine whose default it is, so that it counts as no choice
	Outcome string `json:"outcome"`           // see policy.Choice
}

// Process is a process, and how it compares with the decision.
type Process struct {
	PID   int    `json:"pid"`
	Label string `json:"label"` // as the kernel prints it
	// Confined is true if every profile of the decision confines it, with the content that was applied. Other profiles may
	// confine it, too.
	Confined bool     `json:"confined"`
	Lacks    []string `json:"lacks,omitempty"` // profiles of the decision that are not in its label
	Older    string   `json:"older,omitempty"` // why it runs, or may run, under older content of them
}

// Explain answers a question.
func Explain(ctx context.Context, n *node.Node, q Question) (*Answer, error) {
	facts, err := q.facts()
	if err != nil {
		return nil, err
	}
	index, generation, err := q.index(n)
	if err != nil {
		return nil, err
	}
	a := &Answer{Generation: generation, Engine: cmp.Or(facts.Engine, engine.Other), Warnings: q.warnings(facts),
		Privileged: facts.Privileged.String()}
	if asks, err := asksForPrivileges(index); err != nil {
		return nil, exit.With(exit.Cannot, err)
	} else if asks {
		a.PrivilegedBy = facts.PrivilegedBy
	}

	d, err := index.DecideReading(&facts)
	switch {
	case errors.Is(err, policy.ErrIndex):
		return nil, exit.With(exit.Cannot, err)
	case err != nil:
		a.Refused = err.Error()
	default:
		a.decided(ctx, n, d, facts)
	}
	if q.Config == "" && q.Store == n.Store {
		if err := a.quiet(n); err != nil {
			return nil, err
		}
	}
	if q.PID != 0 {
		a.Process, a.LabelErr = process(n, q.Label, q.PID, a.Profiles)
	}
	return a, nil
}

// quiet sets how the profiles of the decision stand that are to be enforced once they were quiet.
func (a *Answer) quiet(n *node.Node) error {
	all, err := watcher.Standings(n)
	if err != nil {
		return exit.With(exit.Cannot, exit.AsRoot(err))
	}
	for _, s := range all {
		if slices.ContainsFunc(a.Profiles, func(p Profile) bool { return p.Name == s.Profile }) {
			a.Quiet = append(a.Quiet, s)
		}
	}
	return nil
}

// decided sets the decision, and how the kernel's profiles compare with it.
func (a *Answer) decided(ctx context.Context, n *node.Node, d policy.Decision, facts policy.Facts) {
	a.Policy, a.Keep, a.Label, a.Reason = d.Policy, d.Keep, d.Label, d.Reason
	if d.Warning != "" {
		a.Warnings = append(a.Warnings, d.Warning)
	}
	if d.Keep {
		a.Label, a.Unsaid = facts.EngineChoice, facts.ChoiceUnsaid
	}
	if facts.EngineChoice != "" {
		whose, _ := engine.ByDefault(facts.EngineChoice)
		a.Choice = &Choice{facts.EngineChoice, whose, d.Choice.String()}
		// Engines load their own default. Of any other profile that is missing, runc and crun make an error.
		if d.Keep && whose == "" && profile.CheckName(facts.EngineChoice) == nil && n.NotLoaded(facts.EngineChoice) {
			a.Warnings = append(a.Warnings, "profile "+facts.EngineChoice+", which the engine chose, is not loaded: the container does not "+
				"start before somebody loads it")
		}
	}
	if !d.Keep && d.Choice != policy.Stands {
		if on, err := n.State.Host.Recordings.InProgress(d.Policy); err != nil {
			a.Warnings = append(a.Warnings, exit.AsRoot(err).Error())
		} else if on {
			a.Warnings = append(a.Warnings, status.Recorded(d.Policy))
		}
	}
	for _, p := range d.Profiles {
		j := ProfileOf(p)
		var refusal string
		if j.Kernel, refusal = n.InKernel(ctx, p); a.Refused == "" {
			a.Refused = refusal
		}
		a.Profiles = append(a.Profiles, j)
	}
}

// ContentUnknown reports whether there is a profile of the decision whose content in the kernel is not known.
func (a *Answer) ContentUnknown() bool {
	return slices.ContainsFunc(a.Profiles, Profile.contentUnknown)
}

// Err returns the error with the exit code for the answer. It returns nil if the container would start and its process is
// confined as decided.
func (a *Answer) Err() error {
	switch {
	case a.LabelErr != nil:
		return exit.With(exit.Cannot, exit.AsRoot(a.LabelErr))
	case a.Refused != "":
		return exit.Silently(exit.Refused)
	case a.Process != nil && a.Unsaid: // what it is to be compared with is the engine's choice
		return exit.Silently(exit.Cannot)
	case a.Process == nil || len(a.Profiles) == 0 || a.Process.Confined:
		return nil
	case len(a.Process.Lacks) == 0 && a.ContentUnknown():
		return exit.Silently(exit.Cannot)
	}
	return exit.Silently(exit.NotConfined)
}

// asksForPrivileges reports whether a rule asks for privileged or for unprivileged containers.
func asksForPrivileges(index policy.Index) (bool, error) {
	p, err := index.Config()
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(p.Assignments, func(a policy.Assignment) bool { return a.Privileged != nil }), nil
}

// process compares what confines a process with the decision.
func process(n *node.Node, labelOf func(int) (kernel.Label, error), pid int, decided []Profile) (*Process, error) {
	label, err := labelOf(pid)
	if err != nil {
		return nil, err
	}
	a := &Process{PID: pid, Label: label.String(), Confined: len(decided) > 0}
	for _, p := range decided {
		a.Confined = a.Confined && label.Covers(p.Name) && p.Kernel != nil && p.Kernel.State == node.Same
		if !label.Covers(p.Name) {
			a.Lacks = append(a.Lacks, p.Name)
		}
	}
	if a.Confined && len(label.Components) > 1 {
		a.Older = older(n, pid)
		a.Confined = a.Older == ""
	}
	return a, nil
}

// older returns why a process under a stack runs, or may run, under older content than the kernel's. It returns an empty
// string if it does not, or if it is in no container.
func older(n *node.Node, pid int) string {
	s, err := n.State.Gather(true)
	if err != nil {
		return ""
	}
	for _, c := range s.Containers {
		if slices.ContainsFunc(c.Processes, func(m status.Member) bool { return m.PID == pid }) {
			return c.Older
		}
	}
	return ""
}

// index returns the policy that decides, and its generation.
func (q *Question) index(n *node.Node) (policy.Index, uint64, error) {
	if q.Config == "" {
		g, err := n.Current(q.Store)
		if err != nil {
			return policy.Index{}, 0, err
		}
		return g.Index, g.Number, nil
	}
	to, _, _ := n.Generated(node.LastManifest(q.Store), nil)
	c, err := apply.Read(q.Config, to)
	if err != nil {
		return policy.Index{}, 0, err
	}
	data, err := c.Encode()
	if err != nil {
		return policy.Index{}, 0, exit.With(exit.BadPolicy, err)
	}
	x, err := policy.OpenIndex(data)
	return x, 0, err
}
