package kernel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// Profile is a profile as the kernel must have it.
type Profile struct {
	Name     string
	Compiled []profile.Compiled // the profile, then its children
	OnDrift  profile.Drift

	// Unenforced is true if nobody relies on the profile's confinement: then a kernel that is NotEnforcing is no error.
	Unenforced bool

	// Blob returns what is loaded. It is called once if the kernel lacks the profile, and otherwise never.
	Blob func() ([]byte, error)

	// Earlier returns what earlier policies had under the name, each as Compiled. It is called at most once, before a
	// replacement. It may be nil.
	Earlier func() [][]profile.Compiled
}

// content returns one hash over the names and hashes that a verdict on p is about.
func (p *Profile) content() string {
	var stack [512]byte
	all := stack[:0]
	for i := range p.Compiled {
		c := &p.Compiled[i]
		all = append(append(all, c.Name...), 0)
		all = append(all, c.SHA1[:]...)
		all = append(all, c.SHA256[:]...)
	}
	sum := sha256.Sum256(all)
	return hex.EncodeToString(sum[:])
}

// Loaded is a profile that the kernel has with our content.
type Loaded struct {
	Name string
	// Dir is its directory below policy/profiles, "web.17". It stays the same while the profile is in the kernel, also
	// when it is replaced. After a removal and a load it is another one.
	Dir string
	// Since is when it was loaded or last replaced, in nanoseconds since 1970 by the clock of that moment. The same value
	// means the same content, even if the clock was set since. 0 if it is not known. See Replaced.
	Since   int64
	Done    Done
	Planned bool   // if Replaced: the other content was one of Profile.Earlier, and ours was not loaded before it
	Warning string // one line, if something needs a person's attention; else empty
}

// Done is what Ensure did to a profile.
type Done uint8

const (
	Verified Done = iota // nothing, because the kernel had the content
	Added                // loaded it
	Replaced             // loaded it in place of other content
)

// String returns "verified", "loaded" or "replaced".
func (d Done) String() string {
	switch d {
	case Verified:
		return "verified"
	case Added:
		return "loaded"
	case Replaced:
		return "replaced"
	}
	return fmt.Sprintf("done %d", uint8(d))
}

// ErrDrift is wrapped by the error for a profile that the kernel holds with other content and that we must not replace.
var ErrDrift = errors.New("another profile of that name is loaded")

// LeftChildError is the error for a profile of ours that has a child which only the kernel has. The child is left from an
// earlier content, because to replace a profile does not remove its children. The error wraps ErrDrift.
type LeftChildError struct {
	Child string // its whole name
	Done  Done   // what Ensure did to the profile itself
}

func (e *LeftChildError) Error() string {
	return fmt.Sprintf("%v: the kernel has the child profile %s, left from what was loaded before, and a process can enter "+
		"it by change_hat; when no process runs under it, remove it: oci-apparmor profile unload %[2]s", ErrDrift,
		oneline.Whole(e.Child))
}

func (e *LeftChildError) Unwrap() error { return ErrDrift }

// Ensure makes sure that the kernel holds every profile with exactly our content. It returns them in the same order.
//
// It returns an error if the kernel would not enforce one of them (NotEnforcing).
//
// For an unchanged kernel, Ensure needs a few short reads. For a changed one it reads the kernel's hashes, whatever the
// number of loaded profiles. It loads what is missing, one process at a time, and verifies that by the kernel's hashes,
// too. After an error, some of the profiles may have been loaded. None was removed.
func (k *Kernel) Ensure(ctx context.Context, profiles []Profile) ([]Loaded, error) {
	for i := range profiles {
		if err := profiles[i].check(); err != nil {
			return nil, err
		}
	}
	s, err := openState(k.State)
	if err != nil {
		return nil, err
	}
	defer s.close()
	var buf [64]byte
	id, err := k.bootID(buf[:])
	if err != nil {
		return nil, fmt.Errorf("which boot this is: %w", err)
	}
	revision, err := k.Revision()
	if err != nil {
		return nil, k.explain(err)
	}
	namespace, err := k.namespace()
	if err != nil {
		return nil, k.explain(err)
	}
	if slices.ContainsFunc(profiles, func(p Profile) bool { return !p.Unenforced && confines(p.Compiled) }) {
		if err := k.enforcing(); err != nil {
			return nil, k.explain(err)
		}
	}
	e := ensuring{k: k, state: s, boot: string(id) + " " + namespace}
	loaded := make([]Loaded, len(profiles))
	for i := range profiles {
		if loaded[i], err = e.ensure(ctx, &profiles[i], revision); err != nil {
			return nil, fmt.Errorf("profile %s: %w", profiles[i].Name, err)
		}
	}
	return loaded, nil
}

// ensuring is one call of Ensure.
type ensuring struct {
	k     *Kernel
	state *state
	boot  string // the boot and the policy namespace, outside of which verdicts and records of ownership mean nothing
}

