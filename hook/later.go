package hook

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Process is what Start and Exec found out for a process that a runtime is about to run in a container.
type Process struct {
	Label   string // that the process gets; empty where Ours is false
	Warning string // one line, empty when all is as the policy says
	Ours    bool   // the label is by our policy, or it was to be and an error says why it cannot
}

// Start checks a created container before its process runs: its profile must have been in the kernel without a break,
// since a removed one leaves the process unconfined even if it is loaded again, and it must have our content, for this
// process, too: under a stack it would get that of the first replacement since create, whatever came later. That goes
// also for a profile of ours that is the engine's choice and was kept, but for its content. A container may start whose label
// is not by our policy, or of which nothing is remembered.
func (h *Host) Start(ctx context.Context, w Caller, id string) (Process, error) {
	r, err := h.Recall(w, id)
	if errors.Is(err, fs.ErrNotExist) {
		warning, err := h.startUnknown(ctx, w, id)
		return Process{Warning: warning}, err
	}
	p := Process{Ours: true}
	if err != nil {
		return p, err
	}
	removed, err := h.removed(r)
	if err != nil {
		return p, err
	}
	if removed != "" {
		return p, fmt.Errorf("profile %s was removed from the kernel after the container was created: its process would "+
			"run unconfined, also if the profile is loaded again; delete the container and create it anew", removed)
	}
	if r.Label == "" {
		return Process{}, nil
	}
	p.Label = r.Label
	if p.Warning, err = h.verify(ctx, r); err != nil {
		return p, err
	}
	f, name, err := h.Freshness(r)
	if err == nil && f != Fresh {
		err = fmt.Errorf("profile %s was replaced after the container was created, and its process would run under an older "+
			"content, because its label is a stack of profiles: delete the container and create it anew", name)
	}
	return p, err
}

// Exec returns the label for another process in a container: the container's, its content verified again.
func (h *Host) Exec(ctx context.Context, w Caller, id string) (Process, error) {
	r, err := h.Recall(w, id)
	if errors.Is(err, fs.ErrNotExist) {
		return h.execUnknown(ctx, w, id)
	}
	if err != nil {
		return Process{Ours: true}, err
	}
	if r.Label == "" {
		return Process{}, nil
	}
	removed, err := h.removed(r)
	if err != nil {
		return Process{Ours: true}, err
	}
	warning, err := h.verify(ctx, r)
	if removed != "" {
		warning = join(warning, fmt.Sprintf("profile %s was removed from the kernel while the container ran: what it had "+
			"started before is unconfined for good; start the container again", removed))
	} else {
		warning = join(warning, h.stale(r))
	}
	return Process{Label: r.Label, Warning: warning, Ours: true}, err
}

// startUnknown is Start for a container of which nothing is remembered: none of ours, or one whose record was lost. What
// is pending for its process tells, where the kernel shows that.
func (h *Host) startUnknown(ctx context.Context, w Caller, id string) (warning string, err error) {
	pid, bundle := initAndBundle(w, id)
	if pid <= 0 {
		return "", nil
	}
	pending, ok := h.Kernel.Pending(pid)
	if !ok {
		return "", nil
	}
	return h.checkPending(ctx, pending, bundle)
}

// checkPending compares what is pending for a process with the spec in its bundle, which is empty where it is not known:
// what is pending for a removed profile is "unconfined", and for a stack that had it, what is left of that.
func (h *Host) checkPending(ctx context.Context, pending kernel.Label, bundle string) (warning string, err error) {
	spec, err := NewBundle(bundle).spec()
	switch {
	case bundle == "" || err != nil || strings.Contains("//&"+spec.choice, "//&:"):
		// What it should be is not known: names in another policy namespace (":NS:NAME") have more than one spelling.
		if pending.Mode == "" {
			return "", fmt.Errorf("its process would run unconfined, and nothing is remembered of it in %s that says it may: its "+
				"profile may have been removed from the kernel; delete the container and create it anew", h.Containers)
		}
	case spec.choice != "" && !pending.Covers(strings.Split(spec.choice, "//&")...):
		return "", fmt.Errorf("its process would run under %q, and its spec %s names %s: a profile may have been removed from "+
			"the kernel since it was created, and nothing is remembered of it in %s that tells; delete the container and create "+
			"it anew", pending, spec.path, oneline.Quote(spec.choice), h.Containers)
	}
	_, warning, err = h.ensureOurs(ctx, pending)
	return warning, err
}

// execUnknown is Exec for a container of which nothing is remembered. One of ours whose record was lost has profiles on
// its process that are ours, or that a rule lists, and the kernel tells.
func (h *Host) execUnknown(ctx context.Context, w Caller, id string) (Process, error) {
	pid, there := InitOf(w.Root, id)
	if !there || pid <= 0 {
		return Process{}, nil
	}
	current, err := kernel.Current(pid)
	if err != nil { // it has ended, or there is no AppArmor to confine it
		return Process{}, nil
	}
	names, warning, err := h.ensureOurs(ctx, current)
	return Process{Label: policy.Label(names...), Warning: warning, Ours: len(names) > 0 || err != nil}, err
}

// ensureOurs is ensure for those profiles of a label that are ours, or that a rule lists, and names them.
func (h *Host) ensureOurs(ctx context.Context, l kernel.Label) (names []string, warning string, err error) {
	gen, err := h.Store.Current()
	if errors.Is(err, store.ErrNone) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	var profiles []policy.Profile
	for _, name := range l.Components {
		p, ok := gen.Index.Profile(name)
		if !ok {
			if ok, err = gen.Index.Lists(name); err != nil {
				return nil, "", err
			}
			p = policy.Profile{Name: name, ByHand: true}
		}
		if ok {
			profiles, names = append(profiles, p), append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, "", nil
	}
	_, warnings, err := h.ensure(ctx, gen, profiles, nil)
	return names, join(warnings...), err
}

// removed names the first profile of a container's label that was removed from the kernel since the container was
// created.
func (h *Host) removed(r *Record) (name string, err error) {
	for _, p := range r.Profiles {
		same, err := h.Kernel.Same(kernel.Loaded{Name: p.Name, Dir: p.Dir})
		if err != nil || !same {
			return p.Name, err
		}
	}
	return "", nil
}

// verify makes sure that the kernel holds what a container's label is made of, by the policy in force now. A profile
// that this policy has not, no longer or because it was loaded by hand, must be the one of create.
func (h *Host) verify(ctx context.Context, r *Record) (warning string, err error) {
	gen, err := h.Store.Current()
	if err != nil {
		return "", err
	}
	var now []policy.Profile
	for _, p := range r.Profiles {
		if q, ok := gen.Index.Profile(p.Name); ok {
			now = append(now, q)
			continue
		}
		found, err := h.Kernel.Check(kernel.Profile{Name: p.Name, Compiled: p.Compiled})
		if err != nil {
			return "", err
		}
		if found.Status != kernel.Matches {
			return "", fmt.Errorf("profile %s, which the policy in force does not have, is not what it was when the container "+
				"was created: %s; start the container anew", p.Name, found.Since())
		}
		if err := h.Kernel.Enforced(p.Compiled); err != nil {
			return "", demands(err)
		}
	}
	_, warnings, err := h.ensure(ctx, gen, now, r)
	return join(warnings...), err
}

// join makes one line of the warnings that say something.
func join(warnings ...string) string {
	var some []string
	for _, w := range warnings {
		if w != "" {
			some = append(some, w)
		}
	}
	return strings.Join(some, "; ")
}
