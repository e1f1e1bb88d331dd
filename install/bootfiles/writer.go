// Package bootfiles keeps the files from which AppArmor's service loads our profiles at boot: those of the policy in force,
// and those that were loaded by hand. It also claims for us what the service has loaded from them.
package bootfiles

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/oci-apparmor/oci-apparmor/install/apparmord"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/unload"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
	"github.com/oci-apparmor/oci-apparmor/policy/seen"
)

// Text is the text of a profile for AppArmor's service, or why there is none.
type Text struct {
	Text []byte
	Err  error
}

// Writer writes profiles down for AppArmor's service.
type Writer struct {
	*node.Node
	Compiler node.Compiler // for texts; made where it is needed and there is none
	Dry      bool          // write nothing

	mu    sync.Mutex
	files map[string]apparmord.File // that are there and have been read, by profile
	known map[string]string         // what the files are that need not be read (apparmord.As), by profile

	// others returns the files of somebody else's, by the profiles in them.
	others func() (map[string]string, error)
}

// Wanted reports whether there is a service to write for, and this process may.
func Wanted(n *node.Node) bool { return n.Root && n.Service.Exists() }

// New returns nil where no files are Wanted. Of before, which may be nil, it reads which files need not be read, and adds to it
// those that it reads.
func New(n *node.Node, c node.Compiler, before *seen.Files) (*Writer, error) {
	if !Wanted(n) {
		return nil, nil
	}
	names, err := n.Service.Names()
	if err != nil {
		return nil, err
	}
	k := &Writer{Node: n, Compiler: c, files: make(map[string]apparmord.File), known: make(map[string]string)}
	var unread []string
	for _, name := range names {
		if as, ok := before.Unchanged(seen.Service, n.Service.Path(name)); ok {
			k.known[name] = as
		} else {
			unread = append(unread, name)
		}
	}
	list, err := n.Service.Read(unread)
	if err != nil {
		return nil, err
	}
	for _, f := range list {
		k.files[f.Name] = f
		// One that attaches to a program is read each time, by senders.Host as well.
		if !f.Edited && before != nil && len(syntax.Read(string(f.Text)).Attachments()) == 0 {
			before.Add(seen.Service, n.Service.Path(f.Name), f.Stamp, f.Read, apparmord.As(f.By, f.Name, f.Compiled))
		}
	}
	k.others = sync.OnceValues(func() (map[string]string, error) { return n.Service.Others(k.Has) })
	return k, nil
}

// Has reports whether there is a file of a profile that oci-apparmor wrote.
func (k *Writer) Has(profile string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, known := k.known[profile]
	_, read := k.files[profile]
	return known || read
}

// names returns the profiles that have a file that oci-apparmor wrote.
func (k *Writer) names() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.AppendSeq(slices.Collect(maps.Keys(k.known)), maps.Keys(k.files))
}

// file returns the file of a profile, and reads it if New has not. ok is false if there is none that oci-apparmor wrote.
func (k *Writer) file(profile string) (f apparmord.File, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, unread := k.known[profile]; unread {
		delete(k.known, profile)
		if list, err := k.Service.Read([]string{profile}); err == nil && len(list) == 1 { // else it has gone since
			k.files[profile] = list[0]
		}
	}
	f, ok = k.files[profile]
	return f, ok
}

// current reports whether the file of a profile that is there is the one that would be written.
func (k *Writer) current(by apparmord.By, p policy.Profile) bool {
	k.mu.Lock()
	as, known := k.known[p.Name]
	k.mu.Unlock()
	if known {
		return as == apparmord.As(by, p.Name, p.Compiled)
	}
	f, have := k.file(p.Name)
	return have && !f.Edited && f.By == by && slices.Equal(f.Compiled, p.Compiled)
}

// unwanted says why the service is better not told of a profile: somebody else has told it of one of that name, or has
// loaded one.
func (k *Writer) unwanted(by apparmord.By, p policy.Profile) error {
	others, err := k.others()
	if err != nil {
		return err
	}
	f, have := k.file(p.Name)
	if other := others[p.Name]; other != "" {
		err := fmt.Errorf("%s defines a profile %s, too, which AppArmor's service puts in place of ours at every boot and reload: "+
			"give one of them another name", other, p.Name)
		return k.withEarlier(err, p, f, have)
	}
	if by == apparmord.Policy && p.OnDrift != profile.ReplaceAny && !have && foreign(k.Node, p.Name) {
		return fmt.Errorf("AppArmor's service is not told of profile %s, because somebody else has loaded one of that name: remove "+
			"that, or say `onDrift: replace` for ours, and run oci-apparmor policy apply again", p.Name)
	}
	return nil
}

// withEarlier adds to an error what the file means that is there.
func (k *Writer) withEarlier(err error, p policy.Profile, f apparmord.File, have bool) error {
	if have && (f.Edited || !slices.Equal(f.Compiled, p.Compiled)) {
		return fmt.Errorf("%w; %s still has an earlier text of it, which a boot or a reload can put back", err, k.Service.Path(p.Name))
	}
	return err
}

// stageOne writes the file of one profile beside its place. It returns nil if there is nothing to write.
func (k *Writer) stageOne(by apparmord.By, p policy.Profile, t Text) (*safefile.Staged, error) {
	err := t.Err
	if err == nil && k.Dry {
		return nil, nil
	}
	if err == nil {
		var file *safefile.Staged
		file, err = k.Service.Stage(apparmord.File{Name: p.Name, By: by, Source: p.Source, Compiled: p.Compiled, Text: t.Text})
		if err == nil {
			return file, nil
		}
	}
	f, have := k.file(p.Name)
	if have {
		err = fmt.Errorf("the file of profile %s for AppArmor's service cannot be written again: %w", p.Name, err)
		if by == apparmord.Hand { // it is loaded already
			err = k.withEarlier(err, p, f, have)
		}
		return nil, err
	}
	if by == apparmord.Hand {
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

// foreign reports whether a profile is loaded that is not ours. Its content does not matter: with a file of ours, claim
// would take one for ours that has the same.
func foreign(n *node.Node, name string) bool {
	if _, err := n.Kernel.Details(name); err != nil {
		return false
	}
	owned, err := n.Kernel.Owned(name)
	return err == nil && !owned
}

// leave removes the file of a profile that has left the policy, unless something still runs under it: aa-remove-unknown
// would set that free.
func (k *Writer) leave(name string) error {
	if _, err := k.Kernel.Details(name); err == nil {
		err := unload.Idle(k.State, []string{name})
		if errors.As(err, new(unload.InUse)) {
			return fmt.Errorf("something still runs under it; oci-apparmor profile unload --when-idle %s removes both", name)
		}
		if err != nil {
			return err
		}
	} else if !errors.Is(err, kernel.ErrNotLoaded) {
		return err
	}
	return k.Service.Remove(name)
}
