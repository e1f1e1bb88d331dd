package doctor

import (
	"context"
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/install/engines"
	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/probe"
)

// probeChecks have no function: Examine starts no container, and AddProbes makes their findings.
var probeChecks = []Check{
	{
		ID: string(probe.Failed), Severity: Error,
		Looks: "With --probe: whether a throw-away container starts through each engine that is wired, and a process can be executed in it.",
		Do:    "See oci-apparmor log for a refusal of ours, and the engine's own log for all else.",
	},
	{
		ID: string(probe.Uncovered), Severity: Error,
		Looks: "With --probe: whether the start of that container came to us.",
		Do:    "Restart the engine, and run oci-apparmor install for it again.",
	},
	{
		ID: string(probe.Label), Severity: Error,
		Looks: "With --probe: whether that container's first process is under the label that was decided.",
		Do:    "See oci-apparmor status and oci-apparmor log.",
	},
	{
		ID: string(probe.Exec), Severity: Error,
		Looks: "With --probe: whether a process that is executed in that container is under the container's label.",
		Do:    "Have the engine call the runtime wrapper or the shim, and no hook alone.",
	},
	{
		ID: string(probe.Left), Severity: Warning,
		Looks: "With --probe: whether all that it made is gone afterwards.",
		Do:    "Remove what it names; its process ends by itself.",
	},
}

// AddProbes starts a throw-away container through each engine that is wired, executes a process in it, reads the labels of both
// from outside, and removes it. It adds to a report what it finds.
func (r *Report) AddProbes(ctx context.Context, n *Node, o probe.Options) {
	if !n.Root {
		r.unseen(errAsUser("whether a container comes to us"))
		return
	}
	if !n.Detect().Usable() {
		return // no container starts under a policy that has profiles, and other findings say why
	}
	states, err := newExam(ctx, n).engines()
	if err != nil {
		return // wiring-interrupted, or what was not seen
	}
	for i := range states {
		s := &states[i]
		if !s.Wired() || s.Err != nil || s.Down || s.Has(host.Down) {
			continue // other findings say why
		}
		if s.Prober == nil {
			r.unseen(fmt.Errorf("%s: there is no way to start a throw-away container through it", s.Title))
			continue
		}
		r.probe(ctx, n, s, o)
	}
	r.sort()
}

func (r *Report) probe(ctx context.Context, n *Node, s *engines.State, o probe.Options) {
	seen, faults, err := probe.Run(ctx, n.State, n.Host, probe.Engine{Name: s.Name, Via: s.Via, Prober: s.Prober}, o)
	if err != nil {
		r.unseen(fmt.Errorf("%s: %w", s.Title, err))
	}
	for _, f := range faults {
		r.add(check(string(f.Kind)), found{what: s.Title + ": " + f.What})
	}
	if seen != nil {
		r.Probes = append(r.Probes, *seen)
	}
}
