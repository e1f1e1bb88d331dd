package meaning

import "github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"

// A MountAccess mounts, as mount(2) is called. Flags choose what that does, in the kernel's order: MS_REMOUNT, MS_BIND,
// one of MS_SHARED, MS_PRIVATE, MS_SLAVE and MS_UNBINDABLE, MS_MOVE, or else a new mount.
//
// Paths are as the kernel names them, absolute and without links, with a slash at the end of a directory's. The newer
// calls are asked about only as move_mount(2) does it: with MS_MOVE, and without a source where that is not mounted yet.
// Kernels before Linux 6.7 do not ask about them at all, but for those with "apparmor: Fix regression in mount mediation".
type MountAccess struct {
	Source string // a path for a bind or move, or where the file system's type needs a device; else as it is given
	Target string
	Type   string // of a new mount's file system
	Flags  uint32 // MS_*
	Data   string // of a new mount or a remount, where the file system takes text
}

// An UmountAccess unmounts.
type UmountAccess struct{ Target string }

// A PivotRootAccess makes another directory the root, and puts the old one below it.
type PivotRootAccess struct {
	New string
	Old string // where the old root goes
}

func (MountAccess) access()     {}
func (UmountAccess) access()    {}
func (PivotRootAccess) access() {}

// Flags that old programs set in mount(2) (MS_MGC_VAL, include/uapi/linux/mount.h).
const (
	msMagic     = 0xc0ed << 16
	msMagicMask = 0xffff << 16
)

// Asked returns the access with what of it the kernel asks about (apparmor_sb_mount and the functions it calls).
func (a MountAccess) Asked() MountAccess {
	if a.Flags&msMagicMask == msMagic {
		a.Flags &^= msMagicMask
	}
	a.Flags &^= kernelname.Ignored
	switch {
	case a.Flags&kernelname.Remount != 0:
		a.Source, a.Type = "", ""
	case a.Flags&kernelname.Bind != 0:
		a.Flags &= kernelname.Bind | kernelname.Rec
		a.Type, a.Data = "", ""
	case a.Flags&kernelname.Propagation != 0:
		a.Flags &= kernelname.Propagation | kernelname.Rec | kernelname.Silent
		a.Source, a.Type, a.Data = "", "", ""
	case a.Flags&kernelname.Move != 0:
		a.Flags = kernelname.Move
		a.Type, a.Data = "", ""
	}
	return a
}

// mount follows do_match_mnt.
func (p *Profile) mount(a MountAccess) Answer {
	begin := p.policy.begin(Mount)
	if begin == 0 {
		return Answer{Allowed: true}
	}
	a = a.Asked()
	r := &p.policy
	s := r.zero(r.walk(begin, a.Target))
	s = r.zero(r.walk(s, a.Source))
	s = r.zero(r.walk(s, a.Type))
	for bit := range 32 {
		if a.Flags>>bit&1 != 0 && s != 0 {
			s = r.step(s, byte(bit+1))
		}
	}
	if s == 0 {
		return p.audited(Perms{}, mayMount)
	}
	perms := r.at(s)
	if asksData(perms) && a.Data != "" {
		if s = r.walk(r.zero(s), a.Data); s != 0 {
			perms = r.at(s)
		}
	}
	return p.audited(perms, mayMount)
}

// asksData reports whether the data of a mount decides, by the permissions of all before it.
func asksData(perms Perms) bool { return perms.Allow&(mayMount|matchesData) == matchesData }

func (p *Profile) umount(a UmountAccess) Answer {
	begin := p.policy.begin(Mount)
	if begin == 0 {
		return Answer{Allowed: true}
	}
	return p.audited(p.policy.at(p.policy.walk(begin, a.Target)), mayUmount)
}

// pivotRoot follows build_pivotroot.
func (p *Profile) pivotRoot(a PivotRootAccess) Answer {
	begin := p.policy.begin(Mount)
	if begin == 0 {
		return Answer{Allowed: true}
	}
	s := p.policy.walk(p.policy.zero(p.policy.walk(begin, a.New)), a.Old)
	return p.audited(p.policy.at(s), mayPivotRoot)
}
