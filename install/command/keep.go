package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"

	"github.com/oci-apparmor/oci-apparmor/install/service"
	"github.com/oci-apparmor/oci-apparmor/install/unload"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// warn says what went wrong and stops nothing.
func (n *node) warn(format string, args ...any) {
	fmt.Fprintf(n.stderr, "oci-apparmor: "+format+"\n", args...)
}

// keeper writes profiles down for AppArmor's service.
type keeper struct {
	*node
	c     compiler
	files map[string]service.File // that are there, by profile
	dry   bool                    // write nothing

	// others gives the files of somebody else's, by the profiles in them.
	others func() (map[string]string, error)
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
	k.others = sync.OnceValues(func() (map[string]string, error) {
		return n.service.Others(func(name string) bool { _, ok := k.files[name]; return ok })
	})
	return k, nil
}

// stagedFiles are the service's files of a policy that is to come into force, beside their places.
type stagedFiles struct {
	keeper *keeper
	policy *policy.Policy
	files  []*safefile.Staged
	notes  []error // what the node goes without
}

// stage writes the service's files of a policy beside their places, as far as they are others than those that are there. An
// error is a reason not to put the policy in force: what AppArmor's service does not know, aa-remove-unknown takes from
// under running containers. alone gives the texts of files that are there already, by profile.
func (k *keeper) stage(ctx context.Context, compiled *store.Compilation, alone map[string]aloneText) (*stagedFiles, error) {
	s := &stagedFiles{keeper: k, policy: compiled.Policy}
	var (
		list = compiled.Policy.Profiles
		errs = make([]error, len(list))
		mu   sync.Mutex
		work sync.WaitGroup
		turn = make(chan struct{}, runtime.GOMAXPROCS(0))
	)
	for i, p := range list {
		if k.current(service.Policy, p) {
			continue
		}
		turn <- struct{}{}
		work.Go(func() {
			defer func() { <-turn }()
			if err := k.unwanted(service.Policy, p); err != nil {
				mu.Lock()
				defer mu.Unlock()
				s.notes = append(s.notes, err)
				return
			}
			t, ok := alone[p.Name]
			if !ok {
				t.text, t.err = k.c.Standalone(ctx, p.Text, p.Mode, func() (profile.Blob, error) { return compiled.Blob(i), nil })
			}
			file, err := k.stageOne(service.Policy, p, t)
			mu.Lock()
			defer mu.Unlock()
			if errs[i] = err; file != nil {
				s.files = append(s.files, file)
			}
		})
	}
	work.Wait()
	if ctx.Err() != nil {
		s.drop()
		return nil, context.Cause(ctx)
	}
	if err := errors.Join(errs...); err != nil {
		s.drop()
		return nil, err
	}
	return s, nil
}

// replaced gives the texts, by profile, that commit puts others in the place of, or takes away: those of the policy that is
// still in force.
func (s *stagedFiles) replaced(before *store.Generation) map[string][]byte {
	texts := make(map[string][]byte)
	for name, f := range s.keeper.files {
		was, ok := before.Index.Profile(name)
		if !ok || f.By != service.Policy || f.Edited || !slices.Equal(f.Compiled, was.Compiled) {
			continue
		}
		at := slices.IndexFunc(s.policy.Profiles, func(p policy.Profile) bool { return p.Name == name })
		if at < 0 || !slices.Equal(s.policy.Profiles[at].Compiled, was.Compiled) {
			texts[name] = f.Text
		}
	}
	return texts
}

func (s *stagedFiles) drop() {
	for _, f := range s.files {
		f.Drop()
	}
}

// commit makes the service's files those of the policy that has just come into force. It stops nothing: the policy is in
// force either way, and what it says is what the node goes without.
func (s *stagedFiles) commit() {
	k := s.keeper
	for _, f := range s.files {
		if err := f.Commit(); err != nil {
			s.notes = append(s.notes, fmt.Errorf("AppArmor's service is not told of a profile: %w: run oci-apparmor policy apply again", err))
		}
	}
	if len(s.files) > 0 {
		if err := k.service.Sync(); err != nil {
			s.notes = append(s.notes, err)
		}
	}
	for _, err := range s.notes {
		k.warn("%v", err)
	}
	in := make(map[string]bool, len(s.policy.Profiles))
	for _, p := range s.policy.Profiles {
		in[p.Name] = true
	}
	for name, f := range k.files {
		if in[name] || f.By != service.Policy {
			continue
		}
		if err := k.leave(name); err != nil {
			k.warn("%s stays, of a profile that is not in the policy any more: %v", k.service.Path(name), err)
		}
	}
}

// current tells whether the file of a profile that is there is the one that would be written.
func (k *keeper) current(by service.By, p policy.Profile) bool {
	f, have := k.files[p.Name]
	return have && !f.Edited && f.By == by && slices.Equal(f.Compiled, p.Compiled)
}

