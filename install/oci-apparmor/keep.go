package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/install/service"
	"github.com/oci-apparmor/oci-apparmor/install/unload"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// warn says what went wrong and stops nothing.
func (n *node) warn(format string, args ...any) {
	fmt.Fprintf(n.stderr, "oci-apparmor: "+format+"\n", args...)
}

// keeper writes profiles down for AppArmor's service.
type keeper struct {
	*node
	c      compiler
	files  map[string]service.File // that are there, by profile
	others map[string]string       // files of somebody else's, by the profiles in them; nil until it is asked for
}

// keeper gives nil where there is no service to write for, or this process may not.
func (n *node) keeper(c compiler) (*keeper, error) {
	if !n.root || !n.service.Exists() {
		return nil, nil
	}
	list, err := n.service.Files()
	if err != nil {
		return nil, err
	}
	k := &keeper{node: n, c: c, files: make(map[string]service.File, len(list))}
	for _, f := range list {
		k.files[f.Name] = f
	}
	return k, nil
}

// keepPolicy makes the service's files those of the policy that has just come into force. It stops nothing: the policy
// is in force either way, and what it says is what the node goes without.
func (n *node) keepPolicy(ctx context.Context, c compiler, p *policy.Policy, g *store.Generation) {
	k, err := n.keeper(c)
	if err != nil {
		n.warn("AppArmor's service and aa-remove-unknown are not told of the policy's profiles: %v", err)
	}
	if k == nil {
		return
	}
	for _, pr := range p.Profiles {
		q, ok := g.Index.Profile(pr.Name)
		if !ok {
			continue
		}
		q.Text = pr.Text
		if err := k.keep(ctx, service.Policy, q); err != nil {
			n.warn("%v", err)
		}
	}
	for name, f := range k.files {
		if _, ok := g.Index.Profile(name); ok || f.By != service.Policy {
			continue
		}
		if err := k.leave(name); err != nil {
			n.warn("%s stays, of a profile that is not in the policy any more: %v", n.service.Path(name), err)
		}
	}
}

// keep writes the file of a profile, where that is another than the one that is there. The error says what it means.
func (k *keeper) keep(ctx context.Context, by service.By, p policy.Profile) error {
	f, have := k.files[p.Name]
	current := have && !f.Edited && slices.Equal(f.Compiled, p.Compiled)
	if current && f.By == by {
		return nil
	}
	err := k.write(ctx, by, p, have)
	if err != nil && have && !current {
		err = fmt.Errorf("%w; %s still has an earlier text of it, which a boot or a reload can put back", err, k.service.Path(p.Name))
	}
	return err
}

// write is keep where there is something to write; have tells that a file of ours is there.
func (k *keeper) write(ctx context.Context, by service.By, p policy.Profile, have bool) error {
	var err error
	if k.others == nil {
		k.others, err = k.service.Others()
	}
	if other := k.others[p.Name]; other != "" {
		if by == service.Hand && sameFile(other, p.Source) {
			return k.service.Remove(p.Name) // the service knows the profile, and by its newest text
		}
		return fmt.Errorf("%s defines a profile %s, too, which AppArmor's service puts in place of ours at every boot and reload: "+
			"give one of them another name", other, p.Name)
	}
	if by == service.Policy && p.OnDrift != profile.ReplaceAny && !have && k.foreign(p.Name) {
		return fmt.Errorf("AppArmor's service is not told of profile %s, because somebody else has loaded one of that name: remove "+
			"that, or say `onDrift: replace` for ours, and run oci-apparmor policy apply again", p.Name)
	}
	var text []byte
	if err == nil {
		text, err = k.c.Standalone(ctx, p.Text, p.Compiled)
	}
	if err == nil {
		err = k.service.Write(service.File{Name: p.Name, By: by, Source: p.Source, Compiled: p.Compiled, Text: text})
	}
	switch {
	case err == nil:
		return nil
	case have:
		return fmt.Errorf("the file of profile %s for AppArmor's service cannot be written again: %w", p.Name, err)
	}
	return fmt.Errorf("AppArmor's service is not told of profile %s, so that no boot loads it, and aa-remove-unknown would "+
		"remove it from under its containers: %w", p.Name, err)
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// foreign tells of a profile that is loaded, and not ours. Its content does not matter: with a file of ours, claim would
// take one for ours that has the same.
func (n *node) foreign(name string) bool {
	if _, err := n.kernel.Details(name); err != nil {
		return false
	}
	owned, err := n.kernel.Owned(name)
	return err == nil && !owned
}

// leave removes the file of a profile that has left the policy, unless something still runs under it: aa-remove-unknown
// would set that free.
func (k *keeper) leave(name string) error {
	if _, err := k.kernel.Details(name); err == nil {
		err := unload.Idle(k.state, []string{name})
		if errors.As(err, new(unload.InUse)) {
			return fmt.Errorf("something still runs under it; oci-apparmor profile unload --when-idle %s removes both", name)
		}
		if err != nil {
			return err
		}
	} else if !errors.Is(err, kernel.ErrNotLoaded) {
		return err
	}
	return k.service.Remove(name)
}

// claim makes those profiles ours that AppArmor's service has loaded from our files: since the machine started, or since
// they were removed by somebody. Only with proof, which is the content: what we wrote down, or else, after an upgrade or
// with a configuration that has the parser lay out rules differently, what the file compiles to.
func (n *node) claim(ctx context.Context) {
	k, err := n.keeper(nil)
	if k == nil || err != nil {
		return
	}
	for name, f := range k.files {
		if owned, err := n.kernel.Owned(name); owned || err != nil {
			continue
		}
		if _, err := n.kernel.Details(name); err != nil {
			continue
		}
		if !f.Edited {
			if ours, err := n.kernel.Own(kernel.Profile{Name: name, Compiled: f.Compiled}); ours || err != nil {
				continue
			}
		}
		if k.c == nil {
			if k.c, _, err = n.newCompiler(ctx, ""); err != nil {
				return
			}
		}
		if b, err := k.c.AsLoaded(ctx, f.Text); err == nil {
			_, _ = n.kernel.Own(kernel.Profile{Name: name, Compiled: b.Profiles}) // what is not ours shows where it matters
		}
	}
}

// keepByHand writes down profiles that were loaded by hand.
func (n *node) keepByHand(ctx context.Context, c compiler, f *textFile) {
	k, err := n.keeper(c)
	if err == nil && k == nil {
		return
	}
	if owned, _ := n.kernel.Owned(f.name()); !owned {
		return // it was there, with this content, and is somebody else's
	}
	if g, err := (store.Store{Dir: n.store}).Current(); err == nil {
		if _, ok := g.Index.Profile(f.name()); ok {
			return // the policy's file stands
		}
	}
	if err == nil {
		err = k.keep(ctx, service.Hand, policy.Profile{
			Name: f.name(), Source: absolute(f.path), Text: f.text, Compiled: f.blob.Profiles,
		})
	}
	if err != nil {
		n.warn("%v", err)
	}
}

// forget removes the file of a profile that was unloaded, unless the policy has it.
func (n *node) forget(name string) error {
	g, err := store.Store{Dir: n.store}.Current()
	if err == nil {
		if _, ok := g.Index.Profile(name); ok {
			return nil
		}
	}
	if err != nil && !errors.Is(err, store.ErrNone) {
		return err
	}
	if profile.CheckName(name) != nil {
		return nil // none of ours
	}
	err = n.service.Remove(name)
	if errors.Is(err, os.ErrPermission) {
		err = asRoot(err)
	}
	return err
}
