package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Remove removes a profile and its children from the kernel. Every task that runs under it, or is about to, becomes
// unconfined for good. So Remove calls last right before, while no process of ours loads or replaces a profile. If last
// returns an error, Remove returns it and removes nothing.
//
// The error wraps ErrNotLoaded if there is no such profile.
func (k *Kernel) Remove(ctx context.Context, name string, last func() error) error {
	s, err := openState(k.State)
	if err != nil {
		return err
	}
	if s == nil {
		return &NotReadyError{Readiness: NoRight, Err: fmt.Errorf("%s cannot be used: %w", k.State, unix.EACCES)}
	}
	defer s.close()
	release, err := s.lock(ctx, k.lockWait)
	if err != nil {
		return err
	}
	defer release()
	d, err := k.Details(name)
	if err != nil {
		return err
	}
	if err := last(); err != nil {
		return err
	}
	if err := k.writeDownRemoval(s, name, d.Dir); err != nil {
		return err
	}
	if err := k.writeRemove(name); err != nil {
		_ = unix.Unlinkat(s.fd, fileOf("removed.", name), 0)
		if errors.Is(err, unix.ENOENT) {
			err = fmt.Errorf("%w: %w", ErrNotLoaded, err)
		}
		return fmt.Errorf("remove profile %s: %w", oneline.Quote(name), k.explain(err))
	}
	_, err = k.Details(name)
	if err == nil {
		return fmt.Errorf("the kernel removed profile %s and has one of that name: somebody else loads profiles at the same moment",
			oneline.Quote(name))
	}
	if !errors.Is(err, ErrNotLoaded) {
		return err
	}
	for _, kind := range []string{"owned.", "verdict.", "replaced."} {
		if err := unix.Unlinkat(s.fd, fileOf(kind, name), 0); err != nil && err != unix.ENOENT {
			return &os.PathError{Op: "remove", Path: s.path + "/" + fileOf(kind, name), Err: err}
		}
	}
	return nil
}

// writeDownRemoval records, before it is removed, that it is we who remove the profile in a directory below policy/profiles:
// RemovedByUs tells it from a removal by somebody else.
func (k *Kernel) writeDownRemoval(s *state, name, dir string) error {
	boot, err := k.boot()
	if err != nil {
		return err
	}
	return s.write(fileOf("removed.", name), boot+"\n"+name+"\n"+dir+"\n")
}

// writeRemove does the one write(2) that removes. It writes no newline, because the kernel would take it for a part of the
// name.
func (k *Kernel) writeRemove(name string) error {
	if k.WriteRemove != nil {
		return k.WriteRemove(name)
	}
	path := k.FS + "/.remove"
	fd, err := openat(unix.AT_FDCWD, path, unix.O_WRONLY, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for {
		if _, err = unix.Write(fd, []byte(name)); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}
