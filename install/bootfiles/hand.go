package bootfiles

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/install/apparmord"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// write writes the file of a profile that was loaded by hand, where that is another than the one that is there. The error
// says what it means.
func (k *Writer) write(ctx context.Context, p policy.Profile, blob profile.Blob) error {
	if k.current(apparmord.Hand, p) {
		return nil
	}
	if others, err := k.others(); err == nil && sameFile(others[p.Name], p.Source) {
		return k.Service.Remove(p.Name) // the service knows the profile, and by its newest text
	}
	if err := k.unwanted(apparmord.Hand, p); err != nil {
		return err
	}
	mode := blob.Profiles[0].Mode
	if slices.ContainsFunc(blob.Profiles, func(c profile.Compiled) bool { return c.Mode != mode }) {
		mode = profile.Enforce // the text says the modes
	}
	var t Text
	t.Text, t.Err = k.Compiler.Standalone(ctx, p.Text, mode, func() (profile.Blob, error) { return blob, nil })
	file, err := k.stageOne(apparmord.Hand, p, t)
	if err != nil {
		return err
	}
	defer file.Drop()
	if err := file.Commit(); err != nil {
		return err
	}
	return k.Service.Sync()
}

// WriteByHand writes down a profile that was loaded by hand, unless it is somebody else's or the policy's. It warns where it
// cannot.
func WriteByHand(ctx context.Context, n *node.Node, c node.Compiler, p policy.Profile, blob profile.Blob) {
	k, err := New(n, c, nil)
	if err == nil && k == nil {
		return
	}
	if owned, _ := n.Kernel.Owned(p.Name); !owned {
		return // it was there, with this content, and is somebody else's
	}
	if g, err := (store.Store{Dir: n.Store}).Current(); err == nil {
		if _, ok := g.Index.Profile(p.Name); ok {
			return // the policy's file stands
		}
	}
	if err == nil {
		err = k.write(ctx, p, blob)
	}
	if err != nil {
		n.Warnf("%v", err)
	}
}

// Forget removes the file of a profile that was unloaded, unless the policy has it.
func Forget(n *node.Node, name string) error {
	g, err := store.Store{Dir: n.Store}.Current()
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
	err = n.Service.Remove(name)
	if errors.Is(err, os.ErrPermission) {
		err = exit.AsRoot(err)
	}
	return err
}
