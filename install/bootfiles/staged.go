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

// Staged are the new files of a policy that an apply is about to put in force. They have temporary names until Commit.
type Staged struct {
	writer *Writer
	policy *policy.Config
	files  []*safefile.Staged
	Notes  []error // profiles for which the service gets no file of ours, and why
}

// Replaced returns the texts that Commit replaces or removes, by the name of their profile. They belong to the policy
// that is still in force, whose generation is before.
func (s *Staged) Replaced(before *store.Generation) map[string][]byte {
	texts := make(map[string][]byte)
	for name, f := range s.writer.Files {
		was, ok := before.Index.Profile(name)
		if !ok || f.By != apparmord.Policy || f.Edited || !slices.Equal(f.Compiled, was.Compiled) {
			continue
		}
		at := slices.IndexFunc(s.policy.Profiles, func(p policy.Profile) bool { return p.Name == name })
		if at < 0 || !slices.Equal(s.policy.Profiles[at].Compiled, was.Compiled) {
			texts[name] = f.Text
		}
	}
	return texts
}

// Drop removes the files that Commit has not put in place.
func (s *Staged) Drop() {
	for _, f := range s.files {
		f.Drop()
	}
}

// Commit puts the files in place, and removes those of profiles that have left the policy. It is called after the
// policy has come into force. If a file cannot be put in place, the policy stays in force without it; Commit returns
// the error, and the next apply writes the file again.
func (s *Staged) Commit() error {
	k := s.writer
	for _, f := range s.files {
		if err := f.Commit(); err != nil {
			s.Notes = append(s.Notes, fmt.Errorf("AppArmor's service is not told of a profile: %w: run oci-apparmor policy apply again", err))
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
	for name, f := range k.Files {
		if in[name] || f.By != apparmord.Policy {
			continue
		}
		if err := k.leave(name); err != nil {
			k.Warnf("%s stays, of a profile that is not in the policy any more: %v", k.Service.Path(name), err)
		}
	}
}

// Stage writes the files of a policy under temporary names, except those that are in place already. After an error the
// policy must not be put in force: aa-remove-unknown removes a profile without a file, also while containers run under
// it. alone has texts for AppArmor's service that are made already, by the name of their profile.
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
				t.Text, t.Err = k.Compiler.Standalone(ctx, p.Text, p.Mode, func() (profile.Blob, error) { return compiled.Blob(i), nil })
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
