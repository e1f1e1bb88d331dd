package bootfiles

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/oci-apparmor/oci-apparmor/install/apparmord"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Staged are the service's files of a policy that is to come into force, beside their places.
type Staged struct {
	writer *Writer
	policy *policy.Config
	files  []*safefile.Staged
	Notes  []error // what the node goes without
}

// Replaced returns the texts, by profile, that Commit puts others in the place of, or takes away: those of the policy that
// is still in force.
func (s *Staged) Replaced(before *store.Generation) map[string][]byte {
	next := make(map[string]policy.Profile, len(s.policy.Profiles))
	for _, p := range s.policy.Profiles {
		next[p.Name] = p
	}
	texts := make(map[string][]byte)
	for _, name := range s.writer.names() {
		was, ok := before.Index.Profile(name)
		if p, stays := next[name]; !ok || stays && slices.Equal(p.Compiled, was.Compiled) {
			continue
		}
		if f, ok := s.writer.file(name); ok && f.By == apparmord.Policy && !f.Edited && slices.Equal(f.Compiled, was.Compiled) {
			texts[name] = f.Text
		}
	}
	return texts
}

func (s *Staged) Drop() {
	for _, f := range s.files {
		f.Drop()
	}
}

// Commit makes the service's files those of the policy that has just come into force. It stops nothing: the policy is in
// force either way, and what it says is what the node goes without.
func (s *Staged) Commit() {
	k := s.writer
	for _, f := range s.files {
		if err := f.Commit(); err != nil {
			s.Notes = append(s.Notes, fmt.Errorf("AppArmor's service is not told of a profile: %w: run "+
				"oci-apparmor policy apply again", err))
		}
	}
	if len(s.files) > 0 {
		if err := k.Service.Sync(); err != nil {
			s.Notes = append(s.Notes, err)
		}
	}
	for _, err := range s.Notes {
		k.Warnf("%v", err)
	}
	in := make(map[string]bool, len(s.policy.Profiles))
	for _, p := range s.policy.Profiles {
		in[p.Name] = true
	}
	for _, name := range k.names() {
		if in[name] {
			continue
		}
		if f, ok := k.file(name); !ok || f.By != apparmord.Policy {
			continue
		}
		if err := k.leave(name); err != nil {
			k.Warnf("%s stays, of a profile that is not in the policy any more: %v", k.Service.Path(name), err)
		}
	}
}

// Stage writes the service's files of a policy beside their places, if they differ from the files there. An error is a
// reason not to put the policy in force: aa-remove-unknown removes what AppArmor's service does not know, while
// containers run under it. alone has the texts of files that are there already, by profile.
func (k *Writer) Stage(ctx context.Context, compiled *store.Compilation, alone map[string]Text) (*Staged, error) {
	s := &Staged{writer: k, policy: compiled.Policy}
	var (
		list = compiled.Policy.Profiles
		errs = make([]error, len(list))
		mu   sync.Mutex
		work sync.WaitGroup
		turn = make(chan struct{}, runtime.GOMAXPROCS(0))
	)
	for i, p := range list {
		if k.current(apparmord.Policy, p) {
			continue
		}
		turn <- struct{}{}
		work.Go(func() {
			defer func() { <-turn }()
			if err := k.unwanted(apparmord.Policy, p); err != nil {
				mu.Lock()
				defer mu.Unlock()
				s.Notes = append(s.Notes, err)
				return
			}
			t, ok := alone[p.Name]
			if !ok {
				t.Err = p.ReadText() // another text than the one that was compiled would compile to something else
			}
			if !ok && t.Err == nil {
				t.Text, t.Err = k.Compiler.Standalone(ctx, p.Text, p.Mode, func() (profile.Blob, error) { return compiled.Blob(i) })
			}
			file, err := k.stageOne(apparmord.Policy, p, t)
			mu.Lock()
			defer mu.Unlock()
			if errs[i] = err; file != nil {
				s.files = append(s.files, file)
			}
		})
	}
	work.Wait()
	if ctx.Err() != nil {
		s.Drop()
		return nil, context.Cause(ctx)
	}
	if err := errors.Join(errs...); err != nil {
		s.Drop()
		return nil, err
	}
	return s, nil
}
