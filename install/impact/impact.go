// Package impact finds out what a policy that is not in force yet would mean for the containers that run on this node. It
// reads the records of package hook, the bundles and the kernel, and changes nothing.
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
	// Replaces reports whether the policy's profile of that name would be loaded in place of other content in the kernel.
	Replaces func(name string) bool
	// Refuses returns why a start that needs the profile would be refused, or an empty string. It may be nil.
	Refuses func(policy.Profile) string
}

// Container is a running container that oci-apparmor has decided about, and what the policy would mean for it and its
// processes.
type Container struct {
	Name string // by which people know it, fit for a line
	ID   string
	From string // the decided label; empty if the engine's choice was kept

	// The outcome of its next start, by its bundle as it is now: Refused, Unverified, or Decision. Unverified is set if the
	// bundle is gone or makes no sense.
	Refused, Unverified error
	Decision            policy.Decision

	// Replaced are the profiles of its label whose content the next load, or the next start or exec that needs them, would
	// replace. Follows is the freshness that its processes would have then.
	Replaced []string
	Follows  hook.Freshness
}

// Relabelled reports whether the container's next start gets another label than it has now.
func (c *Container) Relabelled() bool {
	if c.Refused != nil || c.Unverified != nil {
		return false
	}
	return c.From != c.Decision.Label || c.Decision.Keep != (c.From == "")
}

// Same reports whether the policy changes nothing for the container.
func (c *Container) Same() bool {
	return c.Refused == nil && c.Unverified == nil && !c.Relabelled() && len(c.Replaced) == 0
}

// Containers returns the running containers that oci-apparmor has decided about: first those that would be refused, and
// each group by name. The error names the records that cannot be read. The other containers are returned nevertheless.
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

// start sets the outcome of the container's next start.
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
		// We wrote this choice there at its start. So nobody needs to hear that it does not stand.
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

// content sets which profiles of the container's label would be replaced, and the freshness of its processes then.
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