// ensure makes sure of one profile. revision was read before.
func (e *ensuring) ensure(ctx context.Context, p *Profile, revision int64) (Loaded, error) {
	content := p.content()
	known, ok := e.state.verdict(p.Name)
	if ok && known.revision == revision && known.boot == e.boot && known.content == content {
		return Loaded{Name: p.Name, Dir: known.dir, Since: known.since}, nil
	}
	found, err := e.k.check(p, known.dir)
	if err != nil {
		return Loaded{}, e.k.explain(err)
	}
	if found.Status == Matches {
		return e.loaded(p, content, revision, found.Dir, Verified, ""), nil
	}
	return e.load(ctx, p, content, revision, found)
}

// load makes the kernel hold p, while no other process of ours loads. found is what the kernel had at revision.
func (e *ensuring) load(ctx context.Context, p *Profile, content string, revision int64, found Found) (Loaded, error) {
	if e.state == nil {
		return Loaded{}, &NotReadyError{Readiness: NoRight,
			Err: fmt.Errorf("it is not loaded with our content, and %s cannot be used: %w", e.k.State, unix.EACCES)}
	}
	release, err := e.state.lock(ctx, e.k.lockWait)
	if err != nil {
		return Loaded{}, err
	}
	defer release()

	// Another process may have loaded it while this one waited.
	now, err := e.k.Revision()
	if err != nil {
		return Loaded{}, e.k.explain(err)
	}
	if now != revision {
		if revision, found, err = e.k.checkNow(p, found.Dir); err != nil {
			return Loaded{}, err
		}
	}
	done := Added
	switch found.Status {
	case Matches:
		return e.loaded(p, content, revision, found.Dir, Verified, ""), nil
	case Drifted:
		if found.foreignChild() {
			return Loaded{}, &LeftChildError{Child: found.Part}
		}
		if err := e.mayReplace(p, found); err != nil {
			return Loaded{}, err
		}
		done = Replaced
	}

	if !e.k.hashing() {
		return Loaded{}, &NotReadyError{Readiness: NoHash, Err: errors.New(found.String())}
	}
	blob, err := p.blob()
	if err != nil {
		return Loaded{}, err
	}
	planned := done == Replaced && e.planned(p, content, found.Dir)
	before := e.since(found.Dir)
	warning, err := e.k.load(blob)
	if err != nil {
		return Loaded{}, err
	}
	if e.k.OnLoad != nil {
		e.k.OnLoad(Loaded{Name: p.Name, Done: done, Planned: planned})
	}
	was := revision
	if revision, found, err = e.k.checkNow(p, found.Dir); err != nil {
		return Loaded{}, err
	}
	if done != Replaced || revision != was+1 {
		before = 0
	}
	warnings := e.writeDown(p.Name, found.Dir, before, warning)
	if found.foreignChild() {
		return Loaded{}, &LeftChildError{Child: found.Part, Done: done}
	}
	if found.Status != Matches {
		return Loaded{}, fmt.Errorf("the kernel took it and then did not have it (%s): somebody else loads or removes"+
			" profiles at the same moment; start the container again", found)
	}
	l := e.loaded(p, content, revision, found.Dir, done, strings.Join(warnings, "; "))
	l.Planned = planned
	return l, nil
}

// planned reports whether the content that the kernel has in place of p is that of an earlier policy. If the kernel had the
// content of p before, somebody else brought the earlier one back.
func (e *ensuring) planned(p *Profile, content, dir string) bool {
	if known, ok := e.state.verdict(p.Name); p.Earlier == nil || ok && known.boot == e.boot && known.content == content {
		return false
	}
	for _, compiled := range p.Earlier() {
		before := Profile{Name: p.Name, Compiled: compiled}
		if before.check() != nil {
			continue
		}
		if found, err := e.k.check(&before, dir); err == nil && found.Status == Matches {
			return true
		}
	}
	return false
}

// writeDown records that a profile is ours. If before is not 0, it also records that we replaced the content from that
// time, and nobody else did: one write raises the revision by one. It returns warning and its own warnings.
func (e *ensuring) writeDown(name, dir string, before int64, warning string) (warnings []string) {
	if warning != "" {
		warnings = append(warnings, warning)
	}
	if now := e.since(dir); before != 0 && now != 0 {
		if err := e.state.setReplaced(name, e.boot, dir, before, now); err != nil {
			warnings = append(warnings, fmt.Sprintf("that profile %s was replaced once could not be written down: %v", name, err))
		}
	}
	if dir != "" && !e.state.owned(name, e.boot, dir) {
		if err := e.state.setOwned(name, e.boot, dir); err != nil {
			warnings = append(warnings, fmt.Sprintf("that profile %s is ours could not be written down: %v", name, err))
		}
	}
	return warnings
}

