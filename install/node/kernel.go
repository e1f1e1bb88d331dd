package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// KernelState is how the kernel's profile of a name compares with ours.
type KernelState struct {
	State  string `json:"state"`  // Same, Unknown, "missing" or "drifted"
	Detail string `json:"detail"` // for people
}

// States of a profile: loaded with our content, and not known.
const (
	Same    = "same"
	Unknown = "unknown"
)

// InKernel returns how the running kernel's profile of a name compares with ours. If a start that needs the profile would
// be refused, it also returns why. For a profile that is not compiled it returns nil.
func (n *Node) InKernel(ctx context.Context, p policy.Profile) (state *KernelState, refusal string) {
	if p.ByHand {
		return n.byHandInKernel(p.Name)
	}
	if len(p.Compiled) == 0 {
		return nil, ""
	}
	ours := kernel.Profile{Name: p.Name, Compiled: p.Compiled, OnDrift: p.OnDrift}
	found, err := n.Kernel.Check(ours)
	var notReady *kernel.NotReadyError
	switch {
	case errors.As(err, &notReady):
		state = &KernelState{Unknown, "not known: " + notReady.Readiness.String()}
		if notReady.Readiness != kernel.NoRight || n.Root {
			refusal = "the policy demands profile " + p.Name + ", and " + notReady.Readiness.String()
		}
		return state, refusal
	case err != nil:
		return &KernelState{Unknown, "not known: " + exit.AsRoot(err).Error()}, ""
	case found.Status == kernel.Matches:
		if err := n.Kernel.Enforced(p.Compiled); err != nil {
			refusal = "the policy demands profile " + p.Name + ", and " + err.Error()
		}
		return &KernelState{Same, "loaded, with this content"}, refusal
	}

	refusal = n.wouldRefuse(ctx, ours, found)
	does := ""
	if found.Status == kernel.Missing {
		if refusal == "" {
			does = ": the next start that needs it loads it"
		}
		return &KernelState{"missing", "not loaded" + does}, refusal
	}
	if refusal == "" {
		does = "; the next start that needs it replaces it"
	}
	return &KernelState{"drifted", "loaded with other content: " + found.String() + does}, refusal
}

// byHandInKernel is InKernel for a profile that somebody else must load. It only finds out whether the profile is there.
func (n *Node) byHandInKernel(name string) (state *KernelState, refusal string) {
	_, content, err := n.Kernel.Held(name)
	var notReady *kernel.NotReadyError
	switch {
	case err == nil:
		return &KernelState{Unknown, "loaded, in mode " + content[0].Mode.String() + "; the policy has no content to compare " +
			"it with"}, ""
	case errors.Is(err, kernel.ErrNotLoaded):
		return &KernelState{"missing", "not loaded"},
			"profile " + name + ", which the engine chose, is not loaded, and the policy has no text of it: load it"
	case errors.As(err, &notReady) && notReady.Readiness == kernel.NoRight:
		return &KernelState{Unknown, "not known: " + exit.AsRoot(err).Error()}, ""
	}
	return &KernelState{Unknown, "cannot be relied on: " + err.Error()}, err.Error()
}

// NotLoaded reports whether the kernel is known not to have a profile.
func (n *Node) NotLoaded(name string) bool {
	_, _, err := n.Kernel.Held(name)
	return errors.Is(err, kernel.ErrNotLoaded)
}

// ErrAsked takes the place of a profile's content if nothing must be loaded.
var ErrAsked = errors.New("nothing is loaded for a question")

// wouldRefuse returns why a start would be refused that finds the profile missing or drifted, or an empty string. It does
// what a start does, up to the load. That needs root. Without root, it returns only what is certain.
func (n *Node) wouldRefuse(ctx context.Context, p kernel.Profile, found kernel.Found) string {
	switch {
	case n.Root:
		p.Blob = func() ([]byte, error) { return nil, ErrAsked }
		_, err := n.Kernel.Ensure(ctx, []kernel.Profile{p})
		if err == nil || errors.Is(err, ErrAsked) {
			return ""
		}
		return err.Error()
	case found.Status == kernel.Missing || p.OnDrift == profile.ReplaceAny:
		return ""
	case p.OnDrift == profile.RefuseDrift:
		return "profile " + p.Name + " is loaded with other content, and the policy file says `onDrift: refuse` for it"
	}
	return "profile " + p.Name + " is loaded with other content: refused unless oci-apparmor loaded that before; " +
		"run this as root to know"
}

// LogsCapabilities reports whether the running kernel logs each use of a capability that a profile lacks, but for those of the same second.
// Kernels before Linux 6.13 keep back what they have logged before: audit_cache in security/apparmor/capability.c.
func (n *Node) LogsCapabilities() bool {
	var major, minor int
	if _, err := fmt.Sscanf(n.Uname, "%d.%d", &major, &minor); err != nil {
		return false
	}
	return major > 6 || major == 6 && minor >= 13
}
