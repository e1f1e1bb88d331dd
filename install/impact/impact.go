// Package impact says what a policy that is not in force yet would mean for the containers that run on this node. It reads
// what package hook remembers of them, their bundles and the kernel, and changes nothing.
package impact

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
)

// Next is a policy that would come into force.
type Next struct {
	Index policy.Index
	// Replaces tells whether a profile of that name, as the policy has it, would be loaded in place of another content that
	// the kernel has.
	Replaces func(name string) bool
	// Refuses says why a start that needs the profile would be refused; empty where it would not. It may be nil.
	Refuses func(policy.Profile) string
}

// Container is one that runs and that oci-apparmor has decided about, and what the policy would mean for it: at its next
// start, and before that for what runs in it.
type Container struct {
	Name string // by which people know it, fit for a line
	ID   string
	From string // the label that was decided; empty where the engine's choice was kept

	// What its next start would get, as its bundle says now: Refused or Unverified, or the decision. Unverified where the bundle is
	// gone or makes no sense.
	Refused, Unverified error
	Decision            policy.Decision

	// Of its profiles, those whose content would be replaced by the next load or by the next start or exec that needs
	// them; and the content that what runs in it would be under then: the present one (Fresh), an older one (Stale), or one
	// that cannot be told.
	Replaced []string
	Follows  hook.Freshness
}

// Relabelled tells whether the container's next start gets another label than it has.
func (c *Container) Relabelled() bool {
	if c.Refused != nil || c.Unverified != nil {
		return false
	}
	return c.From != c.Decision.Label || c.Decision.Keep != (c.From == "")
}

// Same tells whether the policy changes nothing for the container.
func (c *Container) Same() bool {
	return c.Refused == nil && c.Unverified == nil && !c.Relabelled() && len(c.Replaced) == 0
}

// Containers tells what the policy would mean for each container of ours that runs, those that would be refused first, and
// then by name. The error names what of them cannot be read; the others are there all the same.
func Containers(h *hook.Host, next Next) ([]Container, error) {
	records, err := h.Records()
	hook.Name(records...)
	var all []Container
	for _, r := range records {
		if c, runs := container(h, next, r); runs {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b Container) int {
		return cmp.Or(cmp.Compare(rank(&a), rank(&b)), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return all, err
}

func rank(c *Container) int {
	if c.Refused != nil {
		return 0
	}
	return 1
}

func container(h *hook.Host, next Next, r *hook.Record) (c Container, runs bool) {
	pid, there := hook.InitOf(r.Root, r.ID)
	if !there || pid == 0 {
		return c, false
	}
	var labels []kernel.Label
	if pid > 0 {
		label, err := h.Kernel.Label(pid)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) { // it has ended
			return c, false
		}
		if err == nil {
			labels = append(labels, label)
		}
	}
	c = Container{Name: r.Known(), ID: r.ID, From: r.Label}
	c.start(next, r)
	c.content(h, next, r, labels)
	return c, true
}

// start asks what the container's next start would get.
func (c *Container) start(next Next, r *hook.Record) {
	facts, err := hook.NewBundle(r.Bundle).Identify(hook.Caller{Engine: r.Engine, Root: r.Root}, r.ID)
	if errors.Is(err, fs.ErrNotExist) {
		c.Unverified = fmt.Errorf("its bundle %s is gone", r.Bundle)
		return
	}
	if err != nil {
		c.Unverified = err
		return
	}
	d, err := next.Index.DecideReading(&facts)
	if err == nil && r.Label != "" && facts.EngineChoice == r.Label && d.Choice != policy.Stands {
		// The choice is what we wrote there at its start. That it does not stand is nothing to tell anybody.
		facts.EngineChoice = ""
		d, err = next.Index.Decide(facts)
	}
	switch {
	case errors.Is(err, policy.ErrIndex):
		c.Unverified = err
		return
	case err != nil:
		c.Refused = err
		return
	}
	c.Decision = d
	for _, p := range d.Profiles {
		if next.Refuses == nil {
			break
		}
		if why := next.Refuses(p); why != "" {
			c.Refused = errors.New(why)
			return
		}
	}
}

// content asks what becomes of what runs in the container when the profiles of its label are replaced.
func (c *Container) content(h *hook.Host, next Next, r *hook.Record, labels []kernel.Label) {
	var names []string
	if r.Label != "" {
		names = strings.Split(r.Label, "//&")
	} else {
		for _, p := range r.Profiles { // ours that its engine chose
			names = append(names, p.Name)
		}
	}
	for _, name := range names {
		if next.Replaces(name) {
			c.Replaced = append(c.Replaced, name)
		}
	}
	if len(c.Replaced) == 0 {
		return
	}
	var err error
	if c.Follows, err = h.FreshnessAfter(r, len(c.Replaced), labels...); err != nil || r.Label == "" && len(names) > 1 {
		c.Follows = hook.Unclear
	}
}
