package kernel

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// Load loads a compiled profile with its children into the kernel, all of it or nothing. It adds what the kernel lacks and
// replaces what it has. It does not check what was there before: Ensure does.
//
// The error wraps the kernel's errno. A blob that profile.Parse refuses does not reach the kernel.
func (k *Kernel) Load(blob []byte) error {
	parsed, err := parse(blob)
	if err != nil {
		return err
	}
	_, err = k.load(parsed)
	return err
}

// parse parses a blob. It refuses a blob with a name that could harm the machine: with a name of about 250 bytes or more,
// the kernel fails in a way that prevents every later load.
func parse(blob []byte) (profile.Blob, error) {
	parsed, err := profile.Parse(blob)
	if err != nil {
		return profile.Blob{}, err
	}
	for _, c := range parsed.Profiles {
		for component := range strings.SplitSeq(c.Name, childSeparator) {
			if err := profile.CheckName(component); err != nil {
				return profile.Blob{}, err
			}
		}
	}
	return parsed, nil
}

// load writes the blob. If the kernel cannot load anything, load cures that and writes the blob again. The warning is about
// the cure.
func (k *Kernel) load(blob profile.Blob) (warning string, err error) {
	err = k.write(blob.Data)
	if errors.Is(err, unix.EEXIST) {
		if warning, err = k.cure(); err == nil {
			err = k.write(blob.Data)
		}
	}
	if err != nil {
		return "", k.loadError(err)
	}
	return warning, nil
}

// write does the one write(2) that loads. It writes to .replace at the top of FS, as apparmor_parser does. That file acts
// on the policy namespace of the writing process, which is the one that policy/ shows.
func (k *Kernel) write(blob []byte) error {
	if k.WriteReplace != nil {
		return k.WriteReplace(blob)
	}
	path := k.FS + "/.replace"
	fd, err := openat(unix.AT_FDCWD, path, unix.O_WRONLY, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	n, err := unix.Write(fd, blob)
	for err == unix.EINTR {
		n, err = unix.Write(fd, blob)
	}
	if err == nil && n != len(blob) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// loadError adds to an error what the kernel's errno means (aa_replace_profiles and aa_unpack in security/apparmor).
func (k *Kernel) loadError(err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return err
	}
	var because string
	switch errno {
	case unix.EACCES, unix.EPERM, unix.EROFS:
		if r := k.Detect(); !r.Usable() {
			return &NotReadyError{Readiness: r, Err: err}
		}
		because = "the kernel does not let this process load profiles, although it has CAP_MAC_ADMIN: it may itself be" +
			" confined by a profile without `capability mac_admin` and `/sys/kernel/security/apparmor/.replace w`"
	case unix.ENOENT:
		if r := k.Detect(); !r.Usable() {
			return &NotReadyError{Readiness: r, Err: err}
		}
		because = "the kernel misses what the profile builds upon: a child profile without its parent"
	case unix.EPROTO:
		because = "the kernel cannot read the compiled profile, as if it was compiled for another kernel:" +
			" run `oci-apparmor policy apply` on this one"
	case unix.EPROTONOSUPPORT:
		because = "the kernel does not know the version of the compiled profile's format:" +
			" run `oci-apparmor policy apply` with an apparmor_parser as old as the kernel"
	case unix.ENOMEM, unix.ENOSPC:
		because = "the kernel has no room for the profile"
	case unix.ENAMETOOLONG:
		because = "a name in it is too long for this kernel, which may now refuse every other profile, too:" +
			" remove any profile, with `apparmor_parser -R FILE`, to end that"
	case unix.EEXIST:
		because = poisoned
	default:
		return fmt.Errorf("the kernel did not take the profile: %w", err)
	}
	return fmt.Errorf("%s: %w", because, err)
}
