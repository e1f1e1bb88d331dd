package kernel

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Receives asks the kernel whether a process under a loaded profile may receive a signal from a process under the label
// peer. It takes the profile as if it were in mode enforce. The error wraps ErrNotLoaded if there is no such profile.
//
// The kernel answers for one profile. Under a stack, each profile must allow the signal. The kernel compares a peer that is
// a stack as a whole, and then part by part (profile_signal_perm in security/apparmor/ipc.c, aa_label_match in label.c).
func (k *Kernel) Receives(profile, peer string, signal unix.Signal) (bool, error) {
	allowed, err := k.mayReceive(profile, peer, signal)
	if parts := strings.Split(peer, "//&"); err == nil && !allowed && len(parts) > 1 {
		for _, part := range parts {
			if allowed, err = k.mayReceive(profile, part, signal); err != nil || !allowed {
				return false, err
			}
		}
	}
	return allowed, err
}

// From the kernel's security/apparmor/include: AA_CLASS_SIGNAL, and the bit of a permission to receive one, MAY_READ.
const (
	classSignal = 10
	mayRead     = 1 << 2
)

// mayReceive writes a query of a label's permissions and reads the answer (aa_write_access and query_label,
// security/apparmor/apparmorfs.c). For the signals that we ask about, the kernel uses Linux's numbers (sig_map,
// security/apparmor/include/sig_names.h).
func (k *Kernel) mayReceive(profile, peer string, signal unix.Signal) (bool, error) {
	query := "label\x00" + profile + "\x00" + string([]byte{classSignal, byte(signal)}) + peer
	answer, err := k.access(query)
	if errors.Is(err, unix.ENOENT) {
		return false, fmt.Errorf("profile %s: %w", oneline.Quote(profile), ErrNotLoaded)
	} else if err != nil {
		return false, k.explain(err)
	}
	var allow uint32
	if _, err := fmt.Sscanf(answer, "allow 0x%x", &allow); err != nil {
		return false, fmt.Errorf("%s/.access: %q is no answer about permissions", k.FS, answer)
	}
	return allow&mayRead != 0, nil
}

// access sends one query and returns its answer.
func (k *Kernel) access(query string) (answer string, err error) {
	if k.QueryAccess != nil {
		return k.QueryAccess(query)
	}
	path := k.FS + "/.access"
	fd, err := openat(unix.AT_FDCWD, path, unix.O_RDWR, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if _, err := unix.Pwrite(fd, []byte(query), 0); err != nil {
		return "", &os.PathError{Op: "write", Path: path, Err: err}
	}
	var buf [256]byte
	n, err := unix.Pread(fd, buf[:], 0)
	if err != nil {
		return "", &os.PathError{Op: "read", Path: path, Err: err}
	}
	return string(buf[:n]), nil
}