// keep writes the file of a profile that was loaded by hand, where that is another than the one that is there. The error says
// what it means.
func (k *keeper) keep(ctx context.Context, p policy.Profile, blob profile.Blob) error {
	if k.current(service.Hand, p) {
		return nil
	}
	if others, err := k.others(); err == nil && sameFile(others[p.Name], p.Source) {
		return k.service.Remove(p.Name) // the service knows the profile, and by its newest text
	}
	if err := k.unwanted(service.Hand, p); err != nil {
		return err
	}
	mode := blob.Profiles[0].Mode
	if slices.ContainsFunc(blob.Profiles, func(c profile.Compiled) bool { return c.Mode != mode }) {
		mode = profile.Enforce // the text says the modes
	}
	var t aloneText
	t.text, t.err = k.c.Standalone(ctx, p.Text, mode, func() (profile.Blob, error) { return blob, nil })
	file, err := k.stageOne(service.Hand, p, t)
	if err != nil {
		return err
	}
	defer file.Drop()
	if err := file.Commit(); err != nil {
		return err
	}
	return k.service.Sync()
}

// unwanted says why the service is better not told of a profile: somebody else has told it of one of that name, or has
// loaded one.
func (k *keeper) unwanted(by service.By, p policy.Profile) error {
	others, err := k.others()
	if err != nil {
		return err
	}
	f, have := k.files[p.Name]
	if other := others[p.Name]; other != "" {
		err := fmt.Errorf("%s defines a profile %s, too, which AppArmor's service puts in place of ours at every boot and reload: "+
			"give one of them another name", other, p.Name)
		return k.withEarlier(err, p, f, have)
	}
	if by == service.Policy && p.OnDrift != profile.ReplaceAny && !have && k.foreign(p.Name) {
		return fmt.Errorf("AppArmor's service is not told of profile %s, because somebody else has loaded one of that name: remove "+
			"that, or say `onDrift: replace` for ours, and run oci-apparmor policy apply again", p.Name)
	}
	return nil
}

// withEarlier adds to an error what the file means that is there.
func (k *keeper) withEarlier(err error, p policy.Profile, f service.File, have bool) error {
	if have && (f.Edited || !slices.Equal(f.Compiled, p.Compiled)) {
		return fmt.Errorf("%w; %s still has an earlier text of it, which a boot or a reload can put back", err, k.service.Path(p.Name))
	}
	return err
}

// stageOne writes the file of one profile beside its place. It gives nil where nothing is to be written.
func (k *keeper) stageOne(by service.By, p policy.Profile, t aloneText) (*safefile.Staged, error) {
	err := t.err
	if err == nil && k.dry {
		return nil, nil
	}
	if err == nil {
		var file *safefile.Staged
		file, err = k.service.Stage(service.File{Name: p.Name, By: by, Source: p.Source, Compiled: p.Compiled, Text: t.text})
		if err == nil {
			return file, nil
		}
	}
	f, have := k.files[p.Name]
	if have {
		err = fmt.Errorf("the file of profile %s for AppArmor's service cannot be written again: %w", p.Name, err)
		if by == service.Hand { // it is loaded already
			err = k.withEarlier(err, p, f, have)
		}
		return nil, err
	}
	if by == service.Hand {
		return nil, fmt.Errorf("AppArmor's service is not told of profile %s, so that no boot loads it, and aa-remove-unknown would "+
			"remove it from under its containers: %w", p.Name, err)
	}
	return nil, fmt.Errorf("the file of profile %s for AppArmor's service cannot be written, so that no boot would load it, and "+
		"aa-remove-unknown would remove it from under its containers: %w", p.Name, err)
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
	if k, err := n.keeper(nil); k != nil && err == nil {
		k.claim(ctx)
	}
}

// claim is the node's, with the service's files at hand.
func (k *keeper) claim(ctx context.Context) {
	n := k.node
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
		c := k.c
		if c == nil {
			var err error
			if c, _, err = n.newCompiler(ctx, ""); err != nil {
				return
			}
			k.c = c
		}
		k.claimCompiled(ctx, c, f)
	}
}

// claimCompiled makes a profile ours that is what the service's file compiles to. Where that is another thing each time, it
// is the name that the file speaks for: what is there is then replaced where it matters, by what was compiled and kept.
func (k *keeper) claimCompiled(ctx context.Context, c compiler, f service.File) {
	own := func(b profile.Blob) bool {
		ours, err := k.kernel.Own(kernel.Profile{Name: f.Name, Compiled: b.Profiles})
		return ours && err == nil
	}
	b, err := c.AsLoaded(ctx, f.Text)
	if err != nil || own(b) {
		return
	}
	found, all, err := c.Outcomes(ctx, f.Text, own)
	if err == nil && !found && len(all) > 1 && !f.Edited {
		_ = k.kernel.OwnName(f.Name) // what is not ours shows where it matters
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
		err = k.keep(ctx, policy.Profile{
			Name: f.name(), Source: absolute(f.path), Text: f.text, Compiled: f.blob.Profiles,
		}, f.blob)
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
