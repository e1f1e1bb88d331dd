// Package hook takes one container from its spec to its label.
//
// Prepare does the work where it takes effect, before the runtime reads the spec: it identifies the container, decides
// by the node's policy, makes sure that the kernel holds the profile with our content, and writes it into the spec.
// Guard does what an OCI hook still can after the runtime has read the spec: it loads what is missing, or refuses. Start
// and Exec check what the engine asks of the container later. Packages wrapper and containerd call these for engines.
package hook

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/hook/counts"
	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/recording"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Host is the node: the policy in force, the kernel, the records of containers, the log, and the counters.
type Host struct {
	Store      store.Store
	Kernel     *kernel.Kernel
	Containers string // directory of the records that Prepare writes
	Recordings recording.Dir
	Log        notice.Log
	Counts     *counts.Table // nil to count nothing
	Wiring     string        // how engines reach this program, for the counters: counts.Wrapper or counts.Shim
}

// NewHost returns the node that we run on.
func NewHost() *Host {
	h := &Host{
		Store:      store.Store{Dir: store.Dir},
		Kernel:     kernel.New(),
		Containers: "/run/oci-apparmor/containers",
		Recordings: recording.Node,
		Log:        notice.NodeLog(),
		Counts:     counts.New(counts.Path),
	}
	h.CountLoads(counts.ByStart)
	return h
}

// NewHostOf is NewHost for a program that engines reach in this way: counts.Wrapper or counts.Shim.
func NewHostOf(wiring string) *Host {
	h := NewHost()
	h.Wiring = wiring
	return h
}

// decide returns the policy in force and its decision for a container. It reads the engine's files if the policy needs
// what they hold.
func (h *Host) decide(f *policy.Facts) (*store.Generation, policy.Decision, error) {
	gen, err := h.Store.Current()
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: this runs without root's rights on the machine, as under a rootless engine. Rootless containers "+
			"cannot have AppArmor, because only root may load its profiles: start the container as root, or have the rootless "+
			"engine call runc or crun itself, and no hook of ours", err)
	}
	if err != nil {
		return nil, policy.Decision{}, Because(policyReason(err), err)
	}
	d, err := gen.Index.DecideReading(f)
	return gen, d, Because(decisionReason(f), err)
}

// ensure makes the kernel hold profiles with our content, and returns what it holds. Of a profile that is loaded by hand
// it only checks that it is there. The warnings say what had to be put right, and which containers keep older content.
// They leave out the container of r, which may be nil.
func (h *Host) ensure(ctx context.Context, gen *store.Generation, profiles []policy.Profile, r *Record) ([]RecordProfile,
	[]string, error) {
	var want []kernel.Profile
	var warnings, replaced []string
	held := make([]RecordProfile, len(profiles))
	for i, p := range profiles {
		if p.ByHand {
			var err error
			var warning string
			if held[i], warning, err = h.byHand(p.Name); err != nil {
				return nil, nil, err
			}
			warnings = append(warnings, warning)
			continue
		}
		held[i] = RecordProfile{Name: p.Name, Compiled: p.Compiled}
		want = append(want, kernel.Profile{
			Name:     p.Name,
			Compiled: p.Compiled,
			OnDrift:  p.OnDrift,
			Blob:     func() ([]byte, error) { return content(gen, p) },
			Earlier:  func() [][]profile.Compiled { return h.Store.EarlierOf(p.Name) },
		})
	}
	loaded, err := h.Kernel.Ensure(ctx, want)
	if err != nil {
		h.countDrift(err, counts.Refused)
		return nil, nil, Because(notice.Load, err)
	}
	for i, p := range profiles {
		if p.ByHand {
			continue
		}
		l := loaded[0]
		loaded = loaded[1:]
		held[i].Dir, held[i].Since = l.Dir, l.Since
		if l.Done == kernel.Replaced {
			replaced = append(replaced, l.Name)
			if !l.Planned {
				warnings = append(warnings, fmt.Sprintf("profile %s was loaded with other content than the policy's, and has been "+
					"replaced", l.Name))
			}
		}
		warnings = append(warnings, l.Warning)
	}
	if len(replaced) > 0 {
		warnings = append(warnings, h.StaleAfter(r, replaced...))
	}
	return held, warnings, nil
}

// byHand returns what the kernel holds of a profile that somebody else must have loaded. Its content cannot be checked
// against ours. The record keeps it, so that later processes of the container get no other content.
func (h *Host) byHand(name string) (held RecordProfile, warning string, err error) {
	l, content, err := h.Kernel.Held(name)
	held = RecordProfile{Name: name, Dir: l.Dir, Since: l.Since, Compiled: content}
	switch {
	case errors.Is(err, kernel.ErrNotLoaded):
		return held, "", Because(notice.NotLoaded, fmt.Errorf("the engine chose profile %s, which is not loaded and of which the "+
			"policy has no text: load it, or start the container without choosing it", name))
	case err != nil:
		return held, "", Because(notice.Load, fmt.Errorf("the engine chose profile %s, which is loaded by hand: %w", name, err))
	}
	if mode := held.Compiled[0].Mode; mode != profile.Enforce {
		warning = fmt.Sprintf("the engine chose profile %s, which is loaded by hand in mode %s", name, mode)
	}
	return held, warning, nil
}

// demands puts in front of an error about AppArmor itself why this container needs AppArmor.
func demands(err error) error {
	if e := new(kernel.NotReadyError); errors.As(err, &e) {
		return fmt.Errorf("its policy demands a profile, and %w", err)
	}
	return err
}

// keepChoice prepares the kernel for a container that keeps its engine's choice. It loads the profiles of the choice that
// are ours and that the kernel lacks: the container could not start without them. The choice is a stack if an earlier start
// of the same bundle wrote one. A profile that is loaded with other content stays, and the warning names it. keepChoice
// returns in held the profiles that have our content.
func (h *Host) keepChoice(ctx context.Context, gen *store.Generation, choice string) (
	held []RecordProfile, warning string, err error) {
	for name := range strings.SplitSeq(choice, "//&") {
		p, ok := gen.Index.Profile(name)
		if !ok || slices.ContainsFunc(held, func(h RecordProfile) bool { return h.Name == name }) {
			continue
		}
		l, said, err := h.keepLoaded(ctx, gen, p)
		if err != nil {
			return nil, "", err
		}
		if warning = join(warning, said); l.Dir != "" {
			held = append(held, RecordProfile{Name: p.Name, Dir: l.Dir, Since: l.Since, Compiled: p.Compiled})
		}
	}
	return held, warning, nil
}

func (h *Host) keepLoaded(ctx context.Context, gen *store.Generation, p policy.Profile) (l kernel.Loaded, warning string,
	err error) {
	loaded, err := h.Kernel.Ensure(ctx, []kernel.Profile{{
		Name:       p.Name,
		Compiled:   p.Compiled,
		OnDrift:    profile.RefuseDrift,
		Unenforced: true,
		Blob:       func() ([]byte, error) { return gen.Blob(p) },
	}})
	if errors.Is(err, kernel.ErrDrift) {
		h.countDrift(err, counts.Left)
		return l, "the engine chose profile " + p.Name + ", and the kernel has other content under that name than the policy", nil
	}
	if err != nil {
		return l, "", Because(notice.Load, err)
	}
	warning = loaded[0].Warning
	if err := h.Kernel.Enforced(p.Compiled); err != nil {
		warning = join(warning, "the engine chose profile "+p.Name+", and "+err.Error())
	}
	return loaded[0], warning, nil
}
