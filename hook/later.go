package hook

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Process is what Start and Exec return about a process that a runtime is about to run in a container.
type Process struct {
	Label   string // of the process; empty if Ours is false
	Warning string // one line; empty if all is as the policy says
	Ours    bool   // our policy decides the label; an error says why the process cannot get it
}

// Start checks a created container before its process runs. Its profile must have been in the kernel without a break: a
// profile that was removed leaves the process unconfined, even if somebody loads it again. The profile must also have our
// content for this very process: under a stack, the process would get the content of the first replacement since create,
// and none of a later one. Of a profile of ours that the engine chose and that was kept, Start does not check the content.
// A container may start if its label is not by our policy, or if it has no record.
func (h *Host) Start(ctx context.Context, c Caller, id string) (Process, error) {
	r, err := h.Recall(c, id)
	if errors.Is(err, fs.ErrNotExist) {
		warning, err := h.startUnknown(ctx, c, id)
		return Process{Warning: warning}, err
	}
	p := Process{Ours: true}
	if err != nil {
		return p, Because(notice.Record, err)
	}
	removed, err := h.removed(r)
	if err != nil {
		return p, Because(notice.Load, err)
	}
	if removed != "" {
		return p, Because(notice.Removed, fmt.Errorf("profile %s was removed from the kernel after the container was created: its "+
			"process would run unconfined, also if the profile is loaded again; delete the container and create it anew", removed))
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
		err = Because(notice.ReplacedTwice, fmt.Errorf("profile %s was replaced after the container was created, and its process "+
			"would run under an older content, because its label is a stack of profiles: delete the container and create it anew",
			name))
	}
	return p, err
}

// Exec returns the label for another process in a container: the container's own, after its content was verified again.
func (h *Host) Exec(ctx context.Context, c Caller, id string) (Process, error) {
	r, err := h.Recall(c, id)
	if errors.Is(err, fs.ErrNotExist) {
		return h.execUnknown(ctx, c, id)
	}
	if err != nil {
		return Process{Ours: true}, Because(notice.Record, err)
	}
	if r.Label == "" {
		return Process{}, nil
	}
	removed, err := h.removed(r)
	if err != nil {
		return Process{Ours: true}, Because(notice.Load, err)
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

// startUnknown is Start for a container that has no record: it is none of ours, or its record was lost. The label that is
// pending for its process shows which, if the kernel shows that label.
func (h *Host) startUnknown(ctx context.Context, c Caller, id string) (warning string, err error) {
	pid, bundle := initAndBundle(c, id)
	if pid <= 0 {
		return "", nil
	}
	pending, ok := h.Kernel.Pending(pid)
	if !ok {
		return "", nil
	}
	return h.checkPending(ctx, pending, bundle)
}

// checkPending compares the label that is pending for a process with the spec in its bundle. bundle is empty if it is not
// known. After a profile was removed, "unconfined" is pending in its place, or what is left of a stack that had it.
func (h *Host) checkPending(ctx context.Context, pending kernel.Label, bundle string) (warning string, err error) {
	spec, err := NewBundle(bundle).spec()
	switch {
	case bundle == "" || err != nil || strings.Contains("//&"+spec.choice, "//&:"):
		// What it should be is not known: names in another policy namespace (":NS:NAME") have more than one spelling.
		if pending.Mode == "" {
			return "", Because(notice.Removed, fmt.Errorf("its process would run unconfined, and there is no record of it in %s that "+
				"says it may: its profile may have been removed from the kernel; delete the container and create it anew", h.Containers))
		}
	case spec.choice != "" && !pending.Covers(strings.Split(spec.choice, "//&")...):
		return "", Because(notice.Removed, fmt.Errorf("its process would run under %q, and its spec %s names %s: a profile may have "+
			"been removed from the kernel since it was created, and there is no record of it in %s that says so; delete the "+
			"container and create it anew", pending, spec.path, oneline.Quote(spec.choice), h.Containers))
	}
	_, warning, err = h.ensureOurs(ctx, pending)
	return warning, err
}

// execUnknown is Exec for a container that has no record. If it is one of ours and its record was lost, the kernel shows on
// its process profiles that are ours or that a rule lists.
func (h *Host) execUnknown(ctx context.Context, c Caller, id string) (Process, error) {
	pid, there := InitOf(c.Root, id)
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

// ensureOurs is ensure for those profiles of a label that are ours or that a rule lists. It returns their names.
func (h *Host) ensureOurs(ctx context.Context, l kernel.Label) (names []string, warning string, err error) {
	gen, err := h.Store.Current()
	if errors.Is(err, store.ErrNone) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", Because(policyReason(err), err)
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

// removed returns the name of the first profile of a container's label that was removed from the kernel since the container
// was created, or an empty string.
func (h *Host) removed(r *Record) (name string, err error) {
	for _, p := range r.Profiles {
		same, err := h.Kernel.Same(kernel.Loaded{Name: p.Name, Dir: p.Dir})
		if err != nil || !same {
			return p.Name, err
		}
	}
	return "", nil
}

// verify makes sure that the kernel holds the profiles of a container's label with the content of the policy in force now. A
// profile that this policy does not have must be the one of create: it left the policy, or it was loaded by hand.
func (h *Host) verify(ctx context.Context, r *Record) (warning string, err error) {
	gen, err := h.Store.Current()
	if err != nil {
		return "", Because(policyReason(err), err)
	}
	var now []policy.Profile
	for _, p := range r.Profiles {
		if q, ok := gen.Index.Profile(p.Name); ok {
			now = append(now, q)
			continue
		}
		found, err := h.Kernel.Check(kernel.Profile{Name: p.Name, Compiled: p.Compiled})
		if err != nil {
			return "", Because(notice.Load, err)
		}
		if found.Status != kernel.Matches {
			return "", Because(notice.Changed, fmt.Errorf("profile %s, which the policy in force does not have, is not what it was "+
				"when the container was created: %s; start the container anew", p.Name, found.Since()))
		}
		if err := h.Kernel.Enforced(p.Compiled); err != nil {
			return "", demands(err)
		}
	}
	_, warnings, err := h.ensure(ctx, gen, now, r)
	return join(warnings...), err
}

// join makes one line of the warnings that are not empty.
func join(warnings ...string) string {
	var some []string
	for _, w := range warnings {
		if w != "" {
			some = append(some, w)
		}
	}
	return strings.Join(some, "; ")
}
