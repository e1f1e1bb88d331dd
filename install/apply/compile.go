package apply

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/oci-apparmor/oci-apparmor/install/bootfiles"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/enforced"
)

// locatedCompiler names a profile's text in errors as the policy file's faults name files.
type locatedCompiler struct {
	node.Compiler
	sources map[string]string // by the profiles' names
	files   map[string]bool   // which of them are not generated
	said    *findings         // what there is to say of those that compile

	inputs *profile.Inputs // what profiles are compiled from; nil where all are to be compiled
	alone  *aloneTexts     // where texts for AppArmor's service are put; nil where there are none
}

type aloneTexts struct {
	sync.Mutex
	of map[string]bootfiles.Text // by profile
}

// texts returns the texts by the name of their profile. It returns nil if none were wanted.
func (a *aloneTexts) texts() map[string]bootfiles.Text {
	if a == nil {
		return nil
	}
	return a.of
}

// Key implements store.Keyer. The key must cover everything that Compile uses.
func (c locatedCompiler) Key(p *policy.Profile) (key [sha256.Size]byte, ok bool) {
	if c.inputs == nil {
		return key, false
	}
	text, err := p.Digest()
	if err != nil {
		return key, false
	}
	key, err = c.inputs.Key(p.Name, p.Mode, text)
	if err == nil { // one of a file is also judged, in words that name the file
		key = sha256.Sum256(fmt.Appendf(key[:], "%t %s", c.files[p.Name], c.sources[p.Name]))
	}
	return key, err == nil
}

// Said implements store.Keyer.
func (c locatedCompiler) Said(name string) []string { return c.said.get(name) }

// Reused implements store.Keyer.
func (c locatedCompiler) Reused(name string, said []string) { c.said.put(name, said) }

// Compile compiles a profile, and refuses one that must not be put in force. If a text for AppArmor's service is
// wanted, Compile makes it at the same time.
func (c locatedCompiler) Compile(ctx context.Context, name string, mode profile.Mode, _ string, text []byte) (
	blob profile.Blob, err error) {
	if c.alone != nil {
		var making sync.WaitGroup
		compiled := make(chan struct{})
		var t bootfiles.Text
		making.Go(func() {
			t.Text, t.Err = c.Standalone(ctx, text, mode, func() (profile.Blob, error) {
				<-compiled
				return blob, err
			})
		})
		defer func() {
			close(compiled)
			making.Wait()
			c.alone.Lock()
			defer c.alone.Unlock()
			c.alone.of[name] = t
		}()
	}
	return c.compile(ctx, name, mode, text)
}

// located returns a compiler for the profiles of p, whose files are below dir.
func located(c node.Compiler, dir string, p *policy.Config) locatedCompiler {
	sources := make(map[string]string, len(p.Profiles))
	files := make(map[string]bool, len(p.Profiles))
	for _, pr := range p.Profiles {
		files[pr.Name] = pr.Template == ""
		switch {
		case pr.Template != "":
			sources[pr.Name] = "profile " + pr.Name + " of " + pr.Source
		case filepath.IsAbs(pr.Source):
			sources[pr.Name] = pr.Source
		default:
			sources[pr.Name] = filepath.Join(dir, pr.Source)
		}
	}
	return locatedCompiler{Compiler: c, sources: sources, files: files, said: new(findings)}
}

// compile compiles a text. It refuses the profile of a file if a rule in it denies something that the kernel would
// allow.
func (c locatedCompiler) compile(ctx context.Context, name string, mode profile.Mode, text []byte) (profile.Blob, error) {
	source := c.sources[name]
	blob, err := c.Compiler.Compile(ctx, name, mode, source, text)
	if err != nil || !c.files[name] {
		return blob, err
	}
	warnings := enforced.Check(ctx, c.Compiler, text, blob, nil)
	c.said.add(name, source, warnings)
	if err := faultsIn(source, warnings); err != nil {
		return profile.Blob{}, err
	}
	return blob, nil
}

// Locate implements store.Locator.
func (c locatedCompiler) Locate(p *policy.Profile) string { return c.sources[p.Name] }