// checkNow reads the revision and then checks. It tries the directory hint first.
func (k *Kernel) checkNow(p *Profile, hint string) (int64, Found, error) {
	revision, err := k.Revision()
	if err != nil {
		return 0, Found{}, k.explain(err)
	}
	found, err := k.check(p, hint)
	return revision, found, err
}

// loaded records the result for the next start, and returns it. If it cannot be recorded, the next start checks again.
func (e *ensuring) loaded(p *Profile, content string, revision int64, dir string, done Done, warning string) Loaded {
	since := e.since(dir)
	err := e.state.setVerdict(verdict{boot: e.boot, name: p.Name, content: content, revision: revision, dir: dir, since: since})
	if err != nil && warning == "" {
		warning = fmt.Sprintf("profile %q is checked again with every start, because the result cannot be kept: %v",
			p.Name, err)
	}
	return Loaded{Name: p.Name, Dir: dir, Since: since, Done: done, Warning: warning}
}

// since is Kernel.since. It returns 0 if that fails, because only Replaced needs the time.
func (e *ensuring) since(dir string) int64 {
	if dir == "" {
		return 0
	}
	since, _ := e.k.since(dir)
	return since
}

// mayReplace returns an error unless we may replace a profile that drifted.
func (e *ensuring) mayReplace(p *Profile, found Found) error {
	switch {
	case p.OnDrift == profile.ReplaceAny:
		return nil
	case p.OnDrift == profile.RefuseDrift:
		return fmt.Errorf("%w: %s; the policy file says `onDrift: refuse` for it: find out who loaded it, and remove it"+
			" or apply a policy that means it", ErrDrift, found)
	case p.OnDrift == profile.ReplaceOwn && e.state.owned(p.Name, e.boot, found.Dir):
		return nil
	}
	return fmt.Errorf("%w, and not by oci-apparmor: %s; remove it, or say `onDrift: replace` for this profile in the"+
		" policy file and run `oci-apparmor policy apply`", ErrDrift, found)
}

// String returns what was found, for errors.
func (f Found) String() string {
	switch f.Status {
	case Missing:
		return "it is not loaded"
	case Matches:
		return "its content is ours"
	}
	if f.Want == "" {
		return fmt.Sprintf("the kernel has the child profile %q, and ours has not", f.Part)
	}
	if f.Have == "none" {
		return fmt.Sprintf("the kernel shows no hash of %q, ours is %s", f.Part, f.Want)
	}
	return fmt.Sprintf("the kernel's hash of %q is %s, ours is %s", f.Part, f.Have, f.Want)
}

// Since is String for content that is compared with that of an earlier moment, and not with a policy's.
func (f Found) Since() string {
	switch {
	case f.Status != Drifted:
		return f.String()
	case f.Want == "":
		return fmt.Sprintf("the kernel has the child profile %q, and had not then", f.Part)
	case f.Have == "none":
		return fmt.Sprintf("the kernel shows no hash of %q, it was %s then", f.Part, f.Want)
	}
	return fmt.Sprintf("the kernel's hash of %q is %s, it was %s then", f.Part, f.Have, f.Want)
}

// blob returns what is to be loaded. It returns an error if that is not what p describes, because the kernel would have it
// before anyone noticed.
func (p *Profile) blob() (profile.Blob, error) {
	if p.Blob == nil {
		return profile.Blob{}, errors.New("it is not loaded, and there is no blob to load")
	}
	data, err := p.Blob()
	if err != nil {
		return profile.Blob{}, fmt.Errorf("it is not loaded, and its blob cannot be read: %w", err)
	}
	blob, err := parse(data)
	if err != nil {
		return profile.Blob{}, err
	}
	same := len(blob.Profiles) == len(p.Compiled)
	for i := 0; i < len(blob.Profiles) && same; i++ {
		have, want := &blob.Profiles[i], &p.Compiled[i]
		same = have.Name == want.Name && have.SHA1 == want.SHA1 && have.SHA256 == want.SHA256
	}
	if !same {
		return profile.Blob{}, errors.New("its blob in the store is not the one that the applied policy means:" +
			" run `oci-apparmor policy apply`")
	}
	return blob, nil
}

// Same reports whether the kernel still has the profile that Ensure returned. It may have been replaced since, but not
// removed: a task that waits to be confined by a profile which is removed runs unconfined, even if the profile is loaded
// again.
func (k *Kernel) Same(loaded Loaded) (bool, error) {
	if !isDirOf(loaded.Dir, mangle(loaded.Name)) {
		return false, fmt.Errorf("profile %q: %q is not a directory that the kernel made for it", loaded.Name, loaded.Dir)
	}
	same, err := hasName(k.profiles()+"/"+loaded.Dir, loaded.Name)
	if err != nil {
		return false, k.explain(err)
	}
	return same, nil
}
