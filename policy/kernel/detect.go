package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// Readiness is what AppArmor can do for us on this machine, from nothing to everything.
type Readiness uint8

const (
	NoAppArmor   Readiness = iota // not in this kernel, or not switched on
	NoSecurityfs                  // on, but its files are not mounted where we look
	NoRight                       // this process may not load profiles
	NoHash                        // the kernel keeps no hashes, so no content can be verified
	NotEnforcing                  // usable, but the kernel allows what profiles deny, whatever their modes
	Namespaced                    // usable, inside a policy namespace of AppArmor's
	Ready
)

// String returns a sentence: what the state is, and what to do about it.
func (r Readiness) String() string {
	switch r {
	case NoAppArmor:
		return "AppArmor is not switched on in this kernel: boot with apparmor=1 and with apparmor among the modules of" +
			" lsm= (a kernel built without it needs replacing)"
	case NoSecurityfs:
		return "AppArmor is on, but its files are missing: mount securityfs with" +
			" `mount -t securityfs securityfs /sys/kernel/security`, and in a container pass that directory in"
	case NoRight:
		return "this process may not load AppArmor profiles: it needs root with CAP_MAC_ADMIN outside of any user" +
			" namespace, and a kernel whose policy is not locked (/sys/module/apparmor/parameters/lock_policy must be N)"
	case NoHash:
		return "this kernel keeps no hashes of AppArmor profiles, so their content cannot be verified:" +
			" write Y to /sys/module/apparmor/parameters/hash_policy, or boot with apparmor.hash_policy=1"
	case NotEnforcing:
		return "AppArmor as a whole only logs what profiles deny, whatever their own modes: write enforce to" +
			" /sys/module/apparmor/parameters/mode, and boot without apparmor.mode="
	case Namespaced:
		return "AppArmor is ready, inside a policy namespace: profiles go into this namespace only, and whoever made it" +
			" confines it as a whole (/sys/kernel/security/apparmor/.ns_name names it)"
	case Ready:
		return "AppArmor is ready"
	}
	return "unknown readiness"
}

// Usable reports whether profiles can be loaded and verified.
func (r Readiness) Usable() bool { return r >= NotEnforcing }

// NotReadyError is the error if AppArmor's state does not allow to ensure a profile.
type NotReadyError struct {
	Readiness Readiness
	Err       error // what failed
}

func (e *NotReadyError) Error() string { return e.Readiness.String() + " (" + e.Err.Error() + ")" }
func (e *NotReadyError) Unwrap() error { return e.Err }

// Detect returns the first grade that fits, in the order of their declaration. It takes a few short reads of the kernel's
// files.
func (k *Kernel) Detect() Readiness {
	// Parameters print as Y or N (param_get_bool, kernel/params.c). A process that may not read such a file has no rights,
	// which the checks below report.
	parameter := func(name string) (string, error) { return readWord(k.Module + "/" + name) }
	if on, err := parameter("enabled"); err != nil || on != "Y" {
		return NoAppArmor
	}
	if unix.Access(k.profiles(), unix.F_OK) != nil {
		return NoSecurityfs
	}
	namespaced := k.namespaced()

	ask := k.rights
	if ask == nil {
		ask = processRights
	}
	admin, initial := ask()
	if locked, err := parameter("lock_policy"); err == nil && locked == "Y" {
		return NoRight
	}
	// A process in a user namespace may load profiles only if it also has a policy namespace (aa_policy_view_capable,
	// security/apparmor/policy.c).
	if !admin || !initial && !namespaced {
		return NoRight
	}
	if !k.hashing() {
		return NoHash
	}
	if errors.As(k.enforcing(), new(*NotReadyError)) {
		return NotEnforcing
	}
	if namespaced {
		return Namespaced
	}
	return Ready
}

// Enforced returns an error if the kernel does not enforce these profiles although they are not in complain mode. Without
// CAP_MAC_ADMIN, as under a rootless engine, nobody can know it, and Enforced returns nil.
func (k *Kernel) Enforced(content []profile.Compiled) error {
	if !confines(content) {
		return nil
	}
	return k.enforcing()
}

// confines reports whether a profile or a child of it is in a mode that denies.
func confines(content []profile.Compiled) bool {
	return slices.ContainsFunc(content, func(c profile.Compiled) bool { return c.Mode != profile.Complain })
}

// enforcing reads AppArmor's global mode. It counts in addition to the mode of each profile (PROFILE_MODE,
// security/apparmor/include/policy.h) and changes no hash. complain allows everything and logs it. kill adds a SIGKILL to
// every denial. The other values, unconfined and on newer kernels user, have no documented meaning.
func (k *Kernel) enforcing() error {
	path := k.Module + "/mode"
	var buf [32]byte
	text, err := readOnce(path, 0, buf[:])
	if err == unix.EACCES || err == unix.EPERM {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "read", Path: path, Err: err}
	}
	switch mode := strings.TrimSuffix(string(text), "\n"); mode {
	case "enforce", "kill":
		return nil
	default:
		return &NotReadyError{Readiness: NotEnforcing, Err: fmt.Errorf("its global mode is %s", mode)}
	}
}

// hashing reports whether the kernel keeps a hash of each profile that is loaded now.
func (k *Kernel) hashing() bool {
	hash, err := readWord(k.Module + "/hash_policy")
	return err == nil && hash == "Y" || err != nil && !errors.Is(err, fs.ErrNotExist)
}

// namespaced reports whether this process is in a policy namespace other than the root one. Kernels before 4.13 do not show
// this, and have no namespaces that matter here.
func (k *Kernel) namespaced() bool {
	stacked, _ := readWord(k.FS + "/.ns_stacked")
	level, _ := readWord(k.FS + "/.ns_level")
	name, _ := readWord(k.FS + "/.ns_name")
	return stacked == "yes" || level != "" && level != "0" || name != "" && name != "root"
}

// processRights reports whether this process has CAP_MAC_ADMIN in effect, and whether it is in the initial user namespace,
// whose inode is fixed (PROC_USER_INIT_INO, include/linux/proc_ns.h).
func processRights() (admin, initial bool) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if unix.Capget(&header, &caps[0]) == nil {
		admin = caps[unix.CAP_MAC_ADMIN/32].Effective&(1<<(unix.CAP_MAC_ADMIN%32)) != 0
	}
	ns, err := os.Readlink("/proc/self/ns/user")
	return admin, err != nil || ns == "user:[4026531837]"
}

// readWord reads a file that has one short word and perhaps a newline.
func readWord(path string) (string, error) {
	var buf [256]byte
	text, err := readOnce(path, 0, buf[:])
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(string(text), "\n"), nil
}

// explain adds AppArmor's state to an error, if that state is the reason.
func (k *Kernel) explain(err error) error {
	if r := k.Detect(); !r.Usable() {
		return &NotReadyError{Readiness: r, Err: err}
	}
	return err
}
