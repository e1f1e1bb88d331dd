package audit

import (
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// askedMount reads a record of a mount, of an unmount, or of pivot_root(2).
func askedMount(r *Record) (Asked, error) {
	target := r.Get("name")
	if !strings.HasPrefix(target, "/") {
		return Asked{}, because(Disconnected, "the kernel has no whole path of the directory, but %s", oneline.Quote(target))
	}
	switch r.Get("operation") {
	case "umount":
		return one(meaning.UmountAccess{Target: target}), nil
	case "pivotroot":
		old := r.Get("srcname")
		if !strings.HasPrefix(old, "/") {
			return Asked{}, fmt.Errorf("the record does not say where the old root was to go")
		}
		return one(meaning.PivotRootAccess{New: target, Old: old}), nil
	case "mount":
	default:
		return notUnderstood(r)
	}
	flags, err := mountFlags(r.Get("flags"))
	if err != nil {
		return Asked{}, err
	}
	a := meaning.MountAccess{Target: target, Source: r.Get("srcname"), Type: r.Get("fstype"), Flags: flags, Data: r.Get("options")}
	asked := Asked{Accesses: []meaning.Access{a}}
	if a.Data == "" && (a.Type != "" || flags&kernelname.Remount != 0) {
		asked.Open = "the data of the mount is not logged"
	}
	return asked, nil
}

// mountFlags reads the flags of a mount (audit_mnt_flags, security/apparmor/mount.c). The kernel writes "nouser" for a flag that
// it refuses before it asks, and no word for nosymfollow and lazytime.
func mountFlags(text string) (flags uint32, err error) {
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		flag, ok := kernelname.MountFlagOf(word)
		if !ok && word != "" && word != "nouser" {
			return 0, fmt.Errorf("no kernel writes the flag %s of a mount", oneline.Quote(word))
		}
		flags |= flag
	}
	return flags, nil
}
