package hook

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Guard is the createRuntime and prestart hook. The runtime has read the spec by then, so the label can no longer change,
// but the kernel does not have the label yet. Guard loads what is missing and verifies the content. It refuses a container
// whose spec names something other than the policy's decision, or its recording's (see prepared).
//
// Guard reads the spec as it is now. A hook that ran earlier and changed config.json can mislead it. But whoever can add
// hooks to a spec can choose the profile, too.
func (h *Host) Guard(ctx context.Context, c Caller, id string, bundle *Bundle) (out Outcome, err error) {
	spec, err := bundle.spec()
	if err != nil {
		return Outcome{}, Because(notice.Spec, err)
	}
	facts := spec.identify(c, id, filepath.Dir(spec.path))
	defer func() { out.name(&facts, err) }()
	gen, d, err := h.decide(&facts)
	if err != nil {
		return out, err
	}
	out.Decision = d
	if d.Keep {
		_, warning, err := h.keepChoice(ctx, gen, spec.choice)
		out.Warning = join(d.Warning, warning)
		return out, err
	}
	d, prepared, err := h.prepared(&facts, d, spec.choice)
	if err != nil {
		return out, err
	}
	out.Decision = d
	if !prepared {
		named := "names no profile"
		if spec.choice != "" {
			named = "names the profile " + oneline.Quote(spec.choice)
		}
		return out, Because(notice.OtherProfile, fmt.Errorf("its spec %s, and the policy gives it %s (%s); a hook cannot change "+
			"that any more: start the container through oci-apparmor-runtime, or name %s in its spec", named, d.Label, d.Reason, d.Label))
	}
	_, warnings, err := h.ensure(ctx, gen, d.Profiles, nil)
	if err != nil {
		return out, demands(err)
	}
	out.Label, out.Warning = d.Label, join(append(warnings, d.Warning)...)
	return out, nil
}
